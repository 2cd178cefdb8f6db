"""Tests of the user's own image folders."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import numpy as np
import pytest
from trees import folder_config, folder_tree, write_image

from biotune.backbones.network import Preprocessing
from biotune.datasets.data import find_dataset, load_dataset
from biotune.datasets.loaders import folder
from biotune.datasets.splits import Resampling
from biotune.errors import DataError


def test_a_flat_tree_gives_sorted_classes_and_no_splits(tmp_path: Path) -> None:
    source = folder.load(folder_config(folder_tree(tmp_path, {"dog": 3, "cat": 2})))
    assert source.classes == ("cat", "dog")
    assert source.names == ("cat/000.png", "cat/001.png", "dog/000.png", "dog/001.png", "dog/002.png")
    assert source.labels.tolist() == [0, 0, 1, 1, 1]
    assert set(source.splits.tolist()) == {""}


def test_split_folders_are_official_splits(tmp_path: Path) -> None:
    tree = {f"{split}/{name}": count for split, count in (("train", 3), ("val", 2), ("test", 1)) for name in ("a", "b")}
    source = folder.load(folder_config(folder_tree(tmp_path, tree)))
    assert [(source.splits == split).sum() for split in ("train", "val", "test")] == [6, 4, 2]
    assert all(name.startswith(str(split)) for name, split in zip(source.names, source.splits, strict=True))


def test_train_and_test_folders_alone_leave_validation_to_be_held_out(tmp_path: Path) -> None:
    tree = {"train/a": 5, "train/b": 5, "test/a": 2, "test/b": 2}
    plan = find_dataset(folder_config(folder_tree(tmp_path, tree)))
    assert [len(part) for part in (plan.cut.train, plan.cut.val, plan.cut.test)] == [8, 2, 4]


LEFT_BY_PROGRAMS = (
    "a/.hidden.png",
    "a/._000.png",
    "b/.ipynb_checkpoints/000-checkpoint.png",
    "b/@eaDir/000.png/SYNOFILE_THUMB_M.jpg",
    "b/deeper/.thumbnails/000.png",
    "__MACOSX/a/._000.png",
    ".git/x.png",
    "a/Thumbs.db",
)


def test_what_systems_and_programs_leave_behind_is_no_data(tmp_path: Path) -> None:
    root = folder_tree(tmp_path, {"a": 2, "b": 2})
    for name in (*LEFT_BY_PROGRAMS, "a/notes.txt", "loose.png"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        write_image(tmp_path / "any.png").rename(root / name)
    found = folder.load(folder_config(root))
    assert found.classes == ("a", "b")
    assert found.names == ("a/000.png", "a/001.png", "b/000.png", "b/001.png")
    assert found.passed_over() == sorted((*LEFT_BY_PROGRAMS, "a/notes.txt", "loose.png"))


def test_a_class_without_test_images_is_used(tmp_path: Path, cache: Path) -> None:
    root = folder_tree(tmp_path, {"train/a": 4, "train/b": 4, "val/a": 1, "val/b": 1, "test/a": 2})
    found = find_dataset(folder_config(root))
    assert found.classes == ("a", "b")
    assert [len(part) for part in (found.cut.train, found.cut.val, found.cut.test)] == [8, 2, 2]


def test_validation_images_can_be_held_out_again_where_a_folder_lacks_a_class(tmp_path: Path, cache: Path) -> None:
    root = folder_tree(tmp_path, {"train/a": 4, "train/c": 4, "val/a": 4, "val/b": 8, "test/a": 2, "test/b": 2, "test/c": 2})
    found = find_dataset(folder_config(root, val_from_train=True, val_fraction=0.25))
    labels = found.source.labels
    assert found.classes == ("a", "b", "c")
    assert np.bincount(labels[found.cut.val]).tolist() == [2, 2, 1]
    assert np.bincount(labels[found.cut.train]).tolist() == [6, 6, 3]
    assert np.bincount(labels[found.cut.test]).tolist() == [2, 2, 2]


def test_names_with_spaces_quotes_and_unicode_work_down_to_the_pixels(
    tmp_path: Path, cache: Path, eight: Preprocessing
) -> None:
    names = ('l\'été de "Zoë"', "日本 の 鳥")
    root = folder_tree(tmp_path / "my images, all=of them", {name: 4 for name in names}, ".JPEG")
    data = load_dataset(find_dataset(folder_config(root)), eight)
    assert data.classes == tuple(sorted(names))
    assert data.pixels.shape == (8, 8, 8, 3)
    assert (data.pixels.reshape(8, -1).max(1) > 0).all()


def test_a_class_that_systems_spell_differently_is_one(tmp_path: Path) -> None:
    composed, apart = (unicodedata.normalize(form, "café") for form in ("NFC", "NFD"))
    root = folder_tree(tmp_path, {f"train/{apart}": 2, "train/b": 2, f"val/{composed}": 1, "val/b": 1})
    found = folder.load(folder_config(root))
    assert found.classes == ("b", apart)
    assert found.labels.tolist() == [0, 0, 1, 1, 0, 1]
    assert found.names[-1] == f"val/{composed}/000.png"


def test_images_may_lie_in_folders_below_a_class(tmp_path: Path) -> None:
    root = folder_tree(tmp_path, {"a/2019": 1, "a/2020/may": 1, "b": 1})
    assert folder.load(folder_config(root)).names == ("a/2019/000.png", "a/2020/may/000.png", "b/000.png")


def test_a_class_whose_name_is_that_of_a_split_needs_its_train_folder(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"dataset\.root=.*has a val folder but no train folder"):
        folder.load(folder_config(folder_tree(tmp_path, {"val/a": 1, "other/b": 1})))


@pytest.mark.parametrize(
    ("tree", "words"),
    [
        ({"cat": 2, "dog": 0}, "class folder dog holds no images"),
        ({"cat": 2}, "holds 1 class folders, needs at least two"),
        ({}, "holds 0 class folders"),
        ({"train/a": 1, "train/b": 1, "val/a": 1, "val/b": 1, "val/c": 1}, "class c is in val but not in train"),
        (
            {"train/a": 1, "train/b": 1, "val/a": 1},
            "class b is in train but not in val. Move .* or set dataset.val_from_train=true",
        ),
        (
            {"train/a": 1, "train/b": 1, "val/a": 1, "val/b": 0},
            "class b is in train but not in val. Move .*val_from_train=true",
        ),
        (
            {"train/a": 1, "train/b": 1, "test/a": 1, "test/c": 1},
            "class c is in test but not in train. Move .* take its folder",
        ),
    ],
)
def test_a_tree_that_cannot_be_used_names_the_root_and_the_class(tmp_path: Path, tree: dict[str, int], words: str) -> None:
    root = folder_tree(tmp_path / "images", tree)
    root.mkdir(exist_ok=True)
    with pytest.raises(DataError, match=words) as error:
        folder.load(folder_config(root))
    assert f"dataset.root={root}" in str(error.value)


@pytest.mark.parametrize("make", ["missing", "file", "unset"])
def test_a_root_that_is_no_folder_is_refused(tmp_path: Path, make: str) -> None:
    root = tmp_path / "images"
    if make == "file":
        root.write_text("not a folder")
    config = folder_config(root)
    config.root = None if make == "unset" else config.root
    with pytest.raises(DataError, match=r"dataset\.root.*a folder of images with one folder per class"):
        folder.load(config)


def damaged(root: Path, kind: str) -> Path:
    path = root / "a" / f"{kind}.jpg"
    if kind == "truncated":
        write_image(path, 3, (64, 64))
        content = path.read_bytes()
        path.write_bytes(content[: len(content) // 2])
    elif kind == "text":
        path.write_text("I am not an image")
    else:
        path.write_bytes(b"")
    return path


@pytest.mark.parametrize(("kind", "reason"), [("truncated", "truncated"), ("text", "identify"), ("empty", "identify")])
def test_a_image_that_cannot_be_decoded_is_named_with_its_reason(
    tmp_path: Path, cache: Path, eight: Preprocessing, kind: str, reason: str
) -> None:
    root = folder_tree(tmp_path / "images", {"a": 5, "b": 5})
    path = damaged(root, kind)
    with pytest.raises(DataError, match=reason) as error:
        load_dataset(find_dataset(folder_config(root)), eight)
    message = str(error.value)
    assert f"a/{path.name}" in message
    assert "dataset.skip_broken=true" in message
    assert "\n" not in message


def test_skipping_broken_images_leaves_valid_splits_without_them(tmp_path: Path, cache: Path, eight: Preprocessing) -> None:
    root = folder_tree(tmp_path / "images", {"a": 12, "b": 12})
    bad = {f"a/{damaged(root, kind).name}" for kind in ("truncated", "text", "empty")}
    data = load_dataset(find_dataset(folder_config(root, skip_broken=True), Resampling(2)), eight)
    assert set(data.skipped) == bad
    used = np.concatenate([data.whole.train, data.whole.val, data.test])
    assert len(used) == len(set(used.tolist())) == 24
    assert not bad & {data.names[row] for row in used}
    for fold in data.folds:
        assert {data.names[row] for row in np.concatenate([fold.train, fold.val])}.isdisjoint(bad)
        assert set(data.labels[fold.train].tolist()) == set(data.labels[fold.val].tolist()) == {0, 1}


def test_skipping_that_empties_a_class_is_refused(tmp_path: Path, cache: Path, eight: Preprocessing) -> None:
    root = folder_tree(tmp_path / "images", {"a": 0, "b": 8})
    for index in range(5):
        (root / "a" / f"{index}.png").write_text("no image")
    with pytest.raises(DataError):
        load_dataset(find_dataset(folder_config(root, skip_broken=True)), eight)


@pytest.mark.parametrize("words", [("Training", "VALID", "Testing"), ("TRAIN", "Validation", "TEST"), ("train", "dev", "test")])
def test_split_folders_have_the_names_that_people_give_them(tmp_path: Path, words: tuple[str, str, str]) -> None:
    root = folder_tree(tmp_path, {f"{word}/{name}": 2 for word in words for name in ("a", "b")})
    for left in ("Thumbs.db", ".DS_Store", "desktop.ini", "__MACOSX/Train/a/._000.png", ".ipynb_checkpoints/a/000.png"):
        (root / left).parent.mkdir(parents=True, exist_ok=True)
        (root / left).write_bytes(b"x")
        below = root / words[0] / "a" / left
        below.parent.mkdir(parents=True, exist_ok=True)
        below.write_bytes(b"x")
    source = folder.load(folder_config(root))
    assert source.classes == ("a", "b")
    assert [source.splits.tolist().count(split) for split in ("train", "val", "test")] == [4, 4, 4]
