"""Trials answered from the journal where it knows them, and journalled as they end where it does not."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from biotune.executors.base import OnResult, Runner
from biotune.store.journal import Journal
from biotune.trial import Trial, TrialResult


class Recorded:
    """An executor whose every result is on disk before anyone sees it.

    Because a journalled trial is answered rather than trained, a search that is started again with the same journal
    walks the same way as before and goes on where it stopped.

    Attributes:
        on_result: Told of every result, old or new; may be set later.
        base_lr: The base rate of trials that state none, where `training.lr` leaves it to be found.
    """

    base_lr: float | None = None

    def __init__(self, inner: Runner, journal: Journal, on_result: OnResult = lambda trial, result: None) -> None:
        """Wrap an executor.

        Args:
            inner: Where unknown trials run.
            journal: Answers and receives results.
            on_result: Told of every result, old or new.
        """
        self._inner = inner
        self._journal = journal
        self.on_result = on_result
        self._known = journal.understood("trial", lambda record: (record["key"], _from_record(record)))

    def run(self, trials: Sequence[Trial]) -> list[TrialResult]:
        """One result a trial, in order; equal trials are run once."""
        trials = [self._at_base_rate(trial) for trial in trials]
        unknown = {trial.key: trial for trial in trials if trial.key not in self._known}
        for trial in trials:
            if trial.key in self._known:
                self.on_result(trial, self._known[trial.key])
        if unknown:
            self._inner.run(list(unknown.values()), self._record)
        return [self._known[trial.key] for trial in trials]

    @property
    def known(self) -> int:
        """Number of trials that need not be run."""
        return len(self._known)

    def repeat(self, trial: Trial) -> TrialResult:
        """Run a known trial once more, for what it leaves beside its result; nothing is journalled and nobody is told."""
        return self._inner.run([self._at_base_rate(trial)], lambda trial, result: None)[0]

    def close(self) -> None:
        """Release the inner executor."""
        self._inner.close()

    def _at_base_rate(self, trial: Trial) -> Trial:
        return trial if self.base_lr is None or trial.lr is not None else dataclasses.replace(trial, lr=self.base_lr)

    def _record(self, trial: Trial, result: TrialResult) -> None:
        self._journal.append({"kind": "trial", "key": trial.key, **dataclasses.asdict(result)})
        self._known[trial.key] = result
        self.on_result(trial, result)


def _from_record(record: dict[str, Any]) -> TrialResult:
    losses = tuple(record.get("losses", ()))  # journals of earlier versions have none
    return TrialResult(
        record["status"], tuple(record["curve"]), record["seconds"], dict(record["scores"]), record["error"], losses
    )
