"""Each rule of the advice at its threshold; expected numbers are worked out by hand."""

from __future__ import annotations

import math

import pytest
from scipy.stats import binom, binomtest

from biotune.report import rules


def test_learning_rates_that_lean_on_a_bound_ask_for_their_geometric_mean() -> None:
    found = rules.learning_rates([0.95, 0.9, 0.5], [8e-3, 6.3e-3, 1e-3])
    assert found is not None
    assert (found.key, found.value) == ("training.lr", 0.0037)  # (8e-3 · 6.3e-3 · 1e-3) ** (1 / 3) = 0.00369
    assert found.text.startswith("2 of 3 trained blocks lean on the upper end")
    low = rules.learning_rates([0.1, 0.02], [1e-4, 1e-4])
    assert low is not None and "lower end" in low.text and low.value == 1e-4


@pytest.mark.parametrize(
    "importances",
    [
        [],
        [0.95],  # one block lies there once in ten by chance
        [0.95, 0.5],  # 1 − 0.9² = 19 % by chance
        [0.89, 0.89],  # below the last tenth
        [0.95, 0.95, 0.5, 0.5],  # 5.2 % by chance
        [0.95, 0.95, 0.95, *[0.5] * 5],  # improbable by chance, but fewer than half
        [0.05, 0.95],  # one at either end
    ],
)
def test_learning_rates_within_the_range_need_no_advice(importances: list[float]) -> None:
    assert rules.learning_rates(importances, [1e-3] * len(importances)) is None


def test_a_fixed_threshold_is_the_lower_end_of_the_range() -> None:
    # of the importances from 0.3 to 1 the lowest tenth ends at 0.37
    assert rules.learning_rates([0.36, 0.36], [1e-3, 1e-3], 0.3) is not None
    assert rules.learning_rates([0.38, 0.38], [1e-3, 1e-3], 0.3) is None
    assert rules.learning_rates([0.36, 0.36], [1e-3, 1e-3]) is None


@pytest.mark.parametrize(("chosen", "end"), [(10.0, "largest"), (0.3, "smallest"), (1.0, None), (3.0, None)])
def test_the_end_of_a_grid(chosen: float, end: str | None) -> None:
    found = rules.end_of_grid(chosen, [0.3, 1.0, 3.0, 10.0], "training.lr", 0.01)
    assert (found is None) == (end is None)
    if found is not None:
        assert f"is the {end}" in found.text and found.text.endswith("training.lr=0.01.")
    assert rules.end_of_grid(1.0, [1.0], "training.lr", 0.01) is None  # there was no choice


FLAT = [0.5, 0.5, 0.5, 0.5, 0.5, 0.5]
FALLING = [1.0, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3]


@pytest.mark.parametrize(
    ("gains", "asked"),
    [((0.011, 0.011), True), ((0.009, 0.009), False), ((0.03, 0.0), True), ((0.0, 0.0), False), ((-0.02, 0.03), False)],
)
def test_more_epochs_where_the_last_quarter_still_gains_a_point(gains: tuple[float, float], asked: bool) -> None:
    curves = [([*FLAT, 0.5 + gain, 0.4], FALLING) for gain in gains]  # −0.02: the best epoch lies before the last quarter
    found = rules.epochs(curves, 8, "test.training.epochs")
    assert (found is not None) == asked
    if found is not None:
        assert (found.key, found.value) == ("test.training.epochs", 16)
        assert "in the last 2 of 8 epochs" in found.text


def test_no_more_epochs_where_training_ended_early_or_the_loss_rises_or_is_unknown() -> None:
    rising = [*FLAT, 0.6, 0.7]
    assert rules.epochs([(rising, FALLING)], 9, "training.epochs") is None  # ended by patience
    assert rules.epochs([(rising, FALLING), (FLAT, FLAT)], 8, "training.epochs") is None  # half of them did
    assert rules.epochs([(rising, [*FALLING[:6], 0.55, 0.6])], 8, "training.epochs") is None
    assert rules.epochs([(rising, [math.nan] * 8)], 8, "training.epochs") is None
    assert rules.epochs([([0.1, 0.5, 0.9], [3.0, 2.0, 1.0])], 3, "training.epochs") is None  # no quarter
    assert rules.epochs([], 8, "training.epochs") is None


def test_overfitting_begins_where_the_probability_of_the_true_class_is_halved() -> None:
    assert rules.overfitting([0.69], "none", 0.0) is None
    found = rules.overfitting([0.70], "none", 0.0)
    assert found is not None and "gets 50 % of the probability" in found.text
    assert (found.key, found.value) == ("training.augment", "standard")
    assert rules.overfitting([1.2, 0.1], "none", 0.0) is None  # 0.65 on average
    stronger, last = rules.overfitting([1.0], "standard", 0.0), rules.overfitting([1.0], "standard", 0.2)
    assert stronger is not None and (stronger.key, stronger.value) == ("training.mixup", 0.2)
    assert last is not None and last.key is None
    assert rules.overfitting([math.nan], "none", 0.0) is None
    assert rules.overfitting([], "none", 0.0) is None


@pytest.mark.parametrize(
    ("error", "by_chance", "scaled", "asked"),
    [(0.05, 0.01, False, True), (0.049, 0.01, False, False), (0.06, 0.031, False, False), (0.2, 0.0, True, False)],
)
def test_a_temperature_where_calibration_is_bad_beyond_chance(
    error: float, by_chance: float, scaled: bool, asked: bool
) -> None:
    found = rules.calibration(error, by_chance, scaled)
    assert (found is not None) == asked
    assert found is None or (found.key, found.value) == ("final.temperature", True)


