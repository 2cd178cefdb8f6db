"""Several objectives: costs, dominance, the dominated volume, and a search for trade-offs."""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Sequence

import numpy as np
import pytest
from landscape import true_fitness

from biotune.config.search import EvolutionConfig
from biotune.evolution.front import Front, Member
from biotune.evolution.individual import Origin
from biotune.evolution.loop import evolve
from biotune.evolution.objectives import (
    BlockCosts,
    FrontScreen,
    Objectives,
    dominated_volume,
    knee,
    nondominated,
    parameters_of,
    selected,
)
from biotune.evolution.population import Population
from biotune.evolution.surrogate import Observation, Surrogate
from biotune.schedule.block import Block
from biotune.schedule.schedule import Schedule
from biotune.trial import Evaluation

BLOCKS = tuple(Block(f"b{index}", (f"b{index}",), 2**index) for index in range(6))
SIZES = {block.name: block.parameters for block in BLOCKS}
SEARCH = {
    "population_size": 12,
    "generations": 6,
    "elites": 8,
    "folds": 1,
    "exploitation": False,
    "reevaluate_elites": False,
    "momentum": False,
    "adoption": False,
    "surrogate": "gp",
    "screen": 20,
    "exploration": 1.0,
    "ranking": "predicted",
    "offspring": "schedules",
}


def schedule(*weights: float) -> Schedule:
    return Schedule(BLOCKS[: len(weights)], weights)


def share_of(one: Schedule) -> float:
    return parameters_of(SIZES)(one) / 63


def test_macs_are_those_of_the_first_trained_block_alone_and_the_weights_of_later_ones() -> None:
    macs = BlockCosts(alone=(10.0, 7.0, 4.0), joined=(3.0, 2.0, 1.0))
    assert [macs(schedule(*weights)) for weights in ((1, 0, 2), (0, 0, 1), (1, 1, 1), (0, 1, 0), (0, 0, 0))] == [
        11,
        4,
        13,
        7,
        0,
    ]


def test_parameters_are_those_of_trained_blocks() -> None:
    assert parameters_of(SIZES)(schedule(0.5, 0.0, 3.0)) == 1 + 4


def test_a_measured_cost_is_the_mean_of_what_was_noted_and_is_predicted_elsewhere() -> None:
    objectives = Objectives(("seconds", "trainable_params"), {"trainable_params": parameters_of(SIZES)})
    assert objectives.measured == ("seconds",)
    every = [schedule(*map(float, bits)) for bits in itertools.product((0, 1), repeat=6) if any(bits)]
    unknown = every[2::5]
    for one in (one for one in every if one not in unknown):
        objectives.note(one, {"seconds": 2.0 + sum(one.lr_weights), "trainable_params": -1.0})
    objectives.note(every[0], {"seconds": 5.0})
    assert objectives.of(every[:2]).tolist() == [[(2.0 + 1.0 + 5.0) / 2, 32.0], [3.0, 16.0]]
    true = [2.0 + sum(one.lr_weights) for one in unknown]
    assert objectives.of(unknown)[:, 0] == pytest.approx(true, abs=0.5)


def test_before_anything_can_be_predicted_an_unknown_cost_is_the_mean() -> None:
    objectives = Objectives(("memory",))
    assert objectives.of([schedule(1, 0)]).tolist() == [[0.0]]
    objectives.note(schedule(1, 0), {"memory": 4.0})
    objectives.note(schedule(0, 1), {"memory": 8.0})
    assert objectives.of([schedule(1, 1), schedule(0, 1)]).tolist() == [[6.0], [8.0]]


POINTS = [(0.1, 9.0), (0.2, 4.0), (0.3, 1.0), (0.3, 4.0), (0.25, 9.0), (0.9, 10.0)]


def test_points_that_another_one_beats_are_dominated() -> None:
    assert nondominated(POINTS) == [0, 1, 2]
    assert nondominated([(0.5, 1.0), (0.5, 1.0)]) == [0, 1]
    assert nondominated([]) == []


def test_the_front_survives_first_then_the_extremes_of_the_next_one() -> None:
    assert set(selected(POINTS, 3)) == {0, 1, 2}
    assert set(selected(POINTS, 5)) == {0, 1, 2, 3, 4}
    crowded = [(0.0, 1.0), (0.45, 0.55), (0.5, 0.5), (1.0, 0.0)]
    assert set(selected(crowded, 3)) == {0, 1, 3} or set(selected(crowded, 3)) == {0, 2, 3}


def test_the_dominated_area_is_a_staircase_up_to_the_reference_point() -> None:
    assert dominated_volume([(0.0, 0.5), (0.5, 0.0)], (1.0, 1.0)) == pytest.approx(0.75)
    assert dominated_volume([(0.0, 0.5), (0.5, 0.0), (0.5, 0.5), (2.0, 0.0)], (1.0, 1.0)) == pytest.approx(0.75)
    assert dominated_volume([(0.5, 0.5, 0.5)], (1.0, 1.0, 1.0)) == pytest.approx(0.125)
    assert dominated_volume([(1.0, 0.0)], (1.0, 1.0)) == 0.0


def test_the_knee_lies_farthest_from_the_line_between_the_extremes() -> None:
    assert knee([(0.0, 100.0), (0.1, 20.0), (0.5, 10.0), (1.0, 0.0)]) == 1
    assert knee([(0.0, 1.0), (1.0, 0.0)]) is None


