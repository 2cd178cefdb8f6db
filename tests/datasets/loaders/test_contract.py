"""What every dataset's loader promises: a new dataset gets all these tests by one line in `COPIES`, how a tiny copy is made."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from official import MAKERS
from PIL import Image
from trees import cub_tree, folder_tree, write_image

from biotune.config.sections import DatasetConfig
from biotune.datasets.catalogue import CATALOGUE
from biotune.datasets.data import find_dataset
from biotune.datasets.registry import LOADERS, load_source
from biotune.datasets.source import SPLITS
from biotune.errors import DataError

WORDS = {*SPLITS, ""}


@dataclass(frozen=True)
class Copy:
    """A tiny copy of a dataset.

    Attributes:
        loader: Name of its loader.
        make: Writes it below a folder; None where the data ship with the package.
        options: Keys of `DatasetConfig` that it needs or, for the last test, that change its images.
    """

    loader: str
    make: Callable[[Path, pytest.MonkeyPatch], None] | None
    options: dict[str, Any] = field(default_factory=dict)


def isic2020(root: Path, patch: pytest.MonkeyPatch) -> None:
    rows = [(f"ISIC_{number:07d}", f"IP_{number % 8}", number % 2) for number in range(16)]
    listed = [f"{name},{patient},male,45.0,torso,unknown,{target},{target}" for name, patient, target in rows]
    header = "image_name,patient_id,sex,age_approx,anatom_site_general_challenge,diagnosis,benign_malignant,target"
    root.mkdir(parents=True)
    (root / "ISIC_2020_Training_GroundTruth.csv").write_text("\n".join([header, *listed]) + "\n")
    (root / "ISIC_2020_Training_Duplicates.csv").write_text("image_name_1,image_name_2\n")
    for number, (name, *_) in enumerate(rows):
        write_image(root / "train" / f"{name}.jpg", 10 * number)


def medmnist(root: Path, patch: pytest.MonkeyPatch) -> None:
    root.mkdir(parents=True)
    rng = np.random.default_rng(0)
    arrays = {}
    for split, labels in (("train", [0, 1, 6]), ("val", [1, 0]), ("test", [6, 2])):
        arrays[f"{split}_images"] = rng.integers(0, 255, (len(labels), 28, 28, 3), dtype=np.uint8)
        arrays[f"{split}_labels"] = np.array(labels, dtype=np.uint8)[:, None]
    np.savez(root / "dermamnist.npz", **arrays)


def plain_folder(root: Path, patch: pytest.MonkeyPatch) -> None:
    folder_tree(root, {"cat": 4, "dog": 5})


def split_folder(root: Path, patch: pytest.MonkeyPatch) -> None:
    folder_tree(root, {f"{split}/{name}": 2 for split in SPLITS for name in ("cat", "dog")})


def table(root: Path, patch: pytest.MonkeyPatch) -> None:
    folder_tree(root, {"images": 6})
    rows = [f"images/{number:03d}.png,{('cat', 'dog')[number % 2]},{SPLITS[number // 2]}" for number in range(6)]
    (root / "labels.csv").write_text("\n".join(["image,label,split", *rows]))


def hf_saved(root: Path, patch: pytest.MonkeyPatch) -> None:
    import datasets

    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=["cat", "dog"])})
    images = [Image.new("RGB", (9, 8), (20 * number, 0, 0)) for number in range(6)]
    datasets.Dataset.from_dict({"image": images, "label": [0, 1] * 3}, features=features).save_to_disk(root)


def hf_folder(root: Path, patch: pytest.MonkeyPatch) -> None:
    import datasets

    patch.setattr(datasets.config, "HF_DATASETS_CACHE", root.parent / "hf-cache")
    split_folder(root, patch)


COPIES = {
    "digits": Copy("digits", None),
    "folder": Copy("folder", plain_folder),
    "folder, split": Copy("folder", split_folder),
    "cub": Copy("cub", lambda root, patch: cub_tree(root) and None),
    "isic2020": Copy("isic2020", isic2020),
    "table": Copy("table", table, {"table": "labels.csv"}),
    "hf, saved": Copy("hf", hf_saved),
    "hf, folder": Copy("hf", hf_folder),
    "dermamnist": Copy("medmnist", medmnist, {"source_size": 28}),
    **{name: Copy("torchvision", make) for name, make in MAKERS.items()},
}
COPIES["dtd"].options["partition"] = 1
COPIES["fgvc_aircraft"].options["annotation"] = "variant"
NEEDS = {"medmnist": "medmnist", "hf": "datasets"}  # loader → the library that it needs
ON_DISK = [name for name, copy in COPIES.items() if copy.make]


def config(name: str, root: Path | None, **options: Any) -> DatasetConfig:
    copy = COPIES[name]
    place = None if root is None or copy.make is None else str(root)
    return DatasetConfig(copy.loader, name.partition(",")[0], root=place, **{**copy.options, **options})


@pytest.fixture
def make(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], DatasetConfig]:
    """Makes the tiny copy of a dataset and returns the config that finds it."""

    def made(name: str) -> DatasetConfig:
        copy = COPIES[name]
        if copy.loader in NEEDS:
            pytest.importorskip(NEEDS[copy.loader])
        if copy.make:
            copy.make(tmp_path / "copy", monkeypatch)
        return config(name, tmp_path / "copy")

    return made


def test_every_loader_and_every_named_dataset_is_held_to_the_contract() -> None:
    assert {copy.loader for copy in COPIES.values()} >= {
        *("cub", "digits", "folder", "hf"),
        *("isic2020", "medmnist", "table", "torchvision"),
    }
    assert {copy.loader for copy in COPIES.values()} <= set(LOADERS)
    assert {name for name, facts in CATALOGUE.items() if facts.loader == "torchvision"} <= set(COPIES)


@pytest.mark.parametrize("name", COPIES)
def test_labels_splits_and_names_are_of_one_form(name: str, make: Callable[[str], DatasetConfig]) -> None:
    source = load_source(make(name))
    count = len(source.names)
    assert count > 0
    assert source.labels.dtype == np.int64 and source.labels.shape == (count,)
    assert source.splits.shape == (count,) and set(source.splits.tolist()) <= WORDS
    assert ("" in source.splits) == (set(source.splits.tolist()) == {""}), "all images have an official split, or none has"
    assert len(set(source.names)) == count and all(source.names)
    assert len(set(source.classes)) == len(source.classes) and all(source.classes)
    assert source.groups is None or source.groups.shape == (count,)
    assert source.labels.min() >= 0 and source.labels.max() < len(source.classes)


@pytest.mark.parametrize("name", [name for name, copy in COPIES.items() if copy.loader not in ("medmnist", "torchvision")])
def test_labels_are_dense_where_the_copy_itself_names_the_classes(name: str, make: Callable[[str], DatasetConfig]) -> None:
    source = load_source(make(name))
    assert sorted(set(source.labels.tolist())) == list(range(len(source.classes)))


@pytest.mark.parametrize("name", COPIES)
def test_every_image_is_one_of_pillows(name: str, make: Callable[[str], DatasetConfig]) -> None:
    source = load_source(make(name))
    for index in range(min(len(source.names), 20)):
        image = source.read(index)
        assert isinstance(image, Image.Image)
        assert np.asarray(image.convert("RGB")).shape[2] == 3
    first, again = (np.asarray(source.read(0)) for _ in range(2))
    np.testing.assert_array_equal(first, again)


@pytest.mark.parametrize("name", COPIES)
def test_the_fingerprint_is_the_same_as_long_as_the_images_are(name: str, make: Callable[[str], DatasetConfig]) -> None:
    settings = make(name)
    assert load_source(settings).fingerprint == load_source(settings).fingerprint


def changed(root: Path) -> None:
    """Change the data: the first image of a copy, or else the file that holds them all."""
    files = sorted(path for path in root.rglob("*") if path.is_file())
    images = [path for path in files if path.suffix in (".jpg", ".png")]
    if images:
        write_image(images[0], 201, (30, 40))
    else:
        for file in files:
            os.utime(file, (1, 1))


@pytest.mark.parametrize("name", ON_DISK)
def test_the_fingerprint_is_another_one_when_the_images_are(name: str, make: Callable[[str], DatasetConfig]) -> None:
    settings = make(name)
    before = load_source(settings).fingerprint
    changed(Path(str(settings.root)))
    assert load_source(settings).fingerprint != before


def test_the_fingerprint_of_bundled_images_follows_what_changes_them() -> None:
    assert len({load_source(config("digits", None, shift=shift)).fingerprint for shift in ("none", "blur", "invert")}) == 3


@pytest.mark.parametrize("name", ON_DISK)
def test_a_root_that_is_not_there_is_one_clear_line_without_the_network(
    name: str, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if COPIES[name].loader in NEEDS:
        pytest.importorskip(NEEDS[COPIES[name].loader])
    monkeypatch.setattr("socket.socket.connect", partial(pytest.fail, "a copy was looked for on the network"))
    with pytest.raises(DataError) as error:
        find_dataset(config(name, tmp_path / "nowhere"), 1)
    text = str(error.value)
    assert "\n" not in text
    assert str(tmp_path / "nowhere") in text and "dataset.root" in text
