"""Tests of the datasets that torchvision knows, on tiny copies in their exact official formats."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import pickle
import tarfile
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from official import MAKERS, mnist
from PIL import Image
from torchvision import datasets as tv

from biotune.backbones.network import Preprocessing
from biotune.config.sections import DatasetConfig
from biotune.datasets.catalogue import CATALOGUE
from biotune.datasets.data import find_dataset, load_dataset
from biotune.datasets.loaders.packed import idx
from biotune.datasets.loaders.torchvision import TABLE, load
from biotune.datasets.registry import load_source
from biotune.errors import DataError

OWN_KEYS: dict[str, dict[str, Any]] = {"dtd": {"partition": 1}, "fgvc_aircraft": {"annotation": "variant"}}


def config(name: str, root: Path, **options: Any) -> DatasetConfig:
    return DatasetConfig("torchvision", name, root=str(root), **{**OWN_KEYS.get(name, {}), **options})


@pytest.fixture
def copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Path]:
    """Makes the tiny copy of a dataset and returns its root."""

    def make(name: str) -> Path:
        MAKERS[name](tmp_path / name, monkeypatch)
        return tmp_path / name

    return make


# dataset → labels by split, as the fixtures fix them
EXPECTED = {
    "flowers102": {"train": [0, 101], "val": [0, 101], "test": [0, 101]},
    "fgvc_aircraft": {"train": [0, 1], "val": [0, 1], "test": [0, 1]},
    "dtd": {"train": [0, 1], "val": [0, 1], "test": [0, 1]},
    "cifar10": {"train": [1, 2, 3, 4, 5, 9, 9, 9, 9, 9], "test": [0, 3]},
    "cifar100": {"train": [0, 5, 99], "test": [7]},
    "stl10": {"train": [0, 1, 9], "test": [2, 2]},
    "mnist": {"train": [0, 3, 9], "test": [1, 2]},
    "usps": {"train": [0, 3, 9], "test": [1, 1]},
    "svhn": {"train": [0, 1, 9], "test": [0, 5]},
    "oxford_pets": {"train": [0, 1], "test": [0, 1]},
    "food101": {"train": [0, 1], "test": [0, 1]},
    "eurosat": {"": [0] * 5 + [1] * 5},
    "stanford_cars": {"train": [0, 1], "test": [0, 1]},
}


def test_every_row_has_a_fixture_and_facts() -> None:
    assert set(TABLE) == set(MAKERS) == set(EXPECTED)
    assert set(TABLE) == {name for name, facts in CATALOGUE.items() if facts.loader == "torchvision"}


@pytest.mark.parametrize("name", EXPECTED)
def test_official_splits_and_labels_are_kept_and_every_image_opens(copy: Callable[[str], Path], name: str) -> None:
    source = load(config(name, copy(name)))
    found = {split: sorted(source.labels[source.splits == split].tolist()) for split in set(source.splits.tolist())}
    assert found == EXPECTED[name]
    assert len(source.names) == len(set(source.names)) == len(source.labels)
    assert max(source.labels) < len(source.classes)
    assert all(np.asarray(source.read(index)).ndim in (2, 3) for index in range(len(source.names)))


@pytest.mark.parametrize("name", EXPECTED)
def test_the_fingerprint_follows_the_files(copy: Callable[[str], Path], name: str) -> None:
    root = copy(name)
    first = load(config(name, root)).fingerprint
    assert load(config(name, root)).fingerprint == first
    images = [path for path in sorted(root.rglob("*")) if path.suffix == ".jpg"]
    os.utime(images[0] if images else root / CATALOGUE[name].needs[0], (1, 1))
    assert load(config(name, root)).fingerprint != first


@pytest.mark.parametrize("name", EXPECTED)
def test_a_copy_without_one_of_its_parts_is_refused_with_the_remedy(copy: Callable[[str], Path], name: str) -> None:
    root = copy(name)
    for needed in CATALOGUE[name].needs:
        (root / needed).rename(root / "elsewhere")
        with pytest.raises(DataError) as error:
            load(config(name, root))
        text = str(error.value)
        assert text.startswith(f"dataset.root={root}: lacks {needed}.") and "\n" not in text
        assert ("dataset.download=true" in text) == (name != "stanford_cars")
        (root / "elsewhere").rename(root / needed)
    load(config(name, root))


def test_a_root_that_is_not_there_names_the_key(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"dataset\.root=.*no such folder.*dataset\.download=true"):
        load(config("usps", tmp_path / "nowhere"))


def test_an_unknown_name_gets_a_suggestion(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"dataset\.name=cifar_10: .*Did you mean cifar10"):
        load(config("cifar_10", tmp_path))


@pytest.mark.parametrize("name", ["flowers102", "fgvc_aircraft", "dtd", "oxford_pets", "food101", "stanford_cars"])
def test_a_listed_image_that_is_missing_is_named(copy: Callable[[str], Path], name: str) -> None:
    root = copy(name)
    gone = next(iter(sorted(root.rglob("*.jpg"))))
    gone.unlink()
    with pytest.raises(DataError, match=gone.name):
        load(config(name, root))


def test_class_names_come_from_the_official_files(copy: Callable[[str], Path]) -> None:
    names = {name: load(config(name, copy(name))).classes for name in ("oxford_pets", "stl10", "stanford_cars", "cifar10")}
    assert names["oxford_pets"] == ("Abyssinian", "Great Pyrenees")
    assert names["stl10"][0] == "airplane" and names["stl10"][9] == "truck"
    assert names["stanford_cars"] == ("AM General Hummer SUV 2000", "Acura RL Sedan 2012")
    assert names["cifar10"][3] == "thing 3"
    assert load(config("flowers102", copy("flowers102"))).classes[0] == "pink primrose"


def test_packed_images_stand_upright(copy: Callable[[str], Path]) -> None:
    stl = np.asarray(load(config("stl10", copy("stl10"))).read(4))
    assert stl.shape == (96, 96, 3) and np.argwhere(stl).tolist() == [[70, 5, 1]]
    digits = np.asarray(load(config("mnist", copy("mnist"))).read(0))
    assert digits.shape == (28, 28) and np.argwhere(digits).tolist() == [[4, 20]] and digits[4, 20] == 3
    house = np.asarray(load(config("svhn", copy("svhn"))).read(1))
    assert house.shape == (32, 32, 3) and np.argwhere(house).tolist() == [[3, 30, 2]]
    cifar = np.asarray(load(config("cifar10", copy("cifar10"))).read(0))
    assert cifar.shape == (32, 32, 3) and cifar.reshape(-1, 3).max(0).tolist() == [1, 0, 0]
    usps = np.asarray(load(config("usps", copy("usps"))).read(0))
    assert usps.shape == (16, 16) and np.argwhere(usps).tolist() == [[15, 15]] and usps[15, 15] == 255


@pytest.mark.parametrize("name", ["mnist", "stl10", "svhn"])
def test_our_readers_see_what_torchvision_sees(copy: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    root = copy(name)
    row, ours = TABLE[name], load(config(name, root))
    monkeypatch.setattr(row.kind, "_check_integrity", lambda self: True, raising=False)
    theirs = [
        part[index]
        for part in (row.kind(str(root), **arguments) for arguments in row.splits.values())
        for index in range(len(part))
    ]
    assert [label for _, label in theirs] == ours.labels.tolist()
    for index, (image, _) in enumerate(theirs):
        assert (np.asarray(image) == np.asarray(ours.read(index))).all()


def test_the_credit_banner_of_aircraft_is_cut_off(copy: Callable[[str], Path]) -> None:
    root = copy("fgvc_aircraft")
    source = load(config("fgvc_aircraft", root))
    with Image.open(root / source.names[0]) as whole:
        assert whole.size == (40, 60)
        assert (np.asarray(source.read(0)) == np.asarray(whole)[:40]).all()


@pytest.mark.parametrize(("level", "first"), [("variant", "707-320"), ("family", "Boeing 707"), ("manufacturer", "Boeing")])
def test_the_aircraft_annotation_level_decides_what_a_class_is(copy: Callable[[str], Path], level: str, first: str) -> None:
    assert load(config("fgvc_aircraft", copy("fgvc_aircraft"), annotation=level)).classes[0] == first


def test_labels_count_for_the_fingerprint_of_the_data_but_not_of_the_images(
    copy: Callable[[str], Path], cache: Path, eight: Preprocessing
) -> None:
    root = copy("fgvc_aircraft")
    straight = config("fgvc_aircraft", root)
    first = load_dataset(find_dataset(straight), eight)
    for split in ("train", "val", "test"):
        listed = root / "fgvc-aircraft-2013b" / "data" / f"images_variant_{split}.txt"
        rows = [row.split(" ", 1) for row in listed.read_text().splitlines()]
        listed.write_text("".join(f"{one} {other}\n" for (one, _), (_, other) in zip(rows, reversed(rows), strict=True)))
    swapped = load_dataset(find_dataset(straight), eight)
    assert swapped.labels.tolist() == (1 - first.labels).tolist()
    assert swapped.fingerprint != first.fingerprint
    assert len(list((cache / "decoded").iterdir())) == 1


def test_partitions_of_dtd_move_images_between_splits_and_share_what_is_decoded(
    copy: Callable[[str], Path], cache: Path, eight: Preprocessing
) -> None:
    root = copy("dtd")
    plans = {number: find_dataset(config("dtd", root, partition=number)) for number in (1, 2, 10)}
    trained = {number: [plan.source.names[index][-12:] for index in plan.cut.train] for number, plan in plans.items()}
    assert trained == {1: ["banded_0.jpg", "/woven_0.jpg"], 2: ["banded_1.jpg", "/woven_1.jpg"], 10: trained[1]}
    for plan in plans.values():
        load_dataset(plan, eight)
    assert len(list((cache / "decoded").iterdir())) == 1


def test_a_dataset_without_splits_is_held_out_by_the_common_layer(copy: Callable[[str], Path]) -> None:
    plan = find_dataset(config("eurosat", copy("eurosat")))
    assert [len(part) for part in (plan.cut.train, plan.cut.val, plan.cut.test)] == [6, 2, 2]


def test_hidden_files_that_torchvision_lists_are_no_data(copy: Callable[[str], Path]) -> None:
    root = copy("eurosat")
    image = next((root / "eurosat" / "2750").rglob("*.jpg"))
    hidden = image.parent / ".ipynb_checkpoints" / image.name
    hidden.parent.mkdir()
    hidden.write_bytes(image.read_bytes())
    assert len(load_source(config("eurosat", root)).names) == 10


class Trap:
    """Unpickling this writes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


