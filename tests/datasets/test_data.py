"""Tests of a dataset made ready for training: rows, folds, labels, fingerprint."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from trees import cub_config, cub_tree, folder_config, folder_tree, write_image

from biotune.backbones.network import Preprocessing
from biotune.config.sections import DatasetConfig
from biotune.datasets import data as data_module
from biotune.datasets.data import Data, find_dataset, load_dataset
from biotune.datasets.registry import load_source
from biotune.datasets.splits import Resampling
from biotune.errors import DataError


def digits(eight: Preprocessing, num_folds: int = 2, **options: object) -> Data:
    return load_dataset(find_dataset(DatasetConfig("digits", "digits", **options), Resampling(num_folds)), eight)


def test_folds_cut_training_and_validation_data_into_disjoint_stratified_parts(eight: Preprocessing) -> None:
    data = digits(eight, 3)
    for part, whole in (("train", data.whole.train), ("val", data.whole.val)):
        folds = [getattr(fold, part) for fold in data.folds]
        assert sorted(np.concatenate(folds).tolist()) == whole.tolist()
        counts = np.array([np.bincount(data.labels[fold], minlength=10) for fold in folds])
        assert (counts.max(0) - counts.min(0) <= 1).all()
        assert counts.sum(0).tolist() == [20] * 10


def test_folds_can_be_new_splits_of_all_training_and_validation_data(eight: Preprocessing) -> None:
    config = DatasetConfig("digits", "digits")
    data = load_dataset(find_dataset(config, Resampling(3, anew=True)), eight)
    every = sorted([*data.whole.train.tolist(), *data.whole.val.tolist()])
    assert data.folds[0].train.tolist() == data.whole.train.tolist()
    for fold in data.folds:
        assert sorted([*fold.train.tolist(), *fold.val.tolist()]) == every
        assert np.bincount(data.labels[fold.val]).tolist() == [20] * 10
    assert len({tuple(fold.val.tolist()) for fold in data.folds}) == 3
    assert data.fingerprint != digits(eight, 3).fingerprint
    assert load_dataset(find_dataset(config, Resampling(3, anew=True)), eight).fingerprint == data.fingerprint


def test_no_test_row_is_in_any_fold(eight: Preprocessing) -> None:
    data = digits(eight)
    used = np.concatenate([part for fold in (*data.folds, data.whole) for part in (fold.train, fold.val)])
    assert not set(used.tolist()) & set(data.test.tolist())
    assert len(data.test) == 1397


def test_one_fold_is_all_the_data(eight: Preprocessing) -> None:
    data = digits(eight, 1)
    assert data.part(0).train.tolist() == data.part(None).train.tolist() == data.whole.train.tolist()


def test_rows_carry_the_images_and_labels_of_their_names(tmp_path: Path, cache: Path, eight: Preprocessing) -> None:
    config = folder_config(folder_tree(tmp_path / "images", {"a": 6, "b": 6, "c": 6}), max_per_class=2)
    plan = find_dataset(config)
    data = load_dataset(plan, eight)
    assert len(data.pixels) == len(data.names) == len(data.labels) < 18, "only images in use are decoded"
    for row, name in enumerate(data.names):
        assert data.classes[data.labels[row]] == name.partition("/")[0]


def test_limited_classes_get_outputs_of_their_own(tmp_path: Path, cache: Path, eight: Preprocessing) -> None:
    cub_tree(tmp_path, classes=4)
    data = load_dataset(find_dataset(cub_config(tmp_path, max_classes=2)), eight)
    assert data.classes == ("001.Bird_1", "002.Bird_2")
    assert set(data.labels.tolist()) == {0, 1}


def test_the_fingerprint_follows_folds_splits_and_images_alone(eight: Preprocessing) -> None:
    base = digits(eight).fingerprint
    assert digits(eight).fingerprint == base
    others = [
        digits(eight, 3).fingerprint,
        digits(eight, split_seed=1).fingerprint,
        digits(eight, shift="blur").fingerprint,
        digits(eight, max_per_class=5).fingerprint,
    ]
    assert len({base, *others}) == 5


def test_contents_follow_pixels_names_labels_and_splits_wherever_the_files_lie(
    tmp_path: Path, cache: Path, eight: Preprocessing
) -> None:
    def loaded(place: Path, **options: object) -> Data:
        return load_dataset(find_dataset(folder_config(place, **options), Resampling(2)), eight)

    first = loaded(folder_tree(tmp_path / "images", {"a": 12, "b": 12}))
    shutil.copytree(tmp_path / "images", tmp_path / "else where", copy_function=shutil.copyfile)
    copy = loaded(tmp_path / "else where")
    assert copy.contents == first.contents
    assert copy.fingerprint != first.fingerprint  # the decoded images of a place are kept for that place
    others = [loaded(tmp_path / "else where", split_seed=1).contents]
    (tmp_path / "else where/b").rename(tmp_path / "else where/c")
    others.append(loaded(tmp_path / "else where").contents)
    (tmp_path / "else where/c").rename(tmp_path / "else where/b")
    (tmp_path / "else where/b/000.png").rename(tmp_path / "else where/a/012.png")
    others.append(loaded(tmp_path / "else where").contents)
    (tmp_path / "else where/a/012.png").rename(tmp_path / "else where/b/000.png")
    assert loaded(tmp_path / "else where").contents == first.contents
    write_image(tmp_path / "else where/b/000.png", 250)
    others.append(loaded(tmp_path / "else where").contents)
    assert len({first.contents, *others}) == 5


def test_an_image_size_scales_resize_and_crop_alike(tmp_path: Path, cache: Path) -> None:
    preprocessing = Preprocessing(232, 224, (0.5,) * 3, (0.5,) * 3)
    assert (preprocessing.scaled_to(112).resize, preprocessing.scaled_to(112).crop) == (116, 112)
    config = folder_config(folder_tree(tmp_path / "images", {"a": 4, "b": 4}), image_size=32)
    assert load_dataset(find_dataset(config), preprocessing).pixels.shape == (8, 32, 32, 3)


def test_finding_keeps_no_pixels_and_leaves_broken_images_to_the_decoder(tmp_path: Path, cache: Path) -> None:
    root = folder_tree(tmp_path / "images", {"a": 4, "b": 4})
    for path in root.rglob("*.png"):
        path.write_text("no image")
    assert find_dataset(folder_config(root)).classes == ("a", "b")
    assert sorted(path.name for path in cache.iterdir()) == ["copies", "locks"]


def test_an_unknown_loader_is_refused_with_the_nearest() -> None:
    with pytest.raises(DataError, match=r"dataset\.loader=digit: no such loader\. Did you mean digits"):
        load_source(DatasetConfig("digit", "digit"))


@pytest.mark.parametrize("broken", [False, True])
def test_folds_are_drawn_once_and_again_only_where_broken_images_are_left_out(
    broken: bool, tmp_path: Path, cache: Path, eight: Preprocessing, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = folder_tree(tmp_path, {"a": 12, "b": 12})
    if broken:
        (root / "a" / "000.png").write_text("text")
    drawn: list[int] = []
    real = data_module.draw_folds
    monkeypatch.setattr(data_module, "draw_folds", lambda *arguments: (drawn.append(1), real(*arguments))[1])
    found = find_dataset(folder_config(root, skip_broken=True), Resampling(2))
    data = load_dataset(found, eight)
    assert len(drawn) == (2 if broken else 1)
    rows = [np.sort(np.concatenate([fold.train for fold in data.folds])), np.sort(np.concatenate([f.val for f in data.folds]))]
    assert [row.tolist() for row in rows] == [data.whole.train.tolist(), data.whole.val.tolist()]
