"""Tests of CUB-200-2011's official format, on a tiny tree."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from trees import cub_config, cub_tree

from biotune.datasets.data import find_dataset
from biotune.datasets.loaders import cub
from biotune.datasets.splits import Resampling
from biotune.errors import DataError


@pytest.mark.parametrize("below", [True, False])
def test_the_root_may_be_the_folder_itself_or_its_parent(tmp_path: Path, below: bool) -> None:
    base = cub_tree(tmp_path)
    source = cub.load(cub_config(base if below else tmp_path))
    assert source.classes == ("001.Bird_1", "002.Bird_2", "003.Bird_3")
    assert source.labels.tolist() == [0] * 6 + [1] * 6 + [2] * 6
    assert source.splits.tolist() == (["train"] * 4 + ["test"] * 2) * 3
    assert source.names[0] == "images/001.Bird_1/bird_0.jpg"
    assert source.read(7).size == (40, 32)


def test_ids_are_matched_as_numbers_whatever_the_order_of_the_lines(tmp_path: Path) -> None:
    base = cub_tree(tmp_path)
    straight = cub.load(cub_config(tmp_path))
    for name in ("images.txt", "image_class_labels.txt", "train_test_split.txt", "classes.txt"):
        lines = (base / name).read_text().splitlines()
        (base / name).write_text("\n".join(reversed(lines)) + "\n\n")
    turned = cub.load(cub_config(tmp_path))
    assert turned.names == straight.names
    assert turned.labels.tolist() == straight.labels.tolist()
    assert turned.splits.tolist() == straight.splits.tolist()
    assert turned.classes == straight.classes


def test_validation_is_held_out_from_the_official_training_images(tmp_path: Path) -> None:
    cub_tree(tmp_path, train=10, test=3)
    plan = find_dataset(cub_config(tmp_path), Resampling(2))
    official = plan.source.splits
    assert set(official[plan.cut.test].tolist()) == {"test"}
    assert set(official[plan.cut.val].tolist()) == set(official[plan.cut.train].tolist()) == {"train"}
    assert np.bincount(plan.source.labels[plan.cut.val]).tolist() == [2, 2, 2]
    assert [len(part) for part in (plan.cut.train, plan.cut.val, plan.cut.test)] == [24, 6, 9]


@pytest.mark.parametrize("name", ["image_class_labels.txt", "train_test_split.txt", "classes.txt"])
def test_a_missing_list_is_named(tmp_path: Path, name: str) -> None:
    (cub_tree(tmp_path) / name).unlink()
    with pytest.raises(DataError, match=name):
        cub.load(cub_config(tmp_path))


def test_a_folder_without_the_dataset_says_what_belongs_there_and_how_to_fetch_it(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"dataset\.root=.*images\.txt.*dataset\.download=true"):
        cub.load(cub_config(tmp_path))


def test_a_missing_image_is_named(tmp_path: Path) -> None:
    base = cub_tree(tmp_path)
    (base / "images/002.Bird_2/bird_3.jpg").unlink()
    with pytest.raises(DataError, match=r"002\.Bird_2/bird_3\.jpg.*incomplete"):
        cub.load(cub_config(tmp_path))


@pytest.mark.parametrize(
    ("name", "line", "words"),
    [
        ("images.txt", "three 001.Bird_1/bird_0.jpg", "images.txt: line 19"),
        ("images.txt", "19", "images.txt: line 19"),
        ("train_test_split.txt", "7x 1", "train_test_split.txt: line 19"),
        ("image_class_labels.txt", "99 1", "image_class_labels.txt: image id 99"),
        ("train_test_split.txt", "99 1", "train_test_split.txt: image id 99"),
        ("image_class_labels.txt", "18 1", "image_class_labels.txt: line 19 repeats id 18"),
    ],
)
def test_malformed_or_contradicting_lines_are_named(tmp_path: Path, name: str, line: str, words: str) -> None:
    file = cub_tree(tmp_path) / name
    file.write_text(file.read_text() + line + "\n")
    with pytest.raises(DataError, match=words):
        cub.load(cub_config(tmp_path))


@pytest.mark.parametrize("content", ["2", "yes", "-1"])
def test_a_split_that_is_neither_0_nor_1_is_refused(tmp_path: Path, content: str) -> None:
    file = cub_tree(tmp_path) / "train_test_split.txt"
    file.write_text(file.read_text().replace("18 0", f"18 {content}"))
    with pytest.raises(DataError, match=r"train_test_split\.txt"):
        cub.load(cub_config(tmp_path))


def test_a_class_id_without_a_name_is_refused(tmp_path: Path) -> None:
    file = cub_tree(tmp_path) / "image_class_labels.txt"
    file.write_text(file.read_text().replace("18 3", "18 77"))
    with pytest.raises(DataError, match=r"image_class_labels\.txt: class id 77 is not in classes\.txt"):
        cub.load(cub_config(tmp_path))
