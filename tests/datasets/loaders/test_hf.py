"""Tests of datasets in the formats of the library `datasets`: written by it or by pandas, and read without the network."""

from __future__ import annotations

import io
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from trees import folder_tree

from biotune.backbones.network import Preprocessing
from biotune.config.sections import DatasetConfig
from biotune.datasets.data import find_dataset, load_dataset
from biotune.datasets.registry import load_source
from biotune.errors import DataError

datasets = pytest.importorskip("datasets")


@pytest.fixture(autouse=True)
def offline(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The library's cache is the test's own, and the network is an error."""
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "hf-cache")
    monkeypatch.setattr("socket.socket.connect", partial(pytest.fail, "the network was used"))


def config(root: Path, **keys: Any) -> DatasetConfig:
    return DatasetConfig("hf", "hf", root=str(root), **keys)


def grey(value: int) -> Image.Image:
    return Image.new("RGB", (6, 4), (value, value, value))


def png(value: int) -> bytes:
    content = io.BytesIO()
    grey(value).save(content, "PNG")
    return content.getvalue()


def rows(values: Sequence[int], labels: Sequence[Any], names: tuple[str, ...] | None = ("cat", "dog"), **further: Any) -> Any:
    """A dataset of the library with an image of each grey value."""
    kind = datasets.ClassLabel(names=list(names)) if names else datasets.Value("string")
    features = {"picture": datasets.Image(), "kind": kind}
    features |= {name: datasets.Value("string") for name in further}
    data = {"picture": [grey(value) for value in values], "kind": list(labels), **further}
    return datasets.Dataset.from_dict(data, features=datasets.Features(features))


def values_of(source: Any) -> list[int]:
    return [np.asarray(source.read(index))[0, 0, 0].item() for index in range(len(source.names))]


def test_parquet_files_have_the_splits_of_their_names(tmp_path: Path) -> None:
    root = tmp_path / "copy"
    root.mkdir()
    rows([10, 20, 30], [1, 0, 1]).to_parquet(root / "train-00000-of-00001.parquet")
    rows([40], [0]).to_parquet(root / "validation-00000-of-00001.parquet")
    rows([50, 60], [1, 0]).to_parquet(root / "test-00000-of-00001.parquet")
    source = load_source(config(root))
    assert source.classes == ("cat", "dog")
    assert source.splits.tolist() == ["train"] * 3 + ["val"] + ["test"] * 2
    assert source.labels.tolist() == [1, 0, 1, 0, 1, 0]
    assert values_of(source) == [10, 20, 30, 40, 50, 60]
    assert source.names[:4] == ("train/0", "train/1", "train/2", "validation/0")
    assert source.remarks == ()


def test_a_saved_dataset_is_split_and_decoded_like_any_other(tmp_path: Path, eight: Preprocessing) -> None:
    values, labels = list(range(0, 200, 10)), [number % 2 for number in range(20)]
    rows(values, labels).save_to_disk(tmp_path / "copy")
    source = load_source(config(tmp_path / "copy"))
    assert set(source.splits.tolist()) == {""}
    data = load_dataset(find_dataset(config(tmp_path / "copy")), eight)
    assert (len(data.whole.train), len(data.whole.val), len(data.test)) == (12, 4, 4)
    assert sorted(data.pixels[:, 0, 0, 0].tolist()) == values


def test_a_saved_dictionary_may_name_its_splits_otherwise_and_have_parts_without_labels(tmp_path: Path) -> None:
    saved = {"training": rows([1, 2], [0, 1]), "dev": rows([3, 4], [1, 0]), "test": rows([5], [-1]), "extra": rows([6], [1])}
    datasets.DatasetDict(saved).save_to_disk(tmp_path / "copy")
    source = load_source(config(tmp_path / "copy"))
    assert source.splits.tolist() == ["train", "train", "val", "val"] and values_of(source) == [1, 2, 3, 4]
    assert source.remarks == (
        "split test has no labels and is left out.",
        "split extra is none of train, validation and test, and is left out.",
    )


def test_a_folder_of_images_keeps_the_names_of_its_files(tmp_path: Path) -> None:
    root = folder_tree(tmp_path / "copy", {f"{split}/{name}": 2 for split in ("train", "test") for name in ("cat", "dog")})
    source = load_source(config(root))
    assert source.classes == ("cat", "dog")
    assert sorted(source.names) == sorted(str(path.relative_to(root)) for path in root.rglob("*.png"))
    for index, name in enumerate(source.names):
        split, label, _ = name.split("/")
        assert (source.splits[index], source.classes[source.labels[index]]) == (split, label)
        assert np.array_equal(np.asarray(source.read(index)), np.asarray(Image.open(root / name)))


def test_labels_may_be_texts_and_groups_stay_together(tmp_path: Path) -> None:
    labels = ["10", "9", "10", "9", "10", "9"]
    data = rows([1, 2, 3, 4, 5, 6], labels, None, patient=["a", "a", "b", None, "", "b"])
    data.rename_column("kind", "label").save_to_disk(tmp_path / "copy")
    source = load_source(config(tmp_path / "copy"))
    assert source.classes == ("9", "10") and source.labels.tolist() == [1, 0, 1, 0, 1, 0]
    assert source.groups is not None and source.groups.tolist() == [0, 0, 1, 2, 3, 1]
    assert len(source.remarks) == 1 and "label (label), patient (group)" in source.remarks[0]
    assert load_source(config(tmp_path / "copy", group_column="none")).groups is None


def test_parquet_that_the_library_has_not_written_is_read_where_a_column_holds_bytes(tmp_path: Path) -> None:
    import pandas as pd

    (tmp_path / "copy").mkdir()
    frame = pd.DataFrame({"image": [png(70), png(80)], "label": ["b", "a"], "width": [6, 6]})
    frame.to_parquet(tmp_path / "copy" / "all.parquet")
    source = load_source(config(tmp_path / "copy"))
    assert values_of(source) == [70, 80]
    assert source.classes == ("a", "b") and source.labels.tolist() == [1, 0]


def test_columns_are_named_where_their_types_leave_a_choice(tmp_path: Path) -> None:
    both = rows([1, 2], [0, 1]).add_column("fine", [2, 0], feature=datasets.ClassLabel(names=["x", "y", "z"]))
    both.save_to_disk(tmp_path / "copy")
    with pytest.raises(
        DataError, match=r"no column that is surely the label's. Name it by dataset.label_column; .* kind, fine"
    ):
        load_source(config(tmp_path / "copy"))
    assert load_source(config(tmp_path / "copy", label_column="fine")).classes == ("x", "y", "z")
    for key, name, message in (
        ("label_column", "fien", "dataset.label_column=fien: .* has no such column. Did you mean fine"),
        ("label_column", "picture", "column picture holds no labels. Name another one by dataset.label_column"),
        ("image_column", "kind", "column kind holds no images. Name another one by dataset.image_column"),
    ):
        with pytest.raises(DataError, match=message):
            load_source(config(tmp_path / "copy", **{"label_column": "fine", key: name}))


def test_rows_without_a_label_are_refused_by_place(tmp_path: Path) -> None:
    rows([1, 2, 3, 4], [0, -1, 1, -1]).save_to_disk(tmp_path / "copy")
    with pytest.raises(DataError, match="2 rows have no label, the first train/1"):
        load_source(config(tmp_path / "copy"))


def test_a_broken_image_is_named(tmp_path: Path, eight: Preprocessing) -> None:
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=["a", "b"])})
    content = [{"bytes": png(20 * number), "path": None} for number in range(9)] + [{"bytes": b"text", "path": None}]
    data = datasets.Dataset.from_dict({"image": content, "label": [number % 2 for number in range(10)]}, features=features)
    data.save_to_disk(tmp_path / "copy")
    with pytest.raises(DataError, match=r"train/9 .*dataset.skip_broken=true"):
        load_dataset(find_dataset(config(tmp_path / "copy")), eight)


def test_a_folder_that_the_library_cannot_read_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "copy").mkdir()
    (tmp_path / "copy" / "notes.md").write_text("nothing")
    with pytest.raises(DataError, match="dataset.root=.*: cannot be loaded .*It should be a folder of Parquet files") as error:
        load_source(config(tmp_path / "copy"))
    assert "\n" not in str(error.value)


def test_a_name_on_the_hub_is_asked_of_the_library_which_explains_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def absent(name: str) -> None:
        asked.append(name)
        raise ConnectionError("no route\nto host")

    monkeypatch.setattr(datasets, "load_dataset", absent)
    with pytest.raises(DataError, match=r"dataset.hub=me/birds: cannot be loaded \(no route to host\).*set dataset.root"):
        load_source(DatasetConfig("hf", "hf", hub="me/birds"))
    assert asked == ["me/birds"]


def test_a_dataset_of_the_hub_is_read_as_one_in_a_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    saved = datasets.DatasetDict({"train": rows([1, 2], [0, 1]), "test": rows([3], [1])})
    saved.save_to_disk(tmp_path / "copy")
    monkeypatch.setattr(datasets, "load_dataset", lambda name: datasets.load_from_disk(str(tmp_path / "copy")))
    source = load_source(DatasetConfig("hf", "hf", hub="me/birds"))
    assert values_of(source) == [1, 2, 3] and source.splits.tolist() == ["train", "train", "test"]
    assert source.fingerprint == load_source(DatasetConfig("hf", "hf", hub="me/birds")).fingerprint


def test_without_the_library_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    (tmp_path / "copy").mkdir()
    with pytest.raises(DataError, match=r"pip install 'biotune\[hf\]'"):
        load_source(config(tmp_path / "copy"))
