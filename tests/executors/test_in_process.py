"""Trials in this process: their order, and what a failure is."""

from __future__ import annotations

from typing import Any

import pytest

from biotune.errors import RunFolderError
from biotune.executors.in_process import InProcess
from biotune.schedule.block import Block
from biotune.schedule.schedule import Schedule
from biotune.trial import Trial, TrialResult

SCHEDULE = Schedule((Block("head", ("head",)),), (1.0,))
TRIALS = [Trial(SCHEDULE, 0, seed, 1) for seed in range(3)]


@pytest.fixture
def outcomes(monkeypatch: pytest.MonkeyPatch) -> dict[int, BaseException]:
    """What a trial of a seed raises instead of a result."""
    raising: dict[int, BaseException] = {}

    def finetune(trial: Trial, workspace: Any) -> TrialResult:
        assert workspace == "workspace"
        if trial.seed in raising:
            raise raising[trial.seed]
        return TrialResult("ok", (trial.seed / 10,), 1.0)

    monkeypatch.setattr("biotune.training.finetune.finetune", finetune)
    return raising


def run() -> tuple[list[TrialResult], list[tuple[Trial, TrialResult]]]:
    told: list[tuple[Trial, TrialResult]] = []
    executor = InProcess("workspace")  # type: ignore[arg-type]
    results = executor.run(TRIALS, lambda trial, result: told.append((trial, result)))
    executor.close()
    return results, told


def test_results_come_and_are_told_in_the_order_of_the_trials(outcomes: dict[int, BaseException]) -> None:
    results, told = run()
    assert [result.score for result in results] == [0.0, 0.1, 0.2]
    assert told == list(zip(TRIALS, results, strict=True))


@pytest.mark.parametrize(
    "error", [ValueError("first\nsecond\n  third"), RuntimeError("CUDA out of memory"), MemoryError(), KeyError("x")]
)
def test_a_trial_that_raises_is_a_failed_result_in_one_line_and_the_others_go_on(
    error: Exception, outcomes: dict[int, BaseException]
) -> None:
    outcomes[1] = error
    results, told = run()
    assert [result.status for result in results] == ["ok", "failed", "ok"]
    assert [result for _, result in told] == results
    failed = results[1]
    assert failed.curve == ()
    assert failed.error is not None
    assert failed.error.startswith(type(error).__name__)
    assert "\n" not in failed.error
    if isinstance(error, ValueError):
        assert failed.error == "ValueError: first second third"


def test_an_endless_message_is_shortened(outcomes: dict[int, BaseException]) -> None:
    outcomes[0] = ValueError("x" * 100_000)
    assert len(str(run()[0][0].error)) <= 500


@pytest.mark.parametrize("error", [RunFolderError("disk full"), KeyboardInterrupt(), SystemExit(1)])
def test_what_is_no_fault_of_the_candidate_ends_the_batch(error: BaseException, outcomes: dict[int, BaseException]) -> None:
    outcomes[1] = error
    with pytest.raises(type(error)):
        run()
