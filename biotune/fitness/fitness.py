"""Evaluates schedules: makes trials, caches their results by canonical key, and aggregates scores over seeds.

Imports no torch and does not run trials; an executor runs them and returns their results in order.
"""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from biotune.errors import SearchError
from biotune.fitness.pruning import median_floor
from biotune.fitness.racing import Scores, expected_mean, residual_sd, still_in
from biotune.schedule.schedule import Schedule
from biotune.trial import WORST, Evaluation, Executor, Status, Trial, TrialResult, sample_sd

# fold, seed, order of unfreezing and start of the head of training runs whose curves may be compared epoch by epoch
Alike = tuple[int, int, str, str]


METRICS = {  # `fitness.metric` → the meaning of 1 − fitness
    "acc": "macro accuracy",
    "acc+std": "macro accuracy less its sd over the seeds",
    "loss": "geometric mean of the true classes' probabilities",
}


def fitness_by(metric: str, results: Sequence[TrialResult]) -> float:
    """Compute the fitness of a candidate from its training runs, in [0, 1]; smaller is better.

    Args:
        metric: acc, 1 − mean ψ (BioTune, section 1); acc+std, that plus the deviation of ψ over the seeds, at most 1; loss,
            1 − mean of exp(−smallest validation loss), the geometric mean of the probabilities given to the true classes.
        results: One per training seed.
    """
    if metric == "loss":
        return 1.0 - statistics.fmean(math.exp(-min(result.losses)) for result in results)
    scores = [result.score for result in results]
    lack = 1.0 - statistics.fmean(scores)
    return min(1.0, lack + sample_sd(scores)) if metric == "acc+std" else lack


@dataclass(frozen=True)
class Economy:
    """Which training runs a search saves on candidates that cannot win.

    Attributes:
        prune: none, or median: a training run is stopped once its best score so far is below the median of the runs of earlier
            generations on the same fold with the same seed, order of unfreezing and start of the head.
        racing: Whether seeds are added one by one, only for candidates that can still be among the best.
        places: Number of the best candidates that matter: the elites, and the schedules to confirm.
    """

    prune: str = "none"
    racing: bool = False
    places: int = 1


