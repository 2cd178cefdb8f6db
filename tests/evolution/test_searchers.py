"""Other searchers behind the same loop."""

from __future__ import annotations

import random
import statistics
from collections.abc import Sequence

import numpy as np
import pytest

from biotune.config.schema import EvolutionConfig
from biotune.evolution.generation import Generation, most_evaluations
from biotune.evolution.loop import evolve
from biotune.schedule.block import Block
from biotune.schedule.schedule import Schedule
from biotune.trial import Evaluation

BLOCKS = tuple(Block(f"b{index}", (f"b{index}",)) for index in range(5))
ALGORITHMS = ("random", "genetic", "cma_es")


def smooth(schedule: Schedule) -> float:
    """Best with every block at 3 times the base rate; a frozen block costs much."""
    return min(1.0, 0.05 + sum(0.15 if w == 0 else 0.1 * (np.log10(w) - 0.5) ** 2 for w in schedule.lr_weights))


def search(algorithm: str, seed: int = 0, **settings) -> tuple[list[Generation], int]:
    asked = 0

    def evaluate(schedules: Sequence[Schedule], fold: int) -> list[Evaluation]:
        nonlocal asked
        asked += len(schedules)
        return [Evaluation(smooth(one), "ok", (1 - smooth(one),), trainings=1) for one in schedules]

    config = EvolutionConfig(algorithm, **{"generations": 8, **settings})
    return list(evolve(config, BLOCKS, evaluate, seed)), asked


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("folds", [1, 2])
def test_it_spends_what_biotunes_search_may_spend(algorithm: str, folds: int) -> None:
    generations, asked = search(algorithm, folds=folds)
    assert asked == most_evaluations(EvolutionConfig("biotune", generations=8, folds=folds))
    assert all(len(generation.survivors) == 10 for generation in generations)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_one_seed_is_one_search_and_global_generators_are_left_alone(algorithm: str) -> None:
    random.seed(5)
    np.random.seed(5)
    states = random.getstate(), np.random.get_state()[1].tolist()
    first = [g.survivors for g in search(algorithm, 3)[0]]
    assert (random.getstate(), np.random.get_state()[1].tolist()) == states
    random.seed(6)
    assert [g.survivors for g in search(algorithm, 3)[0]] == first
    assert [g.survivors for g in search(algorithm, 4)[0]] != first


@pytest.mark.parametrize("algorithm", ["genetic", "cma_es"])
def test_a_searcher_that_learns_beats_random_draws(algorithm: str) -> None:
    def best(name: str) -> float:
        return statistics.fmean(search(name, seed, folds=1)[0][-1].hall[0].score for seed in range(8))

    assert best(algorithm) < best("random")


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_elites_survive(algorithm: str) -> None:
    generations, _ = search(algorithm, folds=1)
    scores = [generation.record["best_fitness"] for generation in generations]
    assert scores == sorted(scores, reverse=True)
