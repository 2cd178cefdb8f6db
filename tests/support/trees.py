"""Tiny image trees on disk, made for one test each."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from PIL import Image

from biotune.config.sections import DatasetConfig


def write_image(path: Path, value: int = 128, size: tuple[int, int] = (12, 10), **options: object) -> Path:
    """Write an image of noise around a grey value, always the same for the same value."""
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(value).integers(-20, 20, (size[1], size[0], 3))
    Image.fromarray(np.clip(value + noise, 0, 255).astype(np.uint8)).save(path, **options)
    return path


def folder_tree(root: Path, counts: Mapping[str, int], suffix: str = ".png") -> Path:
    """A class-per-folder tree; keys may hold a split, such as `train/cat`."""
    value = 0
    for name, count in counts.items():
        (root / name).mkdir(parents=True, exist_ok=True)
        for index in range(count):
            value += 1
            write_image(root / name / f"{index:03d}{suffix}", value % 256)
    return root


def cub_tree(root: Path, classes: int = 3, train: int = 4, test: int = 2, size: tuple[int, int] = (40, 32)) -> Path:
    """CUB-200-2011's official format with a few images; returns the folder `CUB_200_2011` below root."""
    base = root / "CUB_200_2011"
    images, labels, splits, names = [], [], [], []
    id_ = 0
    for label in range(1, classes + 1):
        name = f"{label:03d}.Bird_{label}"
        names.append(f"{label} {name}")
        for index in range(train + test):
            id_ += 1
            write_image(base / "images" / name / f"bird_{index}.jpg", 60 * label, size)
            images.append(f"{id_} {name}/bird_{index}.jpg")
            labels.append(f"{id_} {label}")
            splits.append(f"{id_} {int(index < train)}")
    for file, lines in (
        ("images.txt", images),
        ("image_class_labels.txt", labels),
        ("train_test_split.txt", splits),
        ("classes.txt", names),
    ):
        (base / file).write_text("\n".join(lines) + "\n")
    return base


def folder_config(root: Path | str, **options: object) -> DatasetConfig:
    return DatasetConfig("folder", "folder", root=str(root), **options)


def cub_config(root: Path | str, **options: object) -> DatasetConfig:
    return DatasetConfig("cub", "cub", root=str(root), **options)
