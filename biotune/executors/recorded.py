"""Trials answered from the journal where it knows them, and journalled as they end where it does not."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from biotune.fitness import Trial, TrialResult
from biotune.store import Journal


class Runner(Protocol):
    """An executor that reports each result as it comes."""

    def run(self, trials: Sequence[Trial], on_result: Callable[[Trial, TrialResult], None]) -> list[TrialResult]:
        """Run trials; results in the order of the trials, reports in the order of their ends."""
        ...

    def close(self) -> None:
        """Release what the executor holds."""
        ...


class Recorded:
    """An executor whose every result is on disk before anyone sees it.

    Because a journalled trial is answered rather than trained, a search that is started again with the same journal
    walks the same way as before and goes on where it stopped.
    """

    def __init__(
        self, inner: Runner, journal: Journal, on_result: Callable[[Trial, TrialResult], None] = lambda trial, result: None
    ) -> None:
        """Wrap an executor.

        Args:
            inner: Where unknown trials run.
            journal: Answers and receives results.
            on_result: Told of every result, old or new.
        """
        self._inner = inner
        self._journal = journal
        self._on_result = on_result
        self._known = {record["key"]: _from_record(record) for record in journal.records() if record["kind"] == "trial"}

    def run(self, trials: Sequence[Trial]) -> list[TrialResult]:
        """One result a trial, in order; equal trials are run once."""
        unknown = {trial.key: trial for trial in trials if trial.key not in self._known}
        for trial in trials:
            if trial.key in self._known:
                self._on_result(trial, self._known[trial.key])
        if unknown:
            self._inner.run(list(unknown.values()), self._record)
        return [self._known[trial.key] for trial in trials]

    def close(self) -> None:
        """Release the inner executor."""
        self._inner.close()

    def _record(self, trial: Trial, result: TrialResult) -> None:
        self._journal.append({"kind": "trial", "key": trial.key, **dataclasses.asdict(result)})
        self._known[trial.key] = result
        self._on_result(trial, result)


def _from_record(record: dict[str, Any]) -> TrialResult:
    return TrialResult(record["status"], tuple(record["curve"]), record["seconds"], dict(record["scores"]), record["error"])
