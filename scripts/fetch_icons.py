"""Make a tree of icons to try `dataset=folder` on: KDE's Oxygen theme by what an icon is for, 278 images in six classes.

The icons come from Debian's package oxygen-icon-theme (LGPL-3), fetched by `apt-get download`; those of 128 pixels are laid on
white.
"""

from __future__ import annotations

import sys
from pathlib import Path, PurePosixPath

from fetch_common import Package, deb_images, make_tree, write_classes

PACKAGE = Package(
    "oxygen-icon-theme", "5:5.103.0-1", "3e49023e148906e41457a98a19a09858ddd761ef4f212fa356232924b3cebcce", "debian"
)
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
    return make_tree(arguments, __doc__, Path("data/icons"), PACKAGE, write_tree, COUNTS)


def write_tree(archive: Path, tree: Path) -> None:
    """Write the package's pictures, a folder a class."""
    write_classes(deb_images(archive, ICONS), FOLDERS, MOST, tree)


if __name__ == "__main__":
    sys.exit(main())
