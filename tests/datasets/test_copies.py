"""Tests of copies: images of the same pixels stay on one side of every hold-out, and are named where they spoil scores."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from trees import folder_config

from biotune.backbones.network import Preprocessing
from biotune.datasets.copies import Copies, sets_of_copies, with_copies
from biotune.datasets.data import find_dataset, load_dataset
from biotune.datasets.loaders import folder
from biotune.datasets.source import Source
from biotune.datasets.splits import Resampling, hold_out


def write(path: Path, seed: int, size: int = 12, **options: object) -> None:
    """Write an image whose pixels only the seed decides."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (size, size, 3), dtype=np.uint8)).save(path, **options)


def with_contents(root: Path, contents: dict[str, list[int]], ending: str = ".png") -> Source:
    for name, seeds in contents.items():
        for number, seed in enumerate(seeds):
            write(root / name / f"{number:03d}{ending}", seed)
    return folder.load(folder_config(root))


def test_copies_are_images_with_one_hash() -> None:
    found = sets_of_copies(
        [b"x", b"y", b"x", b"", b"", b"y", b"z"], ["train", "val", "test", "", "", "val", "val"], [0, 1, 0, 0, 0, 2, 1]
    )
    assert found == [Copies((0, 2), across=True, disagree=False), Copies((1, 5), across=False, disagree=True)]


@pytest.mark.parametrize("seed", range(8))
def test_what_is_held_out_has_no_copy_on_the_other_side(tmp_path: Path, cache: Path, seed: int) -> None:
    contents = {"a": [1, 1, 1, 2, 3, 4, 5, 6, 7, 7], "b": [11, 12, 13, 14, 15, 15, 16, 17, 18, 19]}
    source = with_copies(with_contents(tmp_path / "images", contents))
    stay, held = hold_out(source, np.arange(20), 0.3, seed)
    seeds = np.array([*contents["a"], *contents["b"]])
    assert not set(seeds[stay]) & set(seeds[held])
    assert sorted([*stay, *held]) == list(range(20))
    for label in (0, 1):
        assert 1 <= (source.labels[held] == label).sum() <= 3


def test_without_copies_the_images_held_out_are_what_they_were(tmp_path: Path, cache: Path) -> None:
    plain = with_contents(tmp_path / "images", {"a": list(range(9)), "b": list(range(20, 31))})
    searched = with_copies(plain)
    assert searched.copies is not None
    for seed in range(5):
        for before, after in zip(
            hold_out(plain, np.arange(20), 0.3, seed), hold_out(searched, np.arange(20), 0.3, seed), strict=True
        ):
            assert before.tolist() == after.tolist()


def test_an_image_in_two_classes_stays_on_one_side(tmp_path: Path, cache: Path) -> None:
    source = with_copies(with_contents(tmp_path / "images", {"a": [1, 2, 3, 4], "b": [1, 2, 5, 6]}))
    for seed in range(10):
        stay, held = hold_out(source, np.arange(8), 0.5, seed)
        seeds = np.array([1, 2, 3, 4, 1, 2, 5, 6])
        assert not set(seeds[stay]) & set(seeds[held])


def test_where_every_image_has_copies_the_fewest_are_held_out_whole(tmp_path: Path, cache: Path) -> None:
    source = with_copies(with_contents(tmp_path / "images", {"a": [1, 1, 1, 2, 2], "b": [3, 4, 5, 6, 7]}))
    for seed in range(5):
        _, held = hold_out(source, np.arange(10), 0.2, seed)
        assert held[:-1].tolist() == [3, 4]


def test_a_class_of_one_image_under_many_names_can_still_be_divided(tmp_path: Path, cache: Path) -> None:
    source = with_copies(with_contents(tmp_path / "images", {"a": [1, 1, 1, 1], "b": [2, 3, 4, 5]}))
    _, held = hold_out(source, np.arange(8), 0.25, 0)
    assert np.bincount(source.labels[held]).tolist() == [1, 1]


def test_patients_who_share_an_image_are_one_group(tmp_path: Path, cache: Path) -> None:
    from dataclasses import replace

    plain = with_contents(tmp_path / "images", {"a": [1, 2, 3], "b": [3, 4, 5]})
    groups = with_copies(replace(plain, groups=np.array([7, 7, 8, 9, 9, 5]))).groups
    assert groups is not None
    assert [groups[0] == groups[other] for other in range(6)] == [True, True, False, False, False, False]
    assert groups[2] == groups[3] == groups[4]
    assert len(set(groups.tolist())) == 3


def test_the_same_pixels_in_another_format_are_a_copy(tmp_path: Path, cache: Path) -> None:
    for name, ending in (("a/0", ".png"), ("a/1", ".bmp"), ("a/2", ".tif")):
        write(tmp_path / "images" / f"{name}{ending}", 1)
    write(tmp_path / "images" / "a" / "3.png", 2)
    write(tmp_path / "images" / "b" / "0.png", 3)
    copies = with_copies(folder.load(folder_config(tmp_path / "images"))).copies
    assert copies is not None
    assert copies[0] == copies[1] == copies[2] != copies[3]


def test_dark_images_of_twelve_bits_are_no_copies(tmp_path: Path, cache: Path) -> None:
    for number in range(4):  # 257 values become one of 8 bits
        values = np.random.default_rng(number).integers(0, 200, (8, 8)).astype(np.uint16)
        path = tmp_path / "images" / "ab"[number % 2] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(values).save(path)
    copies = with_copies(folder.load(folder_config(tmp_path / "images"))).copies
    assert len(set(copies.tolist())) == 4


def test_all_splits_of_a_run_keep_copies_on_one_side(tmp_path: Path, cache: Path) -> None:
    contents = {"a": [1, 1, 2, 2, 3, 4, 5, 6, 7, 8], "b": [11, 11, 12, 13, 14, 15, 16, 17, 18, 19]}
    with_contents(tmp_path / "images", contents)
    found = find_dataset(folder_config(tmp_path / "images"), Resampling(4, True, 3))
    seeds = np.array([*contents["a"], *contents["b"]])
    for train, val in (*found.folds, (np.concatenate([found.cut.train, found.cut.val]), found.cut.test)):
        assert not set(seeds[train]) & set(seeds[val])


def test_copies_across_given_splits_and_with_other_labels_are_found(tmp_path: Path, cache: Path, eight: Preprocessing) -> None:
    layout = {"train/a": [1, 2], "train/b": [3, 4, 9], "val/a": [5, 2], "val/b": [6], "test/a": [7, 9], "test/b": [8]}
    with_contents(tmp_path / "images", layout)
    data = load_dataset(find_dataset(folder_config(tmp_path / "images")), eight)
    named = [({data.names[row] for row in one.images}, one.across, one.disagree) for one in data.copies]
    assert sorted(named, key=lambda one: one[2]) == [
        ({"train/a/001.png", "val/a/001.png"}, True, False),
        ({"train/b/002.png", "test/a/001.png"}, True, True),
    ]
    again = load_dataset(find_dataset(folder_config(tmp_path / "images")), eight)  # from the cache
    assert again.copies == data.copies


def test_they_are_looked_for_once(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = with_contents(tmp_path / "images", {"a": [1, 1], "b": [2, 3]})
    first = with_copies(source)
    monkeypatch.setattr("biotune.datasets.copies._digest", None)
    assert with_copies(source).copies.tolist() == first.copies.tolist()
