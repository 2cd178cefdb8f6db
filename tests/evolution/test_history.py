"""Tests of what a search remembers: the hall of fame over the folds, and a generation's statistics."""

import statistics
from collections.abc import Sequence
from typing import cast

import numpy as np
import pytest

from biotune.evolution.history import History
from biotune.evolution.individual import Individual
from biotune.evolution.surrogate import Surrogate
from biotune.schedule.block import Block
from biotune.schedule.genotype import decode
from biotune.schedule.schedule import Schedule
from biotune.trial import Evaluation

BLOCKS = [Block("stem", ("a",)), Block("head", ("b",))]


def note(
    history: History,
    number: int,
    genes: list[float],
    fitness: float,
    fold: int = 0,
    status: str = "ok",
    extinction: float = 0.0,
) -> Individual:
    individual = Individual(np.array(genes), np.zeros(3), number, "initial", extinction)
    individual.receive(Evaluation(fitness, status, (1 - fitness,)), fold)
    history.remember(decode(genes, BLOCKS), individual)
    return individual


def hall_of(history: History, survivors: list[Individual]) -> list[tuple[int, float]]:
    history.close_generation(survivors)
    return [(entry.number, pytest.approx(entry.score)) for entry in history.best()]


def test_hall_ranks_by_the_mean_over_the_folds() -> None:
    history = History(3, statistics.fmean)
    lucky = note(history, 0, [0.9, 0.1, 0.5], 0.1, fold=0)
    steady = note(history, 1, [0.1, 0.9, 0.5], 0.2, fold=0)
    assert hall_of(history, [lucky, steady]) == [(0, 0.1), (1, 0.2)]
    note(history, 0, [0.9, 0.1, 0.5], 0.5, fold=1)
    note(history, 1, [0.1, 0.9, 0.5], 0.2, fold=1)
    assert hall_of(history, [lucky, steady]) == [(1, 0.2), (0, 0.3)]


def test_hall_can_rank_by_the_luckiest_fold() -> None:
    history = History(3, min)
    lucky = note(history, 0, [0.9, 0.1, 0.5], 0.1, fold=0)
    note(history, 0, [0.9, 0.1, 0.5], 0.9, fold=1)
    note(history, 1, [0.1, 0.9, 0.5], 0.2, fold=1)
    assert hall_of(history, [lucky]) == [(0, 0.1), (1, 0.2)]


def test_hall_holds_a_schedule_once_under_its_oldest_number() -> None:
    history = History(5, statistics.fmean)
    first = note(history, 3, [0.9, 0.1, 0.5], 0.3)
    note(history, 7, [0.9, 0.2, 0.6], 0.3)  # other frozen importance and threshold: the same schedule
    note(history, 8, [0.91, 0.2, 0.6], 0.4)
    assert hall_of(history, [first]) == [(3, 0.3), (8, 0.4)]


def test_hall_counts_a_fold_once_however_often_it_was_seen() -> None:
    history = History(1, statistics.fmean)
    for _ in range(3):
        survivor = note(history, 0, [0.9, 0.1, 0.5], 0.1, fold=0)
    note(history, 0, [0.9, 0.1, 0.5], 0.3, fold=1)
    assert hall_of(history, [survivor]) == [(0, 0.2)]


def test_hall_breaks_ties_in_favour_of_the_older_and_keeps_its_size() -> None:
    history = History(2, statistics.fmean)
    survivors = [note(history, number, [0.6 + number / 10, 0.1, 0.5], 0.25) for number in range(4)]
    assert hall_of(history, survivors) == [(0, 0.25), (1, 0.25)]


@pytest.mark.parametrize("status", ["failed", "empty"])
def test_failed_and_empty_candidates_never_enter_the_hall(status: str) -> None:
    history = History(2, statistics.fmean)
    assert hall_of(history, [note(history, 0, [0.9, 0.1, 0.5], 1.0, status=status)]) == []


