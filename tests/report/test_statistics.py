"""What is said of differences, against scipy's paired t-test and by hand."""

import math

import numpy as np
import pytest
from scipy import stats

from biotune.report.statistics import (
    best_of,
    by_seed,
    difference,
    differences,
    notes,
    seeds_text,
    shared_scores,
    summarise,
    table_rows,
)


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


def rows_of(**scores: list[float]) -> list[dict]:
    return [row(name, seed, score) for name, own in scores.items() for seed, score in enumerate(own, 1)]


def test_a_failed_training_is_left_out_of_means_and_pairs() -> None:
    rows = [row("full", 1, 0.5), row("full", 2, 0.6), row("lora", 1, 0.8), row("lora", 2, math.nan)]
    assert by_seed(rows, "lora", "test_macro_accuracy") == {1: 0.8}
    entry = summarise(rows)["strategies"]["lora"]
    assert entry["test"]["macro_accuracy"] == {"mean": 0.8, "sd": 0.0, "values": [0.8]}
    assert entry["over_full"] == {"mean": pytest.approx(0.3), "low": None, "high": None}
    assert entry["trainings"] == 4


def test_a_strategy_that_fails_on_the_hard_seed_is_neither_marked_nor_better_for_it() -> None:
    rows = rows_of(full=[0.9, 0.9, 0.5], lora=[0.911, 0.912, math.nan])
    result = summarise(rows)
    assert result["best"] is None
    assert result["seeds"] == [1, 2]
    means = {name: entry["test"]["macro_accuracy"]["mean"] for name, entry in result["strategies"].items()}
    assert means == {"full": pytest.approx(0.9), "lora": pytest.approx(0.9115)}
    assert [entry["failed"] for entry in result["strategies"].values()] == [0, 1]
    assert [line[7] for line in table_rows(result)] == ["", "1"]
    assert seeds_text(result, 3) == "the 2 of 3 seeds on which all have a score"
    assert any("every strategy failed on a seed or" in note for note in notes(result))


def test_costs_are_over_the_seeds_of_the_means() -> None:
    rows = rows_of(full=[0.5, 0.6, 0.7], lora=[0.5, 0.6, math.nan])
    rows[2]["epochs"] = 1000
    assert summarise(rows)["strategies"]["full"]["epochs"] == 40


def test_one_that_failed_nearly_always_takes_no_seeds_from_the_others_and_no_mark() -> None:
    rows = rows_of(full=[0.5, 0.51, 0.52], lora=[0.7, 0.71, 0.73], l2_sp=[0.9, math.nan, math.nan], auto_rgn=[math.nan] * 3)
    result = summarise(rows)
    assert result["seeds"] == [1, 2, 3]
    assert result["best"] == "lora"
    lines = {line[0]: line for line in table_rows(result)}
    assert (lines["l2_sp"][1], lines["l2_sp"][6], lines["l2_sp"][7]) == ("failed", "", "2")
    assert (lines["auto_rgn"][1], lines["auto_rgn"][7]) == ("failed", "3")


def test_where_full_failed_there_are_no_differences_to_it() -> None:
    result = summarise(rows_of(full=[math.nan] * 3, lora=[0.7, 0.71, 0.73], l2_sp=[0.1, 0.11, 0.12]))
    assert all(entry["over_full"] is None for entry in result["strategies"].values())
    assert result["best"] == "lora"
    assert summarise(rows_of(full=[math.nan] * 2, lora=[math.nan] * 2))["seeds"] == []


def test_strategies_that_all_fail_on_other_seeds_share_none() -> None:
    result = summarise(rows_of(full=[math.nan, 0.5, 0.5], lora=[0.7, math.nan, 0.7], l2_sp=[0.9, 0.9, math.nan]))
    assert result["seeds"] == []
    assert result["best"] is None
    assert [line[1] for line in table_rows(result)] == ["failed"] * 3


def test_rows_that_an_interruption_left_out_count_as_no_failures_and_no_scores() -> None:
    rows = rows_of(full=[0.5, 0.6, 0.7], lora=[0.6, 0.7, 0.8])[:-1]
    result = summarise(rows)
    assert result["seeds"] == [1, 2]
    assert result["best"] is None  # lora, which leads on both, lacks the third
    assert result["strategies"]["lora"]["failed"] == 0


