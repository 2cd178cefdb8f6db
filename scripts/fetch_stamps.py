"""Make a tree of photographs and drawings to try `dataset=folder` on: Tux Paint's stamps, 256 images in eight classes.

The images come from Debian's package tuxpaint-stamps-default (GPL-2), fetched by `apt-get download`; they are laid on white
squares of 128 pixels.
"""

from __future__ import annotations

import argparse
import io
import random
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from fetch_common import FetchError, apt_download, put_in_place, verify_sum
from PIL import Image

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
SIDE = 128


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
            write_tree(images_of(archive), tree)
            put_in_place(tree, options.out, COUNTS)
    except (FetchError, OSError, tarfile.TarError) as error:
        print(f"fetch_stamps: {error}", file=sys.stderr)
        return 1
    print(f"{sum(COUNTS.values())} images in {len(COUNTS)} classes below {options.out}")
    return 0


def images_of(archive: Path) -> Iterator[tuple[PurePosixPath, bytes]]:
    """The PNG stamps of the package, each with its path below the folder of stamps.

    Raises:
        FetchError: dpkg-deb is missing or fails.
    """
    command = ["dpkg-deb", "--fsys-tarfile", str(archive)]
    try:
        process = subprocess.Popen(command, stdout=subprocess.PIPE)
    except FileNotFoundError as error:
        raise FetchError("dpkg-deb is not installed: this script needs a Debian-like system.") from error
    with process, tarfile.open(fileobj=process.stdout, mode="r|") as tar:
        for member in tar:
            path = PurePosixPath(member.name)
            # a few stamps come a second time as their mirror image
            if path.suffix == ".png" and path.is_relative_to(STAMPS) and not path.stem.endswith("_mirror"):
                content = tar.extractfile(member)
                if content is not None:
                    yield path.relative_to(STAMPS), content.read()
    if process.returncode:
        raise FetchError(f"dpkg-deb cannot unpack {archive} (exit status {process.returncode}).")


def write_tree(images: Iterator[tuple[PurePosixPath, bytes]], out: Path) -> None:
    """Write `out/CLASS/NAME.png`, the same choice each time.

    Args:
        images: Path and content of each stamp.
        out: A folder that does not exist yet.
    """
    found: dict[str, dict[PurePosixPath, bytes]] = {name: {} for name in FOLDERS.values()}
    for path, content in images:
        for folder, name in FOLDERS.items():
            if path.is_relative_to(folder):
                found[name][path] = content
    for name, stamps in found.items():
        (out / name).mkdir(parents=True)
        paths = sorted(stamps)
        for path in random.Random(0).sample(paths, min(MOST, len(paths))):
            # two folders of one class may hold stamps of one name
            on_white(stamps[path]).save(out / name / f"{path.parent.name}-{path.name}")


def on_white(content: bytes) -> Image.Image:
    """A stamp in the middle of a white square of SIDE pixels."""
    with Image.open(io.BytesIO(content)) as stamp:
        image = stamp.convert("RGBA")
    image.thumbnail((SIDE, SIDE), Image.Resampling.BICUBIC)
    square = Image.new("RGBA", (SIDE, SIDE), "white")
    square.alpha_composite(image, ((SIDE - image.width) // 2, (SIDE - image.height) // 2))
    return square.convert("RGB")


if __name__ == "__main__":
    sys.exit(main())
