"""Tests of BioTune's operators against hand calculation, with scripted draws."""

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from numpy.random import Generator

from biotune.evolution import operators
from biotune.evolution.individual import Manner

VECTORS = json.loads((Path(__file__).parents[1] / "golden" / "vectors.json").read_text(encoding="utf-8"))


class Scripted:
    """A generator whose draws are written down beforehand; a draw of another size than written is an error."""

    def __init__(self, *draws: float | Sequence[float], picks: Sequence[int] = (), integers: Sequence[int] = ()) -> None:
        self.whole = list(integers)
        self.draws = list(draws)
        self.picks = list(picks)
        self.offered: list[list[int]] = []

    def random(self, size: int | None = None) -> Any:
        draw = self.draws.pop(0)
        assert np.shape(draw) == (() if size is None else (size,))
        return draw if size is None else np.array(draw)

    def uniform(self, low: float, high: float, size: int | None = None) -> Any:
        return low + (high - low) * self.random(size)

    def integers(self, below: int) -> int:
        number = self.whole.pop(0)
        assert 0 <= number < below
        return number

    def choice(self, options: Any) -> int:
        self.offered.append(list(options))
        return self.picks.pop(0)


def scripted(*draws: float | Sequence[float], picks: Sequence[int] = (), integers: Sequence[int] = ()) -> Generator:
    return cast(Generator, Scripted(*draws, picks=picks, integers=integers))


@pytest.mark.parametrize("vector", VECTORS["extinction"], ids=lambda vector: str(vector["fitness"]))
def test_extinction_factors_are_the_independently_computed_ones(vector: dict[str, Any]) -> None:
    assert operators.extinction_factors(vector["fitness"]) == pytest.approx(vector["extinction"], abs=1e-9)


def test_extinction_factors_of_negative_values_are_those_above_the_best() -> None:
    # −3, −1, 1 less −3 are 0, 2, 4; with a best of 0 the formula is f / f_max
    assert operators.extinction_factors([-3.0, -1.0, 1.0]) == pytest.approx([0.0, 0.5, 1.0])


def test_extinction_factors_run_from_nothing_to_one_as_a_hand_calculation_says() -> None:
    # (0.2 + 0.2 (0/2 − 1)) / 0.8 = 0, (0.5 + 0.2 (1/2 − 1)) / 0.8 = 0.5, (0.8 + 0) / 0.8 = 1
    assert operators.extinction_factors([0.2, 0.5, 0.8]) == pytest.approx([0.0, 0.5, 1.0])


@pytest.mark.parametrize("vector", VECTORS["mutation_probability"], ids=str)
def test_mutation_probability_is_the_independently_computed_one(vector: dict[str, Any]) -> None:
    assert operators.mutation_probability(vector["extinction"], vector["genes"]) == pytest.approx(vector["probability"])


def test_selected_blocks_are_those_above_the_threshold_and_never_the_threshold() -> None:
    assert operators.selected_blocks(np.array([0.5, 0.6, 0.4, 0.9, 0.5])).tolist() == [1, 3]


def test_random_genes_are_redrawn_until_a_block_is_selected() -> None:
    rng = scripted([0.1, 0.2, 0.9], [0.3, 0.3, 0.3], [0.1, 0.8, 0.5])
    assert operators.random_genes(rng, 3).tolist() == [0.1, 0.8, 0.5]


def test_random_genes_always_select_a_block() -> None:
    rng = np.random.default_rng(1)
    draws = [operators.random_genes(rng, 2) for _ in range(500)]
    assert all(importance > threshold for importance, threshold in draws)


def test_probes_step_both_ways_along_the_picked_block() -> None:
    genes = np.array([0.5, 0.1, 0.8, 0.3])
    rng = Scripted(0.9, picks=[2])  # U(−1, 1) = 0.8, δ = 0.2
    plus, minus = operators.probe_pair(cast(Generator, rng), genes, 0.25)
    assert plus == pytest.approx([0.5, 0.1, 1.0, 0.3])
    assert minus == pytest.approx([0.5, 0.1, 0.6, 0.3])
    assert rng.offered == [[0, 2]]
    assert genes.tolist() == [0.5, 0.1, 0.8, 0.3]


@pytest.mark.parametrize(
    ("gene", "up", "down"),
    [(0.95, 1.0, 0.7), (0.2, 0.45, 0.0)],
)
def test_probes_are_clipped(gene: float, up: float, down: float) -> None:
    plus, minus = operators.probe_pair(scripted(1.0, picks=[0]), np.array([gene, 0.1]), 0.25)
    assert (plus[0], minus[0]) == (pytest.approx(up), pytest.approx(down))


