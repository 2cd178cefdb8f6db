"""Images that are decoded when a mini-batch needs them, for datasets too large to keep decoded."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np

from biotune.config.key import height_and_width
from biotune.config.sections import DatasetConfig
from biotune.datasets.decoded import Digests, Pixels, digest_of
from biotune.datasets.images import Geometry, ValueRange, prepare
from biotune.datasets.registry import load_source
from biotune.datasets.source import Indices, Source
from biotune.errors import DataError, one_line
from biotune.store.cores import usable_cores

_AHEAD = 1  # mini-batches that are decoded while one is trained on


class Streamed:
    """The images of a dataset as (N, H, W, 3) uint8, of which none is kept: indexed like an array, by rows.

    Gives the same pixels as the decoded cache. Every image is compared with its hash, so that one that changes while a run goes
    on is an error and not another score. A copy in another process finds the files itself, see `open`.

    Attributes:
        shape: (N, H, W, 3).
    """

    def __init__(
        self,
        config: DatasetConfig,
        source: Source,
        members: Indices,
        geometry: Geometry,
        value_range: ValueRange | None,
        digests: Digests,
    ) -> None:
        """Prepare; no image is decoded yet.

        Args:
            config: The dataset's config, by which another process finds the same files.
            source: The dataset.
            members: (N,) indices of the images; row i is image members[i].
            geometry: Size, crop and interpolation.
            value_range: See `decode`.
            digests: (N,) hash of each image's pixels.
        """
        self.shape = (len(members), *height_and_width(geometry.crop), 3)
        self._config = config
        self._source: Source | None = source
        self._fingerprint = source.fingerprint
        self._members = members
        self._geometry = geometry
        self._value_range = value_range
        self._digests = digests
        self._threads = usable_cores()

    def __len__(self) -> int:
        """Number of images."""
        return self.shape[0]

    def __getstate__(self) -> dict[str, Any]:
        """What is sent to another process: all but the source, which may hold open files."""
        return self.__dict__ | {"_source": None}

    def open(self, threads: int | None = None) -> None:
        """Find the files, where this is a copy in another process, and set the number of threads.

        Args:
            threads: Number of threads that decode; None for as many as there are usable cores.

        Raises:
            DataError: The dataset is missing, or its files have changed.
        """
        self._threads = threads or usable_cores()
        if self._source is None:
            source = load_source(self._config)
            if source.fingerprint != self._fingerprint:
                raise DataError(
                    f"{source.name}: files have changed since the run began, and dataset.decoded=stream reads them again. "
                    "Restore them, or begin a new run."
                )
            self._source = source

    def __getitem__(self, rows: Any) -> Pixels:
        """The image of a row, (H, W, 3), or the images of rows (B,), (B, H, W, 3); decoded now.

        Raises:
            DataError: An image can no longer be decoded, or has changed.
        """
        if np.ndim(rows) == 0:
            return self._image(int(rows))
        (found,) = self.in_turn([np.asarray(rows)])
        return found

    def in_turn(self, batches: Iterable[Indices]) -> Iterator[Pixels]:
        """Decode mini-batches one after the other, each in background threads while the caller uses the one before.

        Args:
            batches: The rows (B,) of each mini-batch.

        Yields:
            (B, H, W, 3) images of each.

        Raises:
            DataError: An image can no longer be decoded, or has changed.
        """
        with ThreadPoolExecutor(self._threads) as pool:
            under_way: deque[tuple[Pixels, list[Future[None]]]] = deque()
            try:
                for rows in batches:
                    under_way.append(self._begin(pool, rows))
                    if len(under_way) > _AHEAD:
                        yield _ended(*under_way.popleft())
                while under_way:
                    yield _ended(*under_way.popleft())
            finally:
                pool.shutdown(wait=True, cancel_futures=True)

    def _begin(self, pool: ThreadPoolExecutor, rows: Indices) -> tuple[Pixels, list[Future[None]]]:
        pixels = np.empty((len(rows), *self.shape[1:]), dtype=np.uint8)

        def decode(place: int, row: int) -> None:
            pixels[place] = self._image(row)

        return pixels, [pool.submit(decode, place, row) for place, row in enumerate(rows.tolist())]

    def _image(self, row: int) -> Pixels:
        source = self._source
        if source is None:
            raise RuntimeError("Streamed: call open first in another process")
        try:
            with source.read(int(self._members[row])) as image:
                pixels = np.asarray(prepare(image, self._geometry, self._value_range))
        except MemoryError:
            raise
        # Pillow's decoders raise any kind of exception on malformed files
        except Exception as error:
            name = source.names[self._members[row]]
            raise DataError(
                f"{source.name}: {name} could be decoded when the run began, and can no longer ({one_line(error)}). Restore it."
            ) from error
        if digest_of(pixels) != self._digests[row]:
            name = source.names[self._members[row]]
            raise DataError(f"{source.name}: {name} has changed since the run began. Restore it, or begin a new run.")
        return pixels


def _ended(pixels: Pixels, futures: Iterable[Future[None]]) -> Pixels:
    for future in futures:
        future.result()
    return pixels
