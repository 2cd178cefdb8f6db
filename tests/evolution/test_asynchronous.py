"""The search without generations to wait for: what it proposes when, and how it counts what comes in."""

from __future__ import annotations

import random
import statistics
import zlib
from typing import Any

import numpy as np
import pytest
from landscape import true_fitness

from biotune.config.search import EvolutionConfig
from biotune.evolution.asynchronous import AsynchronousSearch, Proposal
from biotune.evolution.generation import Generation
from biotune.schedule.block import Block
from biotune.trial import Evaluation, Status

BLOCKS = tuple(Block(f"b{index}", (f"b{index}",)) for index in range(4))
PLAIN = {"exploitation": False, "reevaluate_elites": False, "folds": 1, "mating": "asynchronous"}
SCREENED = {
    **PLAIN,
    "surrogate": "gp",
    "screen": 10,
    "ranking": "predicted",
    "offspring": "schedules",
    "momentum": False,
    "adoption": False,
    "fixed_threshold": 0.3,
}
KINDS: dict[str, dict[str, Any]] = {"plain": PLAIN, "screened": SCREENED, "spread": {**SCREENED, "folds": 3, "spread": True}}


def search(seed: int = 0, kind: str = "plain", **changes: Any) -> AsynchronousSearch:
    sizes = {"algorithm": "biotune", "population_size": 8, "generations": 3, "elites": 5}
    return AsynchronousSearch(EvolutionConfig(**{**sizes, **KINDS[kind], **changes}), BLOCKS, seed, smoothed=kind != "plain")


def answer(proposal: Proposal) -> Evaluation:
    if proposal.schedule.is_empty:
        return Evaluation(1.0, Status.EMPTY)
    noise = zlib.crc32(f"{proposal.schedule.key}@{proposal.fold}".encode()) / 2**32
    fitness = true_fitness(proposal.schedule) + 0.02 * (noise - 0.5)
    return Evaluation(fitness, Status.OK, (1 - fitness,), 0.5, 1, 2)


def walk(one: AsynchronousSearch, workers: int, rng: random.Random | None = None) -> list[Generation]:
    """Let so many workers evaluate, and end in a random order, or in the order of the proposals."""
    out: list[Proposal] = []
    found = []
    while not one.over:
        while len(out) < workers and (proposal := one.ask()) is not None:
            out.append(proposal)
        ended = out.pop(rng.randrange(len(out)) if rng else 0)
        generation = one.tell(ended.number, answer(ended))
        if generation is not None:
            found.append(generation)
    assert not out
    return found


def test_the_first_child_is_proposed_as_soon_as_half_of_the_initial_individuals_are_known() -> None:
    one = search()
    out = [one.ask() for _ in range(8)]
    assert [proposal.number for proposal in out if proposal] == list(range(8))
    assert {proposal.individual.origin for proposal in out if proposal} == {"initial"}
    for number in (7, 0, 3):
        assert one.ask() is None  # three free workers wait: nothing is known that a child could be better than
        assert out[number] is not None
        one.tell(number, answer(out[number]))
    assert one.ask() is None
    one.tell(5, Evaluation(1.0, Status.FAILED, error="diverged"))  # it is known that it fails
    children = [one.ask() for _ in range(4)]
    assert [child.individual.origin for child in children if child] == ["child"] * 4
    assert [child.number for child in children if child] == [8, 9, 10, 11]


@pytest.mark.parametrize("workers", [1, 3, 50])
@pytest.mark.parametrize("kind", KINDS)
def test_generations_count_what_came_in(kind: str, workers: int) -> None:
    found = walk(search(1, kind), workers, random.Random(2))
    assert [generation.number for generation in found] == [0, 1, 2, 3]
    # N, then N − E each; the elites before them are listed at no cost
    assert [generation.record["evaluations"] for generation in found] == [8, 3, 3, 3]
    assert [len(generation.candidates) for generation in found] == [8, 5 + 3, 5 + 3, 5 + 3]
    for generation in found[1:]:
        assert [one.origin for one in generation.candidates[:5]] == ["elite"] * 5
        assert all(one.evaluation.trainings == 0 for one in generation.candidates[:5])
        assert len(generation.survivors) == 8
        assert all(one.kept for one in generation.candidates)
    numbers = [one.individual for generation in found for one in generation.candidates if one.origin != "elite"]
    assert sorted(numbers) == list(range(8 + 3 * 3))  # each once


