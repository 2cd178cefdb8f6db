"""Tests of the ISIC 2020 challenge's format: duplicates dropped, patients never split."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from trees import write_image

from biotune.backbones.network import Preprocessing
from biotune.config.sections import DatasetConfig
from biotune.datasets.data import find_dataset, load_dataset
from biotune.datasets.loaders import isic2020
from biotune.datasets.splits import Resampling
from biotune.errors import DataError

HEADER = "image_name,patient_id,sex,age_approx,anatom_site_general_challenge,diagnosis,benign_malignant,target"


def tree(root: Path, rows: list[tuple[str, str, int]], duplicates: list[tuple[str, str]] = []) -> Path:  # noqa: B006
    """A copy with these (image, patient, target) rows; images that are the second of a duplicate pair are not written."""
    root.mkdir(parents=True, exist_ok=True)
    words = ("benign", "malignant")
    listed = [f"{name},{patient},male,45.0,torso,unknown,{words[target]},{target}" for name, patient, target in rows]
    (root / "ISIC_2020_Training_GroundTruth.csv").write_text("\n".join([HEADER, *listed]) + "\n")
    pairs = [f"{one},{other}" for one, other in duplicates]
    (root / "ISIC_2020_Training_Duplicates.csv").write_text("\n".join(["image_name_1,image_name_2", *pairs]) + "\n")
    (root / "train").mkdir(exist_ok=True)
    for number, (name, _, target) in enumerate(rows):
        if name not in {other for _, other in duplicates}:
            write_image(root / "train" / f"{name}.jpg", 40 + 60 * target + number, (24, 16))
    return root


def config(root: Path, **options: Any) -> DatasetConfig:
    return DatasetConfig("isic2020", "isic2020", root=str(root), **options)


def patients(count: int, malignant: int, images: int = 3) -> list[tuple[str, str, int]]:
    """Patients with so many images each; of the first ones, one image is malignant."""
    return [
        (f"ISIC_{patient:04d}{number:03d}", f"IP_{patient:07d}", int(patient < malignant and number == 0))
        for patient in range(count)
        for number in range(images)
    ]


def test_labels_names_and_patients_are_read_and_second_duplicates_dropped(tmp_path: Path) -> None:
    rows = [
        ("ISIC_0000001", "IP_7", 0),
        ("ISIC_0000002", "IP_9", 1),
        ("ISIC_0000003", "", 0),
        ("ISIC_0000004", "IP_7", 1),
        ("ISIC_0000005", "", 0),
        ("ISIC_0000006", "IP_9", 1),
    ]
    source = isic2020.load(config(tree(tmp_path, rows, [("ISIC_0000002", "ISIC_0000006")])))
    assert source.classes == ("benign", "malignant")
    assert source.labels.tolist() == [0, 1, 0, 1, 0]
    assert source.names == tuple(f"train/ISIC_000000{number}.jpg" for number in range(1, 6))
    assert source.groups is not None
    # one patient for images 1 and 4; whoever has no id is a patient of their own
    assert source.groups.tolist() == [0, 1, 2, 0, 3]
    assert set(source.splits.tolist()) == {""}
    assert source.read(1).size == (24, 16)


def test_no_patient_is_in_two_splits_or_folds_and_every_class_is_in_all(
    tmp_path: Path, cache: Path, eight: Preprocessing
) -> None:
    plan = find_dataset(config(tree(tmp_path, patients(40, 15))), Resampling(2))
    groups, labels = plan.source.groups, plan.source.labels
    assert groups is not None
    parts = [plan.cut.train, plan.cut.val, plan.cut.test]
    assert sorted(np.concatenate(parts).tolist()) == list(range(120))
    assert [round(len(part) / 120, 1) for part in parts] == [0.6, 0.2, 0.2]
    owners = [set(groups[part].tolist()) for part in parts]
    assert not owners[0] & owners[1] and not owners[0] & owners[2] and not owners[1] & owners[2]
    assert all(set(labels[part].tolist()) == {0, 1} for part in parts)
    data = load_dataset(plan, eight)
    for name in ("train", "val"):
        folds = [set(groups[getattr(fold, name)].tolist()) for fold in data.folds]
        assert folds[0] and folds[1] and not folds[0] & folds[1]
        assert all(set(data.labels[getattr(fold, name)].tolist()) == {0, 1} for fold in data.folds)


def test_the_cut_follows_the_split_seed_alone(tmp_path: Path) -> None:
    tree(tmp_path, patients(40, 15))
    cuts = [find_dataset(config(tmp_path, split_seed=seed), Resampling(2)).cut.test.tolist() for seed in (0, 0, 1)]
    assert cuts[0] == cuts[1] != cuts[2]


@pytest.mark.parametrize(
    ("malignant", "folds", "message"),
    [
        (1, 2, r"malignant has images of 1 groups \(such as patients\)"),
        (3, 2, r"malignant has 1 training images, fewer than evolution\.folds=2"),
    ],
)
def test_too_few_patients_of_a_class_are_refused(tmp_path: Path, malignant: int, folds: int, message: str) -> None:
    with pytest.raises(DataError, match=message):
        find_dataset(config(tree(tmp_path, patients(30, malignant))), Resampling(folds))


def test_images_of_too_few_patients_do_not_fill_the_folds(tmp_path: Path) -> None:
    # plenty of malignant images, but of three patients: one each for training, validation and testing
    rows = [(name, patient, int(patient in ("IP_0000000", "IP_0000001", "IP_0000002"))) for name, patient, _ in patients(30, 3)]
    with pytest.raises(DataError, match=r"class malignant has images of 1 groups .* evolution\.folds=2"):
        find_dataset(config(tree(tmp_path, rows)), Resampling(2))


@pytest.mark.parametrize("name", ["ISIC_2020_Training_GroundTruth.csv", "ISIC_2020_Training_Duplicates.csv", "train"])
def test_what_is_missing_is_named_with_where_to_get_it(tmp_path: Path, name: str) -> None:
    root = tree(tmp_path / "isic", patients(4, 2))
    (root / name).rename(tmp_path / "elsewhere")
    with pytest.raises(DataError, match=rf"dataset\.root=.*: lacks {name}.*challenge2020\.isic-archive\.com"):
        isic2020.load(config(root, download=True))


def test_a_image_that_is_listed_but_missing_is_named(tmp_path: Path) -> None:
    root = tree(tmp_path, patients(4, 2))
    (root / "train" / "ISIC_0002001.jpg").unlink()
    with pytest.raises(DataError, match=r"ISIC_0002001\.jpg.*incomplete"):
        isic2020.load(config(root))


def test_a_malformed_table_is_refused(tmp_path: Path) -> None:
    root = tree(tmp_path, patients(4, 2))
    truth = root / "ISIC_2020_Training_GroundTruth.csv"
    text = truth.read_text()
    truth.write_text(text.replace("target", "tumour"))
    with pytest.raises(DataError, match="has no column target"):
        isic2020.load(config(root))
    truth.write_text(text.replace("benign,0", "benign,2", 1))
    with pytest.raises(DataError, match="target '2'; it must be 0 or 1"):
        isic2020.load(config(root))
    truth.write_text(text[: text.rindex(",")])
    with pytest.raises(DataError, match="is cut off"):
        isic2020.load(config(root))
