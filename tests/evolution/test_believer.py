"""The process that knows what is in flight, held against scikit-learn's, which is fitted to guesses for it."""

from __future__ import annotations

import numpy as np
import pytest
from landscape import drawn, noisy, truth
from sklearn.gaussian_process import GaussianProcessRegressor

from biotune.evolution.believer import Believer
from biotune.evolution.surrogate import LARGEST, Observation, Surrogate, inputs
from biotune.schedule.schedule import Schedule

KNOWN, IN_FLIGHT, OTHERS = drawn(40, 1), drawn(12, 2), drawn(60, 3)


def reference(observations: list[Observation], in_flight: list[Schedule]) -> tuple[GaussianProcessRegressor, Surrogate]:
    """scikit-learn's process with the same hyperparameters, given the evaluations and, for what is in flight, its own mean."""
    fitted = Surrogate(observations)
    points = inputs([one.schedule for one in observations])
    values = np.array([(one.fitness - fitted.fold_means[one.fold]) / fitted.scale for one in observations])
    fixed = fitted._regression.kernel_
    alone = GaussianProcessRegressor(fixed, alpha=1e-6, optimizer=None).fit(points, values)
    if not in_flight:
        return alone, fitted
    guessed = inputs(in_flight)
    both = np.vstack([points, guessed]), np.concatenate([values, alone.predict(guessed)])
    return GaussianProcessRegressor(fixed, alpha=1e-6, optimizer=None).fit(*both), fitted


def test_a_guess_by_the_mean_changes_no_mean() -> None:
    observations = noisy(KNOWN)
    expected, fitted = reference(observations, IN_FLIGHT)
    expected_values = fitted.middle + fitted.scale * expected.predict(inputs(OTHERS))
    assert Believer(observations, IN_FLIGHT).predict(OTHERS) == pytest.approx(expected_values, abs=1e-6)
    assert Believer(observations, []).predict(OTHERS) == pytest.approx(fitted.predict(OTHERS), abs=1e-6)


@pytest.mark.parametrize("one_by_one", [False, True])
def test_variances_shrink_around_what_is_in_flight_as_if_it_were_known(one_by_one: bool) -> None:
    observations = noisy(KNOWN)
    expected, _ = reference(observations, IN_FLIGHT)
    believer = Believer(observations, [] if one_by_one else IN_FLIGHT)
    for schedule in IN_FLIGHT if one_by_one else []:
        believer.propose(schedule)
    mean, covariance = expected.predict(inputs(OTHERS), return_cov=True)
    sd = np.sqrt(np.diag(covariance) - expected.kernel_.k2.noise_level)
    for kappa in (0.0, 0.5, 1.0, 2.0, 5.0, 50.0):
        bound = mean - kappa * sd
        assert believer.most_promising(OTHERS, 1, kappa) == [int(np.argmin(bound))]


def test_it_selects_a_batch_as_the_surrogate_does_where_nothing_is_in_flight() -> None:
    observations = noisy(KNOWN)
    expected = Surrogate(observations).most_promising(OTHERS, 8, 1.0)
    assert Believer(observations, []).most_promising(OTHERS, 8, 1.0) == expected


def test_a_result_that_comes_in_changes_the_mean_and_no_variance() -> None:
    observations = noisy(KNOWN)
    believer = Believer(observations, IN_FLIGHT)
    by_variance = believer.most_promising(OTHERS, 20, 1e6)
    more = [Observation(one, 0, truth(one)) for one in IN_FLIGHT]
    believer.learn(more)
    assert believer.most_promising(OTHERS, 20, 1e6) == by_variance
    fitted = Surrogate(observations)
    points = inputs([one.schedule for one in observations + more])
    values = np.array([(one.fitness - fitted.fold_means[one.fold]) / fitted.scale for one in observations + more])
    process = GaussianProcessRegressor(fitted._regression.kernel_, alpha=1e-6, optimizer=None).fit(points, values)
    expected = fitted.middle + fitted.scale * process.predict(inputs(OTHERS))
    assert believer.predict(OTHERS) == pytest.approx(expected, abs=1e-6)
    believer.learn([])
    assert believer.predict(OTHERS) == pytest.approx(expected, abs=1e-6)


def test_a_split_that_was_never_evaluated_is_taken_for_a_middling_one() -> None:
    believer = Believer(noisy(KNOWN, kindness=(0.0, 0.2)), IN_FLIGHT)
    believer.learn([Observation(IN_FLIGHT[0], 7, 0.4)])
    assert np.isfinite(believer.predict(OTHERS)).all()


@pytest.mark.parametrize(("known", "more"), [(8, 1), (20, 1), (40, 2), (100, 5), (400, 20), (5000, 20)])
def test_hyperparameters_are_fitted_again_after_a_twentieth_more(
    known: int, more: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    few = noisy(KNOWN)
    monkeypatch.setattr("biotune.evolution.believer.subset", lambda observations, largest: few)
    believer = Believer(few * (known // 40) + few[: known % 40], [])
    assert not believer.is_stale(known + more - 1)
    assert believer.is_stale(known + more)


def test_however_many_evaluations_there_are_only_some_are_held() -> None:
    many = noisy(drawn(3 * LARGEST, 5))
    believer = Believer(many, IN_FLIGHT)
    assert len(believer._points) == LARGEST and len(believer._factor) == LARGEST + len(IN_FLIGHT)
    errors = believer.predict(OTHERS) - np.array([truth(one) for one in OTHERS])
    assert np.sqrt(np.mean(errors**2)) < 0.015  # half the noise of one evaluation