def test_error_by_chance_is_the_mean_distance_of_a_binomial_share() -> None:
    count, sure = 200, 0.7
    exact = sum(binom.pmf(k, count, sure) * abs(k / count - sure) for k in range(count + 1))
    assert rules.error_by_chance([(count, sure)]) == pytest.approx(exact, rel=0.01)
    assert rules.error_by_chance([(count, sure), (count, 1.0)]) == pytest.approx(exact / 2, rel=0.01)


@pytest.mark.parametrize(
    ("count", "right", "asked"), [(4, 0, False), (5, 0, True), (10, 2, False), (10, 1, True), (0, 0, False)]
)
def test_classes_that_are_missed_more_often_than_found(count: int, right: int, asked: bool) -> None:
    # by a fair coin: 0 of 4 has 6.3 %, 0 of 5 has 3.1 %, at most 2 of 10 have 5.5 %, at most 1 of 10 has 1.1 %
    found = rules.recall({"ant": (count, right / max(count, 1)), "bee": (50, 0.9)}, weighted=False)
    assert (found is not None) == asked
    if found is not None:
        assert found.text.startswith(f"Class ant is missed more often than found (recall {right} of {count})")
        assert found.key == "training.class_weights"
        weighted = rules.recall({"ant": (count, right / count)}, weighted=True)
        assert weighted is not None and weighted.key is None


def test_the_worst_classes_are_named_first_and_long_names_cut() -> None:
    found = rules.recall({"x" * 300: (40, 0.1), "b": (40, 0.05), "c": (40, 0.0), "d": (40, 0.2)}, weighted=True)
    assert found is not None
    assert found.text.startswith(f"Classes c, b, {'x' * 23}… and 1 more are missed")


def test_classes_of_few_test_images() -> None:
    assert rules.few_images({"ant": (10, 1.0)}) is None
    found = rules.few_images({"ant": (9, 1.0), "bee": (3, 1.0), "cat": (99, 1.0)})
    assert found is not None and found.text.startswith("Classes bee, ant have fewer than 10 test images (3 the first of them)")
    alone = rules.few_images({"ant": (9, 1.0)})
    assert alone is not None and alone.text == "Class ant has 9 test images, too few to tell its recall: more images of it."


def test_more_splits_where_a_difference_of_a_point_may_be_chance() -> None:
    # differences of +0.04, 0, +0.04, 0: mean 0.02, sd 0.0231, standard error 0.0115; (2 · 0.0231 / 0.02)² = 5.33
    noisy = {"7": (0.84, 0.80, 0.84, 0.80), "full": (0.80, 0.80, 0.80, 0.80), "lp_ft": (0.1, 0.1, 0.1, 0.1)}
    found = rules.confirmation(noisy, "7", "confirm.splits")
    assert found is not None and (found.key, found.value) == ("confirm.splits", 6)
    assert "2.0 points apart" in found.text
    behind = rules.confirmation(noisy, "full", "confirm.seeds")  # the cheaper one may have been chosen
    assert behind is not None and behind.text.endswith("6 trials, by more confirm.seeds.")


def test_no_more_splits_where_a_difference_is_small_or_known() -> None:
    assert rules.confirmation({"7": (0.825, 0.79), "full": (0.80, 0.80)}, "7", "confirm.splits") is None  # 0.75 points
    known = {"7": (0.85, 0.84, 0.85, 0.84), "full": (0.80, 0.80, 0.80, 0.80)}
    assert rules.confirmation(known, "7", "confirm.splits") is None
    assert rules.confirmation({"7": (0.9, 0.1)}, "7", "confirm.splits") is None
    assert rules.confirmation({"7": (0.9,), "full": (0.8,)}, "7", "confirm.splits") is None


def test_linear_probing_is_enough_within_a_standard_error() -> None:
    found = rules.cheaper(0.80, [0.809, 0.7], 0.01)
    assert found is not None and "80.0 %" in found.text and "80.9 %" in found.text
    assert rules.cheaper(0.80, [0.815], 0.01) is None
    assert rules.cheaper(0.80, [], 0.01) is None


@pytest.mark.parametrize(("right", "count"), [(0, 30), (30, 60), (85, 100), (340, 400), (100, 100)])
def test_the_interval_is_wilsons(right: int, count: int) -> None:
    interval = binomtest(right, count).proportion_ci(method="wilson")
    assert rules.wilson(right / count, count) == pytest.approx((interval.high - interval.low) / 2, rel=1e-4)


def test_a_test_set_is_small_where_its_interval_is_wide() -> None:
    assert rules.test_images(0.5, 381, limited=False) is None  # 1.96 √(0.25 / 381) = 5.02 points, Wilson's 4.996
    found = rules.test_images(0.5, 379, limited=False)
    assert found is not None and found.key == "dataset.test_fraction"
    assert found.text.endswith(": more test images (a larger dataset.test_fraction, where the test set is held out).")
    limited = rules.test_images(0.5, 100, limited=True)
    assert limited is not None and "dataset.max_eval_per_class=null" in limited.text


def test_a_wide_prediction() -> None:
    assert rules.wide_prediction(0.80, 0.89, None) is None
    found = rules.wide_prediction(0.80, 0.92, None)
    assert found is not None and found.key is None and "6.0 points either way" in found.text
    limited = rules.wide_prediction(0.80, 0.92, "dataset.train_fraction=1")
    assert limited is not None and (limited.key, limited.value) == ("dataset.train_fraction", "1")
