"""Tests of the generation loop on toy landscapes: batches, folds, elites, survival, reproducibility, and that it optimises."""

import hashlib
import math
import random
import statistics
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

from biotune.config.search import EvolutionConfig
from biotune.evolution.generation import Candidate, Generation, most_evaluations
from biotune.evolution.loop import GenerationalSearch, evolve
from biotune.evolution.operators import random_genes
from biotune.schedule.block import Block
from biotune.schedule.genotype import decode
from biotune.schedule.schedule import Schedule
from biotune.trial import Evaluation

BLOCKS = tuple(Block(f"b{index}", (f"m{index}",)) for index in range(4))
Landscape = Callable[[Schedule, int], float]


def rough(schedule: Schedule, fold: int) -> float:
    """A fitness in (0, 1) without any order, the same for the same schedule on the same fold."""
    digest = hashlib.sha256(f"{schedule.key}@{fold}".encode()).digest()
    return (1 + int.from_bytes(digest[:6], "big")) / (2 + 2**48)


class Toy:
    """Answers a search from a landscape and writes down every batch it was asked for."""

    def __init__(self, landscape: Landscape = rough, failing: Callable[[Schedule], bool] = lambda schedule: False) -> None:
        self.landscape = landscape
        self.failing = failing
        self.batches: list[tuple[int, list[Schedule]]] = []

    def __call__(self, schedules: Sequence[Schedule], folds: Sequence[int]) -> list[Evaluation]:
        self.batches.append((folds[0], list(schedules)))
        return list(map(self.answer, schedules, folds))

    def answer(self, schedule: Schedule, fold: int) -> Evaluation:
        if schedule.is_empty:
            return Evaluation(1.0, "empty")
        if self.failing(schedule):
            return Evaluation(1.0, "failed", error="broken", trainings=1)
        fitness = self.landscape(schedule, fold)
        return Evaluation(fitness, "ok", (1 - fitness,), 0.5, 1, 2)

    @property
    def sizes(self) -> list[int]:
        return [len(schedules) for _, schedules in self.batches]


class EverBetter(Toy):
    """The later a batch is evaluated the better it is, whatever is in it."""

    def answer(self, schedule: Schedule, fold: int) -> Evaluation:
        accuracy = len(self.batches) / 10_000
        return Evaluation(1 - accuracy, "ok", (accuracy,))


def settings(**changes: Any) -> EvolutionConfig:
    small = {"population_size": 6, "generations": 5, "elites": 2, "folds": 2}
    return EvolutionConfig(algorithm="biotune", **{**small, **changes})


def search(
    evolution: EvolutionConfig, toy: Toy | None = None, seed: int = 0, blocks: Sequence[Block] = BLOCKS, **options: Any
) -> list[Generation]:
    return list(evolve(evolution, blocks, toy or Toy(), seed, **options))


def by_origin(generation: Generation, origin: str) -> list[Candidate]:
    return [candidate for candidate in generation.candidates if candidate.origin == origin]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"folds": 1}, 6 + 5 * (4 + 4)),
        ({"folds": 2}, 6 + 5 * (4 + 4 + 2)),
        ({"folds": 3}, 6 + 5 * (4 + 4 + 2)),
        ({"folds": 2, "reevaluate_elites": False}, 6 + 5 * (4 + 4)),
        ({"folds": 1, "exploitation": False}, 6 + 5 * 4),
        ({"folds": 2, "exploitation": False}, 6 + 5 * (4 + 2)),
        ({"folds": 2, "elites": 0}, 6 + 5 * 6),
        ({"folds": 1, "generations": 0}, 6),
        ({"folds": 1, "mating": "sequential"}, 6 + 5 * 8),
        ({"folds": 2, "population_size": 10, "generations": 10, "elites": 3}, 170),
        ({"folds": 1, "population_size": 10, "generations": 10, "elites": 3}, 140),
    ],
)
def test_search_makes_as_many_evaluations_as_it_announces(changes: dict[str, Any], expected: int) -> None:
    toy, evolution = Toy(), settings(**changes)
    generations = search(evolution, toy)
    assert most_evaluations(evolution) == expected
    assert sum(toy.sizes) == expected
    assert sum(generation.record["evaluations"] for generation in generations) == expected
    assert sum(generation.record["trainings"] for generation in generations) <= expected
    assert len(generations) == evolution.generations + 1


