"""Schedules to fitness: trials, canonical keys, the cache, folds, seeds and the failure policy.

Knows neither torch nor where a trial runs; an executor answers trials, in order.
"""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from biotune.errors import SearchError
from biotune.schedule import Schedule

WORST = 1.0  # the fitness of a candidate that was not or could not be trained (BioTune, section 1)


@dataclass(frozen=True)
class Trial:
    """One fine-tune to be run: plain values only, so that any worker can take it.

    Attributes:
        schedule: What is trained at which rates.
        fold: The fold of the training and validation data, or None for all of them.
        seed: The training seed: head initialisation, batch order, dropout.
        epochs: The budget, the most epochs.
        test: Whether the best epoch's weights are scored on the test split. False all through a search.
        keep: Name under which the trained model is kept, or None.
    """

    schedule: Schedule
    fold: int | None
    seed: int
    epochs: int
    test: bool = False
    keep: str | None = None

    @property
    def key(self) -> str:
        """What makes two trials of one run the same training."""
        data = "all" if self.fold is None else f"fold{self.fold}"
        return f"{self.schedule.key}@{data}/seed{self.seed}/epochs{self.epochs}" + ("/test" if self.test else "")


@dataclass(frozen=True)
class TrialResult:
    """What came of one trial: plain values only.

    Attributes:
        status: ok or failed.
        curve: The validation macro accuracy after each epoch trained.
        seconds: Wall time.
        scores: Test scores by name, only where the trial asked for them.
        error: The reason of a failure, one line.
    """

    status: str
    curve: tuple[float, ...]
    seconds: float
    scores: dict[str, float] = field(default_factory=dict)
    error: str | None = None

    @property
    def score(self) -> float:
        """The best validation macro accuracy over the epochs, ψ (BioTune, section 1)."""
        return max(self.curve)


class Executor(Protocol):
    """Where trials run. Answers come in the order of the trials, whatever the order of their ends."""

    def run(self, trials: Sequence[Trial]) -> list[TrialResult]:
        """Run trials, one result each; a trial that fails is a result, never an exception."""
        ...

    def close(self) -> None:
        """Release what the executor holds."""
        ...


@dataclass(frozen=True)
class Evaluation:
    """One candidate on one fold.

    Attributes:
        fitness: Φ = 1 − mean ψ, in [0, 1], smaller is better; 1 for an empty or failed candidate.
        status: ok, cached (no training was needed), empty or failed.
        scores: ψ of every training seed, in [0, 1]; empty unless ok or cached.
        seconds: Wall time of the trainings made for it.
        trainings: Trainings made for it.
        epochs: Epochs of these trainings.
        error: The reason of a failure.
    """

    fitness: float
    status: str
    scores: tuple[float, ...] = ()
    seconds: float = 0.0
    trainings: int = 0
    epochs: int = 0
    error: str | None = None

    @property
    def val_accuracy(self) -> float:
        """Mean of the scores over the seeds; NaN where there is none."""
        return statistics.fmean(self.scores) if self.scores else math.nan

    @property
    def val_accuracy_sd(self) -> float:
        """Sample standard deviation over the seeds; 0 for one seed, NaN where there is none."""
        return sample_sd(self.scores) if self.scores else math.nan


def sample_sd(values: Sequence[float]) -> float:
    """Sample standard deviation (n − 1); 0 for a single value."""
    return statistics.stdev(values) if len(values) > 1 else 0.0


@dataclass
class ScheduleFitness:
    """Evaluates schedules on a fold with common training seeds (BioTune, section 1).

    The cache holds single fine-tunes and lives as long as this object: one run.

    Attributes:
        executor: Runs the trials.
        seeds: Training seeds, the same for every candidate: common random numbers sharpen comparisons.
        epochs: Most epochs of one fine-tune.
        fingerprint: The data's fingerprint, part of the cache key.
    """

    executor: Executor
    seeds: tuple[int, ...]
    epochs: int
    fingerprint: str
    trainings: int = 0
    _cache: dict[tuple[str, str], TrialResult] = field(default_factory=dict)

    def __call__(self, schedules: Sequence[Schedule], fold: int) -> list[Evaluation]:
        """Evaluate a whole batch on one fold; duplicates and known trainings are not trained again."""
        fresh: dict[str, Trial] = {}
        owners: dict[str, int] = {}
        for index, schedule in enumerate(schedules):
            for trial in self._trials(schedule, fold):
                if (self.fingerprint, trial.key) not in self._cache and trial.key not in fresh:
                    fresh[trial.key] = trial
                    owners[trial.key] = index
        results = self.executor.run(list(fresh.values())) if fresh else []
        for key, result in zip(fresh, results, strict=True):
            self._cache[self.fingerprint, key] = result
        self.trainings += len(fresh)
        return [self._aggregate(index, schedule, fold, owners) for index, schedule in enumerate(schedules)]

    def _trials(self, schedule: Schedule, fold: int) -> Iterable[Trial]:
        if schedule.is_empty:
            return []
        return [Trial(schedule, fold, seed, self.epochs) for seed in self.seeds]

    def _aggregate(self, index: int, schedule: Schedule, fold: int, owners: dict[str, int]) -> Evaluation:
        trials = list(self._trials(schedule, fold))
        if not trials:
            return Evaluation(WORST, "empty")
        results = [self._cache[self.fingerprint, trial.key] for trial in trials]
        own = [result for trial, result in zip(trials, results, strict=True) if owners.get(trial.key) == index]
        cost: dict[str, Any] = {
            "seconds": sum(result.seconds for result in own),
            "trainings": len(own),
            "epochs": sum(len(result.curve) for result in own),
        }
        errors = [result.error for result in results if result.status == "failed"]
        if errors:
            return Evaluation(WORST, "failed", error=errors[0], **cost)
        scores = tuple(result.score for result in results)
        return Evaluation(1.0 - statistics.fmean(scores), "ok" if own else "cached", scores, **cost)


def stop_if_too_many_failed(evaluations: Sequence[Evaluation], max_failed_share: float) -> None:
    """End a search in which too much of a generation fails.

    Args:
        evaluations: All evaluations of the generation.
        max_failed_share: The share of failed ones above which the search stops.

    Raises:
        SearchError: With the commonest reason.
    """
    errors = [evaluation.error or "unknown" for evaluation in evaluations if evaluation.status == "failed"]
    if evaluations and len(errors) / len(evaluations) > max_failed_share:
        reason, times = Counter(errors).most_common(1)[0]
        raise SearchError(
            f"{len(errors)} of {len(evaluations)} candidates failed, more than fitness.max_failed_share="
            f"{max_failed_share} allows. Commonest reason ({times}×): {reason}"
        )
