"""Tests of MedMNIST's npz files: splits, sizes, what is refused, and how little memory they take."""

from __future__ import annotations

import hashlib
import sys
import threading
import tracemalloc
from collections.abc import Callable
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from biotune.backbones.network import Preprocessing
from biotune.config.sections import DatasetConfig
from biotune.datasets.data import find_dataset, load_dataset
from biotune.datasets.loaders import medmnist
from biotune.errors import DataError

pytest.importorskip("medmnist")


def npz(path: Path, side: int = 28, channels: int = 3, save: Callable[..., None] = np.savez_compressed) -> Path:
    """Three training, two validation and two test images whose pixels tell their position."""
    path.parent.mkdir(parents=True, exist_ok=True)
    arrays: dict[str, Any] = {}
    for split, labels in (("train", [0, 1, 6]), ("val", [1, 0]), ("test", [6, 2])):
        shape = (len(labels), side, side, channels) if channels > 1 else (len(labels), side, side)
        pixels = np.zeros(shape, dtype=np.uint8)
        pixels += np.arange(1, len(labels) + 1, dtype=np.uint8).reshape(-1, *[1] * (len(shape) - 1))
        arrays |= {f"{split}_images": pixels, f"{split}_labels": np.array(labels, dtype=np.uint8)[:, None]}
    save(path, **arrays)
    return path


def config(root: Path, name: str = "dermamnist", **options: Any) -> DatasetConfig:
    return DatasetConfig("medmnist", name, root=str(root), **{"source_size": 28, **options})


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_official_splits_labels_and_class_names(tmp_path: Path, cache: Path, save: Callable[..., None]) -> None:
    npz(tmp_path / "dermamnist.npz", save=save)
    source = medmnist.load(config(tmp_path))
    assert source.labels.tolist() == [0, 1, 6, 1, 0, 6, 2]
    assert source.splits.tolist() == ["train"] * 3 + ["val"] * 2 + ["test"] * 2
    assert len(source.classes) == 7 and source.classes[4] == "melanoma"
    assert [int(np.asarray(source.read(index))[0, 0, 0]) for index in range(7)] == [1, 2, 3, 1, 2, 1, 2]
    assert source.read(0).size == (28, 28) and source.read(0).mode == "RGB"


def test_grey_binary_sets_and_larger_sizes(tmp_path: Path, cache: Path) -> None:
    file = npz(tmp_path / "organamnist_64.npz", 64, 1)
    source = medmnist.load(config(tmp_path, "organamnist", source_size=64))
    assert source.read(2).size == (64, 64) and source.read(2).mode == "L"
    with np.load(file) as arrays:
        binary = {name: array % 2 if name.endswith("labels") else array for name, array in arrays.items()}
    np.savez_compressed(tmp_path / "breastmnist.npz", **binary)
    assert len(medmnist.load(config(tmp_path, "breastmnist")).classes) == 2


def test_images_reach_the_decoded_cache(tmp_path: Path, cache: Path, eight: Preprocessing) -> None:
    rows = {f"{split}_labels": np.arange(7, dtype=np.uint8)[:, None] for split in ("train", "val", "test")}
    pixels = {f"{split}_images": np.full((7, 28, 28, 3), 10, dtype=np.uint8) for split in ("train", "val", "test")}
    np.savez_compressed(tmp_path / "dermamnist.npz", **rows, **pixels)
    data = load_dataset(find_dataset(config(tmp_path)), eight)
    assert data.pixels.shape == (21, 8, 8, 3) and int(data.pixels.max()) == int(data.pixels.min()) == 10
    assert sorted(path.name for path in cache.iterdir()) == ["decoded", "locks", "ranges"], "no scratch file is left behind"


def test_memory_does_not_grow_with_the_images(tmp_path: Path, cache: Path) -> None:
    labels = {f"{split}_labels": np.zeros((400, 1), dtype=np.uint8) for split in ("train", "val", "test")}
    pixels = {f"{split}_images": np.zeros((400, 128, 128, 3), dtype=np.uint8) for split in ("train", "val", "test")}
    np.savez_compressed(tmp_path / "bloodmnist_128.npz", **labels, **pixels)
    tracemalloc.start()
    try:
        source = medmnist.load(config(tmp_path, "bloodmnist", source_size=128))
        for index in (0, 500, 1199):
            source.read(index)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 8e6, "one split alone has 20 MB"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("chestmnist", "has several labels per image"),
        ("organmnist3d", "is three-dimensional"),
        ("dermanist", "Did you mean dermamnist"),
    ],
)
def test_sets_that_cannot_be_used_are_refused(tmp_path: Path, name: str, message: str) -> None:
    with pytest.raises(DataError, match=rf"dataset\.name={name}: .*{message}.*Known: pathmnist, .*tissuemnist"):
        medmnist.load(config(tmp_path, name))


def test_a_missing_file_is_named_with_its_address(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"lacks dermamnist_224\.npz.*zenodo\.org.*dataset\.download=true"):
        medmnist.load(config(tmp_path, source_size=224))


@pytest.mark.parametrize("harm", ["cut", "objects", "lacks", "labels", "counts"])
def test_a_damaged_file_is_refused_and_no_object_is_unpickled(tmp_path: Path, cache: Path, harm: str) -> None:
    file = npz(tmp_path / "dermamnist.npz")
    with np.load(file) as found:
        arrays = dict(found.items())
    if harm == "objects":
        arrays["train_labels"] = np.array([{}, {}, {}], dtype=object)
    elif harm == "lacks":
        del arrays["val_labels"]
    elif harm == "labels":
        arrays["train_labels"] = arrays["train_labels"] + np.uint8(40)
    elif harm == "counts":
        arrays["train_labels"] = arrays["train_labels"][:2]
    np.savez_compressed(file, **arrays)
    if harm == "cut":
        file.write_bytes(file.read_bytes()[:300])
    with pytest.raises((DataError, ValueError), match="is damaged|3 images but 2 labels"):
        medmnist.load(config(tmp_path)).read(0)


def test_without_the_package_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    medmnist._info.cache_clear()
    with pytest.raises(DataError, match=r"pip install 'biotune\[medmnist\]'"):
        medmnist.load(config(tmp_path))


def test_only_the_packages_table_is_loaded(tmp_path: Path) -> None:
    sys.modules.pop("medmnist", None)
    medmnist._info.cache_clear()
    assert medmnist.facts(config(tmp_path, "pathmnist")).train == 89996
    assert "medmnist" not in sys.modules


@pytest.mark.parametrize("harm", [None, "md5"])
def test_a_download_is_verified(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, harm: str | None) -> None:
    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, format: str, *arguments: object) -> None:
            pass

    served = npz(tmp_path / "served" / "dermamnist.npz")
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(served.parent)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    md5 = "0" * 32 if harm else hashlib.md5(served.read_bytes()).hexdigest()
    entry = medmnist._info()["dermamnist"] | {
        "url": f"http://127.0.0.1:{server.server_port}/dermamnist.npz?download=1",
        "MD5": md5,
    }
    monkeypatch.setitem(medmnist._info(), "dermamnist", entry)
    try:
        if harm:
            with pytest.raises(DataError, match=r"dataset\.download: dermamnist at 28 pixels cannot be fetched.*md5 0{32}"):
                medmnist.load(config(tmp_path / "new", download=True))
            assert list((tmp_path / "new").iterdir()) == []
        else:
            assert len(medmnist.load(config(tmp_path / "new", download=True)).names) == 7
            assert [path.name for path in (tmp_path / "new").iterdir()] == ["dermamnist.npz"]
    finally:
        server.shutdown()
        server.server_close()
