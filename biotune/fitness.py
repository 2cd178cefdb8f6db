"""Schedules to fitness: trials, canonical keys, the cache, folds, seeds and the failure policy.

Knows neither torch nor where a trial runs; an executor answers trials, in order.
"""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from biotune.errors import SearchError
from biotune.pruning import median_floor
from biotune.racing import Scores, expected_mean, residual_sd, still_in
from biotune.schedule import Schedule
from biotune.strategies.method import Method

Alike = tuple[int, int, str]  # fold, seed and order of unfreezing: trainings whose curves may be compared epoch by epoch
WORST = 1.0  # the fitness of a candidate that was not or could not be trained (BioTune, section 1)
METRICS = {  # what 1 − fitness is, by `fitness.metric`
    "acc": "macro accuracy",
    "acc+std": "macro accuracy less its sd over the seeds",
    "loss": "geometric mean of the true classes' probabilities",
}


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
        floor: For each epoch the best score so far below which the training is given up as pruned; empty for none.
        lr: The base rate λ_0 where it is not `training.lr`.
        method: The strategy whose hooks reach into the training loop; None trains the schedule as it is.
    """

    schedule: Schedule
    fold: int | None
    seed: int
    epochs: int
    test: bool = False
    keep: str | None = None
    floor: tuple[float, ...] = ()
    lr: float | None = None
    method: Method | None = None

    @property
    def key(self) -> str:
        """What makes two trials of one run the same training; a floor only ends it earlier."""
        data = "all" if self.fold is None else f"fold{self.fold}"
        more = ["test"] if self.test else []
        more += [] if self.lr is None else [f"lr{self.lr!r}"]
        more += [] if self.method is None else [self.method.key]
        return "/".join([f"{self.schedule.key}@{data}", f"seed{self.seed}", f"epochs{self.epochs}", *more])


@dataclass(frozen=True)
class TrialResult:
    """What came of one trial: plain values only.

    Attributes:
        status: ok, pruned or failed.
        curve: The validation macro accuracy after each epoch trained.
        seconds: Wall time.
        scores: Test scores by name, only where the trial asked for them.
        error: The reason of a failure, one line.
        losses: The mean validation cross-entropy after each epoch trained, without class weights.
    """

    status: str
    curve: tuple[float, ...]
    seconds: float
    scores: dict[str, float] = field(default_factory=dict)
    error: str | None = None
    losses: tuple[float, ...] = ()

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
        fitness: By default Φ = 1 − mean ψ, see `fitness_by`; smaller is better, 1 for an empty or failed candidate, an estimate
            for a pruned one.
        status: ok, cached (no training was needed), pruned (not trained to the end, or not with all seeds), empty or failed.
        scores: ψ of every training seed, in [0, 1], of the seeds trained where pruned; empty where empty or failed.
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


def fitness_by(metric: str, results: Sequence[TrialResult]) -> float:
    """The fitness of a candidate from its trainings, in [0, 1], smaller is better.

    Args:
        metric: acc, 1 − mean ψ (BioTune, section 1); acc+std, that plus the deviation of ψ over the seeds, at most 1; loss,
            1 − mean of exp(−least validation loss), the geometric mean of the probabilities given to the true classes.
        results: One training a seed.
    """
    if metric == "loss":
        return 1.0 - statistics.fmean(math.exp(-min(result.losses)) for result in results)
    scores = [result.score for result in results]
    lack = 1.0 - statistics.fmean(scores)
    return min(1.0, lack + sample_sd(scores)) if metric == "acc+std" else lack


def sample_sd(values: Sequence[float]) -> float:
    """Sample standard deviation (n − 1); 0 for a single value."""
    return statistics.stdev(values) if len(values) > 1 else 0.0


@dataclass(frozen=True)
class Economy:
    """What is spared on candidates that cannot win.

    Attributes:
        prune: none, or median: a training is given up once its best score so far is below the median of earlier generations'
            on the same fold with the same seed and order of unfreezing.
        racing: Whether seeds are added one by one, only for candidates that can still matter.
        places: How many of the best matter: elites, and what is confirmed.
    """

    prune: str = "none"
    racing: bool = False
    places: int = 1


@dataclass
class ScheduleFitness:
    """Evaluates schedules on a fold with common training seeds (BioTune, section 1).

    The cache holds single fine-tunes and lives as long as this object: one run.

    Attributes:
        executor: Runs the trials.
        seeds: Training seeds, the same for every candidate: common random numbers sharpen comparisons.
        epochs: Most epochs of one fine-tune.
        fingerprint: The data's fingerprint, part of the cache key.
        economy: What is spared on candidates that cannot win; by default nothing.
        metric: What fitness is made of, see `fitness_by`.
        trainings: Trainings made so far.
    """

    executor: Executor
    seeds: tuple[int, ...]
    epochs: int
    fingerprint: str
    economy: Economy = field(default_factory=Economy)
    metric: str = "acc"
    trainings: int = 0
    _cache: dict[tuple[str, str], TrialResult] = field(default_factory=dict)
    _complete: dict[int, dict[str, Scores]] = field(default_factory=dict)
    _curves: dict[Alike, list[tuple[float, ...]]] = field(default_factory=dict)
    _new_curves: list[tuple[Alike, tuple[float, ...]]] = field(default_factory=list)

    def __call__(self, schedules: Sequence[Schedule], fold: int) -> list[Evaluation]:
        """Evaluate a whole batch on one fold; duplicates and known trainings are not trained again."""
        owners: dict[str, int] = {}
        distinct: dict[str, Schedule] = {}
        for schedule in schedules:
            if not schedule.is_empty:
                distinct.setdefault(schedule.key, schedule)
        first_of = {schedule.key: index for index, schedule in reversed(list(enumerate(schedules)))}
        sd = residual_sd([list(rows.values()) for rows in self._complete.values()]) if self.economy.racing else None
        if sd is None:
            self._train(distinct, first_of, fold, self.seeds, owners)
        else:
            for number, seed in enumerate(self.seeds):
                distinct = self._contenders(distinct, fold, self.seeds[:number], sd)
                self._train(distinct, first_of, fold, (seed,), owners)
        complete = self._complete.setdefault(fold, {})
        for schedule in schedules:
            results = self._results(schedule, fold)
            if not schedule.is_empty and len(results) == len(self.seeds) and _all_ok(results.values()):
                complete[schedule.key] = tuple(result.score for result in results.values())
        return [self._aggregate(index, schedule, fold, owners) for index, schedule in enumerate(schedules)]

    def close_generation(self) -> None:
        """A generation is over: from now on its trainings are earlier ones, which later ones are measured against."""
        for alike, curve in self._new_curves:
            self._curves.setdefault(alike, []).append(curve)
        self._new_curves.clear()

    def _train(
        self,
        distinct: Mapping[str, Schedule],
        first_of: Mapping[str, int],
        fold: int,
        seeds: Sequence[int],
        owners: dict[str, int],
    ) -> None:
        """Run what is not known yet, and note for whom of the batch."""
        fresh: dict[str, Trial] = {}
        for key, schedule in distinct.items():
            for seed in seeds:
                trial = self._trial(schedule, fold, seed)
                if (self.fingerprint, trial.key) not in self._cache:
                    fresh[trial.key] = trial
                    owners[trial.key] = first_of[key]
        results = self.executor.run(list(fresh.values())) if fresh else []
        for trial, result in zip(fresh.values(), results, strict=True):
            self._cache[self.fingerprint, trial.key] = result
            if result.curve:
                self._new_curves.append(((fold, trial.seed, trial.schedule.unfreezing), result.curve))
        self.trainings += len(fresh)

    def _trial(self, schedule: Schedule, fold: int, seed: int) -> Trial:
        floor: tuple[float, ...] = ()
        if self.economy.prune == "median":
            floor = median_floor(self._curves.get((fold, seed, schedule.unfreezing), []), self.epochs)
        return Trial(schedule, fold, seed, self.epochs, floor=floor)

    def _contenders(
        self, distinct: Mapping[str, Schedule], fold: int, seeds: tuple[int, ...], sd: float
    ) -> dict[str, Schedule]:
        """Those that can still matter after some seeds; what failed or was pruned cannot."""
        if not seeds:
            return dict(distinct)
        scores = {}
        for key, schedule in distinct.items():
            results = self._results(schedule, fold, seeds)
            if _all_ok(results.values()):
                scores[key] = tuple(result.score for result in results.values())
        rivals = [row for key, row in self._complete.get(fold, {}).items() if key not in scores]
        chosen = still_in(scores, rivals, self.economy.places, len(self.seeds), sd)
        return {key: schedule for key, schedule in distinct.items() if key in chosen}

    def _results(self, schedule: Schedule, fold: int, seeds: Sequence[int] | None = None) -> dict[int, TrialResult]:
        """The known results of a schedule by the position of their seed."""
        found = {}
        for position, seed in enumerate(self.seeds if seeds is None else seeds):
            result = self._cache.get((self.fingerprint, Trial(schedule, fold, seed, self.epochs).key))
            if result is not None:
                found[position] = result
        return found

    def _aggregate(self, index: int, schedule: Schedule, fold: int, owners: Mapping[str, int]) -> Evaluation:
        if schedule.is_empty:
            return Evaluation(WORST, "empty")
        results = self._results(schedule, fold)
        keys = {position: Trial(schedule, fold, self.seeds[position], self.epochs).key for position in results}
        own = [result for position, result in results.items() if owners.get(keys[position]) == index]
        cost: dict[str, Any] = {
            "seconds": sum(result.seconds for result in own),
            "trainings": len(own),
            "epochs": sum(len(result.curve) for result in own),
        }
        errors = [result.error for result in results.values() if result.status == "failed"]
        if errors:
            return Evaluation(WORST, "failed", error=errors[0], **cost)
        scores = {position: result.score for position, result in results.items()}
        values = tuple(scores.values())
        if len(scores) == len(self.seeds) and _all_ok(results.values()):
            fitness = fitness_by(self.metric, list(results.values()))
            return Evaluation(fitness, "ok" if own else "cached", values, **cost)
        if self.metric == "loss":
            return Evaluation(fitness_by("loss", list(results.values())), "pruned", values, **cost)
        expected = expected_mean(scores, list(self._complete[fold].values()))
        return Evaluation(1.0 - expected, "pruned", values, **cost)


def _all_ok(results: Iterable[TrialResult]) -> bool:
    return all(result.status == "ok" for result in results)


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
