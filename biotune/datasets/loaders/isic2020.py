"""Loader of the ISIC 2020 challenge's training images, the only ones with published labels; grouped by patient."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np

from biotune.config.sections import DatasetConfig
from biotune.datasets.catalogue import CATALOGUE
from biotune.datasets.images import open_image
from biotune.datasets.loaders.files import fingerprint, local_root, numbered_groups
from biotune.datasets.source import Source
from biotune.errors import DataError

CLASSES = ("benign", "malignant")
_TRUTH = "ISIC_2020_Training_GroundTruth.csv"
_DUPLICATES = "ISIC_2020_Training_Duplicates.csv"
_FACTS = CATALOGUE["isic2020"]
_LAYOUT = (
    f"the folder with {_TRUTH}, {_DUPLICATES} and train/ISIC_*.jpg from {_FACTS.source}, "
    "whose terms of use you must accept; biotune cannot download it"
)


def load(config: DatasetConfig) -> Source:
    """Read the challenge's tables, without the images listed as duplicates: benign or malignant, grouped by patient.

    Args:
        config: The dataset's config.

    Returns:
        The labelled images with patients as groups, and without splits.

    Raises:
        DataError: The copy is missing, incomplete or malformed.
    """
    root = local_root(config, _LAYOUT)
    if missing := _FACTS.missing(root):
        raise DataError(f"dataset.root={config.root}: lacks {missing[0]}. It should be {_LAYOUT}.")
    duplicates = {row["image_name_2"] for row in _table(root / _DUPLICATES, ("image_name_2",))}
    rows = [row for row in _table(root / _TRUTH, ("image_name", "patient_id", "target")) if row["image_name"] not in duplicates]
    for row in rows:
        if row["target"] not in ("0", "1"):
            raise DataError(f"{root / _TRUTH}: {row['image_name']} has target {row['target']!r}; it must be 0 or 1.")
    names = tuple(f"train/{row['image_name']}.jpg" for row in rows)
    try:
        files = fingerprint(root, names)
    except FileNotFoundError as error:
        raise DataError(f"{error.filename}: listed in {_TRUTH} but missing; the copy is incomplete.") from error
    return Source(
        name=config.name,
        classes=CLASSES,
        labels=np.array([int(row["target"]) for row in rows], dtype=np.int64),
        splits=np.full(len(rows), "", dtype="<U5"),
        names=names,
        read=lambda index: open_image(root / names[index]),
        fingerprint=files,
        groups=numbered_groups([row["patient_id"] for row in rows]),
    )


def _table(path: Path, columns: tuple[str, ...]) -> list[dict[str, str]]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            if lacking := [column for column in columns if column not in (reader.fieldnames or ())]:
                raise DataError(f"{path}: has no column {lacking[0]}.")
            rows = list(reader)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path}: cannot be read as a table; the copy is incomplete.") from error
    for number, row in enumerate(rows, 2):
        if any(row[column] is None for column in columns):
            raise DataError(f"{path}: line {number} is cut off.")
    return rows
