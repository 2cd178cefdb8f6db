"""What a dataset is before it is split: labelled images that can be opened one by one; the loaders by name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from biotune.config.schema import DatasetConfig
from biotune.errors import DataError, did_you_mean

Indices = NDArray[np.int64]


SPLITS = ("train", "val", "test")


@dataclass(frozen=True)
class Source:
    """A dataset as its loader found it.

    Attributes:
        name: Name for messages.
        classes: Names of the classes; a label is an index into them.
        labels: (N,) int64, a label an image.
        splits: (N,) of "train", "val", "test": the official split; "" where there is none.
        names: What identifies each image to the user: its path below the root, or its index.
        read: Opens image i as PIL does, undecoded where that is possible.
        fingerprint: Changes whenever the images do.
        groups: (N,) ids of what must not be torn apart by a split, such as patients.
        on_disk: Whether decoding is worth keeping in the decoded cache.
    """

    name: str
    classes: tuple[str, ...]
    labels: Indices
    splits: NDArray[np.str_]
    names: tuple[str, ...]
    read: Callable[[int], Image.Image]
    fingerprint: str
    groups: NDArray[np.int64] | None = None
    on_disk: bool = True


def _own(name: str) -> Callable[[DatasetConfig], Source]:
    """The loader of a module here, which is imported when it is needed: the libraries behind some take seconds."""

    def load_by(config: DatasetConfig) -> Source:
        found: Source = import_module(f"biotune.datasets.loaders.{name}").load(config)
        return found

    return load_by


LOADERS: dict[str, Callable[[DatasetConfig], Source]] = {
    name: _own(name) for name in ("cub", "digits", "folder", "isic2020", "medmnist", "torchvision")
}


def register_dataset(name: str, loader: Callable[[DatasetConfig], Source]) -> None:
    """Make a dataset of the user's own available as `dataset.loader=NAME`.

    Args:
        name: Its name.
        loader: From the dataset's config to its labelled images.

    Raises:
        DataError: The name is taken.
    """
    if LOADERS.get(name, loader) is not loader:
        raise DataError(f"dataset loader {name}: is registered already.")
    LOADERS[name] = loader


def load_source(config: DatasetConfig) -> Source:
    """Find a dataset without decoding any image.

    Raises:
        DataError: Unknown loader, or data missing or malformed.
    """
    if config.loader not in LOADERS:
        raise DataError(f"dataset.loader={config.loader}: no such loader.{did_you_mean(config.loader, LOADERS)}")
    return LOADERS[config.loader](config)
