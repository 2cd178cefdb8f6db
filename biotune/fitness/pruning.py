"""Which training runs of a search are stopped early: none, those below the median, or those predicted to end too low.

scripts/bench_prune.py measures what each rule spares and costs.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import accumulate
from statistics import median

from biotune.fitness.learning_curves import FEWEST_CURVES as FIRST_CHUNK
from biotune.fitness.learning_curves import WARMUP_EPOCHS, Curve, floor_towards, predicted_final, target
from biotune.trial import Status, Trial, TrialResult

FEWEST_CURVES = 5  # a median of fewer is mostly noise; Optuna's MedianPruner waits for as many trials


def median_floor(curves: Sequence[Sequence[float]], epochs: int) -> tuple[float, ...]:
    """Return the median of the best scores that earlier training runs had reached by each epoch.

    The median stopping rule (Golovin et al., "Google Vizier: a service for black-box optimization", 2017), with the best score
    so far in place of the running mean.

    A run that had ended by then counts with its best score, so that the floor is never above the true median.

    Args:
        curves: For each earlier run with the same data and training seed its scores by epoch, at least one, in [0, 1].
        epochs: Largest number of epochs of a run.

    Returns:
        `epochs` floors, one after each epoch, 0 where no run is stopped; empty where there are too few curves.
    """
    if len(curves) < FEWEST_CURVES:
        return ()
    best = [list(accumulate(curve, max)) for curve in curves]
    return tuple(
        0.0 if epoch < WARMUP_EPOCHS else median(reached[min(epoch, len(reached) - 1)] for reached in best)
        for epoch in range(epochs)
    )


class Pruning:
    """No pruning; the rules override what they change."""

    def floor(self, trial: Trial) -> tuple[float, ...]:
        """The floors of a trial, fixed before it starts; empty where it is not to be stopped."""
        return ()

    def chunks(self, trials: Sequence[Trial]) -> Iterator[Sequence[Trial]]:
        """Cut a batch into parts that are run one after the other, each with floors from those before."""
        if trials:
            yield trials

    def learn(self, trials: Sequence[Trial], results: Sequence[TrialResult]) -> None:
        """Take in the results of trials."""

    def close_generation(self) -> None:
        """End a generation."""

    def predicted(self, trial_key: str) -> float | None:
        """What a trial that was given up would have reached, in the terms of `goodness_of`; None if nothing was predicted."""
        return None


class MedianPruning(Pruning):
    """Stops a run below the median of earlier generations' on the same fold with the same seed.

    Only runs whose blocks joined in the same order and whose head began alike are compared.
    """

    def __init__(self, epochs: int) -> None:
        """Start without curves; `epochs` is the largest number of epochs of a run."""
        self._epochs = epochs
        self._curves: dict[tuple[int | None, int, str], list[tuple[float, ...]]] = {}
        self._new: list[tuple[Trial, tuple[float, ...]]] = []

    def floor(self, trial: Trial) -> tuple[float, ...]:
        """See `median_floor`."""
        return median_floor(self._curves.get(_alike(trial), []), self._epochs)

    def learn(self, trials: Sequence[Trial], results: Sequence[TrialResult]) -> None:
        """Take in the results of trials, for the next generation."""
        self._new += [(trial, result.curve) for trial, result in zip(trials, results, strict=True) if result.curve]

    def close_generation(self) -> None:
        """From now on the medians include the generation's runs."""
        for trial, curve in self._new:
            self._curves.setdefault(_alike(trial), []).append(curve)
        self._new.clear()


