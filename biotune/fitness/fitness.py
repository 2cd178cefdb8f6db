"""Evaluates schedules: makes trials, caches their results by canonical key, and aggregates scores over seeds.

Imports no torch and does not run trials; an executor runs them and returns their results in order.
"""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from biotune.errors import SearchError
from biotune.fitness.pruning import MedianPruning, PredictedOrMedian, PredictedPruning, Pruning, goodness_of
from biotune.fitness.racing import Scores, expected_mean, residual_sd, still_in
from biotune.schedule.schedule import Schedule
from biotune.trial import WORST, Evaluation, Executor, Status, Trial, TrialResult, sample_sd

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
    scores = [max(goodness_of(metric, result)) for result in results]
    lack = 1.0 - statistics.fmean(scores)
    return min(1.0, lack + sample_sd(scores)) if metric == "acc+std" else lack


@dataclass(frozen=True)
class Economy:
    """Which training runs a search saves on candidates that cannot win.

    Attributes:
        prune: Which training runs are stopped early: none; median, see `MedianPruning`; or predicted, see `PredictedPruning`.
        racing: Whether seeds are added one by one, only for candidates that can still be among the best.
        places: Number of the best candidates that racing trains with all seeds: the elites, and the schedules to confirm.
        finalists: Number of the best candidates that pruning trains to the end: the schedules to confirm. An elite may be
            pruned, as its score is predicted.
        trainings: Number of training runs of the whole search, at most.
        bounded: Whether scores are known to lie in [0, 1]; otherwise see `PredictedOrMedian`.
    """

    prune: str = "none"
    racing: bool = False
    places: int = 1
    finalists: int = 1
    trainings: int = 1
    bounded: bool = True


Distinct = dict[tuple[int, str], tuple[int, Schedule]]  # by fold and key: the first position in the batch, and the schedule
Chunks = Generator[Sequence[Trial], Sequence[TrialResult], None]  # yields trials, and is sent their results in order
Steps = Generator[Sequence[Trial], Sequence[TrialResult], list[Evaluation]]


