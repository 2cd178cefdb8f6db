"""The cache of decoded images: decoded and resized once, into a memory-mapped uint8 file that later runs and workers share."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from biotune.datasets.images import Geometry, ValueRange, bombs_refused, prepare
from biotune.datasets.source import Indices, Source
from biotune.errors import DataError, RunFolderError, one_line
from biotune.store.scratch import cache_folder

Pixels = NDArray[np.uint8]
Digests = NDArray[np.bytes_]


T = TypeVar("T")


ABOUT = "about.json"


UNFINISHED = ".unfinished-"


_PIXELS, _BROKEN, _DIGESTS = "pixels.npy", "broken.json", "digests.npy"


_FORMAT = 3


DIGEST_BYTES = 32


_SHOWN = 3


_ABANDONED_SECONDS = 3600


@dataclass(frozen=True)
class Decoded:
    """Images as the network's input, before normalisation.

    Attributes:
        pixels: (N, H, W, 3) uint8 RGB, memory-mapped where the cache holds them.
        broken: Row of an image that could not be decoded (black in `pixels`) → the reason.
        digests: (N,) hash of each image's pixels, the same for copies; empty for a broken one.
    """

    pixels: Pixels
    broken: dict[int, str]
    digests: Digests


def decode(
    source: Source,
    members: Indices,
    geometry: Geometry,
    skip_broken: bool = False,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
    value_range: ValueRange | None = None,
) -> Decoded:
    """Decode, resize and crop images, or open them from the cache.

    Args:
        source: The dataset.
        members: (N,) indices of the images; row i of the result is image members[i].
        geometry: Size, crop and interpolation.
        skip_broken: Accept images that cannot be decoded instead of raising an error.
        on_progress: Called while decoding, with the number of images decoded and the number of all images.
        value_range: What becomes 0 and 255 in images of more than 8 bits; None is the range of their type.

    Returns:
        The decoded images.

    Raises:
        DataError: An image cannot be decoded and skip_broken is false, or it cannot be read from disk.
        RunFolderError: The cache folder cannot be written.
    """
    wanted = _Wanted(source, members, geometry, value_range)
    if not source.on_disk:
        pixels = np.zeros(wanted.shape, dtype=np.uint8)
        decoded = Decoded(pixels, *_decode_all(wanted, pixels.__setitem__, on_progress))
    else:
        folder = cache_folder() / "decoded" / wanted.cache_key
        found = _open(folder, wanted.shape)
        decoded = _fill(folder, wanted, on_progress) if found is None else found
    if decoded.broken and not skip_broken:
        shown = [f"{source.names[members[row]]} ({reason})" for row, reason in list(decoded.broken.items())[:_SHOWN]]
        more = f" and {len(decoded.broken) - _SHOWN} more" if len(decoded.broken) > _SHOWN else ""
        raise DataError(f"{source.name}: cannot decode {', '.join(shown)}{more}. Remove them, or set dataset.skip_broken=true.")
    return decoded


@dataclass(frozen=True)
class _Wanted:
    """What is to be decoded; see `decode`."""

    source: Source
    members: Indices
    geometry: Geometry
    value_range: ValueRange | None

    @property
    def shape(self) -> tuple[int, int, int, int]:
        return len(self.members), self.geometry.crop, self.geometry.crop, 3

    @property
    def cache_key(self) -> str:
        """The name of the cache's entry."""
        geometry = self.geometry
        facts = [_FORMAT, geometry.resize, geometry.crop, geometry.interpolation, *(self.value_range or ())]
        digest = hashlib.sha256(json.dumps([self.source.fingerprint, facts]).encode())
        digest.update(self.members.tobytes())
        # a user's name may hold characters that no folder name can
        name = re.sub(r"[^\w.-]", "_", self.source.name).lstrip(".") or "unnamed"
        return f"{name}-{digest.hexdigest()[:24]}"


def _open(folder: Path, shape: tuple[int, int, int, int]) -> Decoded | None:
    """Open an entry of the cache; None where there is none or it is damaged."""
    try:
        broken = {int(row): reason for row, reason in json.loads((folder / _BROKEN).read_text(encoding="utf-8")).items()}
        digests = np.load(folder / _DIGESTS, allow_pickle=False)
        pixels = np.load(folder / _PIXELS, mmap_mode="r", allow_pickle=False)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, EOFError):
        pixels, broken, digests = None, {}, np.empty(0, dtype=f"S{DIGEST_BYTES}")
    if pixels is None or pixels.shape != shape or len(digests) != len(pixels):
        shutil.rmtree(folder, ignore_errors=True)
        return None
    with suppress(OSError):  # the time of last use, which a read-only cache does not keep
        os.utime(folder)
    return Decoded(pixels, broken, digests)


