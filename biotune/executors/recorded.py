"""Answers trials from the journal if it holds them; runs and journals the others."""

from __future__ import annotations

import dataclasses
from collections import deque
from collections.abc import Iterator, Sequence
from typing import Any

from biotune.executors.base import NextTrial, OnResult, Runner
from biotune.store.journal import Journal
from biotune.trial import Trial, TrialResult, key_with_lr


class Recorded:
    """An executor that writes every result to disk before it returns it.

    A journalled trial is answered from the journal instead of trained. A search that is restarted with the same journal
    therefore repeats its previous steps without training and continues where it stopped.

    Attributes:
        on_result: Called with every trial and its result, from the journal or new; may be set later.
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
            inner: The executor that runs trials missing from the journal.
            journal: The journal that holds and receives results.
            on_result: Called with every trial and its result, from the journal or new.
            unstated_lr: The base learning rate of journalled trials whose keys contain none; version 0.1.0 wrote such keys.
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

    def stream(self, next_trial: NextTrial) -> Iterator[tuple[Trial, TrialResult]]:
        """Run trials as they are drawn, see `Runner.stream`; journalled ones need no slot. No two in flight may be equal."""
        answered: deque[Trial] = deque()

        def unknown() -> Trial | None:
            while (trial := next_trial()) is not None and trial.key in self._known:
                answered.append(trial)
            return trial

        while True:
            for trial, result in self._inner.stream(unknown):
                self._record(trial, result)
                yield trial, result
                yield from self._recalled(answered)
            if not answered:
                return
            yield from self._recalled(answered)

    def recall(self, trial: Trial) -> TrialResult | None:
        """Report and return the journalled result of a trial; None where there is none."""
        result = self._known.get(trial.key)
        if result is not None:
            self.on_result(trial, result)
        return result

    def _recalled(self, trials: deque[Trial]) -> Iterator[tuple[Trial, TrialResult]]:
        while trials:
            trial = trials.popleft()
            self.on_result(trial, self._known[trial.key])
            yield trial, self._known[trial.key]

    @property
    def known(self) -> int:
        """Number of trials that the journal answers."""
        return len(self._known)

    def repeat(self, trial: Trial) -> TrialResult:
        """Run a journalled trial once more for its side effects, such as a kept model; neither journalled nor reported."""
        return self._inner.run([trial], lambda trial, result: None)[0]

    def close(self) -> None:
        """Release the inner executor."""
        self._inner.close()

    def _record(self, trial: Trial, result: TrialResult) -> None:
        record = dataclasses.asdict(result)
        if result.unbiased is None:
            del record["unbiased"]
        self._journal.append({"kind": "trial", "key": trial.key, **record})
        self._known[trial.key] = result
        self.on_result(trial, result)


def _from_record(record: dict[str, Any]) -> TrialResult:
    return TrialResult(
        record["status"],
        tuple(record["curve"]),
        record["seconds"],
        dict(record["scores"]),
        record["error"],
        tuple(record.get("losses", ())),  # journals of earlier versions hold no losses, nor those of training
        record.get("unbiased"),
        tuple(record.get("train_losses", ())),
    )