@pytest.mark.parametrize("folds", [1, 2, 3])
def test_generation_works_on_its_number_modulo_the_folds(folds: int) -> None:
    toy = Toy()
    generations = search(settings(folds=folds, generations=6), toy)
    assert [generation.fold for generation in generations] == [number % folds for number in range(7)]
    # a batch for generation 0, then two a generation
    assert [fold for fold, _ in toy.batches] == [0] + [number % folds for number in range(1, 7) for _ in range(2)]
    for generation in generations:
        assert {candidate.fold for candidate in generation.candidates} == {generation.fold}


def test_brood_mating_asks_for_two_batches_a_generation() -> None:
    toy = Toy()
    search(settings(folds=1, generations=3), toy)
    assert toy.sizes == [6, 4, 4, 4, 4, 4, 4]  # the population; then four probes, and four children


def test_elites_are_evaluated_anew_in_the_batch_of_their_probes_when_the_fold_has_changed() -> None:
    toy = Toy()
    generations = search(settings(folds=2, generations=1), toy)
    assert toy.sizes == [6, 6, 4]
    best = sorted(generations[0].candidates, key=lambda candidate: candidate.evaluation.fitness)[:2]
    assert [schedule.key for schedule in toy.batches[1][1][:2]] == [candidate.schedule.key for candidate in best]


def test_sequential_mating_asks_child_by_child() -> None:
    toy = Toy()
    search(settings(folds=1, generations=2, mating="sequential"), toy)
    assert toy.sizes == [6, 4, 1, 1, 1, 1, 4, 1, 1, 1, 1]


def test_initial_genes_are_uniform_and_select_a_block() -> None:
    (generation,) = search(settings(population_size=200, generations=0))
    genes = np.array([candidate.genes for candidate in generation.candidates])
    assert genes.shape == (200, 5)
    assert genes.min() >= 0 and genes.max() <= 1
    assert genes[:, :-1].std() == pytest.approx(12**-0.5, abs=0.03)
    assert all(any(candidate.schedule.selected) for candidate in generation.candidates)
    assert {candidate.origin for candidate in generation.candidates} == {"initial"}
    assert all(state["momentum"] == [0.0] * 5 for state in generation.survivors)


def test_schedules_are_what_the_genes_decode_to() -> None:
    for generation in search(settings()):
        for candidate in generation.candidates:
            assert candidate.schedule == decode(candidate.genes, BLOCKS)


@pytest.mark.parametrize("folds", [1, 2])
def test_elite_takes_the_better_probe_only_if_it_is_better_on_the_same_fold(folds: int) -> None:
    replaced = kept = 0
    for seed in range(8):
        for generation in search(settings(folds=folds, generations=6), seed=seed)[1:]:
            elites, probes = by_origin(generation, "elite"), by_origin(generation, "probe")
            survivors = {state["individual"] for state in generation.survivors}
            assert (len(elites), len(probes)) == (2, 4)
            for elite, pair in zip(elites, (probes[:2], probes[2:]), strict=True):
                better = min(pair, key=lambda probe: probe.evaluation.fitness)
                wins = better.evaluation.fitness < rough(elite.schedule, generation.fold)
                assert {candidate.individual for candidate in (elite, *pair) if candidate.kept} == {
                    (better if wins else elite).individual
                }
                assert (better.individual in survivors) is wins
                assert (elite.individual in survivors) is not wins
                replaced, kept = replaced + wins, kept + (not wins)
    assert replaced > 10 and kept > 10


def test_elite_stays_where_its_probe_is_just_as_good() -> None:
    for generation in search(settings(folds=1), Toy(lambda schedule, fold: 0.5))[1:]:
        assert all(elite.kept for elite in by_origin(generation, "elite"))
        assert not any(probe.kept for probe in by_origin(generation, "probe"))


