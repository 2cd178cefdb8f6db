"""The usual methods, each at its best learning rate."""

import math
from types import SimpleNamespace

import pytest

from biotune.config.schema import RunConfig
from biotune.recipes.baselines import at_rate, tune
from biotune.recipes.progress import SILENCE
from biotune.schedule.block import Block
from biotune.schedule.genotype import decode
from biotune.schedule.plan import Method, Plan
from biotune.schedule.schedule import LAST_TO_FIRST, Schedule
from biotune.trial import Trial, TrialResult

BLOCKS = (Block("a", ("a",)), Block("b", ("b",)))


def session(score) -> SimpleNamespace:  # type: ignore[no-untyped-def]
    asked: list[Trial] = []

    def run(trials: list[Trial]) -> list[TrialResult]:
        asked.extend(trials)
        values = [score(trial) for trial in trials]
        return [TrialResult("failed", (), 0.0) if value is None else TrialResult("ok", (value,), 0.0) for value in values]

    network = SimpleNamespace(blocks=BLOCKS, fresh_head=True)
    return SimpleNamespace(executor=SimpleNamespace(run=run), network=network, asked=asked)


def config(folds: int = 3, **options: object) -> RunConfig:
    made = RunConfig()
    made.evolution.folds = folds
    made.training.seeds = [684]
    for name, value in options.items():
        setattr(made.confirm, name, value)
    return made


def test_all_rates_are_tried_on_the_first_fold_and_the_best_two_on_the_second() -> None:
    def score(trial: Trial) -> float:
        rate = trial.schedule.lr_weights[1]
        return {0.3: 0.5, 1.0: 0.7, 3.0: 0.8, 10.0: 0.1}[round(rate, 6)] - (0.3 if trial.fold and rate > 2 else 0.0)

    own = session(score)
    found = tune(own, config(baselines=["full"]), 1e-3, SILENCE)  # type: ignore[arg-type]
    tuned = found.plans
    assert found.factors == {"full": 1.0}
    assert [(trial.fold, round(trial.schedule.lr_weights[0], 6)) for trial in own.asked] == [
        (0, 0.3),
        (0, 1.0),
        (0, 3.0),
        (0, 10.0),
        (1, 3.0),
        (1, 1.0),
    ]
    assert {trial.seed for trial in own.asked} == {684}
    assert tuned["full"].schedule.lr_weights == pytest.approx((1.0, 1.0))  # 0.7 on both folds, against 0.8 and 0.5


def test_one_fold_decides_where_there_is_one() -> None:
    own = session(lambda trial: trial.schedule.lr_weights[1])
    tuned = tune(own, config(folds=1, baselines=["linear_probe"]), 1e-3, SILENCE)  # type: ignore[arg-type]
    assert len(own.asked) == tuned.costs["trainings"] == tuned.costs["epochs"] == 4
    assert tuned.plans["linear_probe"].schedule.lr_weights == pytest.approx((0.0, 10.0))


def test_a_method_with_hooks_is_tuned_by_the_base_rate_of_its_trials() -> None:
    own = session(lambda trial: 1 - abs(trial.lr - 3e-3))
    tuned = tune(own, config(baselines=["lp_ft"]), 1e-3, SILENCE).plans  # type: ignore[arg-type]
    assert tuned["lp_ft"].lr_factor == 3.0
    assert tuned["lp_ft"].method == Method("lp_ft")
    assert all(trial.schedule.lr_weights == (1.0, 1.0) and trial.method == Method("lp_ft") for trial in own.asked)


def test_a_rate_that_fails_is_not_chosen_and_a_method_that_always_fails_is_left_out() -> None:
    def score(trial: Trial) -> float | None:
        return None if trial.schedule.lr_weights[0] == 0 or trial.schedule.lr_weights[0] > 2 else 0.5

    tuned = tune(session(score), config(baselines=["linear_probe", "full"]), 1e-3, SILENCE).plans  # type: ignore[arg-type]
    assert list(tuned) == ["full"]
    assert tuned["full"].schedule.lr_weights[0] < 2


def test_nothing_is_tuned_without_a_confirmation_or_baselines() -> None:
    for options in ({"top_k": 0}, {"baselines": []}):
        own = session(lambda trial: 0.5)
        assert tune(own, config(**options), 1e-3, SILENCE).plans == {}  # type: ignore[arg-type]
        assert own.asked == []


@pytest.mark.parametrize("factor", [0.3, 1.0, 3.0, 10.0])
def test_a_scaled_schedule_is_the_one_that_a_genotype_decodes_to(factor: float) -> None:
    """Equal keys, so that a search whose first generation holds the usual methods finds them trained."""
    scaled = at_rate(Plan(Schedule(BLOCKS, (1.0, 1.0), unfreezing=LAST_TO_FIRST)), factor).schedule
    gene = 0.5 + math.log10(factor) / 2
    decoded = decode([gene, gene, 0.0], BLOCKS)
    assert scaled.lr_weights == decoded.lr_weights
    assert scaled.lr_weights == pytest.approx((factor, factor))
    assert scaled.unfreezing == LAST_TO_FIRST


def test_rates_beyond_the_genotypes_are_scaled_as_they_are() -> None:
    assert at_rate(Plan(Schedule(BLOCKS, (0.0, 5.0))), 10.0).schedule.lr_weights == (0.0, 50.0)
