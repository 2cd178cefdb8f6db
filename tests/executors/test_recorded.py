"""Tests of the recorded executor against a journal on disk."""

import dataclasses
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from biotune.executors.recorded import Recorded
from biotune.schedule.block import Block
from biotune.schedule.schedule import Schedule
from biotune.store.files import JOURNAL
from biotune.store.journal import Journal
from biotune.trial import Trial, TrialResult, key_with_lr

LR = 3e-3  # the base learning rate of trials

SCHEDULE = Schedule((Block("stem", ("a",)), Block("head", ("b",))), (0.1 + 0.2, 0.0))


def trial(seed: int, fold: int | None = 0) -> Trial:
    return Trial(SCHEDULE, fold, seed, 5, LR)


def result(seed: int) -> TrialResult:
    scores = {"kappa": math.pi * seed}
    return TrialResult("ok", (seed / 3, math.nextafter(seed / 7, 1)), 1 / 9, scores, unbiased=seed / 11 if seed % 2 else None)


class Backwards:
    """Runs trials from the last to the first, and answers in their order."""

    def __init__(self, answer: Callable[[Trial], TrialResult] = lambda trial: result(trial.seed)) -> None:
        self.answer = answer
        self.ran: list[str] = []
        self.closed = False

    def run(self, trials: Sequence[Trial], on_result: Callable[[Trial, TrialResult], None]) -> list[TrialResult]:
        results = {}
        for one in reversed(trials):
            results[one.key] = self.answer(one)
            self.ran.append(one.key)
            on_result(one, results[one.key])
        return [results[one.key] for one in trials]

    def close(self) -> None:
        self.closed = True


def reopened(folder: Path) -> tuple[Recorded, Backwards]:
    inner = Backwards()
    return Recorded(inner, Journal(folder)), inner


def test_results_come_in_the_order_of_the_trials(tmp_path: Path) -> None:
    executor, inner = reopened(tmp_path)
    assert executor.run([trial(1), trial(2), trial(3)]) == [result(1), result(2), result(3)]
    assert inner.ran == [trial(seed).key for seed in (3, 2, 1)]


def test_equal_trials_run_once_and_are_answered_each(tmp_path: Path) -> None:
    executor, inner = reopened(tmp_path)
    assert executor.run([trial(1), trial(2), trial(1)]) == [result(1), result(2), result(1)]
    assert sorted(inner.ran) == [trial(1).key, trial(2).key]


def test_known_trials_are_answered_without_running(tmp_path: Path) -> None:
    executor, inner = reopened(tmp_path)
    executor.run([trial(1)])
    assert executor.run([trial(2), trial(1)]) == [result(2), result(1)]
    assert inner.ran == [trial(1).key, trial(2).key]


def test_reopened_journal_answers_with_the_exact_numbers(tmp_path: Path) -> None:
    reopened(tmp_path)[0].run([trial(seed) for seed in range(1, 20)])
    executor, inner = reopened(tmp_path)
    again = executor.run([trial(seed) for seed in range(1, 20)])
    assert inner.ran == []
    assert again == [result(seed) for seed in range(1, 20)]  # float equality, to the bit
    assert all(isinstance(one.curve, tuple) for one in again)


def test_learning_curves_are_remembered_and_journals_without_them_read(tmp_path: Path) -> None:
    whole = TrialResult("ok", (0.5, 0.6), 1.0, losses=(1.5, 1.25), train_losses=(2.0, 1.0 / 3))
    Recorded(Backwards(lambda _: whole), Journal(tmp_path)).run([trial(1)])
    assert reopened(tmp_path)[0].run([trial(1)]) == [whole]
    file = tmp_path / "journal.jsonl"
    lines = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    del lines[-1]["train_losses"]
    file.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    assert reopened(tmp_path)[0].run([trial(1)]) == [replace(whole, train_losses=())]


def test_another_fold_is_another_trial(tmp_path: Path) -> None:
    reopened(tmp_path)[0].run([trial(1, 0)])
    executor, inner = reopened(tmp_path)
    executor.run([trial(1, 1), trial(1, None)])
    assert len(inner.ran) == 2


@pytest.mark.parametrize("error", ["ValueError: loss is nan", "über 100 °C, 'quoted' and \"double\"", "a\u2028line\x85end\n"])
def test_failures_and_their_reasons_are_remembered(tmp_path: Path, error: str) -> None:
    failure = TrialResult("failed", (), 0.25, error=error)
    Recorded(Backwards(lambda _: failure), Journal(tmp_path)).run([trial(1)])
    executor, inner = reopened(tmp_path)
    assert executor.run([trial(1)]) == [failure]
    assert inner.ran == []


