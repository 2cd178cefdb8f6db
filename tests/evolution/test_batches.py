"""The search asked and told by hand: it is the one that `evolve` runs, and its caller owns the loop."""

from __future__ import annotations

import zlib
from typing import Any

import pytest

from biotune.config.search import EvolutionConfig
from biotune.evolution.generation import Generation
from biotune.evolution.loop import Batch, GenerationalSearch, evolve
from biotune.schedule.block import Block
from biotune.schedule.schedule import Schedule
from biotune.trial import Evaluation, Status

BLOCKS = tuple(Block(f"b{index}", (f"b{index}",)) for index in range(4))
SCREENED = {"surrogate": "gp", "screen": 4, "adoption": False, "unfreezing": "evolved"}
KINDS: dict[str, dict[str, Any]] = {
    "brood": {},
    "screened": SCREENED,
    "sequential": {"mating": "sequential"},
    "no elites": {"elites": 0},
    "random": {"algorithm": "random"},
    "genetic": {"algorithm": "genetic"},
    "cma_es": {"algorithm": "cma_es"},
}


def settings(**changes: Any) -> EvolutionConfig:
    return EvolutionConfig(
        **{"algorithm": "biotune", "population_size": 6, "generations": 3, "elites": 2, "folds": 2, **changes}
    )


def answer(schedule: Schedule, fold: int) -> Evaluation:
    if schedule.is_empty:
        return Evaluation(1.0, Status.EMPTY)
    fitness = zlib.crc32(f"{schedule.key}@{fold}".encode()) / 2**32
    return Evaluation(fitness, Status.OK, (1 - fitness,), 0.5, 1, 2)


def answers(batch: Batch) -> list[Evaluation]:
    return list(map(answer, batch.schedules, batch.folds))


def plain(generation: Generation) -> dict[str, Any]:
    """Everything in a generation, comparable by value."""
    hall = [(entry.schedule.key, entry.number, entry.by_fold, entry.score) for entry in generation.hall]
    return {**vars(generation), "hall": hall}


@pytest.mark.parametrize("kind", KINDS)
def test_a_loop_of_ones_own_gets_what_evolve_yields(kind: str) -> None:
    search = GenerationalSearch(settings(**KINDS[kind]), BLOCKS, seed=5)
    mine: list[Generation] = []
    while not search.over:
        batch = search.ask()
        # one schedule at a time and last one first: the caller decides how and where they are trained
        backwards = list(map(answer, batch.schedules[::-1], batch.folds[::-1]))
        finished = search.tell(backwards[::-1])
        if finished is not None:
            mine.append(finished)
    expected = evolve(settings(**KINDS[kind]), BLOCKS, lambda schedules, folds: list(map(answer, schedules, folds)), seed=5)
    assert [plain(generation) for generation in mine] == [plain(generation) for generation in expected]
    assert [generation.number for generation in mine] == [0, 1, 2, 3]


def test_a_batch_says_whose_schedules_it_holds_and_on_which_fold() -> None:
    search = GenerationalSearch(settings(), BLOCKS, seed=0)
    first = search.ask()
    assert [individual.number for individual in first.individuals] == list(range(6))
    assert {individual.origin for individual in first.individuals} == {"initial"}
    assert len(first.schedules) == 6 and first.folds == (0,) * 6
    search.tell(answers(first))
    second = search.ask()
    # the fold has changed: both elites anew, then two probes each
    assert [individual.origin for individual in second.individuals] == ["elite"] * 2 + ["probe"] * 4
    assert set(second.folds) == {1}
    search.tell(answers(second))
    assert [individual.origin for individual in search.ask().individuals] == ["child"] * 4


def test_sequential_mating_learns_of_each_child_before_it_draws_the_next() -> None:
    batches = []
    search = GenerationalSearch(settings(mating="sequential", folds=1), BLOCKS, seed=0)
    while not search.over:
        batches.append(search.ask())
        search.tell(answers(batches[-1]))
    assert [len(batch.schedules) for batch in batches[:6]] == [6, 4, 1, 1, 1, 1]


def test_asking_again_gives_the_same_batch_and_draws_nothing() -> None:
    once, twice = GenerationalSearch(settings(), BLOCKS, seed=1), GenerationalSearch(settings(), BLOCKS, seed=1)
    while not once.over:
        assert twice.ask() is twice.ask()
        one, other = once.tell(answers(once.ask())), twice.tell(answers(twice.ask()))
        assert (one is None) == (other is None)
        if one is not None and other is not None:
            assert plain(one) == plain(other)


def test_only_the_last_batch_of_a_generation_completes_it() -> None:
    search = GenerationalSearch(settings(folds=1), BLOCKS, seed=0)
    finished = []
    while not search.over:
        finished.append(search.tell(answers(search.ask())) is not None)
    assert finished == [True, False, True, False, True, False, True]  # probes, then children


def test_a_search_that_is_over_is_not_asked() -> None:
    search = GenerationalSearch(settings(generations=0), BLOCKS, seed=0)
    search.tell(answers(search.ask()))
    assert search.over
    with pytest.raises(ValueError, match="the search is over"):
        search.ask()
    with pytest.raises(ValueError, match="Call ask first"):
        search.tell([])


def test_nothing_is_told_before_it_is_asked() -> None:
    with pytest.raises(ValueError, match="Call ask first"):
        GenerationalSearch(settings(), BLOCKS, seed=0).tell([])


def test_a_search_without_batches_is_none_of_this_kind() -> None:
    with pytest.raises(ValueError, match="Use AsynchronousSearch"):
        GenerationalSearch(settings(mating="asynchronous"), BLOCKS, seed=0)


@pytest.mark.parametrize("count", [5, 7])
def test_evaluations_that_do_not_fit_the_batch_change_nothing(count: int) -> None:
    search, other = (GenerationalSearch(settings(generations=1), BLOCKS, seed=0) for _ in range(2))
    batch = search.ask()
    with pytest.raises(ValueError, match=f"{count} evaluations for 6 schedules"):
        search.tell([Evaluation(0.5, Status.OK, (0.5,))] * count)
    first, same = search.tell(answers(batch)), other.tell(answers(other.ask()))
    assert first is not None and same is not None
    assert plain(first) == plain(same)
