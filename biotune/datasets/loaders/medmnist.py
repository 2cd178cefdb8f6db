"""Loader of MedMNIST's two-dimensional datasets with one label per image; the package `medmnist` has their facts."""

from __future__ import annotations

import importlib.util
import zipfile
import zlib
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
from torchvision.datasets.utils import download_url

from biotune.config.sections import DatasetConfig
from biotune.datasets.catalogue import CATALOGUE, Facts
from biotune.datasets.loaders.download import fetch_whole
from biotune.datasets.loaders.files import local_root
from biotune.datasets.loaders.packed import Pack, npz_labels, npz_pixels, source_of
from biotune.datasets.source import SPLITS, Source
from biotune.errors import DataError, did_you_mean, one_line
from biotune.store.scratch import cache_folder

_SMALLEST = 28
_SOLID = "3d"  # suffix of the names of three-dimensional datasets


def load(config: DatasetConfig) -> Source:
    """Find one dataset in one of its published sizes, with its official splits.

    Args:
        config: The dataset's config.

    Returns:
        The labelled images.

    Raises:
        DataError: The dataset is unknown or has several labels per image, or the copy is missing or damaged.
    """
    info = _entry(config.name)
    file = f"{config.name}{_suffix(config)}.npz"
    address = info[f"url{_suffix(config)}"]
    if config.download and config.root is not None and not (Path(config.root).expanduser() / file).is_file():
        md5 = info[f"MD5{_suffix(config)}"]
        fetch_whole(
            f"{config.name} at {config.source_size} pixels",
            Path(config.root).expanduser(),
            lambda folder: download_url(address, str(folder), file, md5),
            f"Fetch {address} by other means and put it at {Path(config.root) / file} (md5 {md5}).",
        )
    remedy = f"Put {file} from {address} there, or set dataset.download=true."
    root = local_root(config, f"the folder that holds {file}. {remedy}")
    path = root / file
    if not path.is_file():
        raise DataError(f"dataset.root={config.root}: lacks {file}. {remedy}")
    try:
        packs = {
            split: Pack(
                npz_labels(path, f"{split}_labels").astype(np.int64).reshape(-1),
                partial(npz_pixels, path, f"{split}_images", cache_folder()),
            )
            for split in SPLITS
        }
        classes = [str(info["label"][str(label)]) for label in range(len(info["label"]))]
        return source_of(config.name, classes, root, (file,), packs)
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise DataError(f"{path}: is damaged ({one_line(error)}). Remove it; then: {remedy}") from error


def facts(config: DatasetConfig) -> Facts:
    """Return the facts of the dataset in a config.

    Args:
        config: The dataset's config.

    Raises:
        DataError: The dataset is unknown, or the package is not installed.
    """
    info, shared = _entry(config.name), CATALOGUE["medmnist"]
    return Facts(
        loader="medmnist",
        classes=len(info["label"]),
        **{split: info["n_samples"][split] for split in SPLITS},
        size=shared.size if config.name == "dermamnist" and config.source_size == _SMALLEST else "",
        licence=info["license"],
        source=shared.source,
        needs=(f"{config.name}{_suffix(config)}.npz",),
    )


def _suffix(config: DatasetConfig) -> str:
    """The suffix of file names and keys of the larger sizes."""
    return "" if config.source_size in (None, _SMALLEST) else f"_{config.source_size}"


def _entry(name: str) -> dict[str, Any]:
    known = _info()
    usable = [entry for entry, info in known.items() if not entry.endswith(_SOLID) and "multi-label" not in info["task"]]
    if name in usable:
        return known[name]
    if name in known:
        reason = "is three-dimensional" if name.endswith(_SOLID) else "has several labels per image"
        raise DataError(f"dataset.name={name}: {reason}, which biotune cannot train on. Known: {', '.join(usable)}.")
    raise DataError(
        f"dataset.name={name}: no such dataset in MedMNIST.{did_you_mean(name, usable)} Known: {', '.join(usable)}."
    )


@cache
def _info() -> dict[str, dict[str, Any]]:
    """The package's table of facts, loaded without its other modules, which take seconds to import."""
    package = importlib.util.find_spec("medmnist")
    if package is None or not package.submodule_search_locations:
        raise DataError("dataset=medmnist: needs an extra package. Install it: pip install 'biotune[medmnist]'")
    file = Path(package.submodule_search_locations[0]) / "info.py"
    spec = importlib.util.spec_from_file_location("_medmnist_info", file)
    if spec is None or spec.loader is None or not file.is_file():
        raise DataError(f"dataset=medmnist: {file} is missing. Reinstall the package: pip install 'biotune[medmnist]'")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return dict(module.INFO)
