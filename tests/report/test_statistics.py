"""What is said of differences, against scipy's paired t-test and by hand."""

import math

import numpy as np
import pytest
from scipy import stats

from biotune.report.statistics import best_of, by_seed, difference, summarise, table_rows


def row(strategy: str, seed: int, score: float, **more: float) -> dict:
    costs = {"base_lr": 0.001, "trainable_share": 0.5, "trainings": 4, "epochs": 40, "seconds": 2.0}
    return {"strategy": strategy, "seed": seed, "test_macro_accuracy": score, **costs, **more}


def test_a_paired_difference_has_the_interval_of_scipys_paired_t_test() -> None:
    rng = np.random.default_rng(3)
    own, other = rng.random(10), rng.random(10)
    found = difference(dict(enumerate(own)), dict(enumerate(other)))
    interval = stats.ttest_rel(own, other).confidence_interval(0.95)
    assert (found.mean, found.low, found.high) == pytest.approx((float(np.mean(own - other)), interval.low, interval.high))


def test_only_seeds_that_both_have_are_compared_and_one_seed_has_no_interval() -> None:
    found = difference({1: 0.9, 2: 0.8}, {2: 0.5, 3: 0.1})
    assert found.mean == pytest.approx(0.3)
    assert math.isnan(found.low) and math.isnan(found.high)
    assert math.isnan(difference({1: 0.9}, {2: 0.5}).mean)


def test_the_best_is_marked_only_where_every_interval_says_so() -> None:
    clear = [row("full", s, 0.5 + 0.01 * s) for s in range(5)] + [row("surgical", s, 0.7 + 0.011 * s) for s in range(5)]
    assert best_of(clear) == "surgical"
    rival = [row("lora", s, 0.7 + 0.02 * (s % 2)) for s in range(5)]
    assert best_of(clear + rival) is None
    assert best_of(clear[:1] + clear[5:6]) is None  # one seed says nothing
    assert best_of(clear[:5]) is None


def test_a_failed_training_is_left_out_of_means_and_pairs() -> None:
    rows = [row("full", 1, 0.5), row("full", 2, 0.6), row("lora", 1, 0.8), row("lora", 2, math.nan)]
    assert by_seed(rows, "lora", "test_macro_accuracy") == {1: 0.8}
    entry = summarise(rows)["strategies"]["lora"]
    assert entry["test"]["macro_accuracy"] == {"mean": 0.8, "sd": 0.0, "values": [0.8]}
    assert entry["over_full"] == {"mean": pytest.approx(0.3), "low": None, "high": None}
    assert entry["trainings"] == 4


def test_a_strategy_that_always_fails_is_a_line_that_says_so() -> None:
    rows = [row("full", 1, 0.5), {**row("lora", 1, math.nan)}]
    lines = {line[0]: line for line in table_rows(summarise(rows))}
    assert lines["lora"][1] == "failed"
    assert lines["full"][1].startswith("0.5000")
