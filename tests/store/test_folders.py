"""Whether a folder can be written is found out by trying, and trying leaves nothing."""

from __future__ import annotations

import errno
import os
import sys
from pathlib import Path

import pytest

from biotune.errors import RunFolderError
from biotune.store.files import check_writable, write_text
from biotune.store.folders import make_folder, why_not_writable

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