def test_a_candidate_pruned_on_its_first_fold_makes_no_entry() -> None:
    history = History(2, statistics.fmean)
    assert hall_of(history, [note(history, 0, [0.9, 0.1, 0.5], 0.6, status="pruned")]) == []


def test_a_schedule_good_on_one_fold_and_pruned_on_another_loses_its_rank() -> None:
    history = History(2, statistics.fmean)
    lucky = note(history, 0, [0.9, 0.1, 0.5], 0.1, fold=0)
    steady = note(history, 1, [0.1, 0.9, 0.5], 0.2, fold=0)
    note(history, 0, [0.9, 0.1, 0.5], 0.7, fold=1, status="pruned")
    note(history, 1, [0.1, 0.9, 0.5], 0.2, fold=1)
    assert hall_of(history, [lucky, steady]) == [(1, 0.2), (0, 0.4)]


def test_what_was_measured_on_a_fold_stands_against_an_estimate_on_the_same() -> None:
    history = History(2, statistics.fmean)
    survivor = note(history, 0, [0.9, 0.1, 0.5], 0.1)
    note(history, 0, [0.9, 0.1, 0.5], 0.7, status="pruned")
    assert hall_of(history, [survivor]) == [(0, 0.1)]


def test_candidates_from_the_cache_enter_the_hall() -> None:
    history = History(2, statistics.fmean)
    assert hall_of(history, [note(history, 0, [0.9, 0.1, 0.5], 0.4, status="cached")]) == [(0, 0.4)]


def test_statistics_describe_the_survivors() -> None:
    history = History(2, statistics.fmean)
    survivors = [note(history, 0, [0.9, 0.1, 0.5], 0.1), note(history, 1, [0.5, 0.3, 0.1], 0.4)]
    note(history, 2, [0.1, 0.2, 0.0], 0.9)  # considered, but no survivor
    record = history.close_generation(survivors, generation=4, evaluations=3)
    assert (record["generation"], record["evaluations"]) == (4, 3)
    assert (record["best_fitness"], record["worst_fitness"]) == (0.1, 0.4)
    assert record["mean_fitness"] == pytest.approx(0.25)
    assert record["sd_fitness"] == pytest.approx(0.15)
    assert record["diversity"] == pytest.approx((0.2 + 0.1 + 0.2) / 3)  # half the distance of two genes, a mean of three


def test_logbook_keeps_a_line_a_generation() -> None:
    history = History(1, statistics.fmean)
    survivor = note(history, 0, [0.9, 0.1, 0.5], 0.1)
    for number in range(3):
        history.close_generation([survivor], generation=number)
    assert history.logbook.select("generation") == [0, 1, 2]


def test_a_surrogate_ranks_what_was_pruned_too_by_what_was_predicted_for_it() -> None:
    class Guess:
        def predict(self, schedules: Sequence[Schedule]) -> np.ndarray:
            return np.array([{0: 0.3, 1: 0.1, 2: 0.2}[numbers[schedule.key]] for schedule in schedules])

    history = History(2, statistics.fmean)
    numbers = {}
    for number, status in enumerate(("ok", "pruned", "pruned")):
        genes = [0.6 + number / 10, 0.1, 0.5]
        numbers[decode(genes, BLOCKS).key] = number
        survivor = note(history, number, genes, 0.5 + number / 10, status=status)
    assert hall_of(history, [survivor]) == [(0, 0.5)]
    best = history.best(cast(Surrogate, Guess()))
    assert [(entry.number, entry.score) for entry in best] == [(1, pytest.approx(0.6)), (2, pytest.approx(0.7))]
    # once it is trained to the end, its own score counts
    note(history, 2, genes, 0.4, fold=1)
    assert hall_of(history, [survivor]) == [(2, 0.4), (0, 0.5)]
    assert [entry.number for entry in history.best(cast(Surrogate, Guess()))] == [1, 2]
