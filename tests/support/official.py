"""Tiny copies in the exact official formats of the datasets that torchvision knows; counts and labels are fixed by hand."""

from __future__ import annotations

import bz2
import gzip
import hashlib
import json
import pickle
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from scipy.io import savemat
from torchvision import datasets as tv
from trees import write_image

SIZE = (40, 60)


def md5(path: Path) -> str:
    return hashlib.md5(path.read_bytes()).hexdigest()


def lines(path: Path, rows: list[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(rows) + "\n")


def flowers102(root: Path, patch: pytest.MonkeyPatch) -> None:
    base = root / "flowers-102"
    for number in range(1, 7):
        write_image(base / "jpg" / f"image_{number:05d}.jpg", 30 * number, SIZE)
    savemat(base / "imagelabels.mat", {"labels": np.array([[102, 1, 1, 102, 1, 102]])})
    savemat(base / "setid.mat", {"trnid": np.array([[2, 1]]), "valid": np.array([[3, 4]]), "tstid": np.array([[5, 6]])})
    files = {"image": ("102flowers.tgz", "0" * 32)}
    files |= {key: (name, md5(base / name)) for key, name in (("label", "imagelabels.mat"), ("setid", "setid.mat"))}
    patch.setattr(tv.Flowers102, "_file_dict", files)


def fgvc_aircraft(root: Path, patch: pytest.MonkeyPatch) -> None:
    data = root / "fgvc-aircraft-2013b" / "data"
    lines(data / "variants.txt", ["707-320", "Cessna 172"])
    lines(data / "families.txt", ["Boeing 707", "Cessna 172"])
    lines(data / "manufacturers.txt", ["Boeing", "Cessna"])
    names = {"variant": ["707-320", "Cessna 172"], "family": ["Boeing 707", "Cessna 172"], "manufacturer": ["Boeing", "Cessna"]}
    for offset, split in enumerate(("train", "val", "test")):
        for row in range(2):
            write_image(data / "images" / f"{offset}00000{row}.jpg", 40, SIZE)
        for level, labels in names.items():
            lines(data / f"images_{level}_{split}.txt", [f"{offset}00000{row} {labels[row]}" for row in range(2)])


def dtd(root: Path, patch: pytest.MonkeyPatch) -> None:
    base = root / "dtd" / "dtd"
    for name in ("banded", "woven"):
        for number in range(3):
            write_image(base / "images" / name / f"{name}_{number}.jpg", 50 + number, SIZE)
    for partition in range(1, 11):
        for offset, split in enumerate(("train", "val", "test")):
            number = (offset + partition - 1) % 3
            rows = [f"{name}/{name}_{number}.jpg" for name in ("banded", "woven")]
            lines(base / "labels" / f"{split}{partition}.txt", rows)


def _cifar(
    root: Path, patch: pytest.MonkeyPatch, kind: type, batches: dict[str, list[int]], key: str, names: list[str]
) -> None:
    base = root / kind.base_folder  # type: ignore[attr-defined]
    base.mkdir(parents=True)
    for name, labels in batches.items():
        pixels = np.zeros((len(labels), 3, 32, 32), dtype=np.uint8)
        pixels[:, 0] = np.array(labels)[:, None, None]  # red tells the label
        (base / name).write_bytes(pickle.dumps({"data": pixels.reshape(len(labels), -1), key: labels}))
    meta = dict(kind.meta)  # type: ignore[attr-defined]
    (base / meta["filename"]).write_bytes(pickle.dumps({meta["key"]: names}))
    patch.setattr(kind, "meta", meta | {"md5": md5(base / meta["filename"])})
    tests = [name for name in batches if name.startswith("test")]
    patch.setattr(kind, "test_list", [[name, md5(base / name)] for name in tests])
    patch.setattr(kind, "train_list", [[name, md5(base / name)] for name in batches if name not in tests])


def cifar10(root: Path, patch: pytest.MonkeyPatch) -> None:
    batches = {f"data_batch_{number}": [number, 9] for number in range(1, 6)} | {"test_batch": [0, 3]}
    _cifar(root, patch, tv.CIFAR10, batches, "labels", [f"thing {label}" for label in range(10)])


def cifar100(root: Path, patch: pytest.MonkeyPatch) -> None:
    _cifar(
        root, patch, tv.CIFAR100, {"train": [0, 99, 5], "test": [7]}, "fine_labels", [f"thing {label}" for label in range(100)]
    )


def stl10(root: Path, patch: pytest.MonkeyPatch) -> None:
    base = root / "stl10_binary"
    base.mkdir(parents=True)
    for split, labels in (("train", [1, 10, 2]), ("test", [3, 3])):
        pixels = np.zeros((len(labels), 3, 96, 96), dtype=np.uint8)
        pixels[:, 1, 5, 70] = 200  # published column by column: a green dot at x=5, y=70
        pixels.tofile(base / f"{split}_X.bin")
        np.array(labels, dtype=np.uint8).tofile(base / f"{split}_y.bin")
    lines(base / "class_names.txt", ["airplane", "bird", "car", "cat", "deer", "dog", "horse", "monkey", "ship", "truck"])


def mnist(root: Path, patch: pytest.MonkeyPatch, zipped: bool = False) -> None:
    raw = root / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for prefix, labels in (("train", [3, 0, 9]), ("t10k", [1, 2])):
        pixels = np.zeros((len(labels), 28, 28), dtype=np.uint8)
        pixels[:, 4, 20] = labels
        files = {
            f"{prefix}-images-idx3-ubyte": struct.pack(">4B3I", 0, 0, 8, 3, len(labels), 28, 28) + pixels.tobytes(),
            f"{prefix}-labels-idx1-ubyte": struct.pack(">4BI", 0, 0, 8, 1, len(labels)) + bytes(labels),
        }
        for name, content in files.items():
            (raw / (name + ".gz" * zipped)).write_bytes(gzip.compress(content, mtime=0) if zipped else content)


def usps(root: Path, patch: pytest.MonkeyPatch) -> None:
    root.mkdir(parents=True, exist_ok=True)
    for name, labels in (("usps.bz2", [1, 10, 4]), ("usps.t.bz2", [2, 2])):
        values = [-1.0] * 255 + [1.0]
        rows = [f"{label} " + " ".join(f"{place}:{value}" for place, value in enumerate(values, 1)) for label in labels]
        (root / name).write_bytes(bz2.compress(("\n".join(rows) + "\n").encode()))


def svhn(root: Path, patch: pytest.MonkeyPatch) -> None:
    root.mkdir(parents=True, exist_ok=True)
    for split, labels in (("train", [10, 1, 9]), ("test", [5, 10])):
        pixels = np.zeros((32, 32, 3, len(labels)), dtype=np.uint8)
        pixels[3, 30, 2] = labels
        content = {"X": pixels, "y": np.array(labels, dtype=np.uint8)[:, None]}
        savemat(root / f"{split}_32x32.mat", content, do_compression=True)


def oxford_pets(root: Path, patch: pytest.MonkeyPatch) -> None:
    base = root / "oxford-iiit-pet"
    for split, number in (("trainval", 1), ("test", 2)):
        rows = [f"Abyssinian_{number} 1 1 1", f"great_pyrenees_{number} 2 2 1"]
        lines(base / "annotations" / f"{split}.txt", rows)
        for row in rows:
            write_image(base / "images" / f"{row.split()[0]}.jpg", 40 * number, SIZE)


def food101(root: Path, patch: pytest.MonkeyPatch) -> None:
    base = root / "food-101"
    (base / "meta").mkdir(parents=True)
    for split, number in (("train", 1), ("test", 2)):
        listed = {name: [f"{name}/{number}"] for name in ("waffles", "apple_pie")}
        (base / "meta" / f"{split}.json").write_text(json.dumps(listed))
        for name in listed:
            write_image(base / "images" / name / f"{number}.jpg", 30 * number, SIZE)


def eurosat(root: Path, patch: pytest.MonkeyPatch) -> None:
    for name in ("AnnualCrop", "Forest"):
        for number in range(1, 6):
            write_image(root / "eurosat" / "2750" / name / f"{name}_{number}.jpg", 30 * number, (64, 64))


def stanford_cars(root: Path, patch: pytest.MonkeyPatch) -> None:
    base = root / "stanford_cars"
    (base / "devkit").mkdir(parents=True)
    names = np.array(["AM General Hummer SUV 2000", "Acura RL Sedan 2012"], dtype=object)
    savemat(base / "devkit" / "cars_meta.mat", {"class_names": names})
    kinds = [(name, object if name == "fname" else np.int32) for name in ("bbox_x1", "bbox_y1", "class", "fname")]
    places = {"cars_train": base / "devkit" / "cars_train_annos.mat", "cars_test": base / "cars_test_annos_withlabels.mat"}
    for folder, file in places.items():
        rows = [(1, 1, label, f"0000{label}.jpg") for label in (2, 1)]
        savemat(file, {"annotations": np.array(rows, dtype=kinds)})
        for *_, name in rows:
            write_image(base / folder / name, 90, SIZE)


MAKERS: dict[str, Callable[[Path, pytest.MonkeyPatch], None]] = {
    maker.__name__: maker
    for maker in (
        *(flowers102, fgvc_aircraft, dtd, cifar10, cifar100, stl10, mnist),
        *(usps, svhn, oxford_pets, food101, eurosat, stanford_cars),
    )
}
