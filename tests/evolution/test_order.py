"""Searches that find the order in which blocks join and the start of the head, on landscapes where one of them is better."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from biotune.config.search import EvolutionConfig
from biotune.evolution.ablations import express
from biotune.evolution.generation import Generation
from biotune.evolution.individual import Manner
from biotune.evolution.loop import evolve
from biotune.schedule.block import Block
from biotune.schedule.schedule import Schedule
from biotune.trial import Evaluation

BLOCKS = tuple(Block(f"b{index}", (f"b{index}",)) for index in range(6))
SCREENED = {"surrogate": "gp", "screen": 10, "adoption": False}


def search(
    seed: int, better: str = "together", head: str = "fresh", head_start: str = "fresh", **settings: Any
) -> list[Generation]:
    """Searches where one order is better by 0.05, and so is one start of the head, at a noise of 0.04."""

    def evaluate(schedules: Sequence[Schedule], folds: Sequence[int]) -> list[Evaluation]:
        answers = []
        for one in schedules:
            rates = sum(0.02 * (np.log10(weight) - 0.5) ** 2 if weight > 0 else 0.02 for weight in one.lr_weights)
            noise = rng.normal(0, 0.04)
            fitness = float(0.3 + rates + noise + (0.0 if one.unfreezing == better else 0.05))
            fitness += 0.0 if one.head_start == head else 0.05
            answers.append(Evaluation(1.0, "empty") if one.is_empty else Evaluation(fitness, "ok", (1 - fitness,), trainings=1))
        return answers

    rng = np.random.default_rng(seed)
    config = EvolutionConfig(**{"algorithm": "biotune", "generations": 5, "unfreezing": "evolved", **settings})
    return list(evolve(config, BLOCKS, evaluate, seed, smoothed=True, head_start=head_start))


def orders(generation: Generation, origin: str) -> Counter[str]:
    return Counter(one.schedule.unfreezing for one in generation.candidates if one.origin == origin)


def test_as_many_begin_with_the_one_order_as_with_the_other() -> None:
    first = search(0)[0]
    several = [one for one in first.candidates if sum(one.schedule.selected) > 1]  # there is no order of one block
    assert len(several) >= 8
    places = [first.candidates.index(one) % 2 for one in several]
    assert [one.schedule.unfreezing for one in several] == [("together", "last_to_first")[place] for place in places]


@pytest.mark.parametrize("better", ["together", "last_to_first"])
@pytest.mark.parametrize("settings", [{}, SCREENED], ids=["plain", "screened"])
def test_the_better_order_is_found(better: str, settings: dict[str, Any]) -> None:
    short = {"generations": 3, "folds": 1, **settings}  # on one fold the regression is fitted once a generation, not thrice
    winners = [search(seed, better, **short)[-1].hall[0].schedule.unfreezing for seed in range(8)]
    assert winners.count(better) >= 7  # by chance with a probability of 3.5 %


def test_probes_keep_their_elites_order() -> None:
    for generation in search(1)[1:]:
        elites = [one for one in generation.candidates if one.origin == "elite"]
        probes = [one for one in generation.candidates if one.origin == "probe"]
        assert len(probes) == 2 * len(elites)
        for place, probe in enumerate(probes):
            pair = {probe.schedule.unfreezing, elites[place // 2].schedule.unfreezing}
            assert len(pair) == 1 or min(sum(one.schedule.selected) for one in (probe, elites[place // 2])) < 2


@pytest.mark.parametrize("order", ["together", "last_to_first", "first_to_last"])
def test_a_fixed_order_is_every_candidates(order: str) -> None:
    for generation in search(2, unfreezing=order):
        assert {one.schedule.unfreezing for one in generation.candidates if sum(one.schedule.selected) > 1} == {order}


def test_a_search_without_an_order_of_its_own_draws_what_it_drew_before() -> None:
    genes = [[one.genes for one in search(3, unfreezing=order)[0].candidates] for order in ("together", "evolved")]
    assert genes[0] == genes[1]


def test_what_an_ablation_changes_keeps_the_order() -> None:
    genes = np.array([0.9, 0.8, 0.1, 0.7, 0.6, 0.9, 0.5])
    config = EvolutionConfig("biotune", unfreezing="evolved", rates=False)
    schedule = express(config, genes, BLOCKS, Manner("last_to_first"))
    assert (schedule.unfreezing, schedule.lr_weights) == ("last_to_first", (1.0, 1.0, 0.0, 1.0, 1.0, 1.0))


def test_one_seed_is_one_search() -> None:
    short = {**SCREENED, "generations": 3}
    assert [one.survivors for one in search(4, **short)] == [one.survivors for one in search(4, **short)]


def test_all_combinations_of_order_and_head_begin_in_turn() -> None:
    first = search(0, head_start="evolved", population_size=12)[0]
    found = [(one.schedule.unfreezing, one.schedule.head_start) for one in first.candidates]
    turns = [(order, head) for head in ("fresh", "probe") for order in ("together", "last_to_first")]
    several = [at for at, one in enumerate(first.candidates) if sum(one.schedule.selected) > 1]
    assert len(several) >= 9 and [found[at] for at in several] == [turns[at % 4] for at in several]


@pytest.mark.parametrize("head", ["fresh", "probe"])
@pytest.mark.parametrize("settings", [{"unfreezing": "together"}, SCREENED], ids=["plain", "screened"])
def test_the_better_start_of_the_head_is_found(head: str, settings: dict[str, Any]) -> None:
    short = {"generations": 3, "folds": 1, **settings}
    winners = [search(seed, "together", head, "evolved", **short)[-1].hall[0].schedule.head_start for seed in range(8)]
    assert winners.count(head) >= 7  # by chance with a probability of 3.5 %


@pytest.mark.parametrize("head", ["fresh", "probe"])
@pytest.mark.parametrize("algorithm", ["biotune", "random"])
def test_a_fixed_start_of_the_head_is_every_candidates(head: str, algorithm: str) -> None:
    for generation in search(2, head_start=head, algorithm=algorithm, unfreezing="last_to_first"):
        trained = [one.schedule for one in generation.candidates if sum(one.schedule.selected) > 1]
        assert {(one.unfreezing, one.head_start) for one in trained} == {("last_to_first", head)}


def test_a_search_with_a_fixed_start_of_the_head_is_the_same_but_for_it() -> None:
    one, other = (search(5, head=start, head_start=start, generations=3) for start in ("fresh", "probe"))
    assert [generation.survivors for generation in one] == [generation.survivors for generation in other]
