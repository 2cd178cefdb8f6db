"""A search with warm_starts and a screen, on a noisy landscape."""

from __future__ import annotations

import statistics
import zlib
from collections.abc import Sequence

import numpy as np
from landscape import true_fitness

from biotune.config.search import EvolutionConfig
from biotune.evolution.generation import Generation
from biotune.evolution.loop import evolve
from biotune.evolution.surrogate import Surrogate
from biotune.evolution.warm_start import warm_starts
from biotune.schedule.block import Block
from biotune.schedule.schedule import Schedule
from biotune.trial import Evaluation

BLOCKS = tuple(Block(f"b{index}", (f"b{index}",)) for index in range(6))
SCREENED = {"surrogate": "gp", "screen": 10, "adoption": False}


def search(seed: int, smoothed: bool = False, **settings) -> list[Generation]:
    def evaluate(schedules: Sequence[Schedule], folds: Sequence[int]) -> list[Evaluation]:
        answers = []
        for one, fold in zip(schedules, folds, strict=True):
            if one.is_empty:
                answers.append(Evaluation(1.0, "empty"))
                continue
            noise = np.random.default_rng([seed, fold, zlib.crc32(one.key.encode())]).normal(0, 0.04)
            fitness = float(np.clip(true_fitness(one) + noise, 0, 1))
            answers.append(Evaluation(fitness, "ok", (1 - fitness,), trainings=1))
        return answers

    return list(evolve(EvolutionConfig("biotune", **{"generations": 5, **settings}), BLOCKS, evaluate, seed, smoothed=smoothed))


def quality(seeds: range, **settings) -> float:
    return statistics.fmean(true_fitness(search(seed, **settings)[-1].hall[0].schedule) for seed in seeds)


def test_a_screened_search_is_better_at_the_same_cost_where_neighbours_are_alike() -> None:
    seeds, short = range(5), {"generations": 3}
    assert quality(seeds, smoothed=True, **SCREENED, **short) < quality(seeds, **short) - 0.01


def test_a_seeded_search_begins_with_the_usual_methods() -> None:
    first = search(0, seeded=True)[0]
    genes = [candidate.genes for candidate in first.candidates]
    expected = [tuple(own.genes.tolist()) for own in warm_starts(6)][:8]  # two of the ten stay random
    assert genes[:8] == expected
    assert {candidate.origin for candidate in first.candidates} == {"initial"}


def test_where_the_order_evolves_a_seeded_search_begins_with_gradual_unfreezing_too() -> None:
    first = search(0, seeded=True, unfreezing="evolved", population_size=20)[0]
    found = [(one.genes, one.schedule.unfreezing) for one in first.candidates[:15]]
    expected = [(tuple(own.genes.tolist()), own.unfreezing) for own in warm_starts(6, ("together", "last_to_first"))]
    assert found == expected
    assert sum(order == "last_to_first" for _, order in found) == 4


def test_a_screen_evaluates_no_schedule_twice_in_a_batch_and_costs_no_more() -> None:
    for plain, screened in zip(search(1), search(1, **SCREENED), strict=True):
        assert screened.record["evaluations"] == plain.record["evaluations"]
        keys = [one.schedule.key for one in screened.candidates if one.origin == "child"]
        assert len(set(keys)) == len(keys)


def test_one_seed_is_one_search() -> None:
    assert [g.survivors for g in search(2, **SCREENED)] == [g.survivors for g in search(2, **SCREENED)]


def test_the_smoothed_hall_is_ranked_by_the_regression_and_holds_distinct_schedules() -> None:
    raw, smooth = search(3)[-1], search(3, smoothed=True)[-1]
    assert [g.genes for g in raw.candidates] == [g.genes for g in smooth.candidates]  # ranking changes no search
    keys = [entry.schedule.key for entry in smooth.hall]
    assert len(set(keys)) == len(keys) == 10
    assert true_fitness(smooth.hall[0].schedule) <= true_fitness(raw.hall[0].schedule) + 0.02


def test_ranking_by_prediction_takes_parents_and_survivors_from_what_the_surrogate_thinks_best() -> None:
    found = search(4, **SCREENED, ranking="predicted", exploitation=False, folds=1)
    survivors = {one["individual"] for one in found[-1].survivors}
    schedules = {one.individual: one.schedule for own in found for one in own.candidates}
    observations = found[-2].observations  # what was known when the last generation began
    known = {one["individual"] for one in found[-2].survivors}
    guesses = dict(zip(sorted(known), Surrogate(observations).predict([schedules[one] for one in sorted(known)]), strict=True))
    best = sorted(known, key=lambda number: (guesses[number], number))[:3]
    assert set(best) <= survivors
    assert len(survivors & known) == 3


def test_ranking_by_prediction_finds_better_schedules_where_single_evaluations_are_noisy() -> None:
    seeds, own = range(6), {**SCREENED, "exploitation": False, "folds": 1, "offspring": "schedules", "momentum": False}
    assert quality(seeds, smoothed=True, **own, ranking="predicted") < quality(seeds, exploitation=False, folds=1) - 0.01
