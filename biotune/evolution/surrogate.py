"""The surrogate: a Gaussian process that predicts the fitness of schedules from all evaluations so far.

Single evaluations are noisy, and similar schedules have similar fitness: the regression screens children before they are
trained, and ranks schedules with less noise than their own scores.
"""

from __future__ import annotations

import random
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from biotune.evolution.blas import one_thread
from biotune.schedule.schedule import PROBE, UNFREEZING, Schedule

Floats = NDArray[np.float64]
FEWEST = 8  # evaluations needed to fit the regression
LARGEST = 400  # evaluations that are fitted: the cost grows with the cube of their number
JITTER = 1e-6  # added to the covariance's diagonal, so that it can be inverted
_ROUNDS = 3  # alternating fits of the process and of the folds' means
COEFFICIENTS = (0.0, 0.25, 0.5, 1.0)  # of a mean function, in standard deviations of the fitness; 0 leaves it out


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


def subset(observations: Sequence[Observation], largest: int) -> list[Observation]:
    """Return the evaluations that stand for all of them: the later half, and the earlier ones at even steps.

    A subset of the data in place of an approximation of the process (Rasmussen and Williams, *Gaussian Processes for Machine
    Learning*, 2006, section 8.3.1). The latest lie where the search is; the others keep the process from expecting much where
    the search has been before and left.

    Args:
        observations: In the order of evaluation.
        largest: The most that are returned.

    Returns:
        All observations where there are at most `largest`, else as many as that, in their order.
    """
    if len(observations) <= largest:
        return list(observations)
    latest = largest - largest // 2
    earlier = observations[: len(observations) - latest]
    return [earlier[step * len(earlier) // (largest - latest)] for step in range(largest - latest)] + list(
        observations[-latest:]
    )


def fitness_by_schedule(observations: Sequence[Observation]) -> dict[str, float]:
    """Return the fitness of each distinct schedule over all folds, in the order of their first evaluations.

    Args:
        observations: Evaluations.

    Returns:
        By canonical key what a regression over all of them predicts, or with fewer than `FEWEST` the mean of a schedule's own.
    """
    own: dict[str, list[Observation]] = {}
    for one in observations:
        own.setdefault(one.schedule.key, []).append(one)
    if len(observations) < FEWEST:
        return {key: fmean(one.fitness for one in several) for key, several in own.items()}
    guesses = Surrogate(observations).predict([several[0].schedule for several in own.values()])
    return dict(zip(own, guesses.tolist(), strict=True))


class Regressor(Protocol):
    """What is used of scikit-learn's GaussianProcessRegressor."""

    kernel_: Any
    log_marginal_likelihood_value_: float

    def fit(self, points: Floats, values: Floats) -> Any:
        """Fit the hyperparameters and the process."""
        ...


class MeanFunction(Protocol):
    """Guesses the fitness of schedules from elsewhere, up to a factor and a constant."""

    def mean(self, schedules: Sequence[Schedule]) -> Floats:
        """Return (N,) values for N schedules, at least one; smaller is better."""
        ...


class Surrogate:
    """A Gaussian process over schedules, fitted to evaluations on any folds.

    Attributes:
        fold_means: The difficulty of each fold: its mean fitness, less the mean function.
        middle: Their mean.
        scale: What fitness values less their folds' means and the mean function are divided by.
        coefficient: Of the mean function, in units of the fitness; 0 without one.
    """

    def __init__(self, observations: Sequence[Observation], largest: int = LARGEST, prior: MeanFunction | None = None) -> None:
        """Fit the process.

        Args:
            observations: At least `FEWEST`, in the order of evaluation.
            largest: The most that are fitted, see `subset`.
            prior: The mean function; it counts with the one of `COEFFICIENTS` that makes the evaluations most likely.
        """
        # imported here because it takes a second and workers never need it; the import draws from the global generator
        before = random.getstate()
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.gaussian_process import GaussianProcessRegressor
        from sklearn.gaussian_process.kernels import ConstantKernel, Matern, WhiteKernel

        random.setstate(before)
        used = subset(observations, largest)
        values = np.array([one.fitness for one in used])
        folds = np.array([one.fold for one in used])
        distinct = sorted(set(folds.tolist()))
        indicator = np.array([folds == fold for fold in distinct]).T.astype(float)
        points = inputs([one.schedule for one in used])
        kernel = ConstantKernel(1.0, (1e-2, 1e2)) * Matern(2.0, (0.3, 20.0), nu=2.5) + WhiteKernel(0.3, (1e-3, 2.0))
        self._prior, self.coefficient = prior, 0.0
        means = np.zeros(len(used)) if prior is None else prior.mean([one.schedule for one in used])
        spread = _spread(values, indicator)
        best = -np.inf
        with warnings.catch_warnings(), one_thread():
            warnings.simplefilter("ignore", ConvergenceWarning)  # a length scale at its bound is an acceptable fit
            for factor in (0.0,) if prior is None else COEFFICIENTS:
                regression = GaussianProcessRegressor(kernel, alpha=JITTER)
                fold_means, scale = _fit(regression, points, values - factor * spread * means, indicator)
                kernel = regression.kernel_  # the next fit begins where this one ended
                likelihood = float(regression.log_marginal_likelihood_value_) - len(used) * np.log(scale)
                if likelihood > best:
                    best, self.coefficient = likelihood, factor * spread
                    self._regression, self.scale, self.middle = regression, scale, float(fold_means.mean())
                    self.fold_means = dict(zip(distinct, fold_means.tolist(), strict=True))

    @property
    def noise(self) -> float:
        """The variance of a single evaluation, in units of the scaled fitness."""
        return float(self._regression.kernel_.k2.noise_level)

    def covariance(self, points: Floats, others: Floats) -> Floats:
        """The prior covariance of the scaled fitness without the noise.

        Args:
            points: (N, 2 · blocks + 3), see `inputs`.
            others: (M, 2 · blocks + 3).

        Returns:
            (N, M).
        """
        found: Floats = self._regression.kernel_.k1(points, others)
        return found

    def offset(self, schedules: Sequence[Schedule]) -> Floats:
        """Return the (N,) mean function at N schedules, at least one, in units of the fitness; zeros without one."""
        if self._prior is None or not self.coefficient:
            return np.zeros(len(schedules))
        found: Floats = self.coefficient * self._prior.mean(schedules)
        return found

    def predict(self, schedules: Sequence[Schedule]) -> Floats:
        """Predict the fitness of schedules, averaged over the folds.

        Args:
            schedules: N schedules, at least one.

        Returns:
            (N,) fitness values; smaller is better.
        """
        with one_thread():
            mean = self._regression.predict(inputs(schedules))
        found: Floats = self.middle + self.scale * np.asarray(mean)
        return found + self.offset(schedules) if self.coefficient else found

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
        mean, covariance = self.posterior(schedules)
        return lowest_bounds(mean, covariance, self.noise, count, exploration)

    def posterior(self, schedules: Sequence[Schedule]) -> tuple[Floats, Floats]:
        """Return mean (N,) and covariance (N, N), without the noise, of the scaled fitness of N schedules."""
        with one_thread():
            mean, covariance = self._regression.predict(inputs(schedules), return_cov=True)
        # the fitted kernel includes the white kernel, so the noise of an evaluation must be subtracted
        if self.coefficient:
            mean = mean + self.offset(schedules) / self.scale
        return mean, covariance - self.noise * np.eye(len(schedules))

    def unscaled(self, scaled: Floats) -> Floats:
        """Return fitness values, averaged over the folds, from scaled ones."""
        return self.middle + self.scale * scaled


def _spread(values: Floats, indicator: Floats) -> float:
    """The standard deviation of fitness values about the plain means of their folds; 1 where it is 0."""
    means = (indicator.T @ values) / indicator.sum(axis=0)
    return float((values - indicator @ means).std()) or 1.0


def _fit(regression: Regressor, points: Floats, values: Floats, indicator: Floats) -> tuple[Floats, float]:
    """Fit a process and the folds' means in turn.

    Args:
        regression: The process to fit.
        points: (N, 2 · blocks + 3), see `inputs`.
        values: (N,) fitness values.
        indicator: (N, folds), 1 for the fold of each.

    Returns:
        (folds,) mean fitness values, and what the values less them were divided by.
    """
    fold_means: Floats = np.asarray((indicator.T @ values) / indicator.sum(axis=0), dtype=np.float64)
    rounds = _ROUNDS if indicator.shape[1] > 1 else 1
    for left in reversed(range(rounds)):
        centred: Floats = values - indicator @ fold_means
        scale = float(centred.std()) or 1.0
        regression.fit(points, centred / scale)
        if left:
            fold_means = _fold_means(regression, points, values, indicator)
    return fold_means, scale


def _fold_means(regression: Regressor, points: Floats, values: Floats, indicator: Floats) -> Floats:
    """The difficulty of each fold, by generalised least squares under the fitted kernel (universal kriging).

    Plain means would be biased by the schedules evaluated on each fold: later schedules are better.

    Args:
        regression: The fitted process.
        points: (N, 2 · blocks + 3), see `inputs`.
        values: (N,) fitness values.
        indicator: (N, folds), 1 for the fold of each.

    Returns:
        (folds,) mean fitness values.
    """
    covariance = regression.kernel_(points) + JITTER * np.eye(len(points))
    weighted = np.linalg.solve(covariance, indicator)
    found: Floats = np.asarray(np.linalg.solve(indicator.T @ weighted, weighted.T @ values), dtype=np.float64)
    return found


def lowest_bounds(mean: Floats, covariance: Floats, noise: float, count: int, exploration: float) -> list[int]:
    """Select by the lowest mean − κ sd, one after the other; each choice reduces the sd of those correlated with it.

    Args:
        mean: (N,) predictions.
        covariance: (N, N) of the predictions, without the noise.
        noise: The variance of an evaluation.
        count: Number to select, at most N.
        exploration: κ, at least 0.

    Returns:
        Positions, in the order of the choice.
    """
    open_ones = np.ones(len(mean), dtype=bool)
    chosen: list[int] = []
    while len(chosen) < count:
        bound = mean - exploration * np.sqrt(np.maximum(np.diag(covariance), 0.0))
        position = int(np.argmin(np.where(open_ones, bound, np.inf)))
        chosen.append(position)
        open_ones[position] = False
        covariance = once_evaluated(covariance, noise, position)
    return chosen


def once_evaluated(covariance: Floats, noise: float, position: int) -> Floats:
    """Return the covariance (N, N) of predictions once the one at a position is evaluated, see `lowest_bounds`."""
    column = covariance[:, position]
    return covariance - np.outer(column, column) / (max(column[position], 0.0) + noise + JITTER)


class Screen(Protocol):
    """Selects the schedules to evaluate, as the surrogate does."""

    def most_promising(self, schedules: Sequence[Schedule], count: int, exploration: float) -> list[int]:
        """See `Surrogate.most_promising`."""
        ...


def most_promising(
    surrogate: Screen, schedules: Sequence[Schedule], known: set[str], count: int, exploration: float
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
