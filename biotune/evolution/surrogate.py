"""A smooth guess of every schedule's fitness from all evaluations so far: a Gaussian process, as Bayesian optimisation uses.

Single evaluations are noisy, and neighbours say something about each other: the regression screens children before they are
trained, and ranks schedules by more than their own luck.
"""

from __future__ import annotations

import random
import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from biotune.schedule.schedule import UNFREEZING, Schedule

Floats = NDArray[np.float64]
FEWEST = 8  # evaluations before a regression says anything
_LARGEST = 400  # evaluations that are fitted, the latest ones: the cost grows with the cube
_JITTER = 1e-6  # on the covariance's diagonal, so that it can be inverted
_ROUNDS = 3  # of fitting the process and the folds' means by turns
# κ of the lower confidence bound mean − κ sd: GP-UCB (Srinivas et al., "Gaussian process optimization in the bandit setting",
# 2010) for a minimum, with a constant in place of a slowly growing √β. scripts/compare_searchers.py measures the search with
# it (searcher "default"); no script compares other values.
_EXPLORATION = 2.0


@dataclass(frozen=True)
class Observation:
    """What one evaluation said.

    Attributes:
        schedule: What was trained.
        fold: On which data; folds are not equally hard.
        fitness: The fitness, smaller is better.
    """

    schedule: Schedule
    fold: int
    fitness: float


def inputs(schedules: Sequence[Schedule]) -> Floats:
    """(N, 2 · blocks + 2): whether each block is trained, the decimal logarithm of its weight (0 if frozen), the order."""
    weights = np.array([schedule.lr_weights for schedule in schedules])
    trained = weights > 0
    order = np.array([[float(schedule.unfreezing == other) for other in UNFREEZING[1:]] for schedule in schedules])
    return np.hstack([trained.astype(float), np.log10(np.where(trained, weights, 1.0)), order])


class Surrogate:
    """A Gaussian process over schedules, fitted to evaluations on any folds."""

    def __init__(self, observations: Sequence[Observation]) -> None:
        """Fit.

        Args:
            observations: `FEWEST` at least, in the order of evaluation; of more than 400 the latest count.
        """
        # imported here: workers never need it, and it takes a second; and importing it draws from the global generator
        before = random.getstate()
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.gaussian_process import GaussianProcessRegressor
        from sklearn.gaussian_process.kernels import ConstantKernel, Matern, WhiteKernel
        from threadpoolctl import threadpool_limits

        random.setstate(before)
        used = list(observations)[-_LARGEST:]
        values = np.array([one.fitness for one in used])
        folds = np.array([one.fold for one in used])
        indicator = np.array([folds == fold for fold in sorted(set(folds.tolist()))]).T.astype(float)
        points = inputs([one.schedule for one in used])
        kernel = ConstantKernel(1.0, (1e-2, 1e2)) * Matern(2.0, (0.3, 20.0), nu=2.5) + WhiteKernel(0.3, (1e-3, 2.0))
        self._regression = GaussianProcessRegressor(kernel, alpha=_JITTER)
        fold_means: Floats = np.asarray((indicator.T @ values) / indicator.sum(axis=0), dtype=np.float64)
        with warnings.catch_warnings(), threadpool_limits(1):  # one thread, so that numbers do not depend on the cores
            warnings.simplefilter("ignore", ConvergenceWarning)  # a scale at its bound is a fit like another
            for more in reversed(range(_ROUNDS if indicator.shape[1] > 1 else 1)):
                centred: Floats = values - indicator @ fold_means
                self._scale = float(centred.std()) or 1.0
                self._middle = float(fold_means.mean())
                self._regression.fit(points, centred / self._scale)
                if more:
                    fold_means = self._fold_means(points, values, indicator)

    def _fold_means(self, points: Floats, values: Floats, indicator: Floats) -> Floats:
        """How hard each fold is, by generalised least squares under the fitted kernel (universal kriging).

        Plain means would tell as much of which schedules came on which fold: later ones are better.

        Args:
            points: (N, 2 · blocks + 2), see `inputs`.
            values: (N,) fitness values.
            indicator: (N, folds), 1 for the fold of each.

        Returns:
            (folds,) mean fitness values.
        """
        covariance = self._regression.kernel_(points) + _JITTER * np.eye(len(points))
        weighted = np.linalg.solve(covariance, indicator)
        found: Floats = np.asarray(np.linalg.solve(indicator.T @ weighted, weighted.T @ values), dtype=np.float64)
        return found

    def predict(self, schedules: Sequence[Schedule]) -> Floats:
        """The fitness to be expected of schedules, averaged over the folds.

        Args:
            schedules: At least one.

        Returns:
            (N,), smaller is better.
        """
        from threadpoolctl import threadpool_limits

        with threadpool_limits(1):
            mean = self._regression.predict(inputs(schedules))
        return self._middle + self._scale * np.asarray(mean)

    def most_promising(self, schedules: Sequence[Schedule], count: int) -> list[int]:
        """Which schedules to evaluate together: lowest mean − κ sd first, where each choice makes its neighbours less unknown.

        Their evaluations come in all at once, and several of one neighbourhood say little more than one does
        (Desautels et al., "Parallelizing exploration-exploitation tradeoffs in Gaussian process bandit optimization", 2014).

        Args:
            schedules: Distinct ones, one at least.
            count: How many are wanted, at most as many as there are.

        Returns:
            Positions, in the order of the choice.
        """
        from threadpoolctl import threadpool_limits

        with threadpool_limits(1):
            mean, covariance = self._regression.predict(inputs(schedules), return_cov=True)
        # the white kernel is part of the fitted one, so that an evaluation's noise must be taken off
        noise = float(self._regression.kernel_.k2.noise_level)
        covariance = covariance - noise * np.eye(len(schedules))
        open_ones = np.ones(len(schedules), dtype=bool)
        chosen: list[int] = []
        while len(chosen) < count:
            bound = mean - _EXPLORATION * np.sqrt(np.maximum(np.diag(covariance), 0.0))
            position = int(np.argmin(np.where(open_ones, bound, np.inf)))
            chosen.append(position)
            open_ones[position] = False
            column = covariance[:, position]
            covariance = covariance - np.outer(column, column) / (max(column[position], 0.0) + noise + _JITTER)
        return chosen


def most_promising(surrogate: Surrogate, schedules: Sequence[Schedule], known: set[str], count: int) -> list[int]:
    """Which schedules to evaluate: the most promising, none twice and none that is known while there are others.

    Args:
        surrogate: The regression.
        schedules: The candidates.
        known: Canonical keys whose fitness is known already.
        count: How many are wanted.

    Returns:
        Positions, `count` of them or all there are.
    """
    first: dict[str, int] = {}
    for position, schedule in enumerate(schedules):
        if not schedule.is_empty and schedule.key not in known:
            first.setdefault(schedule.key, position)
    fresh = list(first.values())
    picked = surrogate.most_promising([schedules[at] for at in fresh], min(count, len(fresh))) if fresh else []
    chosen = [fresh[at] for at in picked]
    rest = [position for position in range(len(schedules)) if position not in set(chosen)]
    return [*chosen, *rest][:count]
