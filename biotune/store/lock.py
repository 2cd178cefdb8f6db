"""The lock on a run's folder: one process at a time works there."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from biotune.errors import RunFolderError
from biotune.store.files import LOCK


@contextmanager
def sole_user(folder: Path) -> Iterator[None]:
    """Keep a second process off a run's folder; the lock is released by this process's death too.

    Raises:
        RunFolderError: Another process is at work there, or the folder cannot be written.
    """
    if not folder.is_dir():  # the lock would make it
        raise RunFolderError(f"{folder}: no such folder.")
    lock = FileLock(folder / LOCK)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise RunFolderError(f"{folder}: another process is working on it. Wait for it to end, or stop it.") from None
    except OSError as error:
        raise RunFolderError(f"{folder}: cannot be written ({error.strerror}).") from error
    try:
        yield
    finally:
        lock.release()
