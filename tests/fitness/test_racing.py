"""Racing: the spread of seeds, who can still matter and what a mean will be, by hand and against a linear model."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from biotune.fitness.racing import Scores, expected_mean, residual_sd, still_in

Table = list[Scores]


def sd_of_a_linear_model(tables: list[Table]) -> float:
    """Residual standard deviation by least squares: an indicator a candidate and a seed, apart for each fold."""
    squares, freedom = 0.0, 0
    for table in tables:
        rows, columns = len(table), len(table[0])
        design = np.hstack([np.kron(np.eye(rows), np.ones((columns, 1))), np.kron(np.ones((rows, 1)), np.eye(columns))])
        found = np.array(table).ravel()
        solution, _, rank, _ = np.linalg.lstsq(design, found, rcond=None)
        squares += float(((found - design @ solution) ** 2).sum())
        freedom += len(found) - int(rank)
    return math.sqrt(squares / freedom)


def table_of(seed: int, rows: int, columns: int) -> Table:
    rng = np.random.default_rng([seed, rows, columns])
    found = rng.uniform(0.4, 0.9, (rows, 1)) + rng.normal(0, 0.05, (1, columns)) + rng.normal(0, 0.02, (rows, columns))
    return [tuple(row) for row in found.tolist()]


class TestResidualSd:
    def test_by_hand(self) -> None:
        # rows have means 15, 30, 30, columns 20, 30, all 25: residuals 0 0, -5 5, 5 -5 with 2 degrees of freedom
        table = [(0.10, 0.20), (0.20, 0.40), (0.30, 0.30)]
        assert residual_sd([table]) == pytest.approx(math.sqrt(4 * 0.05**2 / 2))

    @pytest.mark.parametrize(("rows", "columns"), [(3, 2), (3, 5), (10, 3)])
    @pytest.mark.parametrize("seed", [0, 1])
    def test_it_is_that_of_a_linear_model(self, seed: int, rows: int, columns: int) -> None:
        table = table_of(seed, rows, columns)
        assert residual_sd([table]) == pytest.approx(sd_of_a_linear_model([table]), rel=1e-9)

    def test_folds_are_pooled_and_their_own_levels_taken_off(self) -> None:
        tables = [table_of(0, 4, 3), [tuple(score / 2 for score in row) for row in table_of(1, 9, 3)], table_of(2, 3, 3)]
        pooled = residual_sd(tables)
        assert pooled == pytest.approx(sd_of_a_linear_model(tables), rel=1e-9)
        assert pooled != pytest.approx(np.mean([sd_of_a_linear_model([table]) for table in tables]), rel=1e-3)

    def test_a_fold_with_too_few_candidates_has_no_say(self) -> None:
        enough, few = table_of(0, 5, 3), [(0.0, 1.0, 0.0), (1.0, 0.0, 1.0)]
        assert residual_sd([few, enough]) == residual_sd([enough])

    @pytest.mark.parametrize(
        "tables",
        [
            [],
            [[]],
            [[(0.1, 0.9), (0.9, 0.1)]],
            [[(0.1, 0.9), (0.9, 0.1)], [(0.2, 0.3), (0.5, 0.1)]],
            [[(0.1,), (0.5,), (0.9,), (0.3,)]],
        ],
        ids=["no fold", "no candidate", "two candidates", "two candidates on each of two folds", "one seed"],
    )
    def test_too_little_says_nothing(self, tables: list[Table]) -> None:
        assert residual_sd(tables) is None

    def test_kind_seeds_and_good_candidates_alone_leave_nothing(self) -> None:
        # candidate + seed, in eighths, which floats hold exactly
        table = [tuple((own + seed) / 8 for seed in (0, 1, 2)) for own in (1, 5, 2, 4)]
        assert residual_sd([table]) == 0.0


def several(means: dict[str, float]) -> dict[str, Scores]:
    return {key: (mean,) for key, mean in means.items()}


scores = st.floats(0, 1)
candidates = st.integers(1, 3).flatmap(
    lambda done: st.dictionaries(st.text("abcdefgh", min_size=1), st.tuples(*[scores] * done), min_size=1, max_size=8)
)
rivals_of_any = st.lists(st.tuples(scores, scores, scores), max_size=5)


class TestStillIn:
    def test_after_one_seed_of_three_by_hand(self) -> None:
        # slack 0.5 * 0.12 * sqrt(2 (1/1 - 1/3)) = 0.0693; the second place is 0.75, so the bound lies at 0.6807
        found = several({"a": 0.80, "b": 0.75, "c": 0.681, "d": 0.680, "e": 0.2})
        assert still_in(found, [], 2, 3, 0.12) == {"a", "b", "c"}

    def test_after_two_seeds_of_three_by_hand(self) -> None:
        # means 0.8, 0.75, 0.716, 0.715; slack 0.5 * 0.12 * sqrt(2 (1/2 - 1/3)) = 0.0346, the bound 0.7154
        found = {"a": (0.7, 0.9), "b": (0.75, 0.75), "c": (0.616, 0.816), "d": (0.915, 0.515)}
        assert still_in(found, [], 2, 3, 0.12) == {"a", "b", "c"}

    def test_with_all_seeds_done_nothing_is_left_to_hope_for(self) -> None:
        found = {"a": (0.8, 0.8), "b": (0.7, 0.7), "c": (0.69, 0.7)}
        assert still_in(found, [], 2, 2, 5.0) == {"a", "b"}

    def test_who_has_the_last_place_is_in_and_so_is_who_shares_it(self) -> None:
        found = several({"a": 0.9, "b": 0.7, "c": 0.7, "d": 0.7, "e": 0.6})
        assert still_in(found, [], 2, 3, 0.0) == {"a", "b", "c", "d"}

    def test_rivals_take_places(self) -> None:
        found = several({"a": 0.8, "b": 0.7, "c": 0.6})
        assert still_in(found, [(0.75, 0.1, 0.1)], 2, 3, 0.0) == {"a"}
        assert still_in(found, [(0.75, 0.1, 0.1)], 3, 3, 0.0) == {"a", "b"}
        # those that beat all of them leave nobody in
        assert still_in(found, [(0.9, 0.1, 0.1)], 1, 3, 0.0) == set()

    def test_of_rivals_only_the_same_seeds_count(self) -> None:
        found = {"a": (0.6, 0.6), "b": (0.5, 0.5)}
        # over the first two seeds 0.55, over all three 0.7
        assert still_in(found, [(0.5, 0.6, 1.0)], 2, 3, 0.0) == {"a"}
        assert still_in(found, [(0.5, 0.48, 1.0)], 2, 3, 0.0) == {"a", "b"}

    def test_more_places_than_candidates_keep_all(self) -> None:
        found = several({"a": 0.9, "b": 0.1})
        assert still_in(found, [], 5, 3, 0.0) == {"a", "b"}

    def test_before_the_first_seed_all_are_in(self) -> None:
        assert still_in({"a": (), "b": ()}, [(0.9, 0.9)], 1, 2, 0.0) == {"a", "b"}
        assert still_in({}, [(0.9, 0.9)], 1, 2, 0.1) == set()

    @given(candidates, rivals_of_any, st.integers(1, 4), st.floats(0, 0.5), st.randoms(use_true_random=False))
    def test_the_order_of_candidates_and_rivals_does_not_matter(
        self, found: dict[str, Scores], rivals: list[Scores], places: int, sd: float, random: Any
    ) -> None:
        items, others = list(found.items()), list(rivals)
        random.shuffle(items)
        random.shuffle(others)
        assert still_in(dict(items), others, places, 3, sd) == still_in(found, rivals, places, 3, sd)

    @given(candidates, st.integers(1, 4), st.floats(0, 0.5))
    def test_the_leader_and_all_on_a_place_are_always_in(self, found: dict[str, Scores], places: int, sd: float) -> None:
        ranked = sorted(found, key=lambda key: math.fsum(found[key]), reverse=True)
        assert set(ranked[:places]) <= still_in(found, [], places, 3, sd)

    @given(candidates, rivals_of_any, st.integers(1, 4), st.floats(0, 0.5))
    def test_who_is_in_stays_in_with_more_places_a_wider_spread_or_fewer_rivals(
        self, found: dict[str, Scores], rivals: list[Scores], places: int, sd: float
    ) -> None:
        chosen = still_in(found, rivals, places, 3, sd)
        assert chosen <= still_in(found, rivals, places + 1, 3, sd)
        assert chosen <= still_in(found, rivals, places, 3, sd + 0.1)
        assert chosen <= still_in(found, rivals[1:], places, 3, sd)


class TestExpectedMean:
    def test_what_was_scored_with_a_kind_seed_is_moved_down_by_its_kindness(self) -> None:
        # in the others the first seed lies 0.1 and 0.06 above their means
        complete = [(0.8, 0.7, 0.6), (0.56, 0.5, 0.44)]
        assert expected_mean({0: 0.9}, complete) == pytest.approx(0.9 - 0.08)

    def test_seeds_are_told_apart_by_their_position(self) -> None:
        complete = [(0.8, 0.7, 0.6), (0.56, 0.5, 0.44)]
        assert expected_mean({2: 0.5}, complete) == pytest.approx(0.5 + 0.08)
        # the mean of the first and the last seed is that of all
        assert expected_mean({0: 0.5, 2: 0.3}, complete) == pytest.approx(0.4)
        # the first two lie 0.05 and 0.03 above it
        assert expected_mean({0: 0.5, 1: 0.3}, complete) == pytest.approx(0.4 - 0.04)

    def test_without_others_it_is_the_mean_so_far(self) -> None:
        assert expected_mean({1: 0.25, 2: 0.75}, []) == 0.5

    def test_with_all_seeds_it_is_the_mean(self) -> None:
        assert expected_mean({0: 0.2, 1: 0.7}, [(0.1, 0.9), (0.4, 0.2)]) == pytest.approx(0.45)

    def test_it_stays_an_accuracy(self) -> None:
        assert expected_mean({0: 0.95}, [(0.4, 0.8)]) == 1.0
        assert expected_mean({0: 0.05}, [(0.8, 0.4)]) == 0.0

    @given(st.tuples(scores, scores, scores), st.sets(st.integers(0, 2), min_size=1), st.floats(0, 0.5))
    def test_it_is_exact_where_another_candidate_differs_by_a_constant(
        self, full: Scores, seen: set[int], constant: float
    ) -> None:
        own = {position: full[position] / 2 + constant for position in seen}
        other = tuple(score / 2 for score in full)
        assert expected_mean(own, [other]) == pytest.approx(math.fsum(full) / 6 + constant, abs=1e-12)


def test_an_expected_mean_beyond_0_and_1_stays_where_the_scores_are() -> None:
    assert expected_mean({0: -4.0}, []) == -4.0
    assert expected_mean({0: 7.0, 1: 8.0}, []) == 7.5
    assert expected_mean({0: -4.0}, [(-1.0, -9.0)]) == -4.0  # −8 would be below anything that was measured
