"""Work on all images of a dataset that survives a kill: it is recorded shard by shard, in a folder that one process fills."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from filelock import FileLock, Timeout

from biotune.datasets.parallel import in_parallel
from biotune.errors import RunFolderError
from biotune.store.files import JOURNAL, UNFINISHED
from biotune.store.journal import Journal
from biotune.store.scratch import cache_folder

T = TypeVar("T")
OnProgress = Callable[[int, int], None]

ROWS = 512  # images of a shard: a second or two of decoding
_RECORD = "shard"
_POLL_SECONDS = 0.5
_ABANDONED_SECONDS = 7 * 24 * 3600


@contextmanager
def unfinished(target: Path, count: int, on_progress: OnProgress) -> Iterator[Path]:
    """Yield the folder in which an entry of the cache is made; it stays after an interruption and is removed at the end.

    One process at a time makes an entry. Another one waits for it and shows its progress; it must then look whether the entry
    is there.

    Args:
        target: The file or folder that is to be made.
        count: Number of images.
        on_progress: Called, while another process makes the entry, with the number of images it has recorded and `count`.

    Raises:
        RunFolderError: The cache folder cannot be written.
    """
    folder = _folder_of(target)
    try:
        lock = _lock(folder)
        while True:
            try:
                lock.acquire(timeout=_POLL_SECONDS)
                break
            except Timeout:
                on_progress(min(_recorded(folder) * ROWS, count), count)
        try:
            _remove_abandoned(target.parent)
            folder.mkdir(parents=True, exist_ok=True)
            yield folder
            shutil.rmtree(folder, ignore_errors=True)
        finally:
            lock.release()
    except OSError as error:
        raise RunFolderError(
            f"the cache folder {target.parent} cannot be written ({error.strerror}). Set BIOTUNE_CACHE_DIR to another."
        ) from error


def in_shards(
    folder: Path,
    count: int,
    work: Callable[[int], T],
    take: Callable[[int, T | Exception], Any],
    on_progress: OnProgress,
    flush: Callable[[], None] = lambda: None,
) -> Iterator[tuple[int, Any]]:
    """Call a function for every row in threads, and record the results shard by shard; recorded ones are not made again.

    Args:
        folder: The folder of `unfinished`, which keeps the record.
        count: Number of rows.
        work: Called in threads with a row from 0 to `count` − 1.
        take: Called in order with a row and the result or exception of `work`; returns what is recorded, as JSON can hold it.
        on_progress: Called with the number of rows done and `count`.
        flush: Called before a shard is recorded, to bring to the disk what `take` has written.

    Yields:
        Every row with what was recorded of it; recorded rows first.

    Raises:
        RunFolderError: The record cannot be written.
    """
    journal, recorded = _opened(folder)
    try:
        shards = {begin: min(begin + ROWS, count) for begin in range(0, count, ROWS)}
        known = {begin: values for begin, values in recorded.items() if begin + len(values) == shards.get(begin)}
        for begin, values in known.items():
            yield from enumerate(values, begin)
        missing = [np.arange(begin, end) for begin, end in shards.items() if begin not in known]
        rows = np.concatenate([np.empty(0, dtype=np.int64), *missing])
        values = []
        for position, outcome in in_parallel(lambda at: work(int(rows[at])), len(rows)):
            row = int(rows[position])
            values.append(take(row, outcome))
            yield row, values[-1]
            if row + 1 == shards[row + 1 - len(values)]:
                flush()
                journal.append({"kind": _RECORD, "begin": row + 1 - len(values), "values": values})
                values = []
            on_progress(count - len(rows) + position + 1, count)
    finally:
        journal.close()


def forget(folder: Path) -> None:
    """Remove the record of an unfinished folder, so that every shard is made again."""
    (folder / JOURNAL).unlink(missing_ok=True)


def remove_if_free(folder: Path) -> bool:
    """Remove an unfinished folder unless a process is filling it; return whether it is gone."""
    with suppress(Timeout, OSError):
        lock = _lock(folder)
        lock.acquire(timeout=0)
        try:
            shutil.rmtree(folder, ignore_errors=True)
        finally:
            lock.release()
    return not folder.exists()


def _folder_of(target: Path) -> Path:
    return target.with_name(UNFINISHED + target.name)


def _lock(folder: Path) -> FileLock:
    """The lock of an unfinished folder; it lies outside, because the folder is renamed and removed under it."""
    locks = cache_folder() / "locks"
    locks.mkdir(parents=True, exist_ok=True)
    return FileLock(locks / f"{folder.parent.name}-{folder.name.removeprefix(UNFINISHED)}.lock")


def _opened(folder: Path) -> tuple[Journal, dict[int, list[Any]]]:
    """The journal of an unfinished folder, and its recorded shards by their first row; a damaged one is begun anew."""
    with suppress(RunFolderError):
        journal = Journal(folder)
        try:
            return journal, journal.understood(_RECORD, lambda record: (int(record["begin"]), list(record["values"])))
        except RunFolderError:
            journal.close()
    forget(folder)
    return Journal(folder), {}


def _recorded(folder: Path) -> int:
    """Number of shards that another process has recorded."""
    try:
        return max((folder / JOURNAL).read_bytes().count(b"\n") - 1, 0)
    except OSError:
        return 0


def _remove_abandoned(parent: Path) -> None:
    """Remove what was begun and has not been continued for a week."""
    for folder in parent.glob(f"{UNFINISHED}*"):
        newest = 0.0
        for path in (folder, *folder.glob("*")):
            with suppress(OSError):
                newest = max(newest, path.stat().st_mtime)
        if time.time() - newest > _ABANDONED_SECONDS:
            remove_if_free(folder)
