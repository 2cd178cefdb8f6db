"""Pictures decoded and resized once: a memory-mapped uint8 file shared by all later runs and workers."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional

from biotune.backbones._base import Preprocessing
from biotune.datasets._base import Indices, Source
from biotune.datasets.files import to_rgb
from biotune.errors import DataError, RunFolderError, one_line

Pixels = NDArray[np.uint8]
_FORMAT = 1
_SHOWN = 3


@dataclass(frozen=True)
class Decoded:
    """Pictures as the network takes them, but for normalisation.

    Attributes:
        pixels: (N, H, W, 3) uint8, memory-mapped where the cache holds it.
        broken: Positions that could not be decoded (all black in `pixels`), with the reason.
    """

    pixels: Pixels
    broken: dict[int, str]


def cache_folder() -> Path:
    """Where decoded pictures are kept: $BIOTUNE_CACHE_DIR, or biotune below the user's cache folder."""
    if own := os.environ.get("BIOTUNE_CACHE_DIR"):
        return Path(own)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "biotune"


def decode(
    source: Source,
    members: Indices,
    preprocessing: Preprocessing,
    skip_broken: bool = False,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> Decoded:
    """Decode, resize and crop pictures, or find them in the cache.

    Args:
        source: The dataset.
        members: Indices of the pictures wanted; row i of the result is picture members[i].
        preprocessing: Geometry and filter.
        skip_broken: Leave out what cannot be decoded instead of refusing it.
        on_progress: Told how many of how many pictures are done, while decoding.

    Raises:
        DataError: A picture cannot be decoded, and skip_broken is off.
    """
    if not source.on_disk:
        decoded = _decode_all(source, members, preprocessing, None, on_progress)
    else:
        folder = cache_folder() / "decoded" / _cache_key(source, members, preprocessing)
        decoded = _open(folder) if folder.is_dir() else _fill(folder, source, members, preprocessing, on_progress)
    if decoded.broken and not skip_broken:
        shown = [f"{source.names[members[row]]} ({reason})" for row, reason in list(decoded.broken.items())[:_SHOWN]]
        more = f" and {len(decoded.broken) - _SHOWN} more" if len(decoded.broken) > _SHOWN else ""
        raise DataError(f"{source.name}: cannot decode {', '.join(shown)}{more}. Remove them, or set dataset.skip_broken=true.")
    return decoded


def _cache_key(source: Source, members: Indices, preprocessing: Preprocessing) -> str:
    geometry = [_FORMAT, preprocessing.resize, preprocessing.crop, preprocessing.interpolation]
    digest = hashlib.sha256(json.dumps([source.fingerprint, geometry]).encode())
    digest.update(members.tobytes())
    return f"{source.name}-{digest.hexdigest()[:24]}"


def _open(folder: Path) -> Decoded:
    broken = {int(row): reason for row, reason in json.loads((folder / "broken.json").read_text()).items()}
    return Decoded(np.load(folder / "pixels.npy", mmap_mode="r", allow_pickle=False), broken)


def _fill(
    folder: Path,
    source: Source,
    members: Indices,
    preprocessing: Preprocessing,
    on_progress: Callable[[int, int], None],
) -> Decoded:
    """Decode into a folder of another name and rename it when it is complete: nobody ever sees half of it."""
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        unfinished = Path(tempfile.mkdtemp(dir=folder.parent, prefix=".unfinished-"))
    except OSError as error:
        raise RunFolderError(
            f"the cache folder {folder.parent} cannot be written ({error.strerror}). Set BIOTUNE_CACHE_DIR to another."
        ) from error
    try:
        decoded = _decode_all(source, members, preprocessing, unfinished / "pixels.npy", on_progress)
        (unfinished / "broken.json").write_text(json.dumps(decoded.broken))
        try:
            unfinished.rename(folder)
        except OSError:
            if not folder.is_dir():  # otherwise another process was faster, with the same pixels
                raise
    except OSError as error:
        raise RunFolderError(
            f"the cache folder {folder.parent} cannot be written ({error.strerror}). Set BIOTUNE_CACHE_DIR to another."
        ) from error
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return _open(folder)


def _decode_all(
    source: Source,
    members: Indices,
    preprocessing: Preprocessing,
    file: Path | None,
    on_progress: Callable[[int, int], None],
) -> Decoded:
    shape = (len(members), preprocessing.crop, preprocessing.crop, 3)
    pixels: Pixels = (
        np.zeros(shape, dtype=np.uint8)
        if file is None
        else np.lib.format.open_memmap(file, mode="w+", dtype=np.uint8, shape=shape)
    )
    broken: dict[int, str] = {}

    def one(row: int) -> None:
        try:
            with source.read(int(members[row])) as picture:
                pixels[row] = np.asarray(prepare(picture, preprocessing))
        # Pillow's decoders raise whatever they like on malformed files
        except Exception as error:
            broken[row] = one_line(error) or type(error).__name__

    # Pillow decodes and resizes without the interpreter's lock
    with ThreadPoolExecutor(os.process_cpu_count() if hasattr(os, "process_cpu_count") else os.cpu_count()) as pool:
        for done, _ in enumerate(pool.map(one, range(len(members))), 1):
            on_progress(done, len(members))
    if isinstance(pixels, np.memmap):
        pixels.flush()
    return Decoded(pixels, dict(sorted(broken.items())))


def prepare(picture: Image.Image, preprocessing: Preprocessing) -> Image.Image:
    """Resize the shorter side and crop the centre of one picture, as torchvision's presets do.

    Args:
        picture: As PIL opened it.
        preprocessing: Sizes and filter.

    Returns:
        An RGB picture of crop × crop pixels.
    """
    rgb = to_rgb(picture)
    resized = functional.resize(rgb, [preprocessing.resize], InterpolationMode(preprocessing.interpolation))
    cropped: Image.Image = functional.center_crop(resized, [preprocessing.crop, preprocessing.crop])
    return cropped
