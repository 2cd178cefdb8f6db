"""The cache of decoded images: decoded and resized once, into a memory-mapped uint8 file that later runs and workers share.

Where a dataset is streamed, its images are decoded once too, to find broken ones and copies, but only their hashes are kept.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from biotune.config.key import height_and_width
from biotune.datasets.images import Geometry, ValueRange, bombs_refused, prepare
from biotune.datasets.parallel import in_parallel
from biotune.datasets.shards import OnProgress, forget, in_shards, unfinished
from biotune.datasets.source import Indices, Source
from biotune.errors import DataError, RunFolderError, one_line
from biotune.store.scratch import cache_folder

Pixels = NDArray[np.uint8]
Digests = NDArray[np.bytes_]


# the files of an entry of the cache
ABOUT, PIXELS, _BROKEN, DIGESTS = "about.json", "pixels.npy", "broken.json", "digests.npy"
_FORMAT = 3  # part of the key of an entry: raised when the same images would be decoded into other bytes
DIGEST_BYTES = 32
_SHOWN = 3  # broken images that an error names
_GB = 10**9


@dataclass(frozen=True)
class Decoded:
    """Images as the network's input, before normalisation.

    Attributes:
        pixels: (N, H, W, 3) uint8 RGB, memory-mapped where the cache holds them; (0, H, W, 3) where they are not kept.
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
    on_progress: OnProgress = lambda done, total: None,
    value_range: ValueRange | None = None,
    keep: bool = True,
) -> Decoded:
    """Decode, resize and crop images, or open them from the cache.

    Args:
        source: The dataset.
        members: (N,) indices of the images; row i of the result is image members[i].
        geometry: Size, crop and interpolation.
        skip_broken: Accept images that cannot be decoded instead of raising an error.
        on_progress: Called while decoding, with the number of images decoded and the number of all images.
        value_range: What becomes 0 and 255 in images of more than 8 bits; None is the range of their type.
        keep: Whether to keep the pixels in the cache, not only their hashes; those of bundled images are kept in memory anyway.

    Returns:
        The decoded images.

    Raises:
        DataError: An image cannot be decoded and skip_broken is false, or it cannot be read from disk.
        RunFolderError: The cache folder cannot be written, or has no room for the pixels.
    """
    wanted = _Wanted(source, members, geometry, value_range)
    if not source.on_disk:
        pixels = np.zeros(wanted.shape, dtype=np.uint8)
        decoded = _in_memory(wanted, pixels, on_progress)
    else:
        folder = cache_folder() / "decoded" / wanted.cache_key
        found = _open(folder, wanted.shape)
        if found is None and not keep:
            folder = folder.with_name(f"{folder.name}-streamed")
            found = _open(folder, wanted.shape, keep)
        decoded = _fill(folder, wanted, keep, on_progress) if found is None else found
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
        return len(self.members), *height_and_width(self.geometry.crop), 3

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

    def image(self, row: int) -> tuple[Pixels, bytes]:
        """Decode an image: its (H, W, 3) pixels and their hash."""
        with self.source.read(int(self.members[row])) as image:
            pixels = np.asarray(prepare(image, self.geometry, self.value_range))
        return pixels, digest_of(pixels)

    def reason(self, row: int, error: Exception) -> str:
        """Why an image is broken.

        Raises:
            DataError: It is an error of the system, not of the image: the cache must not keep it as a property of the data.
        """
        if isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno is not None):
            name = self.source.names[self.members[row]]
            raise DataError(f"{self.source.name}: {name} cannot be read ({one_line(error)}).") from error
        return one_line(error) or type(error).__name__


def _open(folder: Path, shape: tuple[int, int, int, int], keep: bool = True) -> Decoded | None:
    """Open an entry of the cache; None where there is none or it is damaged."""
    try:
        broken = {int(row): reason for row, reason in json.loads((folder / _BROKEN).read_text(encoding="utf-8")).items()}
        digests = np.load(folder / DIGESTS, allow_pickle=False)
        if keep:
            pixels = np.load(folder / PIXELS, mmap_mode="r", allow_pickle=False)
        else:
            pixels = np.empty((0, *shape[1:]), dtype=np.uint8)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, EOFError):
        pixels, broken, digests = None, {}, np.empty(0, dtype=f"S{DIGEST_BYTES}")
    if pixels is None or pixels.shape != (shape if keep else (0, *shape[1:])) or len(digests) != shape[0]:
        shutil.rmtree(folder, ignore_errors=True)
        return None
    with suppress(OSError):  # the time of last use, which a read-only cache does not keep
        os.utime(folder)
    return Decoded(pixels, broken, digests)