@dataclass
class ScheduleFitness:
    """Evaluates schedules on folds with common training seeds (BioTune, section 1).

    The cache holds the results of single training runs and lives as long as this object: one run.

    Attributes:
        executor: Runs the trials; None where the caller runs them, see `evaluating`.
        seeds: Training seeds, the same for every candidate: common random numbers reduce the noise of comparisons.
        epochs: Largest number of epochs of one training run.
        lr: The base learning rate λ_0 of every trial.
        fingerprint: The data's fingerprint, part of the cache key.
        economy: Which training runs are saved; by default none.
        metric: The measure behind the fitness, see `fitness_by`.
        trainings: Number of training runs made so far.
        pruning: The rule by which training runs are stopped, with what it has learnt from those so far.
    """

    executor: Executor | None
    seeds: tuple[int, ...]
    epochs: int
    lr: float
    fingerprint: str
    economy: Economy = field(default_factory=Economy)
    metric: str = "acc"
    trainings: int = 0
    _cache: dict[tuple[str, str], TrialResult] = field(default_factory=dict)
    _complete: dict[int, dict[str, Scores]] = field(default_factory=dict)
    pruning: Pruning = field(init=False)

    def __post_init__(self) -> None:
        """Set the rule by which training runs are stopped."""
        self.pruning = self._rule()

    def __call__(self, schedules: Sequence[Schedule], folds: int | Sequence[int]) -> list[Evaluation]:
        """Evaluate a batch; duplicates and schedules that are known on their fold are not trained again.

        Args:
            schedules: The batch; some may be equal or empty.
            folds: The fold to train and validate on, one for all or one per schedule.

        Returns:
            One evaluation per schedule, in order; the costs of duplicates are with the first one.
        """
        if self.executor is None:
            raise ValueError("ScheduleFitness: has no executor. Run the trials that `evaluating` yields.")
        steps = self.evaluating(schedules, folds)
        try:
            trials = next(steps)
            while True:
                trials = steps.send(self.executor.run(trials))
        except StopIteration as stop:
            evaluations: list[Evaluation] = stop.value
            return evaluations

    def evaluating(self, schedules: Sequence[Schedule], folds: int | Sequence[int]) -> Steps:
        """Evaluate a batch whose trials the caller runs: each step yields trials and is sent their results in order.

        Args:
            schedules: The batch; some may be equal or empty.
            folds: The fold to train and validate on, one for all or one per schedule.

        Returns:
            The steps; their value is what a call returns.
        """
        own = [folds] * len(schedules) if isinstance(folds, int) else list(folds)
        pairs = list(zip(own, schedules, strict=True))
        owners: dict[str, int] = {}
        distinct: Distinct = {}
        for index, (fold, schedule) in enumerate(pairs):
            if not schedule.is_empty:
                distinct.setdefault((fold, schedule.key), (index, schedule))
        sd = residual_sd([list(rows.values()) for rows in self._complete.values()]) if self.economy.racing else None
        if sd is None:
            yield from self._train(distinct, self.seeds, owners)
        else:
            for number, seed in enumerate(self.seeds):
                distinct = self._contenders(distinct, self.seeds[:number], sd)
                yield from self._train(distinct, (seed,), owners)
        for fold, schedule in pairs:
            self._note_complete(schedule, fold)
        return [self._aggregate(index, schedule, fold, owners) for index, (fold, schedule) in enumerate(pairs)]

    def trials(self, schedule: Schedule, fold: int) -> list[Trial]:
        """Return the trials that an evaluation on its own needs and whose results are not known; none for an empty schedule.

        All training seeds are trained: racing compares the candidates of a batch. The floors of pruning rest on the trials
        taken in so far.

        Args:
            schedule: The schedule to evaluate.
            fold: The fold to train and validate on.
        """
        if schedule.is_empty:
            return []
        wanted = [self._trial(schedule, fold, seed) for seed in self.seeds]
        unknown = [trial for trial in wanted if (self.fingerprint, trial.key) not in self._cache]
        return [replace(trial, floor=self.pruning.floor(trial)) for trial in unknown]

    def take_in(self, trials: Sequence[Trial], results: Sequence[TrialResult]) -> None:
        """Take in the results of trials that were run elsewhere.

        Args:
            trials: Trials that `trials` returned.
            results: One result per trial.
        """
        self._cache.update({(self.fingerprint, trial.key): result for trial, result in zip(trials, results, strict=True)})
        self.pruning.learn(trials, results)
        self.trainings += len(trials)

    def evaluation(self, schedule: Schedule, fold: int, made_for: Sequence[Trial]) -> Evaluation:
        """Return the evaluation of a schedule whose trials were taken in.

        Args:
            schedule: The schedule.
            fold: Its fold.
            made_for: The trials that were made for it, which are its costs.
        """
        self._note_complete(schedule, fold)
        return self._aggregate(0, schedule, fold, dict.fromkeys((trial.key for trial in made_for), 0))

    def close_generation(self) -> None:
        """End a generation: from now on the medians of pruning include its training runs."""
        self.pruning.close_generation()

    def _note_complete(self, schedule: Schedule, fold: int) -> None:
        """Keep the scores of a schedule that has all seeds."""
        complete = self._complete.setdefault(fold, {})
        results = self._results(schedule, fold)
        if not schedule.is_empty and len(results) == len(self.seeds) and _all_ok(results.values()):
            complete[schedule.key] = tuple(result.score for result in results.values())

    def _rule(self) -> Pruning:
        if self.economy.prune == "median":
            return MedianPruning(self.epochs)
        if self.economy.prune == "predicted":
            predicted = PredictedPruning(self.epochs, self.economy.finalists, self.economy.trainings, self.metric)
            return predicted if self.economy.bounded else PredictedOrMedian(predicted, MedianPruning(self.epochs))
        return Pruning()

    def _train(self, distinct: Distinct, seeds: Sequence[int], owners: dict[str, int]) -> Chunks:
        """Have the trials run whose results are not known, and record in `owners` the schedule of the batch they belong to."""
        fresh: dict[str, Trial] = {}
        for (fold, _), (index, schedule) in distinct.items():
            for seed in seeds:
                trial = self._trial(schedule, fold, seed)
                if (self.fingerprint, trial.key) not in self._cache:
                    fresh[trial.key] = trial
                    owners[trial.key] = index
        for chunk in self.pruning.chunks(list(fresh.values())):
            trials = [replace(trial, floor=self.pruning.floor(trial)) for trial in chunk]
            self.take_in(trials, (yield trials))

    def _trial(self, schedule: Schedule, fold: int, seed: int) -> Trial:
        return Trial(schedule, fold, seed, self.epochs, self.lr)

    def _contenders(self, distinct: Distinct, seeds: tuple[int, ...], sd: float) -> Distinct:
        """The schedules that can still be among the best of their fold after some seeds; failed and pruned ones cannot."""
        if not seeds:
            return dict(distinct)
        chosen: Distinct = {}
        for fold in {fold: None for fold, _ in distinct}:
            scores = {}
            for (own, key), (_, schedule) in distinct.items():
                results = self._results(schedule, fold, seeds) if own == fold else {}
                if results and _all_ok(results.values()):
                    scores[key] = tuple(result.score for result in results.values())
            others = [row for key, row in self._complete.get(fold, {}).items() if key not in scores]
            left = still_in(scores, others, self.economy.places, len(self.seeds), sd)
            chosen |= {pair: own for pair, own in distinct.items() if pair[0] == fold and pair[1] in left}
        return chosen

    def _results(self, schedule: Schedule, fold: int, seeds: Sequence[int] | None = None) -> dict[int, TrialResult]:
        """The known results of a schedule by position of the seed."""
        found = {}
        for position, seed in enumerate(self.seeds if seeds is None else seeds):
            result = self._cache.get((self.fingerprint, self._trial(schedule, fold, seed).key))
            if result is not None:
                found[position] = result
        return found

    def _aggregate(self, index: int, schedule: Schedule, fold: int, owners: Mapping[str, int]) -> Evaluation:
        if schedule.is_empty:
            return Evaluation(WORST, Status.EMPTY)
        results = self._results(schedule, fold)
        keys = {position: self._trial(schedule, fold, self.seeds[position]).key for position in results}
        own = [result for position, result in results.items() if owners.get(keys[position]) == index]
        cost: dict[str, Any] = {
            "seconds": sum(result.seconds for result in own),
            "trainings": len(own),
            "epochs": sum(len(result.curve) for result in own),
        }
        errors = [result.error for result in results.values() if result.status == Status.FAILED]
        if errors:
            return Evaluation(WORST, Status.FAILED, error=errors[0], **cost)
        values = tuple(result.score for result in results.values())
        if len(results) == len(self.seeds) and _all_ok(results.values()):
            fitness = fitness_by(self.metric, list(results.values()))
            return Evaluation(fitness, Status.OK if own else Status.CACHED, values, **cost)
        expected = {}
        for position, result in results.items():
            predicted = self.pruning.predicted(keys[position])
            expected[position] = max(goodness_of(self.metric, result)) if predicted is None else predicted
        # the seeds' differences are known in accuracy only
        others = [] if self.metric == "loss" else list(self._complete[fold].values())
        return Evaluation(1.0 - expected_mean(expected, others), Status.PRUNED, values, **cost)


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
