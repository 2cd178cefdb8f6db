"""The one-standard-error rule and the corrected score, by hand."""

import math
from statistics import stdev

import numpy as np
import pytest

from biotune.fitness.choice import choose_best, choose_simplest, predict, standard_error

SIZES = {"probe": 1.0, "half": 4.0, "full": 9.0}


def test_the_standard_error_of_two_finalists_is_that_of_their_paired_differences() -> None:
    one, other = (0.8, 0.6, 0.7, 0.9), (0.7, 0.6, 0.5, 0.9)  # differences 0.1, 0, 0.2, 0
    assert standard_error({"a": one, "b": other}) == pytest.approx(stdev([0.1, 0.0, 0.2, 0.0]) / 2)


def test_with_more_finalists_it_is_pooled_over_all_pairs() -> None:
    rows = np.array([[0.8, 0.6, 0.7], [0.7, 0.6, 0.5], [0.9, 0.5, 0.6]])
    residuals = rows - rows.mean(1, keepdims=True) - rows.mean(0) + rows.mean()
    expected = math.sqrt((residuals**2).sum() / (2 * 2)) * math.sqrt(2 / 3)
    assert standard_error(dict(zip("abc", map(tuple, rows.tolist()), strict=True))) == pytest.approx(expected)


def test_a_difference_that_is_the_same_on_every_split_is_no_tie() -> None:
    scores = {"full": (0.8, 0.6, 0.7), "half": (0.79, 0.59, 0.69), "probe": (0.7, 0.5, 0.6)}
    choice = choose_simplest(scores, SIZES)
    assert (choice.chosen, choice.best, choice.behind) == ("full", "full", 0.0)
    assert choice.error == pytest.approx(0.0, abs=1e-12)


def test_among_those_within_a_standard_error_the_smallest_is_chosen() -> None:
    scores = {"full": (0.8, 0.6, 0.7, 0.7), "half": (0.75, 0.64, 0.66, 0.73), "probe": (0.6, 0.4, 0.5, 0.5)}
    choice = choose_simplest(scores, SIZES)
    assert (choice.chosen, choice.best) == ("half", "full")
    assert choice.behind == pytest.approx(0.005)
    assert choose_best(scores).chosen == "full"


def test_the_best_is_looked_for_among_the_references_only() -> None:
    scores = {"full": (0.7, 0.7), "half": (0.9, 0.9), "probe": (0.7, 0.7)}
    assert choose_best(scores, ["full", "probe"]).chosen == "full"
    assert choose_simplest(scores, SIZES, ["full"]).chosen == "probe"


def test_one_trial_knows_no_error_and_the_best_wins() -> None:
    choice = choose_simplest({"full": (0.8,), "probe": (0.79,)}, SIZES)
    assert (choice.chosen, choice.error) == ("full", 0.0)


def test_each_trial_is_scored_with_what_the_others_choose() -> None:
    scores = {"lucky": (0.9, 0.5, 0.5), "solid": (0.6, 0.6, 0.6)}

    def rule(at) -> str:  # type: ignore[no-untyped-def]
        return max(scores, key=lambda name: sum(scores[name][one] for one in at))

    found = predict(scores, rule, val_share=0.25, num_test=400)
    # without the first trial solid is chosen, without the second or third lucky (0.9 + 0.5 > 0.6 + 0.6)
    held_out = [0.6, 0.5, 0.5]
    assert found.mean == pytest.approx(sum(held_out) / 3)
    spread = stdev(held_out) ** 2 * (1 / 3 + 0.25) + found.mean * (1 - found.mean) / 400
    assert found.high - found.mean == pytest.approx(1.96 * math.sqrt(spread))
    assert found.mean - found.low == pytest.approx(1.96 * math.sqrt(spread))


def test_a_prediction_stays_between_0_and_1() -> None:
    found = predict({"a": (1.0, 0.6, 1.0)}, lambda at: "a", 0.5, 10)
    assert 0 <= found.low < found.mean < found.high == 1.0


def test_the_prediction_of_a_lucky_choice_among_equals_is_not_lucky() -> None:
    """Ten finalists of true score 0.7: their best mean is far above it, what is predicted is not."""
    rng = np.random.default_rng(0)
    predicted, best = [], []
    for _ in range(200):
        scores = {str(at): tuple(row) for at, row in enumerate(rng.normal(0.7, 0.05, (10, 6)).tolist())}

        def rule(at, scores=scores) -> str:  # type: ignore[no-untyped-def]
            return max(scores, key=lambda name: sum(scores[name][one] for one in at))

        predicted.append(predict(scores, rule, 0.25, 1000).mean)
        best.append(max(np.mean(row) for row in scores.values()))
    assert np.mean(best) > 0.72
    assert np.mean(predicted) == pytest.approx(0.7, abs=4 * 0.05 / math.sqrt(6 * 200))


def test_one_standard_error_is_the_limit() -> None:
    # paired differences of 0.03 and 0.01: the standard error is 0.01, the smaller one is 0.02 behind
    choice = choose_simplest({"full": (0.83, 0.81), "probe": (0.80, 0.80)}, SIZES)
    assert (choice.chosen, choice.best) == ("full", "full")
    assert choice.error == pytest.approx(0.01)


def test_among_equally_large_ones_the_best_is_chosen_and_a_little_smaller_is_no_reason() -> None:
    scores = {"full": (0.70, 0.64, 0.66), "gradual": (0.72, 0.66, 0.66), "most": (0.67, 0.67, 0.69)}
    sizes = {"full": 100.0, "gradual": 100.0, "most": 60.0}
    choice = choose_simplest(scores, sizes)
    assert choice.error > 0.01  # all three are alike
    assert (choice.chosen, choice.best) == ("gradual", "gradual")
