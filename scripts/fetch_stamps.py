"""Make a tree of photographs and drawings to try `dataset=folder` on: Tux Paint's stamps, 256 images in eight classes.

The images come from Debian's package tuxpaint-stamps-default (GPL-2), fetched by `apt-get download`; they are laid on white
squares of 128 pixels.
"""

from __future__ import annotations

import argparse
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from fetch_common import FetchError, apt_download, deb_images, put_in_place, verify_sum, write_classes

PACKAGE, VERSION = "tuxpaint-stamps-default", "2022.06.04-1"
SHA256 = "6db6c1bfc870a47f1499d6203b083522eacb57c5f9c87d468f2e92eb6d9d5f34"
STAMPS = PurePosixPath("usr/share/tuxpaint/stamps")
# the package's own folders, with all that lies below them
FOLDERS = {
    "animals/birds": "birds",
    "animals/insects": "insects",
    "animals/mammals": "mammals",
    "food/fruit": "fruit",
    "food/vegetables": "vegetables",
    "plants/flowers": "flowers",
    "town/houses": "houses",
    "vehicles": "vehicles",
}
MOST = 48  # images a class, so that the largest folder does not prevail
COUNTS = {
    "birds": 38,
    "flowers": 25,
    "fruit": 41,
    "houses": 32,
    "insects": 20,
    "mammals": 48,
    "vegetables": 18,
    "vehicles": 34,
}


def main(arguments: list[str] | None = None) -> int:
    """Fetch, verify and put in place; returns the exit status."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("data/stamps"), help="folder to make (default: %(default)s)")
    parser.add_argument("--archive", type=Path, help="the package's .deb, instead of fetching it with apt-get")
    options = parser.parse_args(arguments)
    try:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=options.out.parent, prefix=".fetch-") as folder:
            archive = options.archive or apt_download(PACKAGE, VERSION, Path(folder))
            verify_sum(archive, SHA256)
            tree = Path(folder) / "tree"
            write_classes(stamps_of(archive), FOLDERS, MOST, tree)
            put_in_place(tree, options.out, COUNTS)
    except (FetchError, OSError, tarfile.TarError) as error:
        print(f"fetch_stamps: {error}", file=sys.stderr)
        return 1
    print(f"{sum(COUNTS.values())} images in {len(COUNTS)} classes below {options.out}")
    return 0


def stamps_of(archive: Path) -> Iterator[tuple[PurePosixPath, bytes]]:
    """The package's stamps; a few come a second time as their mirror image, which is left out."""
    return ((path, content) for path, content in deb_images(archive, STAMPS) if not path.stem.endswith("_mirror"))


if __name__ == "__main__":
    sys.exit(main())
