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
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from biotune.datasets.images import Geometry, bombs_refused, prepare
from biotune.datasets.source import Indices, Source
from biotune.errors import DataError, RunFolderError, one_line
from biotune.store.scratch import cache_folder

Pixels = NDArray[np.uint8]


T = TypeVar("T")


ABOUT = "about.json"


UNFINISHED = ".unfinished-"


_PIXELS, _BROKEN = "pixels.npy", "broken.json"


_FORMAT = 2


_SHOWN = 3


_ABANDONED_SECONDS = 3600


@dataclass(frozen=True)
class Decoded:
    """Images as the network's input, before normalisation.

    Attributes:
        pixels: (N, H, W, 3) uint8 RGB, memory-mapped where the cache holds them.
        broken: Row of an image that could not be decoded (black in `pixels`) → the reason.
    """

    pixels: Pixels
    broken: dict[int, str]


def decode(
    source: Source,
    members: Indices,
    geometry: Geometry,
    skip_broken: bool = False,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> Decoded:
    """Decode, resize and crop images, or open them from the cache.

    Args:
        source: The dataset.
        members: (N,) indices of the images; row i of the result is image members[i].
        geometry: Size, crop and interpolation.
        skip_broken: Accept images that cannot be decoded instead of raising an error.
        on_progress: Called while decoding, with the number of images decoded and the number of all images.

    Returns:
        The decoded images.

    Raises:
        DataError: An image cannot be decoded and skip_broken is false, or it cannot be read from disk.
        RunFolderError: The cache folder cannot be written.
    """
    if not source.on_disk:
        pixels = np.zeros(_shape(members, geometry), dtype=np.uint8)
        decoded = Decoded(pixels, _decode_all(source, members, geometry, pixels.__setitem__, on_progress))
    else:
        folder = cache_folder() / "decoded" / _cache_key(source, members, geometry)
        found = _open(folder, _shape(members, geometry))
        decoded = _fill(folder, source, members, geometry, on_progress) if found is None else found
    if decoded.broken and not skip_broken:
        shown = [f"{source.names[members[row]]} ({reason})" for row, reason in list(decoded.broken.items())[:_SHOWN]]
        more = f" and {len(decoded.broken) - _SHOWN} more" if len(decoded.broken) > _SHOWN else ""
        raise DataError(f"{source.name}: cannot decode {', '.join(shown)}{more}. Remove them, or set dataset.skip_broken=true.")
    return decoded


def _shape(members: Indices, geometry: Geometry) -> tuple[int, int, int, int]:
    return len(members), geometry.crop, geometry.crop, 3


def _cache_key(source: Source, members: Indices, geometry: Geometry) -> str:
    facts = [_FORMAT, geometry.resize, geometry.crop, geometry.interpolation]
    digest = hashlib.sha256(json.dumps([source.fingerprint, facts]).encode())
    digest.update(members.tobytes())
    # a user's name may hold characters that no folder name can
    name = re.sub(r"[^\w.-]", "_", source.name).lstrip(".") or "unnamed"
    return f"{name}-{digest.hexdigest()[:24]}"


def _open(folder: Path, shape: tuple[int, int, int, int]) -> Decoded | None:
    """Open an entry of the cache; None where there is none or it is damaged."""
    try:
        broken = {int(row): reason for row, reason in json.loads((folder / _BROKEN).read_text(encoding="utf-8")).items()}
        pixels = np.load(folder / _PIXELS, mmap_mode="r", allow_pickle=False)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, EOFError):
        pixels, broken = None, {}
    if pixels is None or pixels.shape != shape:
        shutil.rmtree(folder, ignore_errors=True)
        return None
    with suppress(OSError):  # the time of last use, which a read-only cache does not keep
        os.utime(folder)
    return Decoded(pixels, broken)


def _fill(
    folder: Path,
    source: Source,
    members: Indices,
    geometry: Geometry,
    on_progress: Callable[[int, int], None],
) -> Decoded:
    """Decode into a temporary folder and rename it when it is complete, so that no process sees half an entry."""
    unfinished = None
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        _remove_abandoned(folder.parent)
        unfinished = Path(tempfile.mkdtemp(dir=folder.parent, prefix=UNFINISHED))
        shape = _shape(members, geometry)
        broken = _decode_to_file(unfinished / _PIXELS, source, members, geometry, on_progress)
        (unfinished / _BROKEN).write_text(json.dumps(broken), encoding="utf-8")
        facts = {"dataset": source.name, "resize": geometry.resize, "interpolation": geometry.interpolation}
        (unfinished / ABOUT).write_text(json.dumps(facts), encoding="utf-8")
        with suppress(OSError):  # another process was faster; its pixels are the same
            unfinished.rename(folder)
        opened = _open(folder, shape)
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


def _decode_to_file(
    path: Path,
    source: Source,
    members: Indices,
    geometry: Geometry,
    on_progress: Callable[[int, int], None],
) -> dict[int, str]:
    """Write an npy file image by image: a memory map would keep all of its pages resident."""
    shape = _shape(members, geometry)
    header = {"descr": np.lib.format.dtype_to_descr(np.dtype(np.uint8)), "fortran_order": False, "shape": shape}
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, header)
        begin, size = file.tell(), int(np.prod(shape[1:]))
        # images that cannot be decoded stay black
        file.truncate(begin + size * len(members))

        def put(row: int, image: Pixels) -> None:
            file.seek(begin + row * size)
            file.write(image.tobytes())

        broken = _decode_all(source, members, geometry, put, on_progress)
        file.flush()
        os.fsync(file.fileno())
    return broken


def _decode_all(
    source: Source,
    members: Indices,
    geometry: Geometry,
    put: Callable[[int, Pixels], None],
    on_progress: Callable[[int, int], None],
) -> dict[int, str]:
    """Decode every image and pass its row and (H, W, 3) pixels to `put`; return the broken rows with the reasons."""

    def decoded(row: int) -> Pixels:
        with source.read(int(members[row])) as image:
            return np.asarray(prepare(image, geometry))

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
                put(row, outcome)
            on_progress(row + 1, len(members))
    return broken


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
