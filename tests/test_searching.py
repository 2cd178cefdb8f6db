"""The choice after the search."""

import math

from biotune.evolution.books import Entry
from biotune.evolution.individual import Fitness
from biotune.evolution.surrogate import FEWEST, Observation
from biotune.schedule import Block, Schedule
from biotune.searching import confirming_observations, smoothest

BLOCKS = (Block("a", ("a",)), Block("b", ("b",)))


def entry(number: int, *weights: float) -> Entry:
    return Entry(Schedule(BLOCKS, weights), number, {}, Fitness((0.5,)))


def test_a_confirmation_is_one_more_evaluation_on_its_fold_and_failures_are_none() -> None:
    hall = [entry(4, 1.0, 1.0), entry(7, 0.0, 1.0)]
    rows = [
        {"schedule": 4, "fold": 0, "macro_accuracy": 0.6},
        {"schedule": 4, "fold": 0, "macro_accuracy": 0.8},
        {"schedule": 7, "fold": 1, "macro_accuracy": math.nan},
    ]
    (found,) = confirming_observations(hall, rows)
    assert (found.schedule, found.fold) == (hall[0].schedule, 0)
    assert math.isclose(found.fitness, 0.3)


def test_thesmoothest_is_not_the_luckiest() -> None:
    """A lone good score among bad neighbours loses against a good neighbourhood."""
    lucky, solid = entry(1, 0.1, 0.1), entry(2, 3.0, 3.0)
    bad = [Observation(Schedule(BLOCKS, (0.1 + 0.01 * i, 0.1)), 0, 0.6) for i in range(8)]
    good = [Observation(Schedule(BLOCKS, (3.0 + 0.1 * i, 3.0)), 0, 0.31) for i in range(8)]
    observations = [*bad, *good, Observation(lucky.schedule, 0, 0.28), Observation(solid.schedule, 0, 0.31)]
    assert smoothest([lucky, solid], observations, lucky) is solid


def test_with_too_few_evaluations_the_score_decides() -> None:
    one, other = entry(1, 1.0, 1.0), entry(2, 0.0, 1.0)
    assert smoothest([one, other], [Observation(one.schedule, 0, 0.9)] * (FEWEST - 1), other) is other