def test_probes_change_one_selected_block_and_never_the_threshold() -> None:
    rng = np.random.default_rng(0)
    genes = np.array([0.5, 0.1, 0.75, 0.2, 0.6, 0.3])
    picked = Counter()
    for _ in range(300):
        plus, minus = operators.probe_pair(rng, genes, 0.25)
        (changed,) = np.flatnonzero(plus != genes)
        assert np.flatnonzero(minus != genes).tolist() == [changed]
        assert abs(plus[changed] - genes[changed]) <= 0.25
        assert plus[changed] - genes[changed] == pytest.approx(genes[changed] - minus[changed])
        picked[int(changed)] += 1
    assert set(picked) == {0, 2, 4}
    assert min(picked.values()) > 60  # 100 each in the mean, sd 8


def test_mates_are_three_distinct_members_of_the_pool() -> None:
    rng = np.random.default_rng(0)
    for _ in range(300):
        mates = operators.draw_mates(rng, [1, 4, 5, 8], 10)
        assert len(set(mates)) == 3
        assert set(mates) <= {1, 4, 5, 8}


@pytest.mark.parametrize("ranks", [range(6), [0, 2, 5]], ids=["whole population", "what is left of the pool"])
def test_first_parent_is_drawn_the_oftener_the_better_its_rank(ranks: Sequence[int]) -> None:
    rng, draws = np.random.default_rng(2), 4000
    counts = Counter(operators.draw_mates(rng, ranks, 6)[0] for _ in range(draws))
    weights = np.array([6 - rank for rank in ranks])
    expected = draws * weights / weights.sum()
    observed = np.array([counts[rank] for rank in ranks])
    chi_square = ((observed - expected) ** 2 / expected).sum()
    assert chi_square < 20.5  # the 0.1 % point with 5 degrees of freedom; the seed is fixed


def test_second_parent_follows_the_same_law_among_those_left() -> None:
    rng, draws = np.random.default_rng(3), 6000
    pairs = Counter(operators.draw_mates(rng, range(4), 4)[:2] for _ in range(draws))
    # weights 4, 3, 2, 1: P(first 0, second 1) = 4/10 · 3/6, P(first 3, second 2) = 1/10 · 2/9
    assert pairs[0, 1] / draws == pytest.approx(0.2, abs=0.02)
    assert pairs[3, 2] / draws == pytest.approx(0.0222, abs=0.007)


def test_crossover_mixes_the_parents_gene_by_gene() -> None:
    child = operators.crossover(scripted([0.0, 1.0, 0.25]), np.array([0.8, 0.8, 0.8]), np.array([0.4, 0.4, 0.4]))
    assert child == pytest.approx([0.4, 0.8, 0.5])


def test_momentum_is_inherited_from_both_parents_with_draws_of_their_own() -> None:
    rng = scripted([0.5, 1.0, 0.0], [0.25, 1.0, 0.5])
    inherited = operators.inherit_momentum(rng, np.array([0.4, 0.2, 0.9]), np.array([0.8, 0.2, -0.2]))
    assert inherited == pytest.approx([0.4, 0.4, -0.1])  # U∘v_p1 + U∘v_p2: no convex mix


def test_child_moves_by_one_scalar_share_of_its_momentum_unclipped() -> None:
    moved = operators.move(scripted(0.5), np.array([0.9, 0.1, 0.5]), np.array([0.4, -0.4, 0.0]))
    assert moved == pytest.approx([1.1, -0.1, 0.5])


def test_mutation_hits_the_genes_below_the_probability_and_clips() -> None:
    # n = 4, ē = 0.5: probability (0.5·3 + 1)/4 = 0.625; steps U(−1, 1)·0.5 = 0.25, −0.5, 0.5, 0.5
    rng = scripted([0.62, 0.1, 0.0, 0.63], [0.75, 0.0, 1.0, 1.0])
    mutated = operators.mutate(rng, np.array([0.5, 0.2, 0.9, 0.3]), 0.5)
    assert mutated == pytest.approx([0.75, 0.0, 1.0, 0.3])


def test_children_of_the_best_are_not_moved_by_mutation() -> None:
    rng, genes = np.random.default_rng(0), np.linspace(0, 1, 7)
    for _ in range(100):
        assert operators.mutate(rng, genes, 0.0).tolist() == genes.tolist()


def test_children_of_the_worst_are_hit_in_every_gene() -> None:
    rng, genes = np.random.default_rng(0), np.full(7, 0.5)
    for _ in range(100):
        mutated = operators.mutate(rng, genes, 1.0)
        assert (mutated != genes).all()
        assert mutated.min() >= 0.0 and mutated.max() <= 1.0


