"""The scripts that make trees of images from packages, on tiny ones: what is chosen, what is refused, what stays as it was."""

from __future__ import annotations

import importlib
import io
import json
import shutil
import subprocess
import tarfile
from pathlib import Path, PurePosixPath
from types import ModuleType

import numpy as np
import pytest
from PIL import Image

SCRIPTS = Path(__file__).parents[2] / "scripts"


@pytest.fixture
def foods() -> ModuleType:
    return importlib.import_module("fetch_foods")


@pytest.fixture
def stamps() -> ModuleType:
    return importlib.import_module("fetch_stamps")


@pytest.fixture
def clothes() -> ModuleType:
    return importlib.import_module("fetch_clothes")


@pytest.fixture
def common() -> ModuleType:
    return importlib.import_module("fetch_common")


def tar_of(path: Path, files: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w:gz") as tar:
        for name, data in files.items():
            member = tarfile.TarInfo(f"package/assets/{name}")
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return path


def png(colour: tuple[int, ...], size: tuple[int, int] = (40, 20)) -> bytes:
    target = io.BytesIO()
    Image.new("RGBA", size, colour).save(target, "png")
    return target.getvalue()


class TestFoods:
    def test_a_code_tells_the_class_equal_photographs_count_once_and_other_groups_not_at_all(
        self, foods: ModuleType, tmp_path: Path
    ) -> None:
        files = {"A001.jpeg": b"1", "A002.jpeg": b"2", "A003.jpeg": b"1", "E001.jpeg": b"3", "O001.jpeg": b"4", "A.txt": b"5"}
        foods.write_tree(tar_of(tmp_path / "package.tgz", files), tmp_path / "out")
        found = {str(path.relative_to(tmp_path / "out")) for path in (tmp_path / "out").rglob("*.*")}
        assert found == {"cereals/A001.jpg", "cereals/A002.jpg", "fruits/E001.jpg"}

    def test_large_groups_are_cut_always_alike(self, foods: ModuleType, tmp_path: Path) -> None:
        archive = tar_of(tmp_path / "package.tgz", {f"E{number:03d}.jpeg": bytes([number]) for number in range(60)})
        for name in ("one", "two"):
            foods.write_tree(archive, tmp_path / name)
        one, two = (sorted(path.name for path in (tmp_path / name / "fruits").iterdir()) for name in ("one", "two"))
        assert one == two and len(one) == foods.MOST

    def test_another_archive_is_refused_and_the_old_tree_stays(
        self, foods: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        (tmp_path / "foods" / "fruits").mkdir(parents=True)
        archive = tar_of(tmp_path / "package.tgz", {"E001.jpeg": b"1"})
        assert foods.main(["--out", str(tmp_path / "foods"), "--archive", str(archive)]) == 1
        error = capsys.readouterr().err
        assert "its SHA-256 sum is " in error and len(error.splitlines()) == 1
        assert [path.name for path in (tmp_path / "foods").iterdir()] == ["fruits"]
        assert sorted(path.name for path in tmp_path.iterdir()) == ["foods", "package.tgz"]

    def test_counts_are_those_of_the_classes(self, foods: ModuleType) -> None:
        assert sorted(foods.GROUPS.values()) == list(foods.COUNTS) and max(foods.COUNTS.values()) == foods.MOST
        for name in ("stamps", "clipart", "icons"):
            script = importlib.import_module(f"fetch_{name}")
            assert sorted(script.FOLDERS.values()) == list(script.COUNTS) and max(script.COUNTS.values()) == script.MOST


class TestStamps:
    def test_the_packages_folders_become_classes_with_all_below_them(
        self, common: ModuleType, stamps: ModuleType, tmp_path: Path
    ) -> None:
        paths = ["animals/birds/owl.png", "animals/birds/cartoon/owl.png", "town/houses/cartoon/inn.png", "town/square.png"]
        images = [(PurePosixPath(path), png((9, number, 9, 255))) for number, path in enumerate(paths)]
        common.write_classes(images, stamps.FOLDERS, 48, tmp_path / "out")
        found = {str(path.relative_to(tmp_path / "out")) for path in (tmp_path / "out").rglob("*.png")}
        assert found == {"birds/birds-owl.png", "birds/cartoon-owl.png", "houses/cartoon-inn.png"}

    @pytest.mark.skipif(shutil.which("dpkg-deb") is None, reason="dpkg-deb is not here")
    def test_mirror_images_links_and_what_lies_elsewhere_are_left_out(self, stamps: ModuleType, tmp_path: Path) -> None:
        package = tmp_path / "package"
        birds = package / stamps.STAMPS / "animals" / "birds"
        for folder in (package / "DEBIAN", birds, package / "usr" / "share" / "other"):
            folder.mkdir(parents=True)
        (package / "DEBIAN" / "control").write_text(
            "Package: stamps\nVersion: 1\nArchitecture: all\nMaintainer: x <x@y.z>\nDescription: x\n"
        )
        for path in (birds / "owl.png", birds / "owl_mirror.png", birds / "owl.txt", package / "usr/share/other/tit.png"):
            path.write_bytes(png((1, 2, 3, 255)))
        (birds / "again.png").symlink_to("owl.png")
        subprocess.run(["dpkg-deb", "--build", str(package), str(tmp_path / "a.deb")], check=True, capture_output=True)
        found = dict(stamps.stamps_of(tmp_path / "a.deb"))
        assert found == {PurePosixPath("animals/birds/owl.png"): png((1, 2, 3, 255))}


class TestClothes:
    def test_a_class_a_file_and_an_image_a_row_empty_ones_left_out(self, clothes: ModuleType, tmp_path: Path) -> None:
        rows = {label: [[label] * 784, [], [200 - label] * 784] for label in range(10)}
        with tarfile.open(tmp_path / "package.tgz", "w:gz") as tar:
            for label, own in rows.items():
                data = json.dumps({"data": own}).encode()
                member = tarfile.TarInfo(f"package/src/clothes/{label}.json")
                member.size = len(data)
                tar.addfile(member, io.BytesIO(data))
        clothes.write_tree(tmp_path / "package.tgz", tmp_path / "out")
        for label, name in enumerate(clothes.CLASSES):
            images = [np.asarray(Image.open(path)) for path in sorted((tmp_path / "out" / name).iterdir())]
            assert [image.shape for image in images] == [(28, 28)] * 2
            assert [set(image.ravel().tolist()) for image in images] == [{label}, {200 - label}]

    def test_an_archive_without_a_class_is_named(self, clothes: ModuleType, tmp_path: Path) -> None:
        with pytest.raises(clothes.FetchError, match=r"has no package/src/clothes/0.json\."):
            clothes.write_tree(tar_of(tmp_path / "package.tgz", {"x": b"1"}), tmp_path / "out")


class TestCommon:
    def test_a_picture_lies_in_the_middle_of_a_white_square(self, common: ModuleType) -> None:
        pixels = np.asarray(common.on_white(png((200, 10, 10, 255))))
        assert pixels.shape == (128, 128, 3)
        red = (pixels == (200, 10, 10)).all(-1)
        assert red[54:74, 44:84].all() and red.sum() == 20 * 40
        assert (pixels[~red] == 255).all()
        assert (np.asarray(common.on_white(png((200, 10, 10, 0)))) == 255).all()
        assert common.on_white(png((1, 2, 3, 255), (256, 512))).getpixel((64, 0)) == (1, 2, 3)

    def test_equal_files_count_once_and_large_classes_are_cut_always_alike(self, common: ModuleType, tmp_path: Path) -> None:
        images = [(PurePosixPath(f"a/{number}.png"), png((number // 2, 0, 0, 255))) for number in range(20)]
        for name, order in (("one", images), ("two", images[::-1])):
            common.write_classes(order, {"a": "all"}, 4, tmp_path / name)
        one, two = (sorted(path.name for path in (tmp_path / name / "all").iterdir()) for name in ("one", "two"))
        assert one == two and len(one) == 4
        common.write_classes(images, {"a": "all"}, 50, tmp_path / "three")
        assert len(list((tmp_path / "three" / "all").iterdir())) == 10

    def test_a_tree_replaces_an_older_one_but_nothing_else(self, common: ModuleType, tmp_path: Path) -> None:
        for place in ("new/cat/1.png", "out/cat/old.png", "mine/notes/1.txt"):
            (tmp_path / place).parent.mkdir(parents=True)
            (tmp_path / place).touch()
        with pytest.raises(common.FetchError, match="holds notes, which is no class"):
            common.put_in_place(tmp_path / "new", tmp_path / "mine", {"cat": 1})
        with pytest.raises(common.FetchError, match=r"'cat': 1.* instead of .*'cat': 2"):
            common.put_in_place(tmp_path / "new", tmp_path / "out", {"cat": 2})
        common.put_in_place(tmp_path / "new", tmp_path / "out", {"cat": 1})
        assert [str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*.png")] == ["out/cat/1.png"]

    @pytest.mark.parametrize("tool", ["npm_pack", "apt_download"])
    def test_without_the_tool_the_other_way_is_named(
        self, common: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tool: str
    ) -> None:
        monkeypatch.setenv("PATH", str(tmp_path))
        arguments = ["name@1"] if tool == "npm_pack" else ["name", "1"]
        with pytest.raises(common.FetchError, match="is not installed. .* by --archive"):
            getattr(common, tool)(*arguments, tmp_path)
