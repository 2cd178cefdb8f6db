"""Loader of datasets in the formats of the Hugging Face library `datasets`: from a folder, or from its Hub."""

from __future__ import annotations

import io
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from biotune.config.sections import DatasetConfig
from biotune.datasets.images import files_below, open_image
from biotune.datasets.loaders.columns import GROUP, IMAGE, LABEL, find_column, named, remark_on_guesses
from biotune.datasets.loaders.files import fingerprint, in_order, local_root, numbered_groups
from biotune.datasets.source import Indices, Source, split_of
from biotune.errors import DataError, one_line

_LAYOUT = "a folder of Parquet files, of images in folders, or written by the library's save_to_disk"
_SAVED = ("dataset_dict.json", "state.json")  # either lies in a folder that save_to_disk has written
_ON_HUB = (
    "Check the name and the connection; without one, set dataset.root to a local copy. One of several configurations must be "
    "saved first: datasets.load_dataset(NAME, CONFIGURATION).save_to_disk(DIR)."
)
_UNLABELLED = -1  # what the library writes for a class that is not known


@dataclass(frozen=True)
class _Columns:
    """The columns of a dataset.

    Attributes:
        image: The images.
        label: The labels.
        group: The groups; None where there are none.
        remarks: Which of them were guessed.
    """

    image: str
    label: str
    group: str | None
    remarks: tuple[str, ...]


@dataclass(frozen=True)
class _Part:
    """One split of a dataset.

    Attributes:
        name: As the library names it.
        rows: The library's dataset, with the column of the images only, which it does not decode.
        labels: Label of each row; None where it is not known.
        groups: The group of each row; empty without such a column.
    """

    name: str
    rows: Any
    labels: list[Any]
    groups: list[Any]


def load(config: DatasetConfig) -> Source:
    """Read a dataset in `dataset.root`, or the dataset `dataset.hub`, which the library downloads into its own cache.

    Args:
        config: The dataset's config.

    Returns:
        The labelled images with the dataset's splits; without splits, if there is only one.

    Raises:
        DataError: The package is not installed, the dataset cannot be read, or a column, a label or all splits are missing.
    """
    root = None if config.root is None else local_root(config, _LAYOUT)
    where = f"dataset.hub={config.hub}" if root is None else f"dataset.root={config.root}"
    found = _read(config, root, where)
    features = next(iter(found.values())).features
    columns = _columns(config, features, where)
    parts, remarks = _used([_part(name, rows, columns) for name, rows in found.items()], where)
    splits = {part.name: split_of(part.name) or "" for part in parts} if len(parts) > 1 else {parts[0].name: ""}
    sizes = [len(part.labels) for part in parts]
    begins = np.cumsum([0, *sizes])
    classes, labels = _classes(parts, features[columns.label], where)

    def read(index: int) -> Image.Image:
        at = int(np.searchsorted(begins, index, side="right")) - 1
        return _opened(parts[at].rows[int(index - begins[at])][columns.image])

    return Source(
        name=config.name,
        classes=classes,
        labels=labels,
        splits=np.repeat(np.array([splits[part.name] for part in parts], dtype="<U5"), sizes),
        names=tuple(name for part in parts for name in _names(part, columns.image, root)),
        read=read,
        fingerprint=_fingerprint(root, parts),
        groups=None
        if columns.group is None
        else numbered_groups("" if group is None else str(group) for part in parts for group in part.groups),
        remarks=(*columns.remarks, *remarks),
    )


def _read(config: DatasetConfig, root: Path | None, where: str) -> dict[str, Any]:
    """The splits of the dataset by name."""
    try:
        import datasets
    except ImportError as error:
        raise DataError("dataset=hf: needs an extra package. Install it: pip install 'biotune[hf]'") from error
    datasets.disable_progress_bars()
    try:
        if root is None:
            found = datasets.load_dataset(config.hub)
        elif any((root / name).exists() for name in _SAVED):
            found = datasets.load_from_disk(str(root))
        else:
            found = datasets.load_dataset(str(root))
    except Exception as error:  # the library raises errors of its own, of its file systems and of pyarrow
        remedy = f"It should be {_LAYOUT}." if root is not None else _ON_HUB
        raise DataError(f"{where}: cannot be loaded ({one_line(error)[:300]}). {remedy}") from error
    return dict(found) if isinstance(found, dict) else {"train": found}


