"""The values passed between the search, the executors and the training loop: trials, their results, and evaluations.

Plain values only, so that they can be sent to any worker. Imports neither torch nor DEAP.
"""

from __future__ import annotations

import math
import re
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

from biotune.schedule.plan import Method
from biotune.schedule.schedule import Schedule

WORST = 1.0  # the fitness of a candidate that was not or could not be trained (BioTune, section 1)


class Status(StrEnum):
    """How a trial or an evaluation ended; tables and journals hold the plain text."""

    OK = "ok"
    CACHED = "cached"  # no training run was needed
    EMPTY = "empty"  # no block is trained
    PRUNED = "pruned"  # not trained to the end, or not with all seeds
    FAILED = "failed"


@dataclass(frozen=True)
class Trial:
    """One training run to be made: plain values only, so that it can be sent to any worker.

    Attributes:
        schedule: The blocks to train, their learning-rate weights and the order in which they join.
        fold: The fold of the training and validation data, or None for the whole split.
        seed: The training seed: head initialisation, batch order, dropout.
        epochs: The budget, the most epochs.
        lr: The base learning rate λ_0 that the schedule's weights multiply.
        test: Whether it is a final training run, which may have settings of its own and scores the best epoch's weights on the
            test set. Always False during a search.
        keep: Name under which the trained model is kept, or None.
        floor: For each epoch, the lowest best score so far with which the trial continues; below it the trial is pruned.
            Empty disables pruning.
        method: The strategy whose hooks change the training loop; None trains the plain schedule.
        unbiased: Whether to score it also on validation images that did not choose the epoch, see `TrialResult.unbiased`.
    """

    schedule: Schedule
    fold: int | None
    seed: int
    epochs: int
    lr: float
    test: bool = False
    keep: str | None = None
    floor: tuple[float, ...] = ()
    method: Method | None = None
    unbiased: bool = False

    @property
    def key(self) -> str:
        """The key that is equal for equal trials of one run.

        The floor is no part of it, as it only ends a trial earlier, nor is `unbiased`, which only adds a score.
        """
        data = "all" if self.fold is None else f"fold{self.fold}"
        more = ["test"] if self.test else []
        more.append(f"lr{self.lr!r}")
        more += [] if self.method is None else [self.method.key]
        return "/".join([f"{self.schedule.key}@{data}", f"seed{self.seed}", f"epochs{self.epochs}", *more])


@dataclass(frozen=True)
class TrialResult:
    """The result of one trial: plain values only.

    Attributes:
        status: ok, pruned or failed.
        curve: The validation macro accuracy after each epoch trained.
        seconds: Wall-clock time.
        scores: Test scores by name, only if the trial asks for them.
        error: The reason of a failure, one line.
        losses: The mean validation cross-entropy after each epoch trained, without class weights.
        unbiased: Macro accuracy on validation images that did not choose the epoch, only if the trial asks for it: each half of
            the validation set is scored at the epoch that the other half chooses, and the two are averaged.
        train_losses: The mean loss of the mini-batches of each epoch, as it was minimised: with class weights, label smoothing,
            blended labels and penalties.
    """

    status: str
    curve: tuple[float, ...]
    seconds: float
    scores: dict[str, float] = field(default_factory=dict)
    error: str | None = None
    losses: tuple[float, ...] = ()
    unbiased: float | None = None
    train_losses: tuple[float, ...] = ()

    @property
    def score(self) -> float:
        """The best validation macro accuracy over the epochs, ψ (BioTune, section 1)."""
        return max(self.curve)


class Executor(Protocol):
    """Runs trials. Results are returned in the order of the trials, even if they end in another order."""

    def run(self, trials: Sequence[Trial]) -> list[TrialResult]:
        """Run trials and return one result per trial; a trial that fails gives a failed result, never an exception."""
        ...

    def close(self) -> None:
        """Release what the executor holds."""
        ...


@dataclass(frozen=True)
class Evaluation:
    """One candidate on one fold.

    Attributes:
        fitness: By default Φ = 1 − mean ψ, see `fitness_by`; smaller is better, 1 for an empty or failed candidate, an estimate
            for a pruned one.
        status: How it ended.
        scores: ψ in [0, 1] of every training seed, or of those trained before pruning; none for an empty or failed candidate.
        seconds: Wall-clock time of the training runs made for it.
        trainings: Number of training runs made for it.
        epochs: Epochs of these runs.
        error: The reason of a failure.
    """

    fitness: float
    status: Status
    scores: tuple[float, ...] = ()
    seconds: float = 0.0
    trainings: int = 0
    epochs: int = 0
    error: str | None = None

    @property
    def val_accuracy(self) -> float:
        """Mean of the scores over the seeds; NaN without scores."""
        return statistics.fmean(self.scores) if self.scores else math.nan

    @property
    def val_accuracy_sd(self) -> float:
        """Sample standard deviation over the seeds; 0 for one seed, NaN without scores."""
        return sample_sd(self.scores) if self.scores else math.nan


def sample_sd(values: Sequence[float]) -> float:
    """Sample standard deviation (n − 1); 0 for a single value."""
    return statistics.stdev(values) if len(values) > 1 else 0.0


def key_with_lr(key: str, lr: float) -> str:
    """A trial's key with its base learning rate included.

    Run folders of version 0.1.0 omit it from the keys of trials that were trained at `training.lr`.

    Args:
        key: `Trial.key`, of this version or of 0.1.0.
        lr: `training.lr` of the run that the key comes from.
    """
    schedule, seed, epochs, *more = key.split("/")
    if any(re.match(r"lr[\d.]", part) for part in more):
        return key
    place = 1 if more[:1] == ["test"] else 0
    return "/".join([schedule, seed, epochs, *more[:place], f"lr{lr!r}", *more[place:]])
