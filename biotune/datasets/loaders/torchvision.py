"""Loader of datasets that torchvision has a class for: a table with one row per dataset.

Images in files are listed by torchvision's class and opened one by one. Images packed into a few files are mapped into
memory where the format allows it. The facts of the datasets are in `catalogue`.
"""

from __future__ import annotations

import os
import zipfile
import zlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from scipy.io import loadmat
from torchvision import datasets as tv

from biotune.config.sections import DatasetConfig
from biotune.datasets.catalogue import CATALOGUE, Facts
from biotune.datasets.images import is_hidden, open_image
from biotune.datasets.loaders.download import fetch_whole
from biotune.datasets.loaders.files import fingerprint, local_root
from biotune.datasets.loaders.packed import Pack, Pixels, idx, raw_columns, source_of
from biotune.datasets.source import Source
from biotune.errors import DataError, did_you_mean, one_line

DIGITS = tuple(str(digit) for digit in range(10))
_TRAIN_VAL_TEST: dict[str, dict[str, Any]] = {split: {"split": split} for split in ("train", "val", "test")}
_TRAIN_TEST: dict[str, dict[str, Any]] = {split: {"split": split} for split in ("train", "test")}
_TRAIN_OR_NOT: dict[str, dict[str, Any]] = {"train": {"train": True}, "test": {"train": False}}
_BANNER = 20  # rows of pixels at the bottom of every FGVC-Aircraft image, with the photographer's credit


def _image_files(part: Any) -> Iterable[tuple[str | Path, int]]:
    return zip(part._image_files, part._labels, strict=True)


@dataclass(frozen=True)
class Row:
    """How one dataset is loaded.

    Attributes:
        kind: torchvision's class.
        splits: biotune's name of a split → the arguments of torchvision's class; "" means no official split.
        find: Called with the row, the local copy and the config; returns the labelled images.
        files: Returns pairs of path and label of a split built by the class, where images are files.
        options: Returns further arguments of the class for a config.
        banner: Rows of pixels to cut off at the bottom of every image.
    """

    kind: Any
    splits: Mapping[str, Mapping[str, Any]]
    find: Callable[[Row, Path, DatasetConfig], Source]
    files: Callable[[Any], Iterable[tuple[str | Path, int]]] = _image_files
    options: Callable[[DatasetConfig], dict[str, Any]] = field(default=lambda config: {})
    banner: int = 0


def load(config: DatasetConfig) -> Source:
    """Find the dataset `dataset.name`, downloading it first with dataset.download=true.

    Args:
        config: The dataset's config.

    Returns:
        The labelled images.

    Raises:
        DataError: The dataset is unknown, or the copy is missing, incomplete or damaged.
    """
    if config.name not in TABLE:
        raise DataError(
            f"dataset.name={config.name}: no such dataset in torchvision's table.{did_you_mean(config.name, TABLE)} "
            f"Known: {', '.join(TABLE)}."
        )
    row, facts = TABLE[config.name], CATALOGUE[config.name]
    if config.download and config.root is not None:
        _fetch(row, facts, config)
    root = local_root(config, f"the folder that holds {_listed(facts.needs)}. {_remedy(facts)}")
    if missing := facts.missing(root):
        raise DataError(f"dataset.root={config.root}: lacks {missing[0]}. {_remedy(facts)}")
    try:
        return row.find(row, root, config)
    # the exceptions of torchvision, scipy, zlib and numpy on damaged copies
    except (
        *(OSError, RuntimeError, ValueError, KeyError, IndexError, TypeError, EOFError, AssertionError),
        *(zlib.error, zipfile.BadZipFile, UnicodeDecodeError),
    ) as error:
        reason = f"{error.filename} is missing" if isinstance(error, FileNotFoundError) else one_line(error)
        raise DataError(
            f"dataset.root={config.root}: the copy of {config.name} is incomplete or damaged ({reason}). {_remedy(facts)}"
        ) from error


def _fetch(row: Row, facts: Facts, config: DatasetConfig) -> None:
    """Download the dataset if it is missing. An incomplete copy is neither used nor overwritten."""
    root = Path(str(config.root)).expanduser()
    missing = facts.missing(root)
    if not missing:
        return
    if not facts.fetched:
        raise DataError(f"dataset.download=true: {config.name} is no longer offered by its authors. {_remedy(facts)}")
    for folder in sorted({Path(name).parts[0] for name in facts.needs if len(Path(name).parts) > 1}):
        if (root / folder).exists():
            raise DataError(
                f"dataset.root={config.root}: holds {folder} but lacks {missing[0]}. Move {root / folder} away and "
                f"dataset.download=true fetches it whole, or complete it."
            )

    def fetch(folder: Path) -> None:
        for arguments in row.splits.values():
            row.kind(str(folder), download=True, **arguments)

    fetch_whole(
        config.name, root, fetch, f"Fetch it by other means from {facts.source} and put {_listed(facts.needs)} into {root}."
    )


def _listed(names: Iterable[str]) -> str:
    return ", ".join(names)


def _remedy(facts: Facts) -> str:
    if facts.fetched:
        return f"Put {_listed(facts.needs)} there, or move what is there away and set dataset.download=true."
    return f"It cannot be fetched any more: put a copy with {_listed(facts.needs)} there."