@pytest.mark.parametrize(("name", "file"), [("cifar10", "data_batch_3"), ("cifar10", "batches.meta"), ("cifar100", "test")])
def test_a_pickle_with_another_md5_is_never_opened(tmp_path: Path, copy: Callable[[str], Path], name: str, file: str) -> None:
    root = copy(name)
    sprung = tmp_path / "sprung"
    (root / TABLE[name].kind.base_folder / file).write_bytes(pickle.dumps(Trap(sprung)))
    with pytest.raises(DataError, match="incomplete or damaged"):
        load(config(name, root))
    assert not sprung.exists()


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("mnist", "MNIST/raw/train-images-idx3-ubyte"),
        ("mnist", "MNIST/raw/t10k-labels-idx1-ubyte"),
        ("stl10", "stl10_binary/train_X.bin"),
        ("usps", "usps.bz2"),
        ("svhn", "train_32x32.mat"),
        ("flowers102", "flowers-102/setid.mat"),
        ("food101", "food-101/meta/test.json"),
        ("stanford_cars", "stanford_cars/devkit/cars_meta.mat"),
    ],
)
def test_a_file_cut_in_half_is_refused(copy: Callable[[str], Path], name: str, file: str) -> None:
    root = copy(name)
    content = (root / file).read_bytes()
    (root / file).write_bytes(content[: len(content) // 2])
    with pytest.raises((DataError, ValueError)) as error:
        source = load(config(name, root))
        source.read(0)
    assert "\n" not in str(error.value)


def test_idx_refuses_what_is_none(tmp_path: Path) -> None:
    file = tmp_path / "x"
    for content in (b"", b"\x00\x00\x08", b"\x00\x00\x0d\x01\x00\x00\x00\x00", b"\x01\x00\x08\x01\x00\x00\x00\x00"):
        file.write_bytes(content)
        with pytest.raises(ValueError, match="not an IDX file"):
            idx(file)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Any]]:
    """Serves files from memory on this machine: `files` by name, `claimed` lengths, `requests` so far, its `address`."""
    state: dict[str, Any] = {"files": {}, "claimed": {}, "requests": []}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            name = self.path.rpartition("/")[2]
            state["requests"].append(name)
            content = state["files"].get(name)
            self.send_response(404 if content is None else 200)
            self.send_header("Content-Length", str(state["claimed"].get(name, len(content or b""))))
            self.end_headers()
            self.wfile.write(content or b"")

        def log_message(self, format: str, *arguments: object) -> None:
            pass

    httpd = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=httpd.serve_forever, daemon=True).start()
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    state["address"] = f"http://127.0.0.1:{httpd.server_port}/"
    yield state
    httpd.shutdown()
    httpd.server_close()


