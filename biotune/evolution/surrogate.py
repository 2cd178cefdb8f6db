"""A smooth guess of every schedule's fitness from all evaluations so far: a Gaussian process, as Bayesian optimisation uses.

Single evaluations are noisy, and neighbours say something about each other: the regression screens children before they are
trained, and ranks schedules by more than their own luck.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from biotune.schedule import Schedule

FEWEST = 8  # evaluations before a regression says anything
_LARGEST = 400  # evaluations that are fitted, the latest ones: the cost grows with the cube
_JITTER = 1e-6


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


def features(schedules: Sequence[Schedule]) -> NDArray[np.float64]:
    """(N, 2 · blocks): whether each block is trained, and the decimal logarithm of its weight, 0 where frozen."""
    weights = np.array([schedule.lr_weights for schedule in schedules])
    trained = weights > 0
    return np.hstack([trained.astype(float), np.log10(np.where(trained, weights, 1.0))])


class Surrogate:
    """A Gaussian process over schedules, fitted to evaluations on any folds."""

    def __init__(self, observations: Sequence[Observation]) -> None:
        """Fit.

        Args:
            observations: `FEWEST` at least; of more than some hundred the latest count.
        """
        # imported here: workers never need it, and it takes a second
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.gaussian_process import GaussianProcessRegressor
        from sklearn.gaussian_process.kernels import ConstantKernel, Matern, WhiteKernel
        from threadpoolctl import threadpool_limits

        used = list(observations)[-_LARGEST:]
        values = np.array([one.fitness for one in used])
        folds = np.array([one.fold for one in used])
        kindness = {fold: float(values[folds == fold].mean()) for fold in sorted(set(folds.tolist()))}
        centred = values - np.array([kindness[fold] for fold in folds.tolist()])
        self._middle = float(np.mean(list(kindness.values())))
        self._scale = float(centred.std()) or 1.0
        kernel = ConstantKernel(1.0, (1e-2, 1e2)) * Matern(2.0, (0.3, 20.0), nu=2.5) + WhiteKernel(0.3, (1e-3, 2.0))
        self._regression = GaussianProcessRegressor(kernel, alpha=_JITTER)
        with warnings.catch_warnings(), threadpool_limits(1):  # one thread, so that numbers do not depend on the cores
            warnings.simplefilter("ignore", ConvergenceWarning)  # a scale at its bound is a fit like another
            self._regression.fit(features([one.schedule for one in used]), centred / self._scale)

    def predict(self, schedules: Sequence[Schedule]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Mean and standard deviation of the fitness without the noise of an evaluation, averaged over the folds.

        Args:
            schedules: At least one.

        Returns:
            Two (N,) arrays.
        """
        from threadpoolctl import threadpool_limits

        with threadpool_limits(1):
            mean, deviation = self._regression.predict(features(schedules), return_std=True)
        # the white kernel is part of the fitted one, so that its noise must be taken off
        noise = float(self._regression.kernel_.k2.noise_level)
        sd = np.sqrt(np.maximum(deviation**2 - noise, 0.0))
        return self._middle + self._scale * mean, self._scale * sd


def most_promising(surrogate: Surrogate, schedules: Sequence[Schedule], known: set[str], count: int) -> list[int]:
    """Which schedules to evaluate: the lowest mean − 1 sd first, none twice and none that is known while there are others.

    Args:
        surrogate: The regression.
        schedules: The candidates.
        known: Canonical keys whose fitness is known already.
        count: How many are wanted.

    Returns:
        Positions, `count` of them or all there are.
    """
    mean, sd = surrogate.predict(schedules)
    ranked = np.argsort(mean - sd, kind="stable").tolist()
    seen = set(known)
    fresh: list[int] = []
    rest: list[int] = []
    for position in ranked:
        schedule = schedules[position]
        is_new = not schedule.is_empty and schedule.key not in seen
        (fresh if is_new else rest).append(position)
        seen.add(schedule.key)
    return [*fresh, *rest][:count]