def test_mutation_hits_as_often_as_its_probability_says() -> None:
    rng, genes = np.random.default_rng(4), np.full(10, 0.5)
    hits = np.mean([operators.mutate(rng, genes, 0.25) != genes for _ in range(2000)])
    assert hits == pytest.approx(0.325, abs=0.012)  # vectors.json; the sd of the mean is 0.0033


@pytest.mark.parametrize(
    ("parent", "fresh", "draw", "order"),
    [
        (0, 1, 0.51, "together"),  # not below (0.2 · 4 + 1) / 5 = 0.36: the first parent's
        (1, 0, 0.51, "last_to_first"),
        (0, 1, 0.35, "last_to_first"),  # below it: drawn anew
        (1, 0, 0.35, "together"),
        (1, 1, 0.35, "last_to_first"),
    ],
)
def test_the_order_is_one_parents_or_drawn_anew_like_a_gene(parent: int, fresh: int, draw: float, order: str) -> None:
    rng = scripted(draw, integers=[parent, fresh])
    first, second = Manner("together"), Manner("last_to_first")
    choices = (("together", "last_to_first"), ("fresh",))
    assert operators.inherit_manner(rng, first, second, 0.2, choices, num_genes=5) == Manner(order)


def test_a_gene_with_one_value_draws_nothing_and_two_are_drawn_one_after_the_other() -> None:
    orders, heads = ("together", "last_to_first"), ("fresh", "probe")
    first, second = Manner("together", "fresh"), Manner("last_to_first", "probe")
    nothing = scripted()  # fails on any draw
    assert operators.inherit_manner(nothing, first, first, 1.0, (("together",), ("fresh",)), 5) == first
    only_head = scripted(0.51, integers=[1, 0])
    assert operators.inherit_manner(only_head, first, second, 0.2, (("together",), heads), 5) == Manner("together", "probe")
    # the order of the second parent; the head drawn anew, below (0.2 · 4 + 1) / 5 = 0.36
    both = scripted(0.51, 0.35, integers=[1, 0, 0, 1])
    assert operators.inherit_manner(both, first, second, 0.2, (orders, heads), 5) == Manner("last_to_first", "probe")


def test_adoption_draws_towards_the_parents_mean_and_the_prototype_at_once() -> None:
    # r1 = 0.25, a = 0.8, b = 0.4: x + 0.2 (mean − x) + 0.3 (prototype − x), both from the x before
    rng = scripted([0.25, 0.8, 0.4])
    first, second, prototype = np.array([0.2, 1.0]), np.array([0.4, 0.8]), np.array([0.9, 0.1])
    adopted = operators.adopt(rng, np.array([0.5, 0.5]), first, second, prototype)
    assert adopted == pytest.approx([0.5 + 0.2 * (0.3 - 0.5) + 0.3 * (0.9 - 0.5), 0.5 + 0.2 * (0.9 - 0.5) + 0.3 * (0.1 - 0.5)])


def test_adoption_with_all_its_weight_on_one_side_arrives_there() -> None:
    first, second, prototype = np.array([0.2]), np.array([0.4]), np.array([0.9])
    assert operators.adopt(scripted([1.0, 1.0, 0.7]), np.array([0.5]), first, second, prototype) == pytest.approx([0.3])
    assert operators.adopt(scripted([0.0, 0.7, 1.0]), np.array([0.5]), first, second, prototype) == pytest.approx([0.9])


def test_adoption_clips() -> None:
    ones = np.ones(1)
    assert operators.adopt(scripted([0.0, 0.0, 0.0]), np.array([1.5]), ones, ones, ones).tolist() == [1.0]


def test_momentum_is_renewed_by_what_happened_after_the_move() -> None:
    rng = scripted([0.5, 1.0])
    renewed = operators.renew_momentum(rng, np.array([0.4, -0.2]), np.array([1.1, 0.3]), np.array([0.9, 0.35]))
    assert renewed == pytest.approx([0.2 - 0.2, -0.2 + 0.05])


def test_operators_leave_their_arguments_alone() -> None:
    rng = np.random.default_rng(0)
    first, second, prototype = rng.random((3, 5))
    before = np.stack([first, second, prototype]).copy()
    operators.crossover(rng, first, second)
    operators.inherit_momentum(rng, first, second)
    operators.move(rng, first, second)
    operators.mutate(rng, first, 1.0)
    operators.adopt(rng, first, second, prototype, prototype)
    operators.renew_momentum(rng, first, second, prototype)
    assert np.array_equal(np.stack([first, second, prototype]), before)
