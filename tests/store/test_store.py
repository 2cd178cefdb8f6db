"""A run's files: whole or not at all, exact, and a journal that survives being cut anywhere."""

from __future__ import annotations

import csv
import errno
import json
import math
import os
import random
import stat
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import pytest

from biotune.errors import RunFolderError
from biotune.store.files import JOURNAL, MODEL, PREDICTIONS, GrowingTable, write_json, write_table, write_text, write_whole
from biotune.store.journal import Journal
from biotune.training.model import choose_model, forget_kept, is_kept, kept_model, kept_predictions


@pytest.fixture
def no_space(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Make every sync to disk fail for want of space, from the call on."""

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    return lambda: monkeypatch.setattr(os, "fsync", full)


class TestWholeFiles:
    @pytest.mark.parametrize("error", [ValueError("odd row"), KeyboardInterrupt(), MemoryError()])
    def test_a_failing_writer_leaves_the_old_file_and_nothing_else(self, error: BaseException, tmp_path: Path) -> None:
        path = tmp_path / "table.csv"
        write_text(path, "old\n")

        def fail_half_way(file: IO[bytes]) -> None:
            file.write(b"new, but only ha")
            raise error

        with pytest.raises(type(error)):
            write_whole(path, fail_half_way)
        assert path.read_text() == "old\n"
        assert os.listdir(tmp_path) == ["table.csv"]

    def test_a_full_disk_leaves_the_old_file_and_names_the_file_and_the_reason(self, tmp_path: Path, no_space: Any) -> None:
        path = tmp_path / "table.csv"
        write_text(path, "old\n")
        no_space()
        with pytest.raises(RunFolderError, match=r"table\.csv: cannot be written \(No space left on device\)"):
            write_text(path, "new\n")
        assert path.read_text() == "old\n"
        assert os.listdir(tmp_path) == ["table.csv"]

    def test_the_content_is_synced_before_it_takes_the_files_name(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        path, seen = tmp_path / "a.txt", []
        write_text(path, "old")
        monkeypatch.setattr(os, "fsync", lambda _: seen.append(path.read_text()))
        write_text(path, "new")
        assert seen == ["old"]
        assert path.read_text() == "new"

    def test_a_folder_that_is_gone_or_none_is_a_run_folder_error(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("")
        for folder in (tmp_path / "gone", tmp_path / "file"):
            with pytest.raises(RunFolderError, match=str(folder)):
                write_json(folder / "result.json", {})
            with pytest.raises(RunFolderError, match=str(folder)):
                Journal(folder)

    def test_files_have_the_rights_that_the_users_umask_leaves(self, tmp_path: Path) -> None:
        before = os.umask(0o027)
        try:
            write_text(tmp_path / "a.txt", "x")
        finally:
            os.umask(before)
        assert stat.S_IMODE((tmp_path / "a.txt").stat().st_mode) == 0o640

    def test_text_is_utf8_whatever_the_locale(self, tmp_path: Path) -> None:
        write_text(tmp_path / "a.txt", "λ_0 · 鳥")
        assert (tmp_path / "a.txt").read_bytes() == "λ_0 · 鳥".encode()


def awkward_floats() -> list[float]:
    rng = random.Random(0)
    anything = (struct.unpack("<d", rng.randbytes(8))[0] for _ in range(500))
    usual = [rng.random() for _ in range(500)]
    return [0.1 + 0.2, 1 / 3, 5e-324, 1.7976931348623157e308, -0.0, 1e-05, 1e22, *usual, *filter(math.isfinite, anything)]


class TestFloats:
    def test_they_read_back_exactly_from_a_table(self, tmp_path: Path) -> None:
        values = awkward_floats()
        write_table(tmp_path / "t.csv", ({"row": index, "value": value} for index, value in enumerate(values)))
        with (tmp_path / "t.csv").open(newline="") as file:
            read = [float(row["value"]) for row in csv.DictReader(file)]
        assert [struct.pack("<d", value) for value in read] == [struct.pack("<d", value) for value in values]

    def test_they_read_back_exactly_from_json_and_the_journal(self, tmp_path: Path) -> None:
        values = awkward_floats()
        write_json(tmp_path / "r.json", {"values": values})
        assert json.loads((tmp_path / "r.json").read_text())["values"] == values
        journal = Journal(tmp_path)
        journal.append({"curve": values})
        assert journal.records()[1]["curve"] == values
        journal.close()


def test_a_table_keeps_columns_and_order_and_awkward_texts(tmp_path: Path) -> None:
    rows = [{"b": 1, "a": 'comma, "quote"'}, {"b": 2, "a": "two\nlines"}]
    write_table(tmp_path / "t.csv", rows)
    with (tmp_path / "t.csv").open(newline="") as file:
        assert list(csv.DictReader(file)) == [{key: str(value) for key, value in row.items()} for row in rows]
    write_table(tmp_path / "empty.csv", [], ["generation", "fold"])
    assert (tmp_path / "empty.csv").read_bytes() == b"generation,fold\n"


RECORDS = [{"kind": "trial", "key": f"1.0|-@fold0/seed{seed}", "curve": [0.5, seed / 7]} for seed in range(3)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a journal of a header and three records."""
    journal = Journal(tmp_path)
    for record in RECORDS:
        journal.append(record)
    journal.close()
    return tmp_path


@pytest.fixture
def file_size_limit() -> Iterator[Any]:
    """The kernel's own refusal to write on, as on a full disk."""
    resource = pytest.importorskip("resource")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield lambda size: resource.setrlimit(resource.RLIMIT_FSIZE, (soft if size is None else size, hard))
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


class TestGrowingTable:
    def test_a_small_one_is_whole_on_the_disk_after_every_addition(self, tmp_path: Path) -> None:
        table, path = GrowingTable(tmp_path / "table.csv"), tmp_path / "table.csv"
        table.extend([{"a": 1, "b": 0.1 + 0.2}])
        assert path.read_text() == "a,b\n1,0.30000000000000004\n"
        table.extend([{"a": 2, "b": 1.0}, {"a": 3, "b": 0.5}])
        assert path.read_text() == "a,b\n1,0.30000000000000004\n2,1.0\n3,0.5\n"

    def test_a_large_one_is_written_again_when_a_tenth_has_been_added_and_at_the_end(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(GrowingTable, "SMALL", 20)
        path = tmp_path / "table.csv"
        table, sizes = GrowingTable(path), []
        for number in range(43):
            table.extend([{"a": number}])
            sizes.append(len(path.read_text().splitlines()) - 1)
        # 20 · 1.1 = 22, then 24.2, 27.5, 30.8, 34.1, 38.5, 42.9
        assert sizes[19:] == [20] * 2 + [22] * 3 + [25] * 3 + [28] * 3 + [31] * 4 + [35] * 4 + [39] * 4 + [43]
        table.extend([{"a": 43}])
        table.close()
        assert path.read_text().splitlines() == ["a", *map(str, range(44))]

    def test_one_without_rows_makes_no_file(self, tmp_path: Path) -> None:
        GrowingTable(tmp_path / "table.csv").close()
        assert list(tmp_path.iterdir()) == []


class TestJournal:
    def test_each_record_is_one_whole_line_after_a_header(self, folder: Path) -> None:
        content = (folder / JOURNAL).read_bytes()
        assert content.endswith(b"\n")
        lines = [json.loads(line) for line in content.decode().split("\n")[:-1]]
        assert lines == [{"kind": "header", "format": 1}, *RECORDS]

    def test_a_record_is_synced_and_readable_by_others_when_append_returns(
        self, folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        synced: list[bytes] = []
        monkeypatch.setattr(os, "fsync", lambda _: synced.append((folder / JOURNAL).read_bytes()))
        journal = Journal(folder)
        for number in range(2):
            journal.append({"number": number, "filler": "x" * 100_000 * number})
            assert json.loads(synced[-1].splitlines()[-1])["number"] == number
        assert len(synced) == 2
        journal.close()

    def test_opening_again_goes_on_where_it_stopped(self, folder: Path) -> None:
        for number in range(2):
            journal = Journal(folder)
            assert journal.records()[1:] == RECORDS + [{"again": before} for before in range(number)]
            journal.append({"again": number})
            journal.close()
        assert (folder / JOURNAL).read_bytes().count(b'"header"') == 1

    def test_reading_does_not_move_the_place_of_writing(self, folder: Path) -> None:
        journal = Journal(folder)
        journal.records()
        journal.append({"kind": "a"})
        journal.records()
        journal.append({"kind": "b"})
        assert journal.records()[1:] == [*RECORDS, {"kind": "a"}, {"kind": "b"}]
        journal.close()

    def test_a_last_line_torn_at_any_byte_is_cut_and_the_next_record_stands_alone(self, folder: Path) -> None:
        path = folder / JOURNAL
        content = path.read_bytes()
        last = content.rfind(b"\n", 0, -1) + 1
        for end in range(last, len(content)):
            path.write_bytes(content[:end])
            journal = Journal(folder)
            assert journal.records()[1:] == RECORDS[:-1], end
            journal.append({"kind": "next"})
            journal.close()
            journal = Journal(folder)
            assert journal.records()[1:] == [*RECORDS[:-1], {"kind": "next"}], end
            journal.close()

    def test_of_two_notes_of_one_name_the_later_counts_also_when_opened_again(self, folder: Path) -> None:
        journal = Journal(folder)
        assert journal.pinned("config") is None
        for value in ({"generations": 2}, {"generations": 4}):
            journal.pin("config", value)
            journal.pin("data", "abc")
            assert (journal.pinned("config"), journal.pinned("data")) == (value, "abc")
        journal.close()
        journal = Journal(folder)
        assert journal.pinned("config") == {"generations": 4}
        journal.close()

    def test_a_torn_header_is_written_anew(self, tmp_path: Path) -> None:
        for end in range(10):
            (tmp_path / JOURNAL).write_bytes(b'{"kind": "header"'[:end])
            journal = Journal(tmp_path)
            assert journal.records() == [{"kind": "header", "format": 1}]
            journal.close()

    def test_texts_with_line_breaks_of_any_kind_stay_one_record(self, folder: Path) -> None:
        record = {"error": "a\nb\r\nc\x0bd\x1ce\x85f\u2028g\u2029h 鳥"}
        journal = Journal(folder)
        journal.append(record)
        journal.close()
        journal = Journal(folder)
        assert journal.records()[-1] == record
        journal.close()

    def test_numbers_that_are_none_come_back(self, folder: Path) -> None:
        journal = Journal(folder)
        journal.append({"sd": math.nan, "worst": math.inf})
        read = journal.records()[-1]
        assert math.isnan(read["sd"])
        assert read["worst"] == math.inf
        journal.close()

    def test_a_failing_sync_is_a_run_folder_error(self, folder: Path, no_space: Any) -> None:
        journal = Journal(folder)
        no_space()
        with pytest.raises(RunFolderError, match=r"journal\.jsonl: cannot be written \(No space left on device\)"):
            journal.append({"kind": "trial"})
        journal.close()

    def test_a_disk_that_fills_up_in_mid_line_loses_only_that_line(self, folder: Path, file_size_limit: Any) -> None:
        journal = Journal(folder)
        file_size_limit((folder / JOURNAL).stat().st_size + 20)
        try:
            with pytest.raises(RunFolderError, match=r"journal\.jsonl: cannot be written"):
                journal.append({"kind": "trial", "filler": "x" * 1000})
            journal.close()  # must not raise a second error over the first
        finally:
            file_size_limit(None)
        journal = Journal(folder)
        assert journal.records()[1:] == RECORDS
        journal.append({"kind": "next"})
        assert journal.records()[1:] == [*RECORDS, {"kind": "next"}]
        journal.close()


def test_the_chosen_model_becomes_the_final_one_and_stays_kept_until_all_are_forgotten(tmp_path: Path) -> None:
    for name in ("1", "2", "3"):
        kept_model(tmp_path, name).write_text(f"model {name}")
        kept_predictions(tmp_path, name).write_text(f"predictions {name}")
    (tmp_path / ".best_schedule.yaml.unfinished-x7").write_text("half")  # what a killed process has left
    choose_model(tmp_path, "2")
    assert all(is_kept(tmp_path, name) for name in ("1", "2", "3"))
    forget_kept(tmp_path)
    assert sorted(os.listdir(tmp_path)) == sorted([MODEL, PREDICTIONS])
    assert (tmp_path / MODEL).read_text() == "model 2"
    assert (tmp_path / PREDICTIONS).read_text() == "predictions 2"