@dataclass
class ScheduleFitness:
    """Evaluates schedules on a fold with common training seeds (BioTune, section 1).

    The cache holds the results of single training runs and lives as long as this object: one run.

    Attributes:
        executor: Runs the trials.
        seeds: Training seeds, the same for every candidate: common random numbers reduce the noise of comparisons.
        epochs: Largest number of epochs of one training run.
        lr: The base learning rate λ_0 of every trial.
        fingerprint: The data's fingerprint, part of the cache key.
        economy: Which training runs are saved; by default none.
        metric: The measure behind the fitness, see `fitness_by`.
        trainings: Number of training runs made so far.
    """

    executor: Executor
    seeds: tuple[int, ...]
    epochs: int
    lr: float
    fingerprint: str
    economy: Economy = field(default_factory=Economy)
    metric: str = "acc"
    trainings: int = 0
    _cache: dict[tuple[str, str], TrialResult] = field(default_factory=dict)
    _complete: dict[int, dict[str, Scores]] = field(default_factory=dict)
    _curves: dict[Alike, list[tuple[float, ...]]] = field(default_factory=dict)
    _new_curves: list[tuple[Alike, tuple[float, ...]]] = field(default_factory=list)

    def __call__(self, schedules: Sequence[Schedule], fold: int) -> list[Evaluation]:
        """Evaluate a batch on one fold; duplicates and known schedules are not trained again.

        Args:
            schedules: The batch; some may be equal or empty.
            fold: The fold to train and validate on.

        Returns:
            One evaluation per schedule, in order; the costs of duplicates are with the first one.
        """
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
        """End a generation: from now on the medians of pruning include its training runs."""
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
        """Run the trials whose results are not known, and record in `owners` the schedule of the batch they belong to."""
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
                self._new_curves.append((_alike(trial.schedule, fold, trial.seed), result.curve))
        self.trainings += len(fresh)

    def _trial(self, schedule: Schedule, fold: int, seed: int) -> Trial:
        floor: tuple[float, ...] = ()
        if self.economy.prune == "median":
            floor = median_floor(self._curves.get(_alike(schedule, fold, seed), []), self.epochs)
        return Trial(schedule, fold, seed, self.epochs, self.lr, floor=floor)

    def _contenders(
        self, distinct: Mapping[str, Schedule], fold: int, seeds: tuple[int, ...], sd: float
    ) -> dict[str, Schedule]:
        """The schedules that can still be among the best after some seeds; failed and pruned ones cannot."""
        if not seeds:
            return dict(distinct)
        scores = {}
        for key, schedule in distinct.items():
            results = self._results(schedule, fold, seeds)
            if _all_ok(results.values()):
                scores[key] = tuple(result.score for result in results.values())
        others = [row for key, row in self._complete.get(fold, {}).items() if key not in scores]
        chosen = still_in(scores, others, self.economy.places, len(self.seeds), sd)
        return {key: schedule for key, schedule in distinct.items() if key in chosen}

    def _results(self, schedule: Schedule, fold: int, seeds: Sequence[int] | None = None) -> dict[int, TrialResult]:
        """The known results of a schedule by position of the seed."""
        found = {}
        for position, seed in enumerate(self.seeds if seeds is None else seeds):
            result = self._cache.get((self.fingerprint, Trial(schedule, fold, seed, self.epochs, self.lr).key))
            if result is not None:
                found[position] = result
        return found

    def _aggregate(self, index: int, schedule: Schedule, fold: int, owners: Mapping[str, int]) -> Evaluation:
        if schedule.is_empty:
            return Evaluation(WORST, Status.EMPTY)
        results = self._results(schedule, fold)
        keys = {position: Trial(schedule, fold, self.seeds[position], self.epochs, self.lr).key for position in results}
        own = [result for position, result in results.items() if owners.get(keys[position]) == index]
        cost: dict[str, Any] = {
            "seconds": sum(result.seconds for result in own),
            "trainings": len(own),
            "epochs": sum(len(result.curve) for result in own),
        }
        errors = [result.error for result in results.values() if result.status == Status.FAILED]
        if errors:
            return Evaluation(WORST, Status.FAILED, error=errors[0], **cost)
        scores = {position: result.score for position, result in results.items()}
        values = tuple(scores.values())
        if len(scores) == len(self.seeds) and _all_ok(results.values()):
            fitness = fitness_by(self.metric, list(results.values()))
            return Evaluation(fitness, Status.OK if own else Status.CACHED, values, **cost)
        if self.metric == "loss":
            return Evaluation(fitness_by("loss", list(results.values())), Status.PRUNED, values, **cost)
        expected = expected_mean(scores, list(self._complete[fold].values()))
        return Evaluation(1.0 - expected, Status.PRUNED, values, **cost)


def _alike(schedule: Schedule, fold: int, seed: int) -> Alike:
    return fold, seed, schedule.unfreezing, schedule.head_start


def _all_ok(results: Iterable[TrialResult]) -> bool:
    return all(result.status == Status.OK for result in results)


def stop_if_too_many_failed(evaluations: Sequence[Evaluation], max_failed_share: float) -> None:
    """Stop a search in which too many candidates of a generation fail.

    Args:
        evaluations: All evaluations of the generation.
        max_failed_share: The share of failed ones above which the search stops.

    Raises:
        SearchError: With the most frequent reason.
    """
    errors = [evaluation.error or "unknown" for evaluation in evaluations if evaluation.status == Status.FAILED]
    if evaluations and len(errors) / len(evaluations) > max_failed_share:
        reason, times = Counter(errors).most_common(1)[0]
        raise SearchError(
            f"{len(errors)} of {len(evaluations)} candidates failed, more than fitness.max_failed_share="
            f"{max_failed_share} allows. Commonest reason ({times}×): {reason}"
        )