def test_scores_beside_each_other_are_over_the_seeds_that_all_have() -> None:
    scores = {"a": {1: 0.1, 2: 0.2, 3: 0.3}, "b": {3: 0.5, 1: 0.4}, "c": {2: 0.9}}
    assert shared_scores(scores, [1, 2, 3]) == {"a": {1: 0.1, 3: 0.3}, "b": {1: 0.4, 3: 0.5}}
    assert shared_scores(scores, []) == {}


def with_reference(
    rng: np.random.Generator, seeds: int, strategies: int, last: float = 0.05
) -> tuple[dict[str, dict], dict[int, float]]:
    """Scores without any difference; their scatter grows to that of the last one, the reference."""
    scatter = np.geomspace(0.01, last, strategies + 1)
    table = rng.normal(0.8, scatter, (seeds, strategies + 1)) + rng.normal(0, 0.05, (seeds, 1))
    return {f"s{at}": dict(enumerate(table[:, at])) for at in range(strategies)}, dict(enumerate(table[:, -1]))


@pytest.mark.parametrize(("seeds", "strategies"), [(5, 3), (7, 13), (10, 1)])
def test_few_seeds_have_bonferronis_intervals_and_a_single_difference_students(seeds: int, strategies: int) -> None:
    others, reference = with_reference(np.random.default_rng(1), seeds, strategies)
    for name, over in differences(others, reference).items():
        test = stats.ttest_rel(list(others[name].values()), list(reference.values()))
        interval = test.confidence_interval(1 - 0.05 / strategies)
        assert (over.low, over.high) == pytest.approx((interval.low, interval.high))


def test_intervals_are_as_wide_as_flipping_the_signs_of_seeds_asks_for() -> None:
    others, reference = with_reference(np.random.default_rng(2), 8, 3)
    pairs = np.array([[own[seed] - reference[seed] for seed in own] for own in others.values()])
    centred = pairs - pairs.mean(axis=1, keepdims=True)
    largest = []
    for pattern in range(2**8):
        signs = np.array([1 if pattern >> bit & 1 else -1 for bit in range(8)])
        largest.append(np.abs(stats.ttest_1samp(centred * signs, 0, axis=1).statistic).max())
    multiple = np.quantile(largest, 0.95, method="higher")
    for at, over in enumerate(differences(others, reference).values()):
        assert over.high - over.mean == pytest.approx(multiple * stats.sem(pairs[at]))
        assert over.mean - over.low == pytest.approx(over.high - over.mean)


def test_without_any_difference_one_table_in_twenty_has_an_interval_that_excludes_0() -> None:
    rng = np.random.default_rng(3)
    tables = [with_reference(rng, 10, 13, last) for last in (0.01, 0.05) for _ in range(150)]
    together = [any(over.low > 0 or over.high < 0 for over in differences(*table).values()) for table in tables]
    assert np.mean(together) <= 0.075  # 0.05, with two standard errors of 300 tables
    alone = [
        any((over := difference(own, reference)).low > 0 or over.high < 0 for own in others.values())
        for others, reference in tables[:100]
    ]
    assert np.mean(alone) > 0.25  # a third, of intervals for single differences


@pytest.mark.parametrize("strategies", [2, 5])
def test_without_any_difference_at_most_one_table_in_twenty_has_a_mark(strategies: int) -> None:
    rng = np.random.default_rng(4)
    marked = []
    for _ in range(200):
        scores = rng.normal(0.8, 0.02, (strategies, 10))
        marked.append(best_of(rows_of(**{f"s{at}": list(own) for at, own in enumerate(scores)})) is not None)
    assert np.mean(marked) <= 0.08  # 0.05, with two standard errors of 200 tables


def test_real_differences_are_found_and_equal_ones_have_no_width() -> None:
    reference = {seed: 0.5 + 0.01 * seed for seed in range(10)}
    better = {seed: score + 0.1 + 0.001 * (seed % 3) for seed, score in reference.items()}
    found = differences({"same": reference, "better": better}, reference)
    assert (found["same"].mean, found["same"].low, found["same"].high) == (0, 0, 0)
    assert found["better"].low > 0.09
    assert differences({}, reference) == {}
    assert math.isnan(differences({"a": {1: 0.5}, "b": {2: 0.5}}, {1: 0.1, 2: 0.1})["a"].mean)


def test_a_strategy_that_always_fails_is_a_line_that_says_so() -> None:
    rows = [row("full", 1, 0.5), {**row("lora", 1, math.nan)}]
    lines = {line[0]: line for line in table_rows(summarise(rows))}
    assert lines["lora"][1] == "failed"
    assert lines["full"][1].startswith("0.5000")
