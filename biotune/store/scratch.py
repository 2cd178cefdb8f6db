"""The cache folder, and in it one scratch folder per run for files that its workers share; those of dead runs are removed."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from biotune.errors import RunFolderError
from biotune.store.files import LOCK
from biotune.store.folders import why_not_writable

_REMEDY = "Set BIOTUNE_CACHE_DIR to another."


def cache_folder() -> Path:
    """The folder of decoded images: $BIOTUNE_CACHE_DIR, or `biotune` in the user's cache folder.

    Raises:
        RunFolderError: None is named, and the user has no home folder.
    """
    if own := os.environ.get("BIOTUNE_CACHE_DIR"):
        return Path(own)
    try:
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "biotune"
    except RuntimeError:  # as in a container with a user that it does not know
        raise RunFolderError(
            "the cache folder is not known, as you have no home folder. Set BIOTUNE_CACHE_DIR to one."
        ) from None


def scratch_root() -> Path:
    """The folder that holds the scratch folders of all runs."""
    return cache_folder() / "scratch"


def check_cache() -> None:
    """Try whether the cache folder can be made and written; nothing is left.

    Raises:
        RunFolderError: It cannot.
    """
    if reason := why_not_writable(scratch_root()):
        raise RunFolderError(f"the cache folder {cache_folder()} cannot be written ({reason}). {_REMEDY}")


@contextmanager
def scratch() -> Iterator[Path]:
    """Create a folder that is removed when the context ends, or, after a kill, when the next run begins.

    Raises:
        RunFolderError: The cache folder cannot be written.
    """
    root = scratch_root()
    try:
        root.mkdir(parents=True, exist_ok=True)
        # under a lock: a folder that its owner has not locked yet must not be taken for an abandoned one
        with FileLock(root / LOCK):
            _remove_abandoned(root)
            folder = Path(tempfile.mkdtemp(dir=root))
            # held until this process ends or dies; the next run recognises an abandoned folder by the free lock
            lock = FileLock(folder / LOCK)
            lock.acquire()
    except OSError as error:
        raise RunFolderError(f"the cache folder {root.parent} cannot be written ({error.strerror}). {_REMEDY}") from error
    try:
        yield folder
    finally:
        lock.release()
        shutil.rmtree(folder, ignore_errors=True)


def _remove_abandoned(root: Path) -> None:
    for folder in root.iterdir():
        if not (folder / LOCK).exists():
            continue
        with suppress(Timeout, OSError), FileLock(folder / LOCK, timeout=0):
            shutil.rmtree(folder, ignore_errors=True)
