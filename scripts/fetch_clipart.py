"""Make a tree of drawings to try `dataset=folder` on: the Open Clip Art Library, 376 images in ten classes.

The drawings come from Debian's package openclipart-png (public domain), fetched by `apt-get download`; they are laid on white
squares of 128 pixels.
"""

from __future__ import annotations

import sys
from pathlib import Path, PurePosixPath

from fetch_common import Package, deb_images, make_tree, write_classes

PACKAGE = Package(
    "openclipart-png", "1:0.18+dfsg-19", "f07f1545a2970c2cf3fa339bc2405da1a95cf2b1827bfa05bf73eb1c20291c02", "debian"
)
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
    return make_tree(arguments, __doc__, Path("data/clipart"), PACKAGE, write_tree, COUNTS)


def write_tree(archive: Path, tree: Path) -> None:
    """Write the package's pictures, a folder a class."""
    write_classes(deb_images(archive, CLIPART), FOLDERS, MOST, tree)


if __name__ == "__main__":
    sys.exit(main())