class PredictedPruning(Pruning):
    """Stops a run that is predicted not to come among the best of the search, and predicts what it would have reached.

    Floors depend on all runs before, of the same generation too. So that there are such runs in the first one, a batch is cut
    into chunks, each as large as all runs before it: 20 trials become 10 and 10. A later generation is hardly ever cut, and
    many workers seldom wait. The sizes depend on the trials alone.

    Attributes:
        curves: The curves so far, in the order of the trials.
    """

    def __init__(self, epochs: int, places: int, trainings: int, metric: str) -> None:
        """Start without curves.

        Args:
            epochs: Largest number of epochs of a run.
            places: Number of the best schedules that matter.
            trainings: Number of training runs of the whole search.
            metric: What is predicted, see `goodness_of`.
        """
        self.curves: list[Curve] = []
        self._epochs, self._places, self._trainings = epochs, places, trainings
        self._metric = metric
        self._goodness: list[Curve] = []  # the same curves in the terms of the metric
        self._predicted: dict[str, float] = {}

    def floor(self, trial: Trial) -> tuple[float, ...]:
        """See `floor_towards`."""
        if trial.fold is None or not any(curve.finished for curve in self.curves):
            return ()
        wanted = target(self.curves, trial.fold, self._places, self._trainings)
        return floor_towards(wanted, self.curves, _kind(trial), self._epochs)

    def chunks(self, trials: Sequence[Trial]) -> Iterator[Sequence[Trial]]:
        """Each chunk as large as all runs before it, at least `FIRST_CHUNK`."""
        begun = 0
        while begun < len(trials):
            size = max(FIRST_CHUNK, len(self.curves))
            yield trials[begun : begun + size]
            begun += size

    def learn(self, trials: Sequence[Trial], results: Sequence[TrialResult]) -> None:
        """Take in the results of trials, and predict for those given up."""
        given_up: list[tuple[str, Curve]] = []
        for trial, result in zip(trials, results, strict=True):
            if not result.curve or trial.fold is None:
                continue
            finished = result.status == Status.OK
            of = partial(Curve, trial.schedule.key, trial.fold, _kind(trial), finished=finished)
            self.curves.append(of(result.curve))
            self._goodness.append(of(goodness_of(self._metric, result)))
            if not finished:
                given_up.append((trial.key, self._goodness[-1]))
        for key, curve in given_up:
            self._predicted[key] = predicted_final(curve, self._goodness)

    def predicted(self, trial_key: str) -> float | None:
        """What was predicted when the trial was given up: later curves do not change it."""
        return self._predicted.get(trial_key)


class PredictedOrMedian(Pruning):
    """Prediction while all scores lie in [0, 1], for which it is made; from the first other score on the median."""

    def __init__(self, predicted: PredictedPruning, median: MedianPruning) -> None:
        """Start with both rules, neither of which has learnt anything."""
        self._predicted, self._median = predicted, median
        self._bounded = True

    def floor(self, trial: Trial) -> tuple[float, ...]:
        """See `Pruning`."""
        return self._predicted.floor(trial) if self._bounded else self._median.floor(trial)

    def chunks(self, trials: Sequence[Trial]) -> Iterator[Sequence[Trial]]:
        """See `PredictedPruning`."""
        return self._predicted.chunks(trials)

    def learn(self, trials: Sequence[Trial], results: Sequence[TrialResult]) -> None:
        """Take in the results of trials."""
        self._bounded = self._bounded and all(0.0 <= score <= 1.0 for result in results for score in result.curve)
        if self._bounded:
            self._predicted.learn(trials, results)
        self._median.learn(trials, results)

    def close_generation(self) -> None:
        """See `MedianPruning`."""
        self._median.close_generation()

    def predicted(self, trial_key: str) -> float | None:
        """What was predicted when the trial was given up; None if it was given up by the median."""
        return self._predicted.predicted(trial_key)


def goodness_of(metric: str, result: TrialResult) -> tuple[float, ...]:
    """After each epoch, what a metric of `fitness.metric` is the best of: macro accuracy, or exp(−validation loss)."""
    return tuple(math.exp(-loss) for loss in result.losses) if metric == "loss" else result.curve


def _alike(trial: Trial) -> tuple[int | None, int, str]:
    """What training runs have in common whose curves may be compared epoch by epoch without a model."""
    return trial.fold, trial.seed, _kind(trial)


def _kind(trial: Trial) -> str:
    """How a trial's blocks join and its head begins, on which its early scores depend."""
    return f"{trial.schedule.unfreezing} {trial.schedule.head_start}"
