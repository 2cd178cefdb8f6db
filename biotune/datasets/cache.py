"""Lists and removes the entries of the cache of decoded images."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np

from biotune.datasets.copies import COPIES
from biotune.datasets.decoded import ABOUT, UNFINISHED, is_abandoned
from biotune.datasets.value_range import RANGES
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
        unfinished: Whether a process is filling it, or died while filling it.
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
    chosen = [entry for entry in chosen if not entry.unfinished or is_abandoned(entry.folder)]
    for entry in chosen:
        shutil.rmtree(entry.folder, ignore_errors=True)
    if dataset is None:
        for found_once in (COPIES, RANGES):
            shutil.rmtree(cache_folder() / found_once, ignore_errors=True)
    return [entry for entry in chosen if not entry.folder.exists()]


def _entry(folder: Path) -> CacheEntry:
    unfinished = folder.name.startswith(UNFINISHED)
    try:
        about = json.loads((folder / ABOUT).read_text(encoding="utf-8"))
        shape = np.load(folder / "pixels.npy", mmap_mode="r", allow_pickle=False).shape
        dataset = "" if unfinished else str(about["dataset"])
        images, side = shape[0], shape[1]
        geometry = f"{side}×{side} from {about['resize']}, {about['interpolation']}"
    except (OSError, ValueError, KeyError, IndexError):
        dataset, images, geometry = "" if unfinished else folder.name.rpartition("-")[0], 0, "unreadable"
    size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    used = datetime.fromtimestamp(folder.stat().st_mtime)
    return CacheEntry(folder, dataset, images, "unfinished" if unfinished else geometry, size, used, unfinished)
