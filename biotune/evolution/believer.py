"""The surrogate of an asynchronous search: a Gaussian process that also knows which schedules are being evaluated.

Their outcomes are guessed by the process's own mean, the Kriging believer (Ginsbourger, Le Riche and Carraro, "Kriging is
well-suited to parallelize optimization", 2010). Such a guess leaves the mean as it is and reduces the variance around the
schedule, so that the next proposal goes elsewhere.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from biotune.evolution.blas import one_thread
from biotune.evolution.surrogate import (
    JITTER,
    LARGEST,
    Floats,
    MeanFunction,
    Observation,
    Surrogate,
    inputs,
    lowest_bounds,
    subset,
)
from biotune.schedule.schedule import Schedule

FITTED = 200  # evaluations to which the hyperparameters are fitted; predictions rest on twice as many
_SHARE = 20  # the hyperparameters are fitted again after a twentieth more evaluations


class Believer:
    """A Gaussian process with fixed hyperparameters, to which evaluations and schedules in flight are added one by one.

    The variances rest on one Cholesky factor of all schedules, evaluated or in flight, as they do not depend on outcomes: a
    result that is taken in leaves it as it is, and a new schedule adds a row. The means rest on the evaluations alone.
    """

    def __init__(
        self, observations: Sequence[Observation], in_flight: Sequence[Schedule], prior: MeanFunction | None = None
    ) -> None:
        """Fit the hyperparameters.

        Args:
            observations: All evaluations so far, at least `FEWEST`.
            in_flight: The schedules that are being evaluated.
            prior: The mean function, see `Surrogate`.
        """
        used = subset(observations, LARGEST)
        self._fitted = len(observations)
        self._surrogate = Surrogate(used, FITTED, prior)
        self._noise = self._surrogate.noise + JITTER
        self._points = np.empty((0, 0))
        self._values: list[float] = []
        self._learn(used)
        self._all = self._points
        self._factor = self._means_factor
        if in_flight:
            self._append(inputs(in_flight))

    def is_stale(self, evaluations: int) -> bool:
        """Whether there are so many more evaluations that the hyperparameters should be fitted again."""
        return evaluations - self._fitted >= max(1, min(self._fitted, LARGEST) // _SHARE)

    def propose(self, schedule: Schedule) -> None:
        """Add a schedule that is evaluated from now on."""
        self._append(inputs([schedule]))

    def learn(self, observations: Sequence[Observation]) -> None:
        """Add evaluations of schedules that were in flight; it may be none."""
        if observations:
            self._learn(observations)

    def predict(self, schedules: Sequence[Schedule]) -> Floats:
        """Predict the (N,) fitness of schedules from the evaluations alone, see `Surrogate.predict`."""
        with one_thread():
            mean = self._surrogate.middle + self._surrogate.scale * self._mean(inputs(schedules))
        return mean + self._surrogate.offset(schedules)

    def most_promising(self, schedules: Sequence[Schedule], count: int, exploration: float) -> list[int]:
        """Select schedules to evaluate beside those in flight, see `Surrogate.most_promising`."""
        from scipy.linalg import solve_triangular

        points = inputs(schedules)
        with one_thread():
            explained = solve_triangular(self._factor, self._between(self._all, points), lower=True, check_finite=False)
            covariance = self._between(points, points) - explained.T @ explained
            mean = self._mean(points) + self._surrogate.offset(schedules) / self._surrogate.scale
            return lowest_bounds(mean, covariance, self._surrogate.noise, count, exploration)

    def _between(self, points: Floats, others: Floats) -> Floats:
        return self._surrogate.covariance(points, others)

    def _mean(self, points: Floats) -> Floats:
        mean: Floats = self._between(points, self._points) @ self._weights
        return mean

    def _learn(self, observations: Sequence[Observation]) -> None:
        """Recompute the weights of the mean, (K + σ²I)⁻¹ y."""
        from scipy.linalg import cho_solve, cholesky

        known = self._surrogate
        schedules = [one.schedule for one in observations]
        more = inputs(schedules)
        self._points = np.vstack([self._points, more]) if len(self._values) else more
        # a fold that was never fitted is taken for one of middling difficulty
        self._values += [
            (one.fitness - offset - known.fold_means.get(one.fold, known.middle)) / known.scale
            for one, offset in zip(observations, known.offset(schedules).tolist(), strict=True)
        ]
        with one_thread():
            covariance = self._between(self._points, self._points) + self._noise * np.eye(len(self._points))
            self._means_factor: Floats = cholesky(covariance, lower=True, check_finite=False)
            self._weights: Floats = cho_solve((self._means_factor, True), np.array(self._values), check_finite=False)

    def _append(self, points: Floats) -> None:
        """Add rows to the factor of all schedules: L of [[A, B], [Bᵀ, C]] is [[L_A, 0], [(L_A⁻¹ B)ᵀ, chol(C − BᵀA⁻¹B)]]."""
        from scipy.linalg import cholesky, solve_triangular

        with one_thread():
            across = solve_triangular(self._factor, self._between(self._all, points), lower=True, check_finite=False)
            own = self._between(points, points) + self._noise * np.eye(len(points)) - across.T @ across
            corner = cholesky(own, lower=True, check_finite=False)
        before, added = len(self._all), len(points)
        factor = np.zeros((before + added, before + added))
        factor[:before, :before], factor[before:, :before], factor[before:, before:] = self._factor, across.T, corner
        self._factor, self._all = factor, np.vstack([self._all, points])