def _in_files(row: Row, root: Path, config: DatasetConfig) -> Source:
    """Find images in files, sorted by path, so that the partitions of one dataset share their decoded images."""
    found: list[tuple[str, int, str]] = []
    classes: list[str] = []
    for split, arguments in row.splits.items():
        part = row.kind(str(root), **arguments, **row.options(config))
        own = list(getattr(part, "classes", None) or map(str, range(CATALOGUE[config.name].classes or 0)))
        classes = classes or own
        if own != classes:
            odd = sorted(set(own) ^ set(classes)) or own
            raise ValueError(f"{split} and {next(iter(row.splits))} differ in their classes: {odd[0]}")
        listed = ((os.path.relpath(path, root), int(label)) for path, label in row.files(part))
        # of datasets that ship no list of their files, torchvision lists hidden ones too
        found += [(name, label, split) for name, label in listed if not any(map(is_hidden, Path(name).parts))]
    found.sort()
    names = tuple(name for name, _, _ in found)
    repeated = next((first for first, second in zip(names, names[1:], strict=False) if first == second), None)
    if repeated is not None:
        raise ValueError(f"{repeated} is listed twice")
    labels = np.array([label for _, label, _ in found], dtype=np.int64)
    if labels.size and not 0 <= labels.min() <= labels.max() < len(classes):
        raise ValueError(f"a label lies outside the {len(classes)} classes")
    return Source(
        name=config.name,
        classes=tuple(classes),
        labels=labels,
        splits=np.array([split for _, _, split in found], dtype="<U5"),
        names=names,
        read=lambda index: without_banner(open_image(root / names[index]), row.banner),
        fingerprint=fingerprint(root, names),
    )


def without_banner(image: Image.Image, rows: int) -> Image.Image:
    """Return an image without its lowest rows of pixels; 0 returns it as it is, undecoded."""
    return image.crop((0, 0, image.width, image.height - rows)) if rows else image


def _cifar(row: Row, root: Path, config: DatasetConfig) -> Source:
    """CIFAR's pickles, opened by torchvision, which compares every md5 sum with the official one before unpickling."""
    parts = {split: row.kind(str(root), **arguments) for split, arguments in row.splits.items()}
    packs = {split: _in_memory(part) for split, part in parts.items()}
    return source_of(config.name, parts["train"].classes, root, CATALOGUE[config.name].needs, packs)


def _usps(row: Row, root: Path, config: DatasetConfig) -> Source:
    packs = {split: _in_memory(row.kind(str(root), **arguments)) for split, arguments in row.splits.items()}
    return source_of(config.name, DIGITS, root, CATALOGUE[config.name].needs, packs)


def _in_memory(part: Any) -> Pack:
    return Pack(np.asarray(part.targets), lambda: part.data)


def _mnist(row: Row, root: Path, config: DatasetConfig) -> Source:
    raw = root / "MNIST" / "raw"
    packs = {
        split: Pack(
            idx(raw / f"{prefix}-labels-idx1-ubyte").astype(np.int64), partial(idx, raw / f"{prefix}-images-idx3-ubyte")
        )
        for split, prefix in zip(row.splits, ("train", "t10k"), strict=True)
    }
    return source_of(config.name, DIGITS, root, CATALOGUE[config.name].needs, packs)


def _stl10(row: Row, root: Path, config: DatasetConfig) -> Source:
    folder = root / "stl10_binary"
    names = folder / "class_names.txt"
    classes = names.read_text(encoding="utf-8").split() if names.is_file() else [str(number) for number in range(1, 11)]
    packs = {
        split: Pack(
            np.fromfile(folder / f"{split}_y.bin", dtype=np.uint8).astype(np.int64) - 1,
            partial(raw_columns, folder / f"{split}_X.bin", 96),
        )
        for split in row.splits
    }
    return source_of(config.name, classes, root, CATALOGUE[config.name].needs, packs)


def _svhn(row: Row, root: Path, config: DatasetConfig) -> Source:
    def pixels(path: Path) -> Pixels:
        """(N, 32, 32, 3) uint8; published as (32, 32, 3, N)."""
        return np.asarray(loadmat(path, variable_names=["X"])["X"]).transpose(3, 0, 1, 2)

    packs = {}
    for split in row.splits:
        path = root / f"{split}_32x32.mat"
        labels = np.asarray(loadmat(path, variable_names=["y"])["y"]).reshape(-1).astype(np.int64)
        # the digit 0 is published as 10
        packs[split] = Pack(labels % 10, partial(pixels, path))
    return source_of(config.name, DIGITS, root, CATALOGUE[config.name].needs, packs)


def _pets(part: Any) -> Iterable[tuple[str | Path, int]]:
    return zip(part._images, part._labels, strict=True)


TABLE: dict[str, Row] = {
    "flowers102": Row(tv.Flowers102, _TRAIN_VAL_TEST, _in_files),
    "fgvc_aircraft": Row(
        tv.FGVCAircraft,
        _TRAIN_VAL_TEST,
        _in_files,
        options=lambda config: {"annotation_level": config.annotation},
        banner=_BANNER,
    ),
    "dtd": Row(tv.DTD, _TRAIN_VAL_TEST, _in_files, options=lambda config: {"partition": config.partition}),
    "cifar10": Row(tv.CIFAR10, _TRAIN_OR_NOT, _cifar),
    "cifar100": Row(tv.CIFAR100, _TRAIN_OR_NOT, _cifar),
    "stl10": Row(tv.STL10, _TRAIN_TEST, _stl10),
    "mnist": Row(tv.MNIST, _TRAIN_OR_NOT, _mnist),
    "usps": Row(tv.USPS, _TRAIN_OR_NOT, _usps),
    "svhn": Row(tv.SVHN, _TRAIN_TEST, _svhn),
    "oxford_pets": Row(tv.OxfordIIITPet, {"train": {"split": "trainval"}, "test": {"split": "test"}}, _in_files, _pets),
    "food101": Row(tv.Food101, _TRAIN_TEST, _in_files),
    "eurosat": Row(tv.EuroSAT, {"": {}}, _in_files, lambda part: part.samples),
    "stanford_cars": Row(tv.StanfordCars, _TRAIN_TEST, _in_files, lambda part: part._samples),
}
