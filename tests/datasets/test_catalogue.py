"""Tests of the table of facts, and of checking a copy against it."""

from __future__ import annotations

import dataclasses
import warnings
from pathlib import Path
from typing import Any

import pytest
import yaml
from official import MAKERS
from PIL import Image
from trees import cub_config, cub_tree, folder_config, folder_tree

from biotune.config.checks import check
from biotune.config.schema import DataConfig
from biotune.config.sections import DatasetConfig
from biotune.datasets.catalogue import CATALOGUE
from biotune.datasets.check import check_copy
from biotune.datasets.registry import LOADERS, facts_of
from biotune.errors import ConfigError

CONFIGS = Path(__file__).parents[2] / "configs" / "dataset"


def test_every_dataset_has_facts_a_loader_and_a_small_file_that_begins_with_a_comment() -> None:
    assert {file.stem for file in CONFIGS.glob("*.yaml")} == set(CATALOGUE)
    for name, facts in CATALOGUE.items():
        text = (CONFIGS / f"{name}.yaml").read_text()
        keys = yaml.safe_load(text)
        assert text.startswith("# ") and len(text.splitlines()) <= 6
        assert keys["loader"] == facts.loader and facts.loader in LOADERS
        if facts.needs:
            assert keys["root"] == f"data/{name}"


def test_official_counts_add_up() -> None:
    totals = {name: sum(count or 0 for count in (facts.train, facts.val, facts.test)) for name, facts in CATALOGUE.items()}
    wanted = {
        **{"cub": 11788, "flowers102": 8189, "fgvc_aircraft": 10000, "dtd": 5640, "cifar10": 60000, "stl10": 13000},
        **{"mnist": 70000, "usps": 9298, "svhn": 99289, "oxford_pets": 7349, "food101": 101000, "eurosat": 27000},
        **{"stanford_cars": 16185, "digits": 1797, "medmnist": 10015, "isic2020": 33126 - 425},
    }
    assert {name: totals[name] for name in wanted} == wanted


def test_facts_follow_the_annotation_level_and_the_users_own_have_none() -> None:
    aircraft = DatasetConfig("torchvision", "fgvc_aircraft", annotation="family")
    assert getattr(facts_of(aircraft), "classes", None) == 70
    assert facts_of(DatasetConfig("birds", "cub")) is None
    assert facts_of(DatasetConfig("folder", "my_cats")) is None


@pytest.mark.parametrize(
    ("loader", "name", "keys", "message"),
    [
        ("torchvision", "cifar10", {"partition": 2}, "dataset.partition=2: only dataset=dtd has this key"),
        ("cub", "cub", {"annotation": "family"}, "dataset.annotation=family: only dataset=fgvc_aircraft has this key"),
        ("torchvision", "mnist", {"source_size": 64}, "dataset.source_size=64: only dataset=medmnist has this key"),
        ("folder", "mine", {"table": "a.csv"}, "dataset.table=a.csv: only dataset=table has this key"),
        ("folder", "mine", {"label_column": "y"}, "dataset.label_column=y: only dataset=table or hf have this key"),
        ("cub", "cub", {"image_column": "y"}, "dataset.image_column=y: only dataset=table or hf have this key"),
        ("hf", "hf", {"hub": "a/b", "split_column": "y"}, "dataset.split_column=y: only dataset=table has this key"),
        ("folder", "mine", {"group_column": "none"}, "dataset.group_column=none: only dataset=table or hf have this key"),
        ("table", "mine", {"hub": "a/b", "table": "a.csv"}, "dataset.hub=a/b: only dataset=hf has this key"),
        ("table", "mine", {}, "dataset.table: must be set for dataset=table: a CSV, TSV or Parquet file"),
        ("hf", "hf", {}, "dataset.root and dataset.hub: one must be set for dataset=hf"),
        ("hf", "hf", {"hub": "a/b", "root": "c"}, "dataset.root and dataset.hub: give one of the two"),
        ("torchvision", "dtd", {}, "dataset.partition=null: must be set for dataset=dtd"),
        ("torchvision", "dtd", {"partition": 11}, "dataset.partition=11: must be at most 10."),
        ("torchvision", "fgvc_aircraft", {"annotation": "wings"}, "must be one of variant, family, manufacturer."),
        ("medmnist", "dermamnist", {"source_size": 32}, "dataset.source_size=32: must be one of 28, 64, 128, 224."),
    ],
)
def test_keys_of_one_dataset_are_refused_elsewhere(loader: str, name: str, keys: dict[str, Any], message: str) -> None:
    config = DataConfig(dataset=DatasetConfig(loader, name, **keys))
    with pytest.raises(ConfigError) as error:
        check(config)
    assert [line for line in str(error.value).splitlines() if line.startswith("dataset.") and message in line]


def test_a_whole_copy_is_told_from_one_with_too_few_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cub_tree(tmp_path)
    finding = check_copy(cub_config(tmp_path))
    assert [(count.what, count.found, count.official, count.agrees) for count in finding.counts] == [
        ("classes", 3, 200, False),
        ("train", 12, 5994, False),
        ("test", 6, 5794, False),
    ]
    assert not finding.is_whole and finding.broken == {}
    monkeypatch.setitem(CATALOGUE, "cub", dataclasses.replace(CATALOGUE["cub"], classes=3, train=12, test=6))
    assert check_copy(cub_config(tmp_path)).is_whole


def test_a_split_that_a_copy_lacks_is_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    MAKERS["eurosat"](tmp_path, monkeypatch)
    finding = check_copy(DatasetConfig("torchvision", "eurosat", root=str(tmp_path)))
    assert [(count.what, count.found, count.official) for count in finding.counts] == [
        ("classes", 2, 10),
        ("train", 10, 27000),
    ]


def test_every_broken_image_is_named_and_progress_counts_all(tmp_path: Path) -> None:
    root = folder_tree(tmp_path, {"a": 5, "b": 5})
    (root / "a" / "003.png").write_bytes((root / "a" / "003.png").read_bytes()[:60])
    (root / "b" / "000.png").write_text("text")
    seen: list[tuple[int, int]] = []
    finding = check_copy(folder_config(root), lambda done, total: seen.append((done, total)))
    assert sorted(finding.broken) == ["a/003.png", "b/000.png"] and not finding.is_whole
    assert seen == [(done, 10) for done in range(1, 11)]


def test_a_image_that_would_decode_to_too_many_pixels_is_refused_unopened(tmp_path: Path) -> None:
    root = folder_tree(tmp_path, {"a": 1, "b": 1})
    # 100 million white pixels in a few kilobytes
    Image.new("1", (10_000, 10_000)).save(root / "a" / "bomb.png")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # as a user's program may have set
        finding = check_copy(folder_config(root))
    assert list(finding.broken) == ["a/bomb.png"] and "10000×10000 pixels" in finding.broken["a/bomb.png"]