def test_a_slow_initial_individual_is_counted_where_it_came_in_and_nobody_waits_for_it() -> None:
    one = search()
    slow, *others = [one.ask() for _ in range(8)]
    assert slow is not None
    generations = []
    while len(generations) < 2:
        proposal = others.pop(0) if others else one.ask()
        assert proposal is not None
        if (closed := one.tell(proposal.number, answer(proposal))) is not None:
            generations.append(closed)
    one.tell(slow.number, answer(slow))
    for _ in range(2):
        proposal = one.ask()
        assert proposal is not None
        closed = one.tell(proposal.number, answer(proposal))
    assert closed is not None and closed.number == 2
    assert [(one.individual, one.origin) for one in closed.candidates[5:]] == [(0, "initial"), (12, "child"), (13, "child")]


def test_the_elites_are_the_best_of_those_that_survived_before() -> None:
    first, second, *_ = walk(search(3, "plain"), 2, random.Random(1))
    best = sorted(first.candidates, key=lambda one: (one.evaluation.fitness, one.individual))[:5]
    assert [one.individual for one in second.candidates[:5]] == [one.individual for one in best]


def test_no_more_is_proposed_than_the_search_has_and_the_last_results_are_waited_for() -> None:
    one = search(generations=1)
    out = [one.ask() for _ in range(8)]
    for proposal in out[:7]:
        assert proposal is not None
        one.tell(proposal.number, answer(proposal))
    children = [one.ask() for _ in range(3)]
    assert all(children) and one.ask() is None and not one.over
    for proposal in (*children, out[7]):
        assert proposal is not None and not one.over
        last = one.tell(proposal.number, answer(proposal))
    assert one.over and last is not None and last.number == 1
    assert one.ask() is None


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_results_in_the_same_order_give_the_same_search(kind: str) -> None:
    one, other = (walk(search(5, kind), 3, random.Random(6)) for _ in range(2))
    assert [(g.candidates, g.survivors, g.random_state) for g in one] == [
        (g.candidates, g.survivors, g.random_state) for g in other
    ]
    another = walk(search(5, kind), 3, random.Random(7))
    assert [g.random_state for g in one] != [g.random_state for g in another] or one[0].candidates != another[0].candidates


def test_what_is_out_is_not_proposed_again() -> None:
    one = search(0, "screened", generations=40)
    known = [one.ask() for _ in range(8)]
    for proposal in known:
        assert proposal is not None
        one.tell(proposal.number, answer(proposal))
    out = [one.ask() for _ in range(40)]  # none of which is told
    keys = [proposal.schedule.key for proposal in [*known, *out] if proposal is not None]
    assert len(keys) == 48 and len(set(keys)) == 48


def test_what_is_out_makes_the_process_look_elsewhere() -> None:
    """With a very large κ the variance decides: children are spread wider if those in flight count."""

    def spread(told: bool) -> float:
        one = search(2, "screened", generations=10, exploration=50.0, screen=200)
        proposals = [one.ask() for _ in range(8)]
        for proposal in proposals:
            assert proposal is not None
            one.tell(proposal.number, answer(proposal))
        children = []
        for _ in range(6):
            child = one.ask()
            assert child is not None
            children.append(np.log10(np.maximum(child.schedule.lr_weights, 0.1)))
            if not told:
                one._believer._factor = one._believer._means_factor  # type: ignore[union-attr]
                one._believer._all = one._believer._points  # type: ignore[union-attr]
        return float(np.mean([np.linalg.norm(a - b) for a in children for b in children]))

    assert spread(told=True) > spread(told=False)


def test_every_split_has_its_share_whatever_the_order_of_the_results() -> None:
    found = walk(search(4, "spread"), 4, random.Random(0))
    folds = {one.individual: one.fold for generation in found for one in generation.candidates if one.origin != "elite"}
    assert folds == {number: number % 3 for number in range(17)}


def test_a_proposal_is_told_once() -> None:
    one = search()
    first = one.ask()
    assert first is not None
    one.tell(0, answer(first))
    for number in (0, 1, -1):
        with pytest.raises(ValueError, match=f"proposal {number} is not out"):
            one.tell(number, answer(first))


@pytest.mark.slow
def test_four_workers_find_what_generations_of_four_find() -> None:
    def quality(workers: int, **changes: Any) -> float:
        sizes: dict[str, Any] = {"population_size": 12, "elites": 8, "generations": 6}
        found = [walk(search(seed, "screened", **sizes, **changes), workers, random.Random(seed))[-1] for seed in range(3)]
        return statistics.fmean(true_fitness(one.hall[0].schedule) for one in found)

    # chance alone reaches 0.27 on average
    assert quality(4) < 0.225
    assert quality(4, surrogate="none", screen=1, ranking="fitness") > quality(4)