@pytest.fixture
def published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, server: dict[str, Any]) -> dict[str, Any]:
    """A tiny MNIST on the server, with torchvision's table of addresses and md5s made to fit."""
    mnist(tmp_path / "published", monkeypatch, zipped=True)
    raw = tmp_path / "published" / "MNIST" / "raw"
    server["files"] = {path.name: path.read_bytes() for path in raw.iterdir()}
    resources = [(name, hashlib.md5(server["files"][name]).hexdigest()) for name, _ in tv.MNIST.resources]
    monkeypatch.setattr(tv.MNIST, "resources", resources)
    monkeypatch.setattr(tv.MNIST, "mirrors", [server["address"]])
    return server


def test_a_download_becomes_a_dataset_without_its_archives_and_is_made_once(tmp_path: Path, published: dict[str, Any]) -> None:
    wanted = config("mnist", tmp_path / "new" / "mnist", download=True)
    source = load(wanted)
    assert source.labels.tolist() == [3, 0, 9, 1, 2]
    files = {str(path.relative_to(tmp_path / "new" / "mnist")) for path in (tmp_path / "new").rglob("*") if path.is_file()}
    assert files == set(CATALOGUE["mnist"].needs)
    requests = len(published["requests"])
    assert load(wanted).fingerprint == source.fingerprint
    assert len(published["requests"]) == requests, "nothing is fetched again"