def test_the_screen_prefers_a_child_that_enlarges_the_front_to_a_better_score_at_a_high_cost() -> None:
    rng = np.random.default_rng(0)
    seen = [schedule(*np.where(rng.random(6) < 0.5, rng.uniform(0.3, 3, 6), 0.0)) for _ in range(60)]
    seen = [one for one in seen if not one.is_empty and one.selected[5]]  # all of them train the largest block
    surrogate = Surrogate([Observation(one, 0, 0.5 - 0.05 * sum(one.selected)) for one in seen])
    objectives = Objectives(("trainable_params",), {"trainable_params": parameters_of(SIZES)})
    cheap, dear = schedule(1, 1, 1, 1, 0, 0), schedule(1, 1, 1, 1, 1, 1)
    assert surrogate.most_promising([cheap, dear], 1, 0.0) == [1]
    assert FrontScreen(surrogate, objectives, seen).most_promising([dear, cheap], 2, 0.0) == [1, 0]


def test_what_trains_nothing_costs_nothing_and_is_ranked_last_all_the_same() -> None:
    settings = EvolutionConfig("biotune", objectives=["accuracy", "trainable_params"], **{**SEARCH, "elites": 1})
    population = Population(settings, BLOCKS)
    for importance, score in ((0.0, 0.1), (0.9, 0.6), (0.8, 0.7)):  # the first trains no block
        one = population.newborn(np.array([*(6 * [importance]), 0.3]), Origin.INITIAL)
        one.receive(Evaluation(1 - score, "ok", (score,)), 0)
        population.members.append(one)
    objectives = Objectives(("trainable_params",), {"trainable_params": parameters_of(SIZES)})
    population.rank_by_dominance([0.9, 0.4, 0.3], objectives, lambda fitness: [0.0, 0.5, 1.0])
    assert [one.number for one in population.members] == [2, 1, 0]
    assert [one.extinction for one in population.members] == [0.0, 0.5, 1.0]


def test_of_two_children_at_one_place_of_the_front_the_second_waits_for_one_elsewhere() -> None:
    every = [schedule(*weights) for weights in itertools.product((0, 1), repeat=6) if any(weights)][::3]
    seen = [one for one in every if sum(one.selected) <= 2 or one.selected[5]]
    surrogate = Surrogate([Observation(one, 0, 0.5 - 0.05 * sum(one.selected)) for one in seen])
    objectives = Objectives(("trainable_params",), {"trainable_params": parameters_of(SIZES)})
    first, twin, other = schedule(1, 1, 1, 1, 0, 0), schedule(1.05, 1, 1, 1, 0, 0), schedule(1, 1, 1, 0, 0, 0)
    assert FrontScreen(surrogate, objectives, seen).most_promising([first, twin, other], 3, 0.0) == [0, 2, 1]


def found(seed: int, objectives: Sequence[str]) -> list[tuple[float, float]]:
    """Fitness and trained share of the front that a search of the landscape sees, without noise."""
    book = Objectives(("trainable_params",), {"trainable_params": parameters_of(SIZES)})
    seen: dict[str, Schedule] = {}

    def evaluate(schedules: Sequence[Schedule], folds: Sequence[int]) -> list[Evaluation]:
        seen.update({one.key: one for one in schedules if not one.is_empty})
        fitness = [1.0 if one.is_empty else true_fitness(one) for one in schedules]
        return [Evaluation(own, "empty" if own == 1 else "ok", () if own == 1 else (1 - own,)) for own in fitness]

    settings = EvolutionConfig("biotune", objectives=list(objectives), **SEARCH)
    for generation in evolve(settings, BLOCKS, evaluate, seed, objectives=book if settings.costs else None):
        assert (generation.front is not None) == bool(settings.costs)
        assert len(generation.survivors) == 12
    points = [(true_fitness(one), share_of(one)) for one in seen.values()]
    return [points[at] for at in nondominated(points)]


def test_a_search_with_costs_finds_a_larger_front_at_the_same_number_of_evaluations() -> None:
    def area(seed: int, objectives: Sequence[str]) -> float:
        return dominated_volume(found(seed, objectives), (1.0, 1.0))

    gains = [area(seed, ("accuracy", "trainable_params")) - area(seed, ("accuracy",)) for seed in range(4)]
    assert statistics.fmean(gains) > 0.01


def test_the_same_seed_gives_the_same_front() -> None:
    assert found(3, ("accuracy", "trainable_params")) == found(3, ("accuracy", "trainable_params"))


def member(number: int, score: float, knee: bool = False, **costs: float) -> Member:
    return Member(schedule(1.0), number, score, costs, 1, knee)


def test_the_best_the_knee_and_the_cheapest_stand_out_each_once() -> None:
    members = (
        member(4, 0.9, macs=9, seconds=3),
        member(7, 0.8, True, macs=4, seconds=2),
        member(2, 0.7, macs=3, seconds=2),
        member(9, 0.4, macs=3, seconds=1),
    )
    reference = {"macs": 10.0, "seconds": 4.0}
    assert [one.number for one in Front(members, reference, 0.5).outstanding] == [4, 7, 2, 9]
    assert [one.number for one in Front(members[:1], reference, 0.5).outstanding] == [4]
