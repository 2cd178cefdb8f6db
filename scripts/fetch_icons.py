"""Make a tree of icons to try `dataset=folder` on: KDE's Oxygen theme by what an icon is for, 278 images in six classes.

The icons come from Debian's package oxygen-icon-theme (LGPL-3), fetched by `apt-get download`; those of 128 pixels are laid on
white.
"""

from __future__ import annotations

import argparse
import sys
import tarfile
import tempfile
from pathlib import Path, PurePosixPath

from fetch_common import FetchError, apt_download, deb_images, put_in_place, verify_sum, write_classes

PACKAGE, VERSION = "oxygen-icon-theme", "5:5.103.0-1"
SHA256 = "3e49023e148906e41457a98a19a09858ddd761ef4f212fa356232924b3cebcce"
ICONS = PurePosixPath("usr/share/icons/oxygen/base/128x128")
# the theme's own contexts
FOLDERS = {name: name for name in ("actions", "apps", "devices", "mimetypes", "places", "status")}
MOST = 48  # images a class, so that the largest contexts do not prevail
COUNTS = {
    "actions": 48,
    "apps": 48,
    "devices": 48,
    "mimetypes": 48,
    "places": 46,
    "status": 40,
}


def main(arguments: list[str] | None = None) -> int:
    """Fetch, verify and put in place; returns the exit status."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("data/icons"), help="folder to make (default: %(default)s)")
    parser.add_argument("--archive", type=Path, help="the package's .deb, instead of fetching it with apt-get")
    options = parser.parse_args(arguments)
    try:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=options.out.parent, prefix=".fetch-") as folder:
            archive = options.archive or apt_download(PACKAGE, VERSION, Path(folder))
            verify_sum(archive, SHA256)
            tree = Path(folder) / "tree"
            write_classes(deb_images(archive, ICONS), FOLDERS, MOST, tree)
            put_in_place(tree, options.out, COUNTS)
    except (FetchError, OSError, tarfile.TarError) as error:
        print(f"fetch_icons: {error}", file=sys.stderr)
        return 1
    print(f"{sum(COUNTS.values())} images in {len(COUNTS)} classes below {options.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
