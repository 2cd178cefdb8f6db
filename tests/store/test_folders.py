"""Whether a folder can be written is found out by trying, and trying leaves nothing."""

from __future__ import annotations

import errno
import os
import sys
from pathlib import Path

import pytest

from biotune.errors import RunFolderError
from biotune.store.files import check_writable, write_text
from biotune.store.folders import check_new, make_folder, new_folder_whole, why_not_writable

LONG = "x" * 300


@pytest.mark.parametrize("place", ["", "new", "new/er/est", "with\nnewline", "new/../other"])
def test_a_folder_that_can_be_made_is_not_made(place: str, tmp_path: Path) -> None:
    assert why_not_writable(tmp_path / place) is None
    assert list(tmp_path.iterdir()) == []


def test_a_relative_folder_is_tried_in_the_working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert why_not_writable(Path("runs/1")) is None
    (tmp_path / "file").touch()
    assert why_not_writable(Path("file/1")) == f"{tmp_path / 'file'} is a file"


@pytest.mark.parametrize(
    ("place", "reason"),
    [
        ("file", "file is a file"),
        ("file/below", "file is a file"),
        ("dangling", "dangling is a link to nothing"),
        ("dangling/below", "dangling is a link to nothing"),
        (LONG, "File name too long"),
        (f"new/{LONG}/below", "File name too long"),
        ("a\0b", "its name holds an embedded null"),
    ],
)
def test_a_folder_that_cannot_be_made_has_a_reason_of_one_line(place: str, reason: str, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "dangling").symlink_to("nowhere")
    found = why_not_writable(tmp_path / place)
    assert found is not None and reason in found and "\n" not in found
    assert sorted(path.name for path in tmp_path.iterdir()) == ["dangling", "file"]


@pytest.mark.skipif(sys.platform != "linux", reason="/proc and /sys are Linux's")
@pytest.mark.parametrize("place", ["/proc/x", "/proc/x/y", "/sys/x"])
def test_a_file_system_that_makes_no_folders_is_refused_even_to_an_administrator(place: str) -> None:
    assert why_not_writable(Path(place)) is not None


@pytest.mark.parametrize("code", [errno.EROFS, errno.EACCES, errno.ENOSPC, errno.EDQUOT])
def test_the_systems_reason_is_given(code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "mkdir", refuse)
    assert why_not_writable(tmp_path / "new") == f"{os.strerror(code)} in {tmp_path}"
    with pytest.raises(RunFolderError, match="new: cannot be made"):
        make_folder(tmp_path / "new")


def test_a_folder_that_another_run_makes_meanwhile_is_left_to_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = Path.write_bytes

    def meanwhile(path: Path, content: bytes) -> int:
        (tmp_path / "outputs" / "other").mkdir(parents=True)
        return write(path, content)

    monkeypatch.setattr(Path, "write_bytes", meanwhile)
    assert why_not_writable(tmp_path / "outputs" / "own") is None
    assert [path.name for path in (tmp_path / "outputs").iterdir()] == ["other"]


def test_a_file_is_tried_without_a_trace_and_an_old_one_stays(tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    check_writable(page)
    assert list(tmp_path.iterdir()) == []
    write_text(page, "old")
    check_writable(page)
    assert page.read_text() == "old" and list(tmp_path.iterdir()) == [page]
    for path in (tmp_path, tmp_path / "no" / "page.html", tmp_path / LONG, page / "below"):
        with pytest.raises(RunFolderError, match="cannot be written"):
            check_writable(path)


def test_a_file_in_the_place_of_a_folder_is_told_in_a_line(tmp_path: Path) -> None:
    (tmp_path / "plots").touch()
    with pytest.raises(RunFolderError, match=r"plots: cannot be made \(File exists\)"):
        make_folder(tmp_path / "plots")
    make_folder(tmp_path / "new")
    make_folder(tmp_path / "new")


class TestANewFolder:
    def test_is_there_with_all_its_files_and_the_usual_rights(self, tmp_path: Path) -> None:
        with new_folder_whole(tmp_path / "a/b") as filling:
            (filling / "file").write_text("content")
            (filling / "file").chmod(0o600)
            assert not (tmp_path / "a/b").exists()
        assert (tmp_path / "a/b/file").read_text() == "content"
        assert [path.name for path in (tmp_path / "a").iterdir()] == ["b"]
        (tmp_path / "usual").mkdir()
        (tmp_path / "usual/file").touch()
        for name in ("", "file"):
            assert (tmp_path / "a/b" / name).stat().st_mode == (tmp_path / "usual" / name).stat().st_mode

    def test_is_not_there_at_all_after_a_failure(self, tmp_path: Path) -> None:
        with pytest.raises(ZeroDivisionError), new_folder_whole(tmp_path / "new") as filling:
            (filling / "file").touch()
            raise ZeroDivisionError
        assert list(tmp_path.iterdir()) == []

    def test_takes_no_others_place(self, tmp_path: Path) -> None:
        with (
            pytest.raises(RunFolderError, match=r"new: cannot be made \(Directory not empty\)"),
            new_folder_whole(tmp_path / "new") as filling,
        ):
            (filling / "file").touch()
            (tmp_path / "new").mkdir()
            (tmp_path / "new/other").touch()
        assert [path.relative_to(tmp_path).as_posix() for path in sorted(tmp_path.rglob("*"))] == ["new", "new/other"]

    def test_is_checked_before_the_work(self, tmp_path: Path) -> None:
        check_new(tmp_path / "a/b")
        assert list(tmp_path.iterdir()) == []
        with pytest.raises(RunFolderError, match="exists already. Remove it, or name another folder."):
            check_new(tmp_path)
        (tmp_path / "file").touch()
        with pytest.raises(RunFolderError, match="file/below: cannot be made .* is a file"):
            check_new(tmp_path / "file/below")
