"""Calls a function for every image in threads, a few images at a time."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from biotune.store.cores import usable_cores

T = TypeVar("T")

_UNDER_WAY = 4  # rows a thread, so that none waits while results are taken in order


def in_parallel(work: Callable[[int], T], count: int) -> Iterator[tuple[int, T | Exception]]:
    """Call a function for every row in as many threads as there are usable cores, and yield rows with results in order.

    Threads, not processes: Pillow releases the interpreter's lock while it decodes and resizes, and a thread needs neither an
    interpreter nor a copy of the list of images (docs/speed.md). Only a few rows are processed at a time, so that memory does
    not grow with their number.

    Args:
        work: Called with a row from 0 to `count` − 1.
        count: Number of rows.

    Yields:
        Each row with the result of `work`, or with the exception it raised.
    """

    def attempt(row: int) -> T | Exception:
        try:
            return work(row)
        # Pillow's decoders raise any kind of exception on malformed files
        except Exception as error:
            return error

    workers = usable_cores()
    with ThreadPoolExecutor(workers) as pool:
        under_way: deque[Future[T | Exception]] = deque()
        try:
            for row in range(count):
                under_way.append(pool.submit(attempt, row))
                if len(under_way) >= _UNDER_WAY * workers:
                    yield row + 1 - len(under_way), under_way.popleft().result()
            while under_way:
                yield count - len(under_way), under_way.popleft().result()
        finally:
            for future in under_way:
                future.cancel()
