"""The choice after the search."""

import math
from pathlib import Path
from types import SimpleNamespace

import pytest

from biotune.config.schema import RunConfig
from biotune.config.search import ConfirmConfig, EvolutionConfig
from biotune.evolution.history import HallEntry
from biotune.evolution.individual import Fitness
from biotune.evolution.surrogate import FEWEST, Observation
from biotune.recipes.progress import SILENCE
from biotune.recipes.search import confirm, confirming, confirming_observations, smoothest
from biotune.schedule.block import Block
from biotune.schedule.schedule import Schedule
from biotune.trial import TrialResult

BLOCKS = (Block("a", ("a",)), Block("b", ("b",)))


def entry(number: int, *weights: float) -> HallEntry:
    return HallEntry(Schedule(BLOCKS, weights), number, {}, Fitness((0.5,)))


def trained(score: float, loss: float = 1.0) -> TrialResult:
    return TrialResult("ok", (score,), 1.0, losses=(loss,))


def test_a_confirmation_is_one_more_evaluation_on_its_fold_and_failures_are_none() -> None:
    hall = [entry(4, 1.0, 1.0), entry(7, 0.0, 1.0)]
    confirmed = {(4, 0): [trained(0.6), trained(0.8)], (7, 1): [TrialResult("failed", (), 0.0)]}
    found, failed = confirming_observations(hall, confirmed, "acc")
    assert (found.schedule, found.fold) == (hall[0].schedule, 0)
    assert math.isclose(found.fitness, 0.3)
    assert (failed.schedule, failed.fold) == (hall[1].schedule, 1)
    assert math.isnan(failed.fitness)


def test_a_confirmation_counts_by_the_metric_of_the_search() -> None:
    hall = [entry(4, 1.0, 1.0)]
    confirmed = {(4, 0): [trained(0.6, loss=math.log(2)), trained(0.8, loss=math.log(4))]}
    (by_loss,) = confirming_observations(hall, confirmed, "loss")
    assert math.isclose(by_loss.fitness, 1 - (1 / 2 + 1 / 4) / 2)
    (by_spread,) = confirming_observations(hall, confirmed, "acc+std")
    assert math.isclose(by_spread.fitness, 0.3 + math.sqrt(0.02))


@pytest.mark.parametrize(("metric", "winner"), [("acc", 4), ("loss", 7)])
def test_the_confirmation_is_won_by_the_metric_of_the_search(metric: str, winner: int, tmp_path: Path) -> None:
    accurate, sure = entry(4, 1.0, 1.0), entry(7, 0.0, 1.0)
    answers = {accurate.schedule.key: trained(0.9, loss=2.0), sure.schedule.key: trained(0.8, loss=0.1)}
    run = SimpleNamespace(run=lambda trials: [answers[trial.schedule.key] for trial in trials])
    config = RunConfig()
    config.evolution.folds, config.confirm.choose, config.fitness.metric = 1, "score", metric
    session = SimpleNamespace(folder=tmp_path, executor=run)
    last = SimpleNamespace(hall=[accurate, sure], observations=[])
    best, confirmed = confirm(session, config, 1e-3, last, SILENCE)  # type: ignore[arg-type]
    assert best == {4: accurate, 7: sure}[winner].schedule
    assert confirmed["macro_accuracy"]["values"] == [answers[best.key].score] * len(config.confirm.seeds)


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


@pytest.mark.parametrize(
    ("folds", "resplit", "seeds", "expected"),
    [
        (2, False, [7, 8], [(0, 7), (0, 8), (1, 7), (1, 8)]),
        (1, True, [7, 8], [(0, 7), (0, 8)]),
        (3, True, [7, 8, 9], [(0, 7), (1, 8), (2, 9)]),
        (3, True, [7], [(0, 7), (1, 7), (2, 7)]),
        (2, True, [7, 8, 9], [(0, 7), (1, 8), (0, 9)]),
    ],
)
def test_every_fold_is_confirmed_with_every_seed_but_new_splits_in_turn(
    folds: int, resplit: bool, seeds: list[int], expected: list[tuple[int, int]]
) -> None:
    config = RunConfig(evolution=EvolutionConfig("biotune", folds=folds, resplit=resplit), confirm=ConfirmConfig(seeds=seeds))
    assert confirming(config) == expected
