"""A trial as a program of one's own gets it from a search: the schedule to train with, and whether to stop."""

from __future__ import annotations

import math
import numbers
from collections.abc import Sequence
from dataclasses import dataclass, field

from biotune.errors import SearchError, shown
from biotune.fitness.learning_curves import WARMUP_EPOCHS
from biotune.schedule.schedule import Schedule
from biotune.trial import Status, TrialResult


@dataclass(eq=False)
class Trial:
    """One training run that a search asks for. It can be sent to another process and told from there.

    Attributes:
        number: Its number in the search, from 0.
        schedule: The schedule to train with; see `Schedule.apply`.
        fold: The fold to train and validate on, from 0; always 0 unless the search was given several `folds`.
        epochs: The most epochs to train.
        scores: The scores that were reported, by epoch.
    """

    number: int
    schedule: Schedule
    fold: int
    epochs: int
    scores: list[float] = field(default_factory=list)
    _floor: tuple[float, ...] = field(default=(), repr=False)
    _stopped: bool = field(default=False, repr=False)

    def report(self, epoch: int, score: float) -> None:
        """Report the validation score after an epoch, which `should_stop` and later trials' `should_stop` rest on.

        Args:
            epoch: Counted from 0; each epoch once, in order.
            score: Any finite number; greater is better.

        Raises:
            SearchError: The score is not finite, or the epoch is not the next one or beyond the trial's `epochs`.
        """
        if epoch != len(self.scores):
            raise SearchError(f"trial {self.number}: epoch {epoch} is reported where {len(self.scores)} is the next one.")
        if epoch >= self.epochs:
            raise SearchError(f"trial {self.number}: has {self.epochs} epochs; give Search(epochs=…) a larger number.")
        self.scores.append(finite(self.number, score))
        self._stopped = False

    def should_stop(self) -> bool:
        """Whether the trial can be given up after the epochs reported so far, by the rule of the search's `prune`.

        Stop training where it is true, and tell the search the best score as usual: it knows that this trial was not trained
        to the end. The first two epochs are never stopped, nor are those in which blocks still join.
        """
        epoch = len(self.scores) - 1
        first = max(WARMUP_EPOCHS, self.schedule.complete_from(self.epochs))
        watched = bool(self._floor) and first <= epoch < self.epochs - 1
        self._stopped = watched and max(self.scores) < self._floor[epoch]
        return self._stopped

    def result(self, score: float | None, error: str | None, seconds: float, pruned: bool = False) -> TrialResult:
        """The trial's result in the terms of the search.

        Args:
            score: The score, or None for the best one reported.
            error: The reason of a failure, or None.
            seconds: What the trial has cost.
            pruned: Whether another rule than `should_stop` has given it up.

        Raises:
            SearchError: There is no score, it is not finite, or there are both a score and an error.
        """
        if error is not None:
            if score is not None:
                raise SearchError(f"trial {self.number}: is told a score and an error; give one of the two.")
            return TrialResult(Status.FAILED, (), seconds, error=error)
        if score is None and not self.scores:
            raise SearchError(f"trial {self.number}: has no score; tell one, or an error if it failed.")
        curve = tuple(self.scores) if score is None else _curve_to(finite(self.number, score), self.scores)
        return TrialResult(Status.PRUNED if self._stopped or pruned else Status.OK, curve, seconds)


def finite(trial: int, score: object) -> float:
    """A score as a float.

    Raises:
        SearchError: It is no finite number.
    """
    try:  # numpy's and torch's scalars too
        value = float(score) if isinstance(score, numbers.Real) or hasattr(score, "__float__") else math.nan
    except (TypeError, ValueError, OverflowError, RuntimeError):
        value = math.nan
    if not math.isfinite(value) or isinstance(score, bool):
        raise SearchError(
            f"trial {trial}: the score is {shown(score)}; must be a finite number. Tell a trial that failed by error='…'."
        )
    return value


def _curve_to(score: float, reported: Sequence[float]) -> tuple[float, ...]:
    """The reported scores as a curve whose best one is the told score, which alone counts."""
    curve = [min(one, score) for one in reported]
    if score not in curve:
        curve[-1:] = [score]
    return tuple(curve)
