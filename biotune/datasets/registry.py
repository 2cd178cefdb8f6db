"""The table of dataset loaders by name, with the facts of their datasets; registers the user's loaders.

A loader's module is imported when it is needed, because the libraries of some take seconds to import.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from biotune.config.sections import DatasetConfig
from biotune.datasets.catalogue import Facts, listed
from biotune.datasets.source import Source
from biotune.errors import DataError, did_you_mean


def _unknown(config: DatasetConfig) -> Facts | None:
    return None


@dataclass(frozen=True)
class Loader:
    """How one kind of dataset is loaded.

    Attributes:
        load: Returns the labelled images for the dataset's config.
        facts: Returns the facts of the dataset in a config; None for a user's dataset.
    """

    load: Callable[[DatasetConfig], Source]
    facts: Callable[[DatasetConfig], Facts | None] = _unknown


def _cub(config: DatasetConfig) -> Source:
    from biotune.datasets.loaders import cub

    return cub.load(config)


def _digits(config: DatasetConfig) -> Source:
    from biotune.datasets.loaders import digits

    return digits.load(config)


def _folder(config: DatasetConfig) -> Source:
    from biotune.datasets.loaders import folder

    return folder.load(config)


def _hf(config: DatasetConfig) -> Source:
    from biotune.datasets.loaders import hf

    return hf.load(config)


def _isic2020(config: DatasetConfig) -> Source:
    from biotune.datasets.loaders import isic2020

    return isic2020.load(config)


def _medmnist(config: DatasetConfig) -> Source:
    from biotune.datasets.loaders import medmnist

    return medmnist.load(config)


def _medmnist_facts(config: DatasetConfig) -> Facts:
    from biotune.datasets.loaders import medmnist

    return medmnist.facts(config)


def _table(config: DatasetConfig) -> Source:
    from biotune.datasets.loaders import table

    return table.load(config)


def _torchvision(config: DatasetConfig) -> Source:
    from biotune.datasets.loaders import torchvision

    return torchvision.load(config)


LOADERS: dict[str, Loader] = {
    "cub": Loader(_cub, listed),
    "digits": Loader(_digits, listed),
    "folder": Loader(_folder, listed),
    "hf": Loader(_hf, listed),
    "isic2020": Loader(_isic2020, listed),
    "medmnist": Loader(_medmnist, _medmnist_facts),
    "table": Loader(_table, listed),
    "torchvision": Loader(_torchvision, listed),
}


def register_dataset(name: str, loader: Callable[[DatasetConfig], Source]) -> None:
    """Register a dataset of your own as `dataset.loader=NAME`.

    Args:
        name: The name of the loader.
        loader: Returns the labelled images for the dataset's config.

    Raises:
        DataError: The name is taken.
    """
    if name in LOADERS and LOADERS[name].load is not loader:
        raise DataError(f"dataset loader {name}: is registered already.")
    LOADERS[name] = Loader(loader)


def load_source(config: DatasetConfig) -> Source:
    """Find a dataset without decoding any image.

    Args:
        config: The dataset's config.

    Returns:
        Its labelled images.

    Raises:
        DataError: The loader is unknown, or the data is missing or malformed.
    """
    if config.loader not in LOADERS:
        raise DataError(f"dataset.loader={config.loader}: no such loader.{did_you_mean(config.loader, LOADERS)}")
    return LOADERS[config.loader].load(config)


def facts_of(config: DatasetConfig) -> Facts | None:
    """Return the facts of the dataset in a config; None for a user's dataset.

    Raises:
        DataError: The package with the facts is not installed.
    """
    return LOADERS[config.loader].facts(config) if config.loader in LOADERS else None
