"""Make a tree of photographs and drawings to try `dataset=folder` on: Tux Paint's stamps, 256 images in eight classes.

The images come from Debian's package tuxpaint-stamps-default (GPL-2), fetched by `apt-get download`; they are laid on white
squares of 128 pixels.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from fetch_common import Package, deb_images, make_tree, write_classes

PACKAGE = Package(
    "tuxpaint-stamps-default", "2022.06.04-1", "6db6c1bfc870a47f1499d6203b083522eacb57c5f9c87d468f2e92eb6d9d5f34", "debian"
)
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
    return make_tree(arguments, __doc__, Path("data/stamps"), PACKAGE, write_tree, COUNTS)


def write_tree(archive: Path, tree: Path) -> None:
    """Write the package's pictures, a folder a class."""
    write_classes(stamps_of(archive), FOLDERS, MOST, tree)


def stamps_of(archive: Path) -> Iterator[tuple[PurePosixPath, bytes]]:
    """The package's stamps; a few come a second time as their mirror image, which is left out."""
    return ((path, content) for path, content in deb_images(archive, STAMPS) if not path.stem.endswith("_mirror"))


if __name__ == "__main__":
    sys.exit(main())