def _columns(config: DatasetConfig, features: Mapping[str, Any], where: str) -> _Columns:
    """The columns: the only one of a type, or else by their names."""
    import datasets

    found: dict[str, str | None] = {}
    guessed: dict[str, str | None] = {}
    for what, kind in ((IMAGE, datasets.Image), (LABEL, datasets.ClassLabel)):
        fitting = [name for name, feature in features.items() if isinstance(feature, kind)]
        if named(config, what) is not None or not fitting:
            fitting = list(features)
        if named(config, what) is None and len(fitting) == 1:
            found[what] = fitting[0]
        else:
            found[what] = guessed[what] = find_column(config, what, fitting, where)
    guessed[GROUP] = find_column(config, GROUP, list(features), where)
    image, label = str(found[IMAGE]), str(found[LABEL])
    if not isinstance(features[image], datasets.Image) and "binary" not in str(features[image]):
        raise DataError(f"{where}: column {image} holds no images. Name another one by dataset.image_column.")
    if not isinstance(features[label], datasets.ClassLabel) and not _is_plain(features[label]):
        raise DataError(f"{where}: column {label} holds no labels. Name another one by dataset.label_column.")
    return _Columns(image, label, guessed[GROUP], remark_on_guesses(config, guessed))


def _is_plain(feature: Any) -> bool:
    """Whether a column holds texts, integers or truth values."""
    kind = str(getattr(feature, "dtype", ""))
    return kind in ("string", "large_string", "bool") or kind.startswith(("int", "uint"))


def _part(name: str, rows: Any, columns: _Columns) -> _Part:
    import datasets

    labels = _values(rows, columns.label)
    if isinstance(rows.features[columns.label], datasets.ClassLabel):
        labels = [None if label == _UNLABELLED else label for label in labels]
    images = rows.select_columns([columns.image]).with_format(None)
    if isinstance(rows.features[columns.image], datasets.Image):
        images = images.cast_column(columns.image, datasets.Image(decode=False))
    return _Part(name, images, labels, [] if columns.group is None else _values(rows, columns.group))


def _values(rows: Any, column: str) -> list[Any]:
    values: list[Any] = rows.select_columns([column]).with_format("arrow")[:][column].to_pylist()
    return values


def _used(parts: list[_Part], where: str) -> tuple[list[_Part], list[str]]:
    """The parts with labels and a known split, and remarks on those that are left out."""
    remarks = []
    labelled = [part for part in parts if any(label is not None for label in part.labels)]
    if without := [part.name for part in parts if part not in labelled]:
        remarks.append(f"split {' and '.join(without)} has no labels and is left out.")
    known = [part for part in labelled if split_of(part.name)] if len(labelled) > 1 else labelled
    if strange := [part.name for part in labelled if part not in known]:
        remarks.append(f"split {' and '.join(strange)} is none of train, validation and test, and is left out.")
    if not known:
        there = ", ".join(part.name for part in parts)
        raise DataError(f"{where}: has no labelled split named train, validation or test; its splits: {there}.")
    return known, remarks


def _classes(parts: list[_Part], feature: Any, where: str) -> tuple[tuple[str, ...], Indices]:
    """The names of the classes, and the (N,) labels."""
    labels = [label for part in parts for label in part.labels]
    places = (f"{part.name}/{row}" for part in parts for row in range(len(part.labels)))
    if lacking := [place for place, label in zip(places, labels, strict=True) if label is None]:
        rows = "1 row has" if len(lacking) == 1 else f"{len(lacking):,} rows have"
        raise DataError(f"{where}: {rows} no label, the first {lacking[0]}. Remove them, or name another dataset.label_column.")
    if getattr(feature, "names", None) is not None:
        return tuple(feature.names), np.array(labels, dtype=np.int64)
    texts = [str(label) for label in labels]
    classes = in_order(set(texts))
    number = {name: label for label, name in enumerate(classes)}
    return classes, np.array([number[text] for text in texts], dtype=np.int64)


def _names(part: _Part, column: str, root: Path | None) -> list[str]:
    """The path of each image below the root; where images are no files of their own, the split and the row."""
    stored = part.rows.with_format("arrow")[:][column]
    paths = [None] * len(stored)
    if str(stored.type).startswith("struct"):
        import pyarrow.compute

        paths = pyarrow.compute.struct_field(stored, "path").to_pylist()
    below = "" if root is None else os.path.join(root.resolve(), "")
    return [
        os.path.relpath(path, below) if below and path and path.startswith(below) else f"{part.name}/{row}"
        for row, path in enumerate(paths)
    ]


def _opened(value: Any) -> Image.Image:
    """An image as the library stores it: its content, or the path of its file."""
    content = value.get("bytes") if isinstance(value, dict) else value
    if content is not None:
        return open_image(io.BytesIO(content))
    path = value.get("path") if isinstance(value, dict) else None
    if path is None:
        raise ValueError("the row holds no image")
    return open_image(Path(path))


def _fingerprint(root: Path | None, parts: list[_Part]) -> str:
    """A hash that follows the files of the root, or those of the library's cache."""
    if root is not None:
        return fingerprint(root, sorted(files_below(root)))
    files = sorted(os.path.relpath(file["filename"], "/") for part in parts for file in part.rows.cache_files)
    return fingerprint(Path("/"), files)