def _fill(folder: Path, wanted: _Wanted, keep: bool, on_progress: OnProgress) -> Decoded:
    """Decode into an unfinished folder and rename it when it is complete, so that no process sees half an entry."""
    with unfinished(folder, len(wanted.members), on_progress) as part:
        # another process may have made it while this one waited
        opened = _open(folder, wanted.shape, keep)
        if opened is not None:
            return opened
        with _pixels_file(part, wanted.shape) if keep else nullcontext() as file:
            broken, digests = _decode_in_shards(part, wanted, file, on_progress)
        np.save(part / DIGESTS, digests)
        (part / _BROKEN).write_text(json.dumps(broken), encoding="utf-8")
        geometry = wanted.geometry
        facts = {"dataset": wanted.source.name, "resize": geometry.resize, "interpolation": geometry.interpolation}
        (part / ABOUT).write_text(json.dumps(facts | ({} if keep else {"streamed": geometry.crop})), encoding="utf-8")
        forget(part)
        part.rename(folder)
        opened = _open(folder, wanted.shape, keep)
    if opened is None:
        raise RunFolderError(f"{folder}: was cleared while it was being filled. Run the command again.")
    return opened


@contextmanager
def _pixels_file(folder: Path, shape: tuple[int, int, int, int]) -> Iterator[BinaryIO]:
    """Open the npy file of an unfinished entry, at its first image; images that are not decoded yet are black."""
    path = folder / PIXELS
    header = {"descr": np.lib.format.dtype_to_descr(np.dtype(np.uint8)), "fortran_order": False, "shape": shape}
    size = int(np.prod(shape, dtype=np.int64))
    if not path.exists() or path.stat().st_size <= size:
        forget(folder)
        with path.open("wb") as file:
            np.lib.format.write_array_header_1_0(file, header)
            file.truncate(file.tell() + size)
    _check_room(path)
    with path.open("r+b") as file:
        file.seek(path.stat().st_size - size)
        yield file


def _check_room(path: Path) -> None:
    """Refuse to begin what the disk has no room for.

    Raises:
        RunFolderError: With both sizes and the remedies.
    """
    facts = path.stat()
    needed = facts.st_size - getattr(facts, "st_blocks", 0) * 512  # what is decoded already takes its room
    free = shutil.disk_usage(path.parent).free
    if needed > free:
        raise RunFolderError(
            f"the cache folder {path.parent.parent} has {free / _GB:.1f} GB free, but the decoded images need another "
            f"{needed / _GB:.1f} GB. Make room, set BIOTUNE_CACHE_DIR to another folder, or set dataset.decoded=stream."
        )


def _decode_in_shards(
    folder: Path, wanted: _Wanted, file: BinaryIO | None, on_progress: OnProgress
) -> tuple[dict[int, str], Digests]:
    """Decode every image that is not recorded in an unfinished folder, and write its pixels into the file, if there is one.

    Returns:
        The broken rows with reasons, and the (N,) hashes.
    """
    begin = 0 if file is None else file.tell()
    size = int(np.prod(wanted.shape[1:]))

    def take(row: int, outcome: tuple[Pixels, bytes] | Exception) -> str | list[str]:
        if isinstance(outcome, Exception):
            return [wanted.reason(row, outcome)]
        pixels, digest = outcome
        if file is not None:
            # not through a memory map, which would keep all of its pages resident
            file.seek(begin + row * size)
            file.write(pixels.tobytes())
        return digest.decode()

    def flush() -> None:
        if file is not None:
            file.flush()
            os.fsync(file.fileno())

    digests = np.zeros(len(wanted.members), dtype=f"S{DIGEST_BYTES}")
    broken: dict[int, str] = {}
    with bombs_refused():
        for row, found in in_shards(folder, len(digests), wanted.image, take, on_progress, flush):
            if isinstance(found, str):
                digests[row] = found
            else:
                broken[row] = found[0]
    return broken, digests


def _in_memory(wanted: _Wanted, pixels: Pixels, on_progress: OnProgress) -> Decoded:
    """Decode every image into an array (N, H, W, 3)."""
    digests = np.zeros(len(pixels), dtype=f"S{DIGEST_BYTES}")
    broken: dict[int, str] = {}
    with bombs_refused():
        for row, outcome in in_parallel(wanted.image, len(pixels)):
            if isinstance(outcome, Exception):
                broken[row] = wanted.reason(row, outcome)
            else:
                pixels[row], digests[row] = outcome
            on_progress(row + 1, len(pixels))
    return Decoded(pixels, broken, digests)


def digest_of(values: NDArray[Any], *further: object) -> bytes:
    """A hash of an array's values and of whatever else must agree, printable, of `DIGEST_BYTES` bytes."""
    facts = repr((values.shape, values.dtype.str, *further)).encode()
    return hashlib.blake2b(np.ascontiguousarray(values).tobytes() + facts, digest_size=DIGEST_BYTES // 2).hexdigest().encode()
