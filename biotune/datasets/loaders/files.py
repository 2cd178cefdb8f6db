"""Helpers for datasets in files: the root of a local copy, and the fingerprint of its files."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path

import numpy as np

from biotune.config.sections import DatasetConfig
from biotune.datasets.images import files_below
from biotune.datasets.source import Indices
from biotune.errors import DataError


def local_root(config: DatasetConfig, what: str) -> Path:
    """Return the folder of the local copy.

    Args:
        config: The dataset's config.
        what: Description of the folder for error messages.

    Raises:
        DataError: dataset.root is not set, or is not a folder.
    """
    if config.root is None:
        raise DataError(f"dataset.root: must be set for dataset={config.name}: {what}.")
    root = Path(config.root).expanduser()
    if not root.is_dir():
        raise DataError(f"dataset.root={config.root}: no such folder; it should be {what}.")
    return root


def fingerprint(root: Path, names: Sequence[str]) -> str:
    """Return a hash of the root's path and the names, sizes and times of files below it.

    The time of the last status change (ctime) counts too: reproducible archives unpack into files of equal names, sizes
    and modification times whatever their content.

    Args:
        root: The folder of the local copy.
        names: Paths of the files, relative to the root.

    Returns:
        SHA-256 in hexadecimal digits.
    """
    digest = hashlib.sha256(f"{root.resolve()}\n".encode(errors="surrogateescape"))
    folder = os.path.join(root, "")
    for name in names:
        facts = os.stat(folder + name)
        digest.update(f"{name}\0{facts.st_size}\0{facts.st_mtime_ns}\0{facts.st_ctime_ns}\n".encode(errors="surrogateescape"))
    return digest.hexdigest()


def passed_over(root: Path, names: Collection[str]) -> list[str]:
    """List the files below a folder that are not among a dataset's images, hidden ones too, sorted.

    Args:
        root: The folder of the local copy.
        names: Paths of the images, relative to the root.

    Returns:
        Paths relative to the root.
    """
    taken = set(names)
    return sorted(name for name in files_below(root, hidden=True) if name not in taken)


def numbered_groups(ids: Iterable[str]) -> Indices:
    """Return the (N,) number of each image's group; an image without an id counts as a group of its own.

    Args:
        ids: One id per image, such as a patient's; blank where unknown.
    """
    numbers: dict[str, int] = {}
    # the NUL character keeps an image's position distinct from all ids
    keys = [id_.strip() or f"\0{position}" for position, id_ in enumerate(ids)]
    return np.array([numbers.setdefault(key, len(numbers)) for key in keys], dtype=np.int64)


def in_order(names: set[str]) -> tuple[str, ...]:
    """Return the names of classes in alphabetical order, or if all are numbers in that of the numbers."""
    if all(name.isascii() and name.isdigit() for name in names):
        return tuple(sorted(names, key=lambda name: (int(name), name)))
    return tuple(sorted(names))
