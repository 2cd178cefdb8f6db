"""What may change when a run goes on, who may work on a folder, and a journal that is torn, damaged or none at all."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from biotune.config.schema import RunConfig
from biotune.config.search import EvolutionConfig
from biotune.config.sections import BackboneConfig, DatasetConfig, ExecutorConfig, TrainingConfig
from biotune.errors import RunFolderError
from biotune.executors.recorded import Recorded
from biotune.recipes.resuming import differences, pin_config, pin_fact
from biotune.schedule.block import Block
from biotune.schedule.schedule import Schedule
from biotune.store.files import JOURNAL
from biotune.store.journal import Journal
from biotune.store.lock import sole_user
from biotune.trial import Trial, TrialResult

LR = 3e-3  # the base learning rate of trials

HOLD = """
import sys
from pathlib import Path
from biotune.store.lock import sole_user
with sole_user(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def config(**more: Any) -> RunConfig:
    sections: dict[str, Any] = {
        "dataset": DatasetConfig("digits", "digits"),
        "backbone": BackboneConfig("biotune", "glyphnet"),
        "evolution": EvolutionConfig("biotune", generations=5),
        "executor": ExecutorConfig("in_process"),
    }
    return RunConfig(**(sections | more))


@pytest.fixture
def journal(tmp_path: Path) -> Any:
    opened = Journal(tmp_path)
    yield opened
    opened.close()


class TestDifferences:
    def test_what_has_changed_is_named_with_both_values(self) -> None:
        before = {"seed": 0, "training.lr": 0.001, "training.seeds": [1, 2], "device": None}
        now = {"seed": 0, "training.lr": 0.1, "training.seeds": [1, 3], "device": "cpu"}
        assert differences(before, now) == [
            "training.lr=0.001, now 0.1",
            "training.seeds=[1,2], now [1,3]",
            "device=null, now cpu",
        ]
        assert differences(before, dict(reversed(before.items()))) == []

    def test_keys_that_came_or_went_are_changes(self) -> None:
        assert differences({"old": 1}, {"new": 2}) == ["old=1, now null", "new=null, now 2"]

    @pytest.mark.parametrize("key", ["evolution.generations", "evolution.max_hours"])
    @pytest.mark.parametrize(
        ("old", "new", "allowed"), [(5, 6, True), (5, 5, True), (5, 4, False), (5, None, True), (None, 5, False)]
    )
    def test_a_search_may_only_become_longer(self, key: str, old: float | None, new: float | None, allowed: bool) -> None:
        assert (differences({key: old}, {key: new}) == []) == allowed


class TestSettings:
    def test_the_first_are_noted_and_the_same_are_noted_once(self, journal: Journal, tmp_path: Path) -> None:
        for _ in range(3):
            pin_config(journal, config(), tmp_path)
        (pin,) = journal.records("pin")
        assert pin["value"]["evolution.generations"] == 5
        assert "executor.name" not in pin["value"] and "executor.threads" in pin["value"]

    @pytest.mark.parametrize(
        "more",
        [
            {"executor": ExecutorConfig("process_pool", workers=3)},
            {"dataset": DatasetConfig("digits", "digits", root="elsewhere", download=True)},
        ],
    )
    def test_where_trainings_run_and_images_lie_may_change(
        self, more: dict[str, Any], journal: Journal, tmp_path: Path
    ) -> None:
        pin_config(journal, config(), tmp_path)
        pin_config(journal, config(**more), tmp_path)
        assert len(journal.records("pin")) == 1

    @pytest.mark.parametrize(
        ("more", "words"),
        [
            ({"seed": 4}, "seed=0, now 4"),
            ({"executor": ExecutorConfig("in_process", threads=2)}, "executor.threads=1, now 2"),
            ({"training": TrainingConfig(lr=0.5)}, "training.lr=.*, now 0.5"),
            ({"evolution": EvolutionConfig("biotune", generations=4)}, "evolution.generations=5, now 4"),
        ],
    )
    def test_what_numbers_depend_on_may_not(self, more: dict[str, Any], words: str, journal: Journal, tmp_path: Path) -> None:
        pin_config(journal, config(), tmp_path)
        with pytest.raises(RunFolderError, match=words):
            pin_config(journal, config(**more), tmp_path)
        assert len(journal.records("pin")) == 1

    def test_a_key_that_the_first_version_did_not_have_counts_as_its_default(self, journal: Journal, tmp_path: Path) -> None:
        pin_config(journal, config(), tmp_path)
        known = dict(journal.pinned("config"))
        assert known.pop("evolution.resplit") is False
        journal.pin("config", known)
        pin_config(journal, config(), tmp_path)
        journal.pin("config", known)
        with pytest.raises(RunFolderError, match="evolution.resplit=false, now true"):
            pin_config(journal, config(evolution=EvolutionConfig("biotune", generations=5, resplit=True)), tmp_path)

    def test_a_longer_search_is_what_later_ones_are_compared_with(self, journal: Journal, tmp_path: Path) -> None:
        pin_config(journal, config(), tmp_path)
        pin_config(journal, config(evolution=EvolutionConfig("biotune", generations=7)), tmp_path)
        with pytest.raises(RunFolderError, match="evolution.generations=7, now 5"):
            pin_config(journal, config(), tmp_path)

    def test_a_fingerprint_is_noted_once_and_another_refused(self, journal: Journal, tmp_path: Path) -> None:
        pin_fact(journal, "data", "abc", "images have", tmp_path)
        pin_fact(journal, "data", "abc", "images have", tmp_path)
        pin_fact(journal, "weights", "xyz", "weights have", tmp_path)
        assert len(journal.records("pin")) == 2
        with pytest.raises(RunFolderError, match="images have changed since the run began"):
            pin_fact(journal, "data", "abd", "images have", tmp_path)


class TestSoleUser:
    def test_another_process_is_kept_off_until_the_first_ends_however_it_does(self, tmp_path: Path) -> None:
        command = [sys.executable, "-c", HOLD, str(tmp_path)]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
            assert other.stdout is not None
            assert other.stdout.readline() == "held\n"
            with pytest.raises(RunFolderError, match="another process is working on it"), sole_user(tmp_path):
                pytest.fail("must not enter")
            other.kill()
            other.wait()
        with sole_user(tmp_path):
            pass

    def test_an_error_within_releases_it(self, tmp_path: Path) -> None:
        with pytest.raises(KeyboardInterrupt), sole_user(tmp_path):
            raise KeyboardInterrupt
        with sole_user(tmp_path):
            pass

    def test_a_folder_that_is_gone_is_an_error_of_the_folder(self, tmp_path: Path) -> None:
        with pytest.raises(RunFolderError, match="no such folder"), sole_user(tmp_path / "gone" / "below"):
            pytest.fail("must not enter")
        assert list(tmp_path.iterdir()) == []


BLOCK = (Block("head", ("fc",)),)
TRIALS = [Trial(Schedule(BLOCK, (rate,)), 0, seed, 3, LR) for rate in (1.0, 2.0) for seed in (1, 2)]


class Inner:
    def __init__(self) -> None:
        self.asked: list[Trial] = []

    def run(self, trials: Sequence[Trial], on_result: Callable[[Trial, TrialResult], None]) -> list[TrialResult]:
        self.asked += trials
        results = [
            TrialResult("ok", (trial.seed / 7, 1 / 3), 1.5, {"größe": 0.5}, None)
            if trial.seed == 1
            else TrialResult("failed", (), 0.5, error="ein Übel\nλ")
            for trial in trials
        ]
        for trial, result in zip(trials, results, strict=True):
            on_result(trial, result)
        return results

    def close(self) -> None:
        pass


def search(folder: Path) -> tuple[list[TrialResult], list[Trial]]:
    """A run of four trainings in two batches; returns the results and what had to be trained."""
    inner, journal = Inner(), Journal(folder)
    try:
        pin_config(journal, config(), folder)
        pin_fact(journal, "data", "abc", "images have", folder)
        executor = Recorded(inner, journal)
        return executor.run(TRIALS[:2]) + executor.run(TRIALS[2:]), inner.asked
    finally:
        journal.close()


class TestTornJournal:
    def test_a_last_line_torn_at_any_byte_costs_one_training_and_the_run_ends_the_same(self, tmp_path: Path) -> None:
        results, asked = search(tmp_path)
        assert asked == TRIALS
        whole = (tmp_path / JOURNAL).read_bytes()
        last = whole.rfind(b"\n", 0, -1) + 1
        assert whole[last:].startswith(b'{"kind": "trial"') and len(whole) - last > 100
        for end in range(last, len(whole)):
            (tmp_path / JOURNAL).write_bytes(whole[:end])
            assert search(tmp_path) == (results, TRIALS[3:]), end
            assert (tmp_path / JOURNAL).read_bytes() == whole, end

    def test_a_journal_torn_at_any_line_goes_on_to_the_same_end(self, tmp_path: Path) -> None:
        results, _ = search(tmp_path)
        whole = (tmp_path / JOURNAL).read_bytes()
        lines = whole.splitlines(keepends=True)
        for count in range(len(lines) + 1):
            (tmp_path / JOURNAL).write_bytes(b"".join(lines[:count]))
            found, asked = search(tmp_path)
            assert found == results
            assert asked == TRIALS[max(count - 3, 0) :], "a header and two pins come first"
            assert (tmp_path / JOURNAL).read_bytes() == whole


class TestDamagedJournal:
    @pytest.mark.parametrize(
        "line",
        [b"", b"{", b"null", b"[]", b'"text"', b"\xff\xfe", b'{"kind": "trial"', b"[" * 100_000],
    )
    @pytest.mark.parametrize("number", [1, 2, 4])
    def test_a_damaged_line_before_the_end_is_named_and_nothing_is_changed(
        self, line: bytes, number: int, tmp_path: Path
    ) -> None:
        search(tmp_path)
        lines = (tmp_path / JOURNAL).read_bytes().split(b"\n")
        lines[number - 1] = line
        damaged = b"\n".join(lines)
        (tmp_path / JOURNAL).write_bytes(damaged)
        with pytest.raises(RunFolderError, match=rf"journal\.jsonl: line {number} is damaged"):
            Journal(tmp_path)
        assert (tmp_path / JOURNAL).read_bytes() == damaged

    @pytest.mark.parametrize("header", [{"kind": "header", "format": 2}, {"kind": "header"}, {"kind": "trial", "format": 1}])
    def test_another_format_is_refused(self, header: dict[str, Any], tmp_path: Path) -> None:
        (tmp_path / JOURNAL).write_text(json.dumps(header) + "\n")
        with pytest.raises(RunFolderError, match="another format; this biotune reads format 1"):
            Journal(tmp_path)

    @given(st.binary(max_size=200))
    @example(b"\xef\xbb\xbf{}\n")
    @example(b"\xff\xfe{\x00}\x00\n")
    @example(b"9" * 10_000 + b"\n")
    @example(b"\n\n\n")
    @settings(max_examples=80, deadline=None)
    def test_bytes_of_any_kind_are_a_run_folder_error_or_a_journal(self, content: bytes) -> None:
        with tempfile.TemporaryDirectory() as folder:
            (Path(folder) / JOURNAL).write_bytes(content)
            try:
                journal = Journal(Path(folder))
            except RunFolderError:
                return
            journal.append({"kind": "next"})
            assert journal.records()[-1] == {"kind": "next"}
            journal.close()

    @given(st.integers(0, 4), st.binary(max_size=60).filter(lambda content: b"}" not in content))
    @settings(max_examples=80, deadline=None)
    def test_bytes_of_any_kind_amid_whole_lines_are_a_run_folder_error(self, place: int, content: bytes) -> None:
        lines = [b'{"kind": "header", "format": 1}', *[b'{"kind": "trial", "key": "a"}'] * 3]
        with tempfile.TemporaryDirectory() as folder:
            (Path(folder) / JOURNAL).write_bytes(b"\n".join([*lines[:place], content, *lines[place:], b""]))
            with pytest.raises(RunFolderError):
                Journal(Path(folder))
