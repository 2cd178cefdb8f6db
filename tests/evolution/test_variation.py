"""Children in the space of schedules: what mutants, crossings and newcomers keep and change."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from biotune.config.search import EvolutionConfig
from biotune.evolution.individual import Individual, Manner, Origin
from biotune.evolution.toolbox import Bred, build_toolbox
from biotune.evolution.variation import CROSSINGS, NEWCOMERS, STEP_SD, crossing, draw_parents, mutant, newcomer

GENES = np.array([0.1, 0.5, 0.9, 0.2, 0.7, 0.3])  # blocks 1, 2 and 4 of five are trained
SETTINGS = EvolutionConfig("biotune", offspring="schedules", momentum=False, adoption=False)


def trained(genes: np.ndarray) -> np.ndarray:
    return genes[:-1] > genes[-1]


def many(make, count: int = 4000) -> np.ndarray:
    rng = np.random.default_rng(0)
    return np.array([make(rng) for _ in range(count)])


def test_parents_come_from_the_better_half_the_best_most_often() -> None:
    rng = np.random.default_rng(0)
    drawn = [draw_parents(rng, range(7)) for _ in range(4000)]
    assert all(prototype == first for first, _, prototype in drawn)
    shares = np.bincount([rank for first, second, _ in drawn for rank in (first, second)], minlength=7) / 8000
    # four ranks; a probability that falls linearly to 0 at their end: (7, 5, 3, 1) / 16
    assert shares == pytest.approx([7 / 16, 5 / 16, 3 / 16, 1 / 16, 0, 0, 0], abs=0.02)


@pytest.mark.parametrize("moves", [True, False])
def test_a_mutant_switches_one_block_on_average_whatever_the_threshold_does(moves: bool) -> None:
    found = many(lambda rng: mutant(rng, GENES, moves))
    switched = (found[:, :-1] > found[:, -1:]) != trained(GENES)
    assert switched.mean(axis=0) == pytest.approx([1 / 5] * 5, abs=0.03)
    assert found.min() >= 0.0 and found.max() <= 1.0
    assert (found[:, -1] == 0.3).all() != moves


def test_a_mutants_trained_blocks_move_by_a_normal_step() -> None:
    found = many(lambda rng: mutant(rng, GENES, threshold_moves=False))
    steps = found[:, 1] - GENES[1]
    near = steps[np.abs(steps) < 0.15]  # a block that was frozen and drawn anew has no importance at all
    rng = np.random.default_rng(1)
    expected = rng.normal(0.0, STEP_SD, 100_000)
    assert near.std() == pytest.approx(expected[np.abs(expected) < 0.15].std(), rel=0.05)


def test_a_threshold_that_moves_never_leaves_the_blocks_without_learning_rates() -> None:
    high = np.array([0.9, 0.95, 0.58])
    assert many(lambda rng: mutant(rng, high))[:, -1].max() == 0.6


def test_a_crossing_trains_what_both_train_and_freezes_what_both_freeze() -> None:
    other = np.array([0.1, 0.7, 0.3, 0.05, 0.9, 0.4])  # trains blocks 1 and 4
    found = many(lambda rng: crossing(rng, GENES, other))
    shares = (found[:, :-1] > found[:, -1:]).mean(axis=0)
    assert shares[[0, 1, 3, 4]].tolist() == [0.0, 1.0, 0.0, 1.0]
    assert shares[2] == pytest.approx(0.5, abs=0.03)
    assert found[:, 1].min() >= 0.5 and found[:, 1].max() <= 0.7
    assert (found[:, -1] == 0.3).all()


def test_a_crossing_keeps_a_learning_rate_that_one_parent_alone_has() -> None:
    other = np.array([0.1, 0.7, 0.3, 0.05, 0.9, 0.4])
    found = many(lambda rng: crossing(rng, GENES, other))
    assert set(found[trained_in(found, 2), 2].tolist()) == {0.9}


def test_a_crossing_of_equal_learning_rates_keeps_them_to_the_last_bit() -> None:
    assert set(many(lambda rng: crossing(rng, GENES, GENES))[:, 2].tolist()) == {0.9}


def trained_in(found: np.ndarray, block: int) -> np.ndarray:
    return found[:, block] > found[:, -1]


def test_a_newcomer_trains_the_head_and_keeps_its_other_genes() -> None:
    frozen = np.array([0.6, 0.2, 0.4])
    found = many(lambda rng: newcomer(rng, frozen))
    assert (found[:, 1] > 0.4).all() and found[:, 1].max() <= 1.0
    assert (found[:, [0, 2]] == frozen[[0, 2]]).all()
    assert newcomer(np.random.default_rng(0), GENES) is GENES


def bred(count: int, **changes) -> list[Bred]:
    rng = np.random.default_rng(0)
    toolbox = build_toolbox(EvolutionConfig(**{**vars(SETTINGS), **changes}), rng, GENES.size)
    zeros = np.zeros_like(GENES)
    first = Individual(GENES, zeros, 0, Origin.INITIAL, manner=Manner())
    second = Individual(np.array([0.9, 0.9, 0.9, 0.9, 0.9, 0.1]), zeros, 1, Origin.INITIAL, manner=Manner("last_to_first"))
    return [toolbox.breed(first, second, second) for _ in range(count)]


def test_children_are_newcomers_crossings_and_mutants_in_their_shares() -> None:
    children = bred(3000)
    origins = Counter(child.origin for child in children)
    assert origins[Origin.NEWCOMER] / 3000 == pytest.approx(NEWCOMERS, abs=0.02)
    lower = sum(child.genes[-1] == 0.1 for child in children) / 3000  # crossings that have not mutated
    assert lower == pytest.approx(CROSSINGS / 2, abs=0.02)
    assert all(not child.momentum.any() for child in children)


def test_without_mutation_and_crossover_a_child_is_its_first_parent_or_a_newcomer() -> None:
    children = bred(200, mutation=False, crossover=False)
    assert all((child.genes == GENES).all() for child in children if child.origin == Origin.CHILD)
    assert {child.origin for child in children} == {Origin.CHILD, Origin.NEWCOMER}


def test_children_inherit_the_manner_of_training_of_one_of_their_parents_or_mutate_it() -> None:
    rng = np.random.default_rng(0)
    settings = EvolutionConfig(**{**vars(SETTINGS), "unfreezing": "evolved"})
    toolbox = build_toolbox(settings, rng, GENES.size)
    parent = Individual(GENES, np.zeros_like(GENES), 0, Origin.INITIAL, manner=Manner("last_to_first"))
    orders = Counter(toolbox.breed(parent, parent, parent).manner.unfreezing for _ in range(2000))
    # a newcomer draws one of two orders, a child of the best parents with a probability of one gene's mutation, 1/6
    expected = NEWCOMERS / 2 + (1 - NEWCOMERS) / 6 / 2
    assert orders["together"] / 2000 == pytest.approx(expected, abs=0.025)
