"""The surrogate: a Gaussian process that predicts the fitness of schedules from all evaluations so far.

Single evaluations are noisy, and similar schedules have similar fitness: the regression screens children before they are
trained, and ranks schedules with less noise than their own scores.
"""

from __future__ import annotations

import random
import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from biotune.schedule.schedule import PROBE, UNFREEZING, Schedule

Floats = NDArray[np.float64]
FEWEST = 8  # evaluations needed to fit the regression
_LARGEST = 400  # the latest evaluations that are fitted: the cost grows with the cube of their number
_JITTER = 1e-6  # added to the covariance's diagonal, so that it can be inverted
_ROUNDS = 3  # alternating fits of the process and of the folds' means


@dataclass(frozen=True)
class Observation:
    """One evaluation of a schedule.

    Attributes:
        schedule: The trained schedule.
        fold: The fold it was evaluated on; folds differ in difficulty.
        fitness: The fitness; smaller is better.
    """

    schedule: Schedule
    fold: int
    fitness: float


def inputs(schedules: Sequence[Schedule]) -> Floats:
    """Return the regression's inputs for N schedules.

    Returns:
        (N, 2 · blocks + 3): per block whether it is trained and the decimal logarithm of its weight (0 if frozen), two
        indicators of the order of unfreezing, and one of a head that starts from the linear probe.
    """
    weights = np.array([schedule.lr_weights for schedule in schedules])
    trained = weights > 0
    order = np.array([[float(schedule.unfreezing == other) for other in UNFREEZING[1:]] for schedule in schedules])
    probe = np.array([[float(schedule.head_start == PROBE)] for schedule in schedules])
    return np.hstack([trained.astype(float), np.log10(np.where(trained, weights, 1.0)), order, probe])


class Surrogate:
    """A Gaussian process over schedules, fitted to evaluations on any folds."""

    def __init__(self, observations: Sequence[Observation]) -> None:
        """Fit the process.

        Args:
            observations: At least `FEWEST`, in the order of evaluation; only the latest 400 are used.
        """
        # imported here because it takes a second and workers never need it; the import draws from the global generator
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
            warnings.simplefilter("ignore", ConvergenceWarning)  # a length scale at its bound is an acceptable fit
            for more in reversed(range(_ROUNDS if indicator.shape[1] > 1 else 1)):
                centred: Floats = values - indicator @ fold_means
                self._scale = float(centred.std()) or 1.0
                self._middle = float(fold_means.mean())
                self._regression.fit(points, centred / self._scale)
                if more:
                    fold_means = self._fold_means(points, values, indicator)

    def _fold_means(self, points: Floats, values: Floats, indicator: Floats) -> Floats:
        """The difficulty of each fold, by generalised least squares under the fitted kernel (universal kriging).

        Plain means would be biased by the schedules evaluated on each fold: later schedules are better.

        Args:
            points: (N, 2 · blocks + 3), see `inputs`.
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
        """Predict the fitness of schedules, averaged over the folds.

        Args:
            schedules: N schedules, at least one.

        Returns:
            (N,) fitness values; smaller is better.
        """
        from threadpoolctl import threadpool_limits

        with threadpool_limits(1):
            mean = self._regression.predict(inputs(schedules))
        return self._middle + self._scale * np.asarray(mean)

    def most_promising(self, schedules: Sequence[Schedule], count: int, exploration: float) -> list[int]:
        """Select schedules to evaluate in parallel: the lowest mean − κ sd first; each choice reduces the sd of its neighbours.

        The lower confidence bound is GP-UCB (Srinivas et al., "Gaussian process optimization in the bandit setting", 2010) for
        a minimum, with a constant κ in place of a slowly growing √β. The evaluations arrive all at once, and several from one
        neighbourhood add little information (Desautels et al., "Parallelizing exploration-exploitation tradeoffs in Gaussian
        process bandit optimization", 2014).

        Args:
            schedules: Distinct schedules, at least one.
            count: Number of schedules to select, at most all.
            exploration: κ, at least 0.

        Returns:
            Positions, in the order of the choice.
        """
        from threadpoolctl import threadpool_limits

        with threadpool_limits(1):
            mean, covariance = self._regression.predict(inputs(schedules), return_cov=True)
        # the fitted kernel includes the white kernel, so the noise of an evaluation must be subtracted
        noise = float(self._regression.kernel_.k2.noise_level)
        covariance = covariance - noise * np.eye(len(schedules))
        open_ones = np.ones(len(schedules), dtype=bool)
        chosen: list[int] = []
        while len(chosen) < count:
            bound = mean - exploration * np.sqrt(np.maximum(np.diag(covariance), 0.0))
            position = int(np.argmin(np.where(open_ones, bound, np.inf)))
            chosen.append(position)
            open_ones[position] = False
            column = covariance[:, position]
            covariance = covariance - np.outer(column, column) / (max(column[position], 0.0) + noise + _JITTER)
        return chosen


def most_promising(
    surrogate: Surrogate, schedules: Sequence[Schedule], known: set[str], count: int, exploration: float
) -> list[int]:
    """Select schedules to evaluate: the most promising ones; repeated, empty and known ones only if there are no others.

    Args:
        surrogate: The regression.
        schedules: The candidates.
        known: Canonical keys of schedules whose fitness is known.
        count: Number of schedules to select.
        exploration: κ, see `Surrogate.most_promising`.

    Returns:
        `count` positions, or all if there are fewer schedules.
    """
    first: dict[str, int] = {}
    for position, schedule in enumerate(schedules):
        if not schedule.is_empty and schedule.key not in known:
            first.setdefault(schedule.key, position)
    fresh = list(first.values())
    picked = []
    if fresh:
        picked = surrogate.most_promising([schedules[at] for at in fresh], min(count, len(fresh)), exploration)
    chosen = [fresh[at] for at in picked]
    rest = [position for position in range(len(schedules)) if position not in set(chosen)]
    return [*chosen, *rest][:count]
