"""The loaders by name, each with what is known of its datasets beforehand; registering the user's own.

A loader's module is imported when it is needed: the libraries behind some take seconds.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from biotune.config.schema import DatasetConfig
from biotune.datasets.catalogue import Facts, listed
from biotune.datasets.source import Source
from biotune.errors import DataError, did_you_mean


def _unknown(config: DatasetConfig) -> Facts | None:
    return None


@dataclass(frozen=True)
class Loader:
    """How one kind of dataset is found.

    Attributes:
        load: From the dataset's config to its labelled images.
        facts: What is known of the dataset beforehand; None for a user's own.
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


def _isic2020(config: DatasetConfig) -> Source:
    from biotune.datasets.loaders import isic2020

    return isic2020.load(config)


def _medmnist(config: DatasetConfig) -> Source:
    from biotune.datasets.loaders import medmnist

    return medmnist.load(config)


def _medmnist_facts(config: DatasetConfig) -> Facts:
    from biotune.datasets.loaders import medmnist

    return medmnist.facts(config)


def _torchvision(config: DatasetConfig) -> Source:
    from biotune.datasets.loaders import torchvision

    return torchvision.load(config)


LOADERS: dict[str, Loader] = {
    "cub": Loader(_cub, listed),
    "digits": Loader(_digits, listed),
    "folder": Loader(_folder, listed),
    "isic2020": Loader(_isic2020, listed),
    "medmnist": Loader(_medmnist, _medmnist_facts),
    "torchvision": Loader(_torchvision, listed),
}


def register_dataset(name: str, loader: Callable[[DatasetConfig], Source]) -> None:
    """Make a dataset of the user's own available as `dataset.loader=NAME`.

    Args:
        name: Its name.
        loader: From the dataset's config to its labelled images.

    Raises:
        DataError: The name is taken.
    """
    if name in LOADERS and LOADERS[name].load is not loader:
        raise DataError(f"dataset loader {name}: is registered already.")
    LOADERS[name] = Loader(loader)


def load_source(config: DatasetConfig) -> Source:
    """Find a dataset without decoding any image.

    Raises:
        DataError: Unknown loader, or data missing or malformed.
    """
    if config.loader not in LOADERS:
        raise DataError(f"dataset.loader={config.loader}: no such loader.{did_you_mean(config.loader, LOADERS)}")
    return LOADERS[config.loader].load(config)


def facts_of(config: DatasetConfig) -> Facts | None:
    """What is known beforehand of the dataset that a config asks for; None for a user's own.

    Raises:
        DataError: The facts stand in a package that is not installed.
    """
    return LOADERS[config.loader].facts(config) if config.loader in LOADERS else None
