"""Trials answered from the journal where it knows them, and journalled as they end where it does not."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from biotune.executors.base import OnResult, Runner
from biotune.store.journal import Journal
from biotune.trial import Trial, TrialResult, key_with_lr


class Recorded:
    """An executor whose every result is on disk before anyone sees it.

    Because a journalled trial is answered rather than trained, a search that is started again with the same journal
    walks the same way as before and goes on where it stopped.

    Attributes:
        on_result: Called with every result, old or new; may be set later.
    """

    def __init__(
        self,
        inner: Runner,
        journal: Journal,
        on_result: OnResult = lambda trial, result: None,
        unstated_lr: float | None = None,
    ) -> None:
        """Wrap an executor.

        Args:
            inner: Where unknown trials run.
            journal: Answers and receives results.
            on_result: Called with every result, old or new.
            unstated_lr: The base learning rate of journalled trials whose keys state none, as version 0.1.0 wrote them.
        """
        self._inner = inner
        self._journal = journal
        self.on_result = on_result

        def read(record: dict[str, Any]) -> tuple[str, TrialResult]:
            key = str(record["key"])
            return key if unstated_lr is None else key_with_lr(key, unstated_lr), _from_record(record)

        self._known = journal.understood("trial", read)

    def run(self, trials: Sequence[Trial]) -> list[TrialResult]:
        """One result per trial, in order; equal trials are run once."""
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
        """Run a known trial once more, for what it leaves beside its result; neither journalled nor reported."""
        return self._inner.run([trial], lambda trial, result: None)[0]

    def close(self) -> None:
        """Release the inner executor."""
        self._inner.close()

    def _record(self, trial: Trial, result: TrialResult) -> None:
        self._journal.append({"kind": "trial", "key": trial.key, **dataclasses.asdict(result)})
        self._known[trial.key] = result
        self.on_result(trial, result)


def _from_record(record: dict[str, Any]) -> TrialResult:
    losses = tuple(record.get("losses", ()))  # journals of earlier versions have none
    return TrialResult(
        record["status"], tuple(record["curve"]), record["seconds"], dict(record["scores"]), record["error"], losses
    )
