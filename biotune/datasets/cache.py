"""Lists and removes the entries of the cache of decoded images."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np

from biotune.datasets.copies import COPIES
from biotune.datasets.decoded import ABOUT, DIGESTS, PIXELS
from biotune.datasets.shards import remove_if_free
from biotune.datasets.value_range import RANGES
from biotune.store.files import UNFINISHED
from biotune.store.scratch import cache_folder


@dataclass(frozen=True)
class CacheEntry:
    """One decoded dataset in one geometry.

    Attributes:
        folder: The folder of its files.
        dataset: The dataset's name; empty while the entry is unfinished.
        images: Number of images.
        geometry: Side of the images in pixels, and how they were resized to it.
        size: Size on disk in bytes.
        used: When it was last opened.
        unfinished: Whether a process is filling it, or was interrupted, after which the next one continues.
    """

    folder: Path
    dataset: str
    images: int
    geometry: str
    size: int
    used: datetime
    unfinished: bool


def entries() -> list[CacheEntry]:
    """Return all entries of the cache, sorted by dataset, the most recently used first."""
    folder = cache_folder() / "decoded"
    found = [_entry(child) for child in folder.iterdir() if child.is_dir()] if os.path.isdir(folder) else []
    return sorted(found, key=lambda entry: (entry.dataset, -entry.used.timestamp()))


def clear(dataset: str | None = None) -> list[CacheEntry]:
    """Remove the entries of a dataset, or all entries and what is known of copies and ranges of values.

    Entries that another process is filling are kept. Runs that have opened an entry can still read it.

    Args:
        dataset: The dataset's name; None for all datasets.

    Returns:
        The removed entries.
    """
    chosen = [entry for entry in entries() if dataset in (None, entry.dataset)]
    for entry in chosen:
        _remove(entry.folder)
    if dataset is None:
        for found_once in (COPIES, RANGES):
            for path in (cache_folder() / found_once).glob("*"):
                _remove(path)
    return [entry for entry in chosen if not entry.folder.exists()]


def _remove(path: Path) -> None:
    """Remove an entry, unless a process is filling it."""
    if path.name.startswith(UNFINISHED):
        remove_if_free(path)
    elif path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _entry(folder: Path) -> CacheEntry:
    unfinished = folder.name.startswith(UNFINISHED)
    try:
        about = json.loads((folder / ABOUT).read_text(encoding="utf-8"))
        dataset = "" if unfinished else str(about["dataset"])
        images = len(np.load(folder / DIGESTS, mmap_mode="r", allow_pickle=False))
        streamed = "streamed" in about
        crop = about["streamed"] if streamed else np.load(folder / PIXELS, mmap_mode="r", allow_pickle=False).shape[1:3]
        sides, resized = _by(crop), about["resize"]
        covered = resized if isinstance(resized, int) else _by(resized)
        geometry = f"{sides} from {covered}, {about['interpolation']}{', streamed' if streamed else ''}"
    except (OSError, ValueError, KeyError, IndexError, TypeError):
        dataset, images, geometry = "" if unfinished else folder.name.rpartition("-")[0], 0, "unreadable"
    size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    used = datetime.fromtimestamp(folder.stat().st_mtime)
    return CacheEntry(folder, dataset, images, "unfinished" if unfinished else geometry, size, used, unfinished)


def _by(sides: int | Sequence[int]) -> str:
    """`HEIGHT×WIDTH`, also of a square."""
    height, width = (sides, sides) if isinstance(sides, int) else sides
    return f"{height}×{width}"
