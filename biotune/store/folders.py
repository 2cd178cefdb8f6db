"""Whether folders and files can be written, found out by trying: permission bits say nothing of /proc or a read-only disk."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from biotune.errors import RunFolderError, one_line
from biotune.store.files import UNFINISHED, umask

_TRIED = ".biotune-"  # in the names of folders that are made only to try


def why_not_writable(folder: Path) -> str | None:
    """Try to make a folder and to write into it; nothing is left, and folders that others may be making are not touched.

    The folders that are missing, and a file in the last of them, are made below a temporary name in the nearest folder that
    exists, and removed. To make them under their own names and remove them could take them from another run.

    Args:
        folder: The folder, which need not exist.

    Returns:
        The reason why it cannot be made or written; None if it can.
    """
    folder = Path(os.path.abspath(folder))
    nearest = next(parent for parent in (folder, *folder.parents) if os.path.lexists(parent))
    if not nearest.is_dir():
        what = "a file" if nearest.exists() else "a link to nothing"
        return f"{one_line(nearest)} is {what}"
    tried = None
    try:
        tried = tempfile.mkdtemp(prefix=_TRIED, dir=nearest)
        last = Path(tried, folder.relative_to(nearest))
        last.mkdir(parents=True, exist_ok=True)
        (last / "file").write_bytes(b"")
    except OSError as error:
        return f"{error.strerror} in {one_line(nearest)}"
    except ValueError as error:  # a NUL character in the name
        return f"its name holds an {error}"
    finally:
        if tried is not None:
            shutil.rmtree(tried, ignore_errors=True)
    return None


def make_folder(folder: Path) -> None:
    """Make a folder in one that exists, unless it is there already.

    Raises:
        RunFolderError: It cannot be made.
    """
    try:
        folder.mkdir(exist_ok=True)
    except OSError as error:
        raise RunFolderError(f"{one_line(folder)}: cannot be made ({error.strerror}).") from error


def check_new(folder: Path) -> None:
    """Check that `new_folder_whole` could make a folder, before the work whose result it is to hold; nothing is left.

    Raises:
        RunFolderError: Something is there already, or it cannot be made.
    """
    if os.path.lexists(folder):
        raise RunFolderError(f"{one_line(folder)}: exists already. Remove it, or name another folder.")
    if reason := why_not_writable(folder):
        raise RunFolderError(f"{one_line(folder)}: cannot be made ({reason}).")


@contextmanager
def new_folder_whole(folder: Path) -> Iterator[Path]:
    """Make a folder that is there with all its files or not at all: yields one to fill with files, and renames it at the end.

    Args:
        folder: The final path, at which there is nothing yet; the folders above it are made.

    Raises:
        RunFolderError: It cannot be made, or something has been put there meanwhile.
    """
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        filling = Path(tempfile.mkdtemp(prefix=f".{folder.name}{UNFINISHED}", dir=folder.parent))
    except OSError as error:
        raise RunFolderError(f"{one_line(folder)}: cannot be made ({error.strerror}).") from error
    try:
        yield filling
        _finish(filling, folder)
    finally:
        shutil.rmtree(filling, ignore_errors=True)


def _finish(filling: Path, folder: Path) -> None:
    """Bring a filled folder's files to the disk and give it its name."""
    try:
        for path in filling.iterdir():
            opened = os.open(path, os.O_RDONLY)
            os.fsync(opened)
            os.close(opened)
            path.chmod(0o666 & ~umask())  # libraries that write temporary files first leave theirs
        filling.chmod(0o777 & ~umask())
        filling.rename(folder)  # fails where there is a folder with files by now
    except OSError as error:
        raise RunFolderError(f"{one_line(folder)}: cannot be made ({error.strerror}).") from error
