"""Tests of the facts above a command's progress, as far as they are about the images."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from trees import folder_config

from biotune.backbones.network import Preprocessing
from biotune.datasets.data import Data, find_dataset, load_dataset
from biotune.recipes.header import remarks_on_data


@pytest.fixture
def load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("BIOTUNE_CACHE_DIR", str(tmp_path / "cache"))

    def loaded(contents: dict[str, list[int]], bits: int = 8) -> Data:
        """Images of noise that only a number decides, by split and class."""
        for place, numbers in contents.items():
            (tmp_path / "images" / place).mkdir(parents=True)
            for position, number in enumerate(numbers):
                rng = np.random.default_rng(number)
                values = rng.integers(0, 2**bits, (8, 8, 3) if bits == 8 else (8, 8))
                values.flat[:2] = 0, 2**bits - 1
                image = Image.fromarray(values.astype(np.uint8 if bits == 8 else np.uint16))
                image.save(tmp_path / "images" / place / f"{position}.png")
        preprocessing = Preprocessing(8, 8, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
        return load_dataset(find_dataset(folder_config(tmp_path / "images")), preprocessing)

    return loaded


def test_nothing_is_said_of_plain_images(load) -> None:
    assert remarks_on_data(load({"a": [1, 2, 3, 4], "b": [5, 6, 7, 8]})) == []


def test_copies_across_splits_and_with_other_labels_are_named(load) -> None:
    splits = {"train/a": [1, 2], "train/b": [3, 4, 9], "val/a": [5, 2], "val/b": [6], "test/a": [7, 9], "test/b": [8]}
    assert remarks_on_data(load(splits)) == [
        (
            "copies",
            "2 images lie in more than one of training, validation and test set, the first: train/a/1.png = val/a/1.png. "
            "'biotune data check' names all; keep one of each",
        ),
        (
            "copies",
            "1 image lies in more than one class: train/b/2.png = test/a/1.png. "
            "'biotune data check' names all; keep one of each",
        ),
    ]


def test_the_range_of_values_and_classes_without_test_images_are_stated(load) -> None:
    splits = {"train/a": [1, 2], "train/b": [3], "train/c": [4], "val/a": [5], "val/b": [6], "val/c": [7], "test/b": [8]}
    assert remarks_on_data(load(splits, bits=12)) == [
        ("values", "0 and 4095 are black and white in images of more than 8 bits (dataset.value_range)"),
        ("test", "no test images of class a and 1 more"),
    ]