def _fill(folder: Path, wanted: _Wanted, on_progress: Callable[[int, int], None]) -> Decoded:
    """Decode into a temporary folder and rename it when it is complete, so that no process sees half an entry."""
    unfinished = None
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        _remove_abandoned(folder.parent)
        unfinished = Path(tempfile.mkdtemp(dir=folder.parent, prefix=UNFINISHED))
        broken, digests = _decode_to_file(unfinished / _PIXELS, wanted, on_progress)
        np.save(unfinished / _DIGESTS, digests)
        (unfinished / _BROKEN).write_text(json.dumps(broken), encoding="utf-8")
        geometry = wanted.geometry
        facts = {"dataset": wanted.source.name, "resize": geometry.resize, "interpolation": geometry.interpolation}
        (unfinished / ABOUT).write_text(json.dumps(facts), encoding="utf-8")
        with suppress(OSError):  # another process was faster; its pixels are the same
            unfinished.rename(folder)
        opened = _open(folder, wanted.shape)
    except OSError as error:
        raise RunFolderError(
            f"the cache folder {folder.parent} cannot be written ({error.strerror}). Set BIOTUNE_CACHE_DIR to another."
        ) from error
    finally:
        if unfinished is not None:
            shutil.rmtree(unfinished, ignore_errors=True)
    if opened is None:
        raise RunFolderError(f"{folder}: was cleared while it was being filled. Run the command again.")
    return opened


def _remove_abandoned(folder: Path) -> None:
    """Remove the unfinished entries of processes that died."""
    for unfinished in folder.glob(f"{UNFINISHED}*"):
        if is_abandoned(unfinished):
            shutil.rmtree(unfinished, ignore_errors=True)


def is_abandoned(unfinished: Path) -> bool:
    """Return whether nothing has been written to an unfinished entry for an hour."""
    newest = 0.0
    for path in (unfinished, unfinished / _PIXELS):
        with suppress(OSError):
            newest = max(newest, path.stat().st_mtime)
    return time.time() - newest > _ABANDONED_SECONDS


def _decode_to_file(path: Path, wanted: _Wanted, on_progress: Callable[[int, int], None]) -> tuple[dict[int, str], Digests]:
    """Write an npy file image by image: a memory map would keep all of its pages resident."""
    shape = wanted.shape
    header = {"descr": np.lib.format.dtype_to_descr(np.dtype(np.uint8)), "fortran_order": False, "shape": shape}
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, header)
        begin, size = file.tell(), int(np.prod(shape[1:]))
        # images that cannot be decoded stay black
        file.truncate(begin + size * shape[0])

        def put(row: int, image: Pixels) -> None:
            file.seek(begin + row * size)
            file.write(image.tobytes())

        outcome = _decode_all(wanted, put, on_progress)
        file.flush()
        os.fsync(file.fileno())
    return outcome


def _decode_all(
    wanted: _Wanted, put: Callable[[int, Pixels], None], on_progress: Callable[[int, int], None]
) -> tuple[dict[int, str], Digests]:
    """Decode every image and pass its row and (H, W, 3) pixels to `put`; return the broken rows with reasons, and hashes."""
    source, members = wanted.source, wanted.members

    def decoded(row: int) -> tuple[Pixels, bytes]:
        with source.read(int(members[row])) as image:
            pixels = np.asarray(prepare(image, wanted.geometry, wanted.value_range))
        return pixels, digest_of(pixels)

    digests = np.zeros(len(members), dtype=f"S{DIGEST_BYTES}")
    broken: dict[int, str] = {}
    with bombs_refused():
        for row, outcome in in_parallel(decoded, len(members)):
            if isinstance(outcome, MemoryError) or (isinstance(outcome, OSError) and outcome.errno is not None):
                # an error of the system, not of the image: the cache must not keep it as a property of the data
                name = source.names[members[row]]
                raise DataError(f"{source.name}: {name} cannot be read ({one_line(outcome)}).") from outcome
            if isinstance(outcome, Exception):
                broken[row] = one_line(outcome) or type(outcome).__name__
            else:
                pixels, digests[row] = outcome
                put(row, pixels)
            on_progress(row + 1, len(members))
    return broken, digests


def digest_of(values: NDArray[Any], *further: object) -> bytes:
    """A hash of an array's values and of whatever else must agree, printable, of `DIGEST_BYTES` bytes."""
    facts = repr((values.shape, values.dtype.str, *further)).encode()
    return hashlib.blake2b(np.ascontiguousarray(values).tobytes() + facts, digest_size=DIGEST_BYTES // 2).hexdigest().encode()


def in_parallel(work: Callable[[int], T], count: int) -> Iterator[tuple[int, T | Exception]]:
    """Call a function for every row in threads, and yield rows with results or exceptions in order.

    Pillow releases the interpreter's lock while it decodes and resizes. Only a few rows are processed at a time, so that
    memory does not grow with their number.

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

    workers = (os.process_cpu_count() if hasattr(os, "process_cpu_count") else os.cpu_count()) or 1
    with ThreadPoolExecutor(workers) as pool:
        under_way: deque[Future[T | Exception]] = deque()
        try:
            for row in range(count):
                under_way.append(pool.submit(attempt, row))
                if len(under_way) >= 4 * workers:
                    yield row + 1 - len(under_way), under_way.popleft().result()
            while under_way:
                yield count - len(under_way), under_way.popleft().result()
        finally:
            for future in under_way:
                future.cancel()