def test_probes_step_along_one_selected_block_of_their_elite() -> None:
    for generation in search(settings(generations=8), seed=3)[1:]:
        elites, probes = by_origin(generation, "elite"), by_origin(generation, "probe")
        for index, probe in enumerate(probes):
            elite = elites[index // 2]
            (changed,) = np.flatnonzero(np.array(probe.genes) != np.array(elite.genes))
            assert elite.schedule.selected[changed]
            assert abs(probe.genes[changed] - elite.genes[changed]) <= 0.25


def test_children_are_drawn_from_elites_with_the_genes_that_exploitation_gave_them() -> None:
    # without any operator a child is its first parent: its genes show whom it was drawn from
    evolution = settings(crossover=False, momentum=False, mutation=False, adoption=False, folds=1, generations=1)
    from_probes = 0
    for seed in range(40):
        initial, generation = search(evolution, seed=seed)
        replaced = {elite.genes for elite in by_origin(generation, "elite") if not elite.kept}
        probes = {probe.genes for probe in by_origin(generation, "probe") if probe.kept}
        parents = {candidate.genes for candidate in initial.candidates} - replaced | probes
        children = {child.genes for child in by_origin(generation, "child")}
        assert children <= parents
        from_probes += bool(children & probes)
    assert from_probes > 5


def test_better_ranks_have_more_children() -> None:
    evolution = settings(
        crossover=False, momentum=False, mutation=False, adoption=False, exploitation=False, folds=1, generations=1
    )
    children = np.zeros(6)
    for seed in range(150):
        initial, generation = search(evolution, seed=seed)
        ranked = sorted(initial.candidates, key=lambda candidate: candidate.evaluation.fitness)
        place = {candidate.genes: rank for rank, candidate in enumerate(ranked)}
        for child in by_origin(generation, "child"):
            children[place[child.genes]] += 1
    expected = 600 * np.arange(6, 0, -1) / 21
    assert ((children - expected) ** 2 / expected).sum() < 20.5  # chi-square, 5 degrees of freedom, 0.1 % point


@pytest.mark.parametrize("mating", ["brood", "sequential"])
def test_elites_and_children_survive_and_nobody_else(mating: str) -> None:
    before: set[int] = set()
    for generation in search(settings(mating=mating), seed=5):
        survivors = [state["individual"] for state in generation.survivors]
        newborn = {candidate.individual for candidate in generation.candidates if candidate.origin in ("child", "newcomer")}
        if generation.number:
            assert newborn <= set(survivors)
            assert len(newborn) == 4
            probes = {probe.individual for probe in by_origin(generation, "probe")}
            assert set(survivors) - newborn <= before | probes
        assert len(survivors) == len(set(survivors)) == 6
        assert {candidate.individual for candidate in generation.candidates if candidate.kept} == set(survivors)
        before = set(survivors)


def test_elites_are_the_best_of_the_generation_before() -> None:
    generations = search(settings())
    for before, after in zip(generations, generations[1:], strict=False):
        assert [elite.individual for elite in by_origin(after, "elite")] == [
            state["individual"] for state in before.survivors[:2]
        ]


def test_population_is_sorted_by_fitness_with_ties_to_the_older() -> None:
    def coarse(schedule: Schedule, fold: int) -> float:
        return round(rough(schedule, fold) * 2) / 4

    for generation in search(settings(population_size=12), Toy(coarse)):
        order = [(state["fitness"], state["individual"]) for state in generation.survivors]
        assert order == sorted(order)


def test_extinction_factors_follow_the_formula_at_every_sorting() -> None:
    for generation in search(settings(), seed=2):
        fitness = [state["fitness"] for state in generation.survivors]
        expected = [(f + fitness[0] * (rank / 5 - 1)) / fitness[-1] for rank, f in enumerate(fitness)]
        assert [state["extinction"] for state in generation.survivors] == pytest.approx(expected)


def test_published_first_brood_has_no_extinction_factors_before_generation_1_is_ranked() -> None:
    first, second, *_ = search(settings(mutate_first_brood=False))
    assert [state["extinction"] for state in first.survivors] == [0.0] * 6
    assert second.survivors[-1]["extinction"] == pytest.approx(1.0)


def test_published_first_brood_never_mutates() -> None:
    quiet = {"crossover": False, "momentum": False, "adoption": False, "exploitation": False, "folds": 1}
    parents = {candidate.genes for candidate in search(settings(**quiet, mutate_first_brood=False))[0].candidates}
    still, moving = (by_origin(search(settings(**quiet, mutate_first_brood=switch))[1], "child") for switch in (False, True))
    assert {child.genes for child in still} <= parents
    assert not {child.genes for child in moving} <= parents


def test_published_elites_keep_their_fitness_of_the_other_fold() -> None:
    toy = Toy()
    generations = search(settings(folds=2, reevaluate_elites=False, exploitation=False, generations=1), toy)
    assert toy.sizes == [6, 4]
    for elite in by_origin(generations[1], "elite"):
        assert elite.fold == 0
        assert elite.evaluation.fitness == rough(elite.schedule, 0)
        assert (elite.evaluation.trainings, elite.evaluation.status) == (0, "cached")
    assert {child.fold for child in by_origin(generations[1], "child")} == {1}


def test_published_elites_compare_their_probes_with_the_fitness_of_the_other_fold() -> None:
    def harsher_on_fold_1(schedule: Schedule, fold: int) -> float:
        return rough(schedule, 0) / 4 + fold / 2

    for seed in range(5):
        generation = search(settings(reevaluate_elites=False, generations=1), Toy(harsher_on_fold_1), seed)[1]
        assert not any(probe.kept for probe in by_origin(generation, "probe"))
    fair = [search(settings(generations=1), Toy(harsher_on_fold_1), seed)[1] for seed in range(5)]
    assert any(probe.kept for generation in fair for probe in by_origin(generation, "probe"))


def test_re_evaluated_elites_report_the_new_fold_and_its_cost() -> None:
    generation = search(settings(generations=1))[1]
    for elite in by_origin(generation, "elite"):
        assert (elite.fold, elite.evaluation.trainings) == (1, 1)
        assert elite.evaluation.fitness == rough(elite.schedule, 1)


def test_candidates_costs_add_up_to_the_generations_record() -> None:
    for changes in ({}, {"folds": 1}, {"reevaluate_elites": False}, {"mating": "sequential"}):
        for generation in search(settings(**changes)):
            assert sum(candidate.evaluation.trainings for candidate in generation.candidates) == generation.record["trainings"]
            assert generation.record["seconds"] == pytest.approx(
                sum(candidate.evaluation.seconds for candidate in generation.candidates)
            )


def test_pool_without_worse_parents_brings_no_newcomer() -> None:
    # the later a candidate is evaluated the worse it is: no parent is ever worse than its child
    count = iter(range(1, 10_000))
    toy = Toy(lambda schedule, fold: next(count) / 10_000)
    generations = search(settings(folds=1, mating="sequential", population_size=8, elites=1), toy)
    assert not any(by_origin(generation, "newcomer") for generation in generations)


def test_parents_worse_than_their_child_leave_the_pool_until_newcomers_are_drawn() -> None:
    # each child beats both its parents, so the pool of seven loses two a child: 7, 5, 3, and 1 is too few
    evolution = settings(folds=1, mating="sequential", population_size=7, elites=1, exploitation=False, generations=3)
    for generation in search(evolution, EverBetter())[1:]:
        assert [candidate.origin for candidate in generation.candidates[1:]] == ["child"] * 3 + ["newcomer"] * 3
        assert all(any(newcomer.schedule.selected) for newcomer in by_origin(generation, "newcomer"))


def test_parents_as_good_as_their_child_stay_in_the_pool() -> None:
    evolution = settings(folds=1, mating="sequential", adoption=False, mutation=False)
    for seed in range(5):
        generations = search(evolution, Toy(lambda schedule, fold: 0.5), seed)
        assert not any(by_origin(generation, "newcomer") for generation in generations)


def test_newcomers_start_at_rest() -> None:
    generation = search(settings(folds=1, mating="sequential", elites=1, generations=2), EverBetter())[2]
    newcomers = {candidate.individual for candidate in by_origin(generation, "newcomer")}
    momentum = {state["individual"]: state["momentum"] for state in generation.survivors}
    assert newcomers
    assert all(momentum[number] == [0.0] * 5 for number in newcomers)
    assert any(any(momentum[child.individual]) for child in by_origin(generation, "child"))


def test_failed_candidates_take_fitness_one_and_stay_out_of_the_hall() -> None:
    def without_the_head(schedule: Schedule) -> bool:
        return not schedule.selected[-1]

    generations = search(settings(population_size=12), Toy(failing=without_the_head), hall_size=100)
    failed = [c for generation in generations for c in generation.candidates if c.evaluation.status == "failed"]
    assert failed
    assert {candidate.evaluation.fitness for candidate in failed} == {1.0}
    assert all(entry.schedule.selected[-1] for entry in generations[-1].hall)
    for generation in generations:
        assert [state["fitness"] for state in generation.survivors] == sorted(s["fitness"] for s in generation.survivors)
        assert generation.record["failures"] == sum(c.evaluation.status == "failed" for c in generation.candidates)


def test_search_goes_on_when_every_candidate_fails() -> None:
    generations = search(settings(), Toy(failing=lambda schedule: True))
    assert [generation.hall for generation in generations] == [[]] * 6
    assert {state["fitness"] for state in generations[-1].survivors} == {1.0}


def test_empty_elites_are_kept_without_probes() -> None:
    # only empty schedules are any good here, against all that could really happen
    class Upside(Toy):
        def answer(self, schedule: Schedule, fold: int) -> Evaluation:
            return Evaluation(0.0, "empty") if schedule.is_empty else Evaluation(0.9, "ok", (0.1,), 0.0, 1)

    generations = search(settings(), Upside(), blocks=BLOCKS[:1])
    emptied = [g for g in generations[1:] for elite in by_origin(g, "elite") if elite.schedule.is_empty]
    assert emptied
    for generation in emptied:
        filled = sum(not elite.schedule.is_empty for elite in by_origin(generation, "elite"))
        assert len(by_origin(generation, "probe")) == 2 * filled


def test_perfect_fitness_everywhere_gives_factors_of_nought() -> None:
    generations = search(settings(), Toy(lambda schedule, fold: 0.0))
    assert {state["extinction"] for generation in generations for state in generation.survivors} == {0.0}


def test_hall_ranks_all_that_was_seen_by_its_mean_over_the_folds() -> None:
    toy = Toy()
    generations = search(settings(generations=8), toy, hall_size=5)
    seen: dict[str, dict[int, float]] = {}
    for fold, schedules in toy.batches:
        for schedule in schedules:
            if not schedule.is_empty:
                seen.setdefault(schedule.key, {})[fold] = rough(schedule, fold)
    ranking = sorted((statistics.fmean(folds.values()), key) for key, folds in seen.items())
    assert any(len(folds) == 2 for folds in seen.values())
    assert [(entry.score, entry.schedule.key) for entry in generations[-1].hall] == [
        (pytest.approx(score), key) for score, key in ranking[:5]
    ]


def test_hall_can_rank_by_the_luckiest_fold_as_published() -> None:
    toy = Toy()
    generations = search(settings(generations=8), toy, hall_size=3, over_folds=min)
    seen: dict[str, float] = {}
    for fold, schedules in toy.batches:
        for schedule in schedules:
            if not schedule.is_empty:
                seen[schedule.key] = min(seen.get(schedule.key, 1.0), rough(schedule, fold))
    best = sorted((score, key) for key, score in seen.items())[:3]
    assert [(entry.score, entry.schedule.key) for entry in generations[-1].hall] == best


def test_same_seed_walks_the_same_way_and_another_seed_another() -> None:
    one, again, other = (search(settings(), seed=seed) for seed in (11, 11, 12))
    assert [generation.candidates for generation in one] == [generation.candidates for generation in again]
    assert [generation.survivors for generation in one] == [generation.survivors for generation in again]
    assert [generation.random_state for generation in one] == [generation.random_state for generation in again]
    assert one[0].candidates != other[0].candidates


def test_global_generators_neither_matter_nor_move() -> None:
    random.seed(1)
    np.random.seed(1)
    one = search(settings(mating="sequential"))
    random.seed(2)
    np.random.seed(2)
    before = (random.getstate(), np.random.get_state()[1].tolist())
    other = search(settings(mating="sequential"))
    assert (random.getstate(), np.random.get_state()[1].tolist()) == before
    assert [generation.candidates for generation in one] == [generation.candidates for generation in other]


def test_generations_come_one_by_one_so_that_the_caller_may_stop() -> None:
    toy = Toy()
    generations = evolve(settings(folds=1), BLOCKS, toy, 0)
    next(generations)
    assert toy.sizes == [6]
    next(generations)
    assert toy.sizes == [6, 4, 4]


@pytest.mark.parametrize("switch", ["exploitation", "crossover", "momentum", "mutation", "adoption"])
def test_every_switch_changes_the_walk_but_not_generation_0(switch: str) -> None:
    on, off = search(settings(), seed=4), search(settings(**{switch: False}), seed=4)
    assert on[0].candidates == off[0].candidates
    assert on[2].candidates != off[2].candidates


def test_without_momentum_nobody_ever_moves_on_his_own() -> None:
    off = search(settings(momentum=False))
    assert all(not any(state["momentum"]) for generation in off for state in generation.survivors)
    on = search(settings())
    assert any(any(state["momentum"]) for state in on[-1].survivors)


OPTIMUM = (-0.5, 0.0, 0.3, 0.6)  # the best learning-rate weights as powers of ten; a frozen block counts as −1.5


def bowl(schedule: Schedule, fold: int) -> float:
    """Smooth in the rates of the trained blocks, 0 at the optimum."""
    powers = [math.log10(weight) if weight > 0 else -1.5 for weight in schedule.lr_weights]
    return min(1.0, sum((power - best) ** 2 for power, best in zip(powers, OPTIMUM, strict=True)) / 8)


def best_of_random(seed: int, budget: int) -> float:
    rng = np.random.default_rng(10_000 + seed)
    return min(bowl(decode(random_genes(rng, 5).tolist(), BLOCKS), 0) for _ in range(budget))


def test_optimum_of_the_toy_landscape_is_where_it_is_said_to_be() -> None:
    assert bowl(decode([0.25, 0.5, 0.65, 0.8, 0.1], BLOCKS), 0) == pytest.approx(0.0, abs=1e-12)


@pytest.mark.parametrize("mating", ["brood", "sequential"])
def test_search_beats_random_draws_at_the_same_budget(mating: str) -> None:
    evolution = settings(population_size=10, generations=10, elites=3, folds=1, mating=mating)
    seeds, budget = range(40), most_evaluations(evolution)
    assert budget == 140
    evolved = [search(evolution, Toy(bowl), seed, hall_size=1)[-1].hall[0].score for seed in seeds]
    drawn = [best_of_random(seed, budget) for seed in seeds]
    wins = sum(one < other for one, other in zip(evolved, drawn, strict=True))
    assert wins >= 30  # a sign test: 30 of 40 by chance has a probability of 0.1 %
    assert statistics.fmean(evolved) < 0.6 * statistics.fmean(drawn)


@pytest.mark.parametrize("folds", [1, 3, 8])
def test_candidates_are_spread_over_all_folds_in_turn_from_that_of_the_generation(folds: int) -> None:
    settings = EvolutionConfig(
        "biotune",
        population_size=9,
        generations=4,
        elites=4,
        folds=folds,
        spread=True,
        exploitation=False,
        reevaluate_elites=False,
    )
    search = GenerationalSearch(settings, BLOCKS, 3)
    seen = []
    while not search.over:
        batch = search.ask()
        seen.append(batch.folds)
        search.tell(list(map(Toy().answer, batch.schedules, batch.folds)))
    assert seen[0] == tuple(place % folds for place in range(9))
    assert seen[1:] == [tuple((number + place) % folds for place in range(5)) for number in range(1, 5)]