def test_scores_that_are_no_numbers_read_back(tmp_path: Path) -> None:
    odd = TrialResult("ok", (0.5,), 0.0, {"roc_auc": math.nan, "loss": math.inf})
    Recorded(Backwards(lambda _: odd), Journal(tmp_path)).run([trial(1)])
    (read,) = reopened(tmp_path)[0].run([trial(1)])
    assert math.isnan(read.scores["roc_auc"]) and read.scores["loss"] == math.inf


@pytest.mark.parametrize("kept_bytes", [1, 20, -1])
def test_torn_last_line_is_cut_off_and_its_trial_runs_again(tmp_path: Path, kept_bytes: int) -> None:
    executor, _ = reopened(tmp_path)
    executor.run([trial(1)])
    executor.run([trial(2)])
    path = tmp_path / JOURNAL
    content = path.read_bytes()
    start = content.rstrip(b"\n").rfind(b"\n") + 1
    path.write_bytes(content[:start] + content[start:][:kept_bytes])
    executor, inner = reopened(tmp_path)
    assert executor.run([trial(1), trial(2)]) == [result(1), result(2)]
    assert inner.ran == [trial(2).key]
    assert path.read_bytes() == content
    assert reopened(tmp_path)[0].run([trial(2)]) == [result(2)]


def test_result_is_on_disk_before_anyone_is_told(tmp_path: Path) -> None:
    journal, seen = Journal(tmp_path), []

    def look(one: Trial, _: TrialResult) -> None:
        seen.append(one.key in (tmp_path / JOURNAL).read_text(encoding="utf-8"))

    Recorded(Backwards(), journal, look).run([trial(1), trial(2)])
    assert seen == [True, True]


def test_listener_hears_of_old_and_new_results(tmp_path: Path) -> None:
    reopened(tmp_path)[0].run([trial(1)])
    heard: list[tuple[int, TrialResult]] = []
    Recorded(Backwards(), Journal(tmp_path), lambda one, answer: heard.append((one.seed, answer))).run([trial(1), trial(2)])
    assert heard == [(1, result(1)), (2, result(2))]


def test_what_ended_before_an_interruption_is_not_run_again(tmp_path: Path) -> None:
    def interrupted(one: Trial) -> TrialResult:
        if one.seed == 1:
            raise KeyboardInterrupt
        return result(one.seed)

    with pytest.raises(KeyboardInterrupt):
        Recorded(Backwards(interrupted), Journal(tmp_path)).run([trial(1), trial(2), trial(3)])
    executor, inner = reopened(tmp_path)
    assert executor.run([trial(1), trial(2), trial(3)]) == [result(1), result(2), result(3)]
    assert inner.ran == [trial(1).key]


def test_other_records_of_the_journal_are_no_trials(tmp_path: Path) -> None:
    Journal(tmp_path).append({"kind": "generation", "number": 0})
    executor, inner = reopened(tmp_path)
    assert executor.run([trial(1)]) == [result(1)]
    assert inner.ran == [trial(1).key]


def test_closing_closes_the_inner_executor(tmp_path: Path) -> None:
    executor, inner = reopened(tmp_path)
    executor.close()
    assert inner.closed


def test_keys_of_the_first_version_that_state_no_learning_rate_are_known_at_the_one_of_the_run(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    old = "1.0@all/seed2/epochs1/test/l2_sp(alpha=0.01)"
    assert trial(1).key.endswith(f"/lr{LR!r}")
    without = trial(1).key.removesuffix(f"/lr{LR!r}")
    journal.append({"kind": "trial", "key": without, **dataclasses.asdict(result(1))})
    inner = Backwards()
    executor = Recorded(inner, journal, unstated_lr=LR)
    assert executor.run([trial(1)]) == [result(1)]
    assert inner.ran == []
    # at another learning rate it is another trial
    executor.run([replace(trial(1), lr=2 * LR)])
    assert len(inner.ran) == 1
    assert old.replace("/test/", "/test/lr0.5/") == key_with_lr(old, 0.5)
    assert key_with_lr("1.0@all/seed2/epochs1/test/lr0.5", 0.1) == "1.0@all/seed2/epochs1/test/lr0.5"
