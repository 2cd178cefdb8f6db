"""The lock on a run's folder: only one process at a time works in it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from biotune.errors import RunFolderError
from biotune.store.files import LOCK


@contextmanager
def sole_user(folder: Path, other: str = "another process") -> Iterator[None]:
    """Lock a run's folder against other processes; the system releases the lock if this process dies.

    Args:
        folder: The run's folder.
        other: Who may hold the lock, for the message.

    Raises:
        RunFolderError: Another process holds the lock, or the folder cannot be written.
    """
    if not folder.is_dir():  # creating the lock file would create it
        raise RunFolderError(f"{folder}: no such folder.")
    lock = FileLock(folder / LOCK)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise RunFolderError(f"{folder}: {other} is working on it. Wait for it to end, or stop it.") from None
    except OSError as error:
        raise RunFolderError(f"{folder}: cannot be written ({error.strerror}).") from error
    try:
        yield
    finally:
        lock.release()


def in_use(folder: Path) -> bool:
    """Whether a process holds the lock on a run's folder; true too where that cannot be found out."""
    if not (folder / LOCK).is_file():
        return False
    lock = FileLock(folder / LOCK)
    try:
        lock.acquire(timeout=0)
    except (Timeout, OSError):
        return True
    lock.release()
    return False
