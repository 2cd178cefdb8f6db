"""What the scripts share that fetch images from package indexes: npm, Debian's archive, sums, trees of classes."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path


class FetchError(Exception):
    """What went wrong, in one line."""


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