@pytest.mark.parametrize("harm", ["cut off", "wrong md5", "not there", "no archive"])
def test_a_download_that_goes_wrong_leaves_nothing_and_can_be_repeated(
    tmp_path: Path, published: dict[str, Any], monkeypatch: pytest.MonkeyPatch, harm: str
) -> None:
    name, root = "t10k-images-idx3-ubyte.gz", tmp_path / "mnist"
    whole, resources = published["files"][name], tv.MNIST.resources
    if harm == "cut off":
        published["files"][name] = whole[: len(whole) // 2]
        published["claimed"][name] = len(whole)
    elif harm == "wrong md5":
        published["files"][name] = gzip.compress(b"something else")
    elif harm == "not there":
        del published["files"][name]
    else:
        published["files"][name] = b"<html>login</html>"
        other = hashlib.md5(published["files"][name]).hexdigest()
        monkeypatch.setattr(tv.MNIST, "resources", [(file, other if file == name else md5) for file, md5 in resources])
    with pytest.raises(DataError, match=r"dataset\.download: mnist cannot be fetched") as error:
        load(config("mnist", root, download=True))
    assert "\n" not in str(error.value) and "yann.lecun.com" in str(error.value)
    assert list(root.iterdir()) == []
    published["files"][name] = whole
    published["claimed"].clear()
    monkeypatch.setattr(tv.MNIST, "resources", resources)
    assert len(load(config("mnist", root, download=True)).names) == 5


def test_half_a_copy_is_neither_used_nor_overwritten(tmp_path: Path, published: dict[str, Any]) -> None:
    raw = tmp_path / "mnist" / "MNIST" / "raw"
    raw.mkdir(parents=True)
    (raw / "train-labels-idx1-ubyte").write_bytes(b"mine")
    with pytest.raises(DataError, match=r"holds MNIST but lacks MNIST/raw/train-images-idx3-ubyte\. Move .*MNIST away"):
        load(config("mnist", tmp_path / "mnist", download=True))
    assert (raw / "train-labels-idx1-ubyte").read_bytes() == b"mine"
    assert published["requests"] == []


def test_an_archive_without_md5_that_is_cut_off_is_refused(
    tmp_path: Path, server: dict[str, Any], copy: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        tar.add(copy("fgvc_aircraft") / "fgvc-aircraft-2013b", "fgvc-aircraft-2013b")
    monkeypatch.setattr(tv.FGVCAircraft, "_URL", server["address"] + "fgvc-aircraft-2013b.tar.gz")
    content, root = buffer.getvalue(), tmp_path / "fetched"
    server["files"]["fgvc-aircraft-2013b.tar.gz"] = content[: len(content) * 2 // 3]
    server["claimed"]["fgvc-aircraft-2013b.tar.gz"] = len(content)
    with pytest.raises(DataError, match="fgvc_aircraft cannot be fetched"):
        load(config("fgvc_aircraft", root, download=True))
    assert list(root.iterdir()) == []
    server["files"]["fgvc-aircraft-2013b.tar.gz"] = content
    assert len(load(config("fgvc_aircraft", root, download=True)).names) == 6
    assert [path.name for path in root.iterdir()] == ["fgvc-aircraft-2013b"]


def test_a_dead_source_says_what_to_put_where(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no longer offered.*put a copy with .*cars_test_annos_withlabels\.mat.* there"):
        load(config("stanford_cars", tmp_path, download=True))
