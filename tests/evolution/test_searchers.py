"""One contract for every searcher, BioTune in its presets included."""

from __future__ import annotations

import dataclasses
import random
import statistics
from collections.abc import Sequence
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from biotune.config.search import EvolutionConfig
from biotune.evolution.generation import Generation, most_evaluations
from biotune.evolution.loop import evolve
from biotune.evolution.operators import random_genes
from biotune.schedule.block import Block
from biotune.schedule.genotype import decode
from biotune.schedule.schedule import Schedule
from biotune.trial import Evaluation, Status

PRESETS = Path(__file__).parents[2] / "configs" / "evolution"
EVERY = tuple(sorted(path.stem for path in PRESETS.glob("*.yaml")))
SEARCHERS = tuple(name for name in EVERY if name != "optuna" or find_spec("optuna") is not None)
LEARNING = tuple(name for name in SEARCHERS if name != "random")
BLOCKS = tuple(Block(f"b{index}", (f"b{index}",)) for index in range(5))


def test_every_algorithm_has_a_preset_under_the_contract() -> None:
    (algorithm,) = (item for item in dataclasses.fields(EvolutionConfig) if item.name == "algorithm")
    assert {settings(name).algorithm for name in EVERY} == set(algorithm.metadata["choices"])


def settings(name: str, **changes: Any) -> EvolutionConfig:
    preset = yaml.safe_load((PRESETS / f"{name}.yaml").read_text(encoding="utf-8"))
    own = preset.get("evolution", preset)
    folds = 3 if own["folds"] == "auto" else own["folds"]
    return EvolutionConfig(**{**own, "folds": folds, "generations": 4, **changes})


def smooth(schedule: Schedule) -> float:
    """Best with every block at 3 times the base rate; a frozen block costs much."""
    return min(1.0, 0.05 + sum(0.15 if w == 0 else 0.1 * (np.log10(w) - 0.5) ** 2 for w in schedule.lr_weights))


@cache
def search(name: str, seed: int = 0, **changes: Any) -> tuple[tuple[Generation, ...], int]:
    """The generations and the number of evaluations asked for; `again` tells two of the same search apart."""
    asked = 0

    def evaluate(schedules: Sequence[Schedule], folds: Sequence[int]) -> list[Evaluation]:
        nonlocal asked
        asked += len(schedules)
        return [Evaluation(smooth(one), Status.OK, (1 - smooth(one),), trainings=1) for one in schedules]

    changes.pop("again", None)
    return tuple(evolve(settings(name, **changes), BLOCKS, evaluate, seed)), asked


@pytest.mark.parametrize("name", SEARCHERS)
@pytest.mark.parametrize("folds", [1, 2])
def test_it_keeps_within_the_budget_of_biotunes_search(name: str, folds: int) -> None:
    generations, asked = search(name, folds=folds)
    most = most_evaluations(settings(name, folds=folds))
    empty_elites = sum(one.origin == "elite" and one.schedule.is_empty for own in generations for one in own.candidates)
    assert most - 2 * empty_elites <= asked <= most  # there is nothing to probe beside an empty elite
    assert asked == sum(generation.record["evaluations"] for generation in generations)
    assert [generation.number for generation in generations] == list(range(5))
    assert all(len(generation.survivors) == settings(name).population_size for generation in generations)


@pytest.mark.parametrize("name", SEARCHERS)
def test_genes_lie_in_the_unit_cube(name: str) -> None:
    for seed in range(2):
        genes = np.array([one.genes for generation in search(name, seed)[0] for one in generation.candidates])
        assert genes.shape[1] == len(BLOCKS) + 1
        assert genes.min() >= 0.0 and genes.max() <= 1.0


@pytest.mark.parametrize("name", SEARCHERS)
def test_one_seed_is_one_search_and_global_generators_are_left_alone(name: str) -> None:
    random.seed(5)
    np.random.seed(5)
    states = random.getstate(), np.random.get_state()[1].tolist()
    first = [(one.survivors, one.random_state) for one in search(name, 3, again=0)[0]]
    assert (random.getstate(), np.random.get_state()[1].tolist()) == states
    random.seed(6)
    np.random.seed(6)
    assert [(one.survivors, one.random_state) for one in search(name, 3, again=1)[0]] == first
    assert [(one.survivors, one.random_state) for one in search(name, 4)[0]] != first


@pytest.mark.parametrize("name", SEARCHERS)
def test_serial_numbers_are_given_once_and_elites_survive(name: str) -> None:
    generations, _ = search(name, folds=1, elites=3, ranking="fitness")  # others keep those that seem best
    born = [one.individual for own in generations for one in own.candidates if one.origin != "elite"]
    assert sorted(born) == list(range(len(born)))
    scores = [generation.record["best_fitness"] for generation in generations]
    assert scores == sorted(scores, reverse=True)


@pytest.mark.parametrize("name", LEARNING)
def test_it_finds_more_than_chance_at_the_same_cost(name: str) -> None:
    def drawn(seed: int, count: int) -> float:
        rng = np.random.default_rng(10_000 + seed)
        return min(smooth(decode(random_genes(rng, len(BLOCKS) + 1).tolist(), BLOCKS)) for _ in range(count))

    generations = 3 if settings(name).screen > 1 else 12  # a search with a surrogate learns faster, and takes longer
    seeds = range(10)
    found = [search(name, seed, folds=1, generations=generations) for seed in seeds]
    best = [finished[-1].hall[0].score for finished, _ in found]
    chance = [drawn(seed, asked) for seed, (_, asked) in zip(seeds, found, strict=True)]
    assert (
        sum(one < other for one, other in zip(best, chance, strict=True)) >= 9
    )  # a sign test: by chance with a probability of 1 %
    assert statistics.fmean(best) < statistics.fmean(chance)
