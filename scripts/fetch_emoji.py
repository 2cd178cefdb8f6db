"""Make a tree of a few hundred real images to try `dataset=folder` on: emoji, a folder a category.

The images come from the npm package emoji-datasource-twitter (Twemoji, CC-BY 4.0), fetched by `npm pack`.
"""

from __future__ import annotations

import argparse
import json
import random
import tarfile
import tempfile
from pathlib import Path

from fetch_common import FetchError, npm_pack

PACKAGE = "emoji-datasource-twitter@16.0.0"
CATEGORIES = {
    "Animals & Nature": "animals",
    "Food & Drink": "food",
    "Travel & Places": "travel",
    "Objects": "objects",
    "Flags": "flags",
    "Smileys & Emotion": "smileys",
}


def main() -> None:
    """Fetch the package and write the tree."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("data/emoji"), help="folder to make")
    parser.add_argument("--per-class", type=int, default=60, help="images a class")
    parser.add_argument("--archive", type=Path, help="the package's .tgz, if it is here already")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        try:
            archive = arguments.archive or npm_pack(PACKAGE, Path(folder))
        except FetchError as error:
            raise SystemExit(f"fetch_emoji: {error}") from error
        counts = write_tree(archive, arguments.out, arguments.per_class)
    print(f"{sum(counts.values())} images in {len(counts)} classes below {arguments.out}")


def write_tree(archive: Path, out: Path, per_class: int) -> dict[str, int]:
    """Write `out/CLASS/NAME.png`, the same choice each time; returns the images a class."""
    chosen: dict[str, str] = {}
    with tarfile.open(archive) as tar:
        listing = tar.extractfile("package/emoji.json")
        if listing is None:
            raise SystemExit(f"{archive}: holds no package/emoji.json.")
        entries = json.load(listing)
        for category, name in CATEGORIES.items():
            images = sorted(entry["image"] for entry in entries if entry["category"] == category and entry["has_img_twitter"])
            for image in random.Random(0).sample(images, min(per_class, len(images))):
                chosen[f"package/img/twitter/64/{image}"] = name
        counts = dict.fromkeys(CATEGORIES.values(), 0)
        for member in tar:
            content = tar.extractfile(member) if member.name in chosen else None
            if content is None:
                continue
            target = out / chosen[member.name] / Path(member.name).name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content.read())
            counts[chosen[member.name]] += 1
    return counts


if __name__ == "__main__":
    main()
