"""Make a tree of drawings to try `dataset=folder` on: the Open Clip Art Library, 376 images in ten classes.

The drawings come from Debian's package openclipart-png (public domain), fetched by `apt-get download`; they are laid on white
squares of 128 pixels.
"""

from __future__ import annotations

import argparse
import sys
import tarfile
import tempfile
from pathlib import Path, PurePosixPath

from fetch_common import FetchError, apt_download, deb_images, put_in_place, verify_sum, write_classes

PACKAGE, VERSION = "openclipart-png", "1:0.18+dfsg-19"
SHA256 = "f07f1545a2970c2cf3fa339bc2405da1a95cf2b1827bfa05bf73eb1c20291c02"
CLIPART = PurePosixPath("usr/share/openclipart/png")
# the package's own folders, with all that lies below them
FOLDERS = {
    "animals/birds": "birds",
    "animals/bugs": "bugs",
    "animals/mammals": "mammals",
    "buildings/homes": "homes",
    "food/desserts": "desserts",
    "food/fruit": "fruit",
    "plants/flowers": "flowers",
    "recreation/music": "music",
    "recreation/sports": "sports",
    "transportation/vehicles": "vehicles",
}
MOST = 40  # images a class, so that the largest folders do not prevail
COUNTS = {
    "birds": 40,
    "bugs": 40,
    "desserts": 40,
    "flowers": 28,
    "fruit": 40,
    "homes": 38,
    "mammals": 40,
    "music": 40,
    "sports": 40,
    "vehicles": 30,
}


def main(arguments: list[str] | None = None) -> int:
    """Fetch, verify and put in place; returns the exit status."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("data/clipart"), help="folder to make (default: %(default)s)")
    parser.add_argument("--archive", type=Path, help="the package's .deb, instead of fetching it with apt-get")
    options = parser.parse_args(arguments)
    try:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=options.out.parent, prefix=".fetch-") as folder:
            archive = options.archive or apt_download(PACKAGE, VERSION, Path(folder))
            verify_sum(archive, SHA256)
            tree = Path(folder) / "tree"
            write_classes(deb_images(archive, CLIPART), FOLDERS, MOST, tree)
            put_in_place(tree, options.out, COUNTS)
    except (FetchError, OSError, tarfile.TarError) as error:
        print(f"fetch_clipart: {error}", file=sys.stderr)
        return 1
    print(f"{sum(COUNTS.values())} images in {len(COUNTS)} classes below {options.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
