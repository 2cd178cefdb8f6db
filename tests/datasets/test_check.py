"""Tests of what a check finds besides counts and broken images."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from trees import folder_config, folder_tree, write_image

from biotune.config.sections import DatasetConfig
from biotune.datasets.check import Finding, check_copy
from biotune.datasets.registry import LOADERS, Loader
from biotune.datasets.source import Source


def lacks(finding: Finding) -> dict[str, str]:
    return {one.name: one.lacks for one in finding.classes if one.lacks}


@pytest.mark.parametrize(
    ("tree", "wanted"),
    [
        ({"a": 3, "b": 3}, {}),
        ({"a": 3, "b": 2}, {"b": "has 2 images for training, validation and test, which need one each"}),
        ({"train/a": 2, "train/b": 1, "test/a": 1}, {"b": "has 1 image for training, validation, which need one each"}),
        ({"train/a": 1, "train/b": 1, "val/a": 1, "val/b": 1, "test/a": 1}, {}),
    ],
)
def test_classes_that_cannot_be_split_are_named_and_a_run_refuses_exactly_those(
    tmp_path: Path, tree: dict[str, int], wanted: dict[str, str]
) -> None:
    finding = check_copy(folder_config(folder_tree(tmp_path, tree)))
    assert lacks(finding) == wanted
    assert bool(finding.refused) == bool(wanted)
    assert finding.is_whole


def test_groups_are_what_is_split_where_there_are_any(tmp_path: Path) -> None:
    rows = [f"{number}.png,{('a', 'b')[number % 2]},{number % 2 if number % 2 else number}" for number in range(12)]
    for number in range(12):
        write_image(tmp_path / f"{number}.png", 9 * number)
    (tmp_path / "labels.csv").write_text("\n".join(["path,label,patient", *rows]))
    finding = check_copy(DatasetConfig("table", "table", root=str(tmp_path), table="labels.csv"))
    assert lacks(finding) == {"b": "has 1 group for training, validation and test, which need one each"}
    assert "groups" in finding.refused


def made(monkeypatch: pytest.MonkeyPatch, splits: list[str], labels: list[int]) -> Finding:
    """A check of plain images in memory, each of its own grey value."""
    source = Source(
        name="made",
        classes=("a", "b", "c"),
        labels=np.array(labels),
        splits=np.array(splits, dtype="<U5"),
        names=tuple(map(str, range(len(labels)))),
        read=lambda index: Image.new("RGB", (20, 20), (7 * index, 0, 0)),
        fingerprint="made",
    )
    monkeypatch.setitem(LOADERS, "made", Loader(lambda config: source))
    return check_copy(DatasetConfig("made", "made"))


def test_given_splits_are_counted_by_class_and_lacking_ones_named(monkeypatch: pytest.MonkeyPatch) -> None:
    finding = made(monkeypatch, ["train", "train", "train", "val", "val", "test", "test"], [0, 0, 1, 0, 2, 0, 1])
    assert [(one.name, one.images) for one in finding.classes] == [("a", (2, 1, 1)), ("b", (1, 0, 1)), ("c", (0, 1, 0))]
    assert lacks(finding) == {"b": "has no validation images", "c": "has no training images"}
    assert finding.refused


def test_copies_join_the_sets_of_those_that_look_alike(tmp_path: Path) -> None:
    pytest.importorskip("imagehash")
    from sklearn.datasets import load_sample_images

    china, flower = (Image.fromarray(pixels) for pixels in load_sample_images().images)
    for name, image, options in (
        ("train/a/1.png", china, {}),
        ("train/a/2.jpg", china, {"quality": 60}),
        ("test/a/3.png", china, {}),
        ("train/b/4.png", flower, {}),
        ("test/b/5.png", flower, {}),
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        image.save(tmp_path / name, **options)
    finding = check_copy(folder_config(tmp_path))

    def told(found: Any) -> list[tuple[list[str], bool]]:
        return [([finding.names[at] for at in one.images], one.across) for one in found]

    assert told(finding.copies) == [(["train/a/1.png", "test/a/3.png"], True), (["train/b/4.png", "test/b/5.png"], True)]
    # the JPEG has its original in one split and that one's copy in the other; mere copies are no near duplicates
    assert told(finding.near) == [(["train/a/1.png", "train/a/2.jpg", "test/a/3.png"], True)]


def test_files_of_several_images_are_named(tmp_path: Path) -> None:
    root = folder_tree(tmp_path, {"a": 1, "b": 1})
    first, second = (Image.new("RGB", (9, 9), colour) for colour in ("red", "blue"))
    for name in ("a/pages.tif", "b/moving.gif"):
        first.save(root / name, save_all=True, append_images=[second])
    finding = check_copy(folder_config(root))
    assert finding.several == ("a/pages.tif", "b/moving.gif") and not finding.broken


def test_images_of_more_than_8_bits_are_told_apart_in_the_range_they_use(tmp_path: Path) -> None:
    pytest.importorskip("imagehash")
    rng = np.random.default_rng(0)
    for number in range(4):  # a narrow range of 16 bits; in that of the type all are black
        values = (rng.integers(0, 100, (4, 4)).repeat(16, axis=0).repeat(16, axis=1)).astype(np.uint16)
        (tmp_path / "ab"[number % 2]).mkdir(exist_ok=True)
        Image.fromarray(values).save(tmp_path / "ab"[number % 2] / f"{number}.png")
    finding = check_copy(folder_config(tmp_path))
    assert finding.near == () and finding.copies == () and not finding.broken
