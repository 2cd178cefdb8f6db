"""The confirmation: finalists, what is trained, and what wins."""

import math
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest
from torch import nn

from biotune.config.schema import RunConfig
from biotune.config.search import ConfirmConfig, EvolutionConfig
from biotune.errors import SearchError
from biotune.evolution.history import HallEntry
from biotune.evolution.individual import Fitness
from biotune.evolution.surrogate import Observation
from biotune.recipes.baselines import Tuned
from biotune.recipes.confirm import Confirmed, confirm, confirming_trials
from biotune.recipes.progress import SILENCE
from biotune.schedule.block import Block
from biotune.schedule.plan import Plan
from biotune.schedule.schedule import Schedule
from biotune.trial import Trial, TrialResult

BLOCKS = (Block("a", ("a",)), Block("b", ("b",)))
PROBE, FULL = Plan(Schedule(BLOCKS, (0.0, 1.0))), Plan(Schedule(BLOCKS, (1.0, 1.0)))


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(2, 2), nn.Linear(2, 1)


def entry(number: int, *weights: float) -> HallEntry:
    return HallEntry(Schedule(BLOCKS, weights), number, {}, Fitness((0.5,)))


def confirmed(
    folder: Path,
    score: Callable[[Trial], float],
    hall: list[HallEntry],
    baselines: dict[str, Plan],
    asked: list[Trial] | None = None,
    observations: list[Observation] | None = None,
    **options: Any,
) -> Confirmed:
    def run(trials: list[Trial]) -> list[TrialResult]:
        if asked is not None:
            asked.extend(trials)
        results = []
        for trial in trials:
            value = score(trial)
            failed = math.isnan(value)
            curve, status = ((), "failed") if failed else ((value,), "ok")
            results.append(TrialResult(status, curve, 1.0, losses=(1 - value,), unbiased=value - 0.1))
        return results

    config = RunConfig()
    config.evolution.folds, config.evolution.resplit, config.confirm.splits = 3, True, 4
    for name, value in options.items():
        setattr(config.confirm, name, value)
    whole = SimpleNamespace(train=range(80), val=range(20))
    session = SimpleNamespace(
        folder=folder,
        executor=SimpleNamespace(run=run),
        network=SimpleNamespace(module=Net(), blocks=BLOCKS),
        data=SimpleNamespace(sides=(8, 8), whole=whole, test=range(100)),
    )
    last = SimpleNamespace(hall=hall, observations=observations or [], front=None)
    return confirm(session, config, 1e-3, last, Tuned(baselines, {"trainings": 7}), SILENCE)  # type: ignore[arg-type]


def test_a_baseline_that_is_better_is_returned_and_so_is_its_whole_plan(tmp_path: Path) -> None:
    def score(trial: Trial) -> float:
        return 0.9 if trial.lr == pytest.approx(3e-3) else 0.7

    lp_ft = Plan(FULL.schedule, lr_factor=3.0)
    found = confirmed(tmp_path, score, [entry(4, 0.5, 1.0)], {"linear_probe": PROBE, "lp_ft": lp_ft})
    assert (found.winner.strategy, found.winner.plan) == ("lp_ft", lp_ft)
    assert found.document["macro_accuracy"]["values"] == [0.9] * 4
    assert found.document["chosen"] == found.document["best"] == "lp_ft"


def test_every_finalist_leaves_its_learning_rates_even_one_that_is_dropped(tmp_path: Path) -> None:
    def score(trial: Trial) -> float:
        return 0.9 if trial.lr == pytest.approx(3e-3) else 0.2 if trial.schedule.lr_weights[0] == 0 else 0.85

    baselines = {"linear_probe": PROBE, "lp_ft": Plan(FULL.schedule, lr_factor=3.0)}
    document = confirmed(tmp_path, score, [entry(4, 0.5, 1.0)], baselines).document
    assert "linear_probe" not in [one["schedule"] for one in document["finalists"]]
    lrs = {name: list(one["lr"].values()) for name, one in document["schedules"].items()}
    assert lrs == {"linear_probe": [0.0, 1e-3], "lp_ft": pytest.approx([3e-3, 3e-3]), "4": [5e-4, 1e-3]}
    assert list(document["schedules"]["4"]["lr"]) == ["a", "b"]


def test_of_what_the_data_cannot_tell_apart_the_smallest_wins(tmp_path: Path) -> None:
    def noisy(trial: Trial) -> float:
        # the probe is 0.005 behind on average, but by turns ahead and behind
        return 0.80 if trial.schedule.lr_weights[0] else 0.795 + (0.05 if (trial.fold or 0) % 2 else -0.05)

    probe = confirmed(tmp_path, noisy, [entry(4, 0.5, 1.0)], {"linear_probe": PROBE, "full": FULL})
    assert (probe.winner.strategy, probe.document["best"]) == ("linear_probe", "full")
    assert 0 < probe.document["behind"] < probe.document["standard_error"]
    best = confirmed(tmp_path, noisy, [entry(4, 0.5, 1.0)], {"linear_probe": PROBE, "full": FULL}, choose="score")
    assert best.winner.strategy == "full"


def test_a_clear_difference_is_no_tie(tmp_path: Path) -> None:
    def score(trial: Trial) -> float:
        return (0.8 if trial.schedule.lr_weights[0] else 0.7) + 0.05 * ((trial.fold or 0) % 2)  # splits differ for all alike

    assert confirmed(tmp_path, score, [], {"linear_probe": PROBE, "full": FULL}).winner.strategy == "full"


def test_confirming_trials_are_on_splits_that_the_search_has_not_used(tmp_path: Path) -> None:
    asked: list[Trial] = []
    confirmed(tmp_path, lambda trial: 0.5, [entry(4, 0.5, 1.0)], {"full": FULL}, asked)
    assert {trial.fold for trial in asked} == {3, 4, 5, 6}
    assert all(trial.unbiased and trial.seed in ConfirmConfig().seeds and not trial.test for trial in asked)


def test_a_finalist_that_is_far_behind_is_trained_on_half_of_the_splits_only(tmp_path: Path) -> None:
    asked: list[Trial] = []

    def score(trial: Trial) -> float:
        weight = trial.schedule.lr_weights[0]
        return {0.0: 0.2, 0.5: 0.81, 1.0: 0.8}[weight] + (0.02 if weight == 1 and trial.fold == 4 else 0.0)

    confirmed(tmp_path, score, [entry(4, 0.5, 1.0)], {"linear_probe": PROBE, "full": FULL}, asked)
    folds = {weight: sorted(t.fold or 0 for t in asked if t.schedule.lr_weights[0] == weight) for weight in (0.0, 0.5, 1.0)}
    assert folds == {0.0: [3, 4], 0.5: [3, 4, 5, 6], 1.0: [3, 4, 5, 6]}
    table = pd.read_csv(tmp_path / "confirm.csv")
    assert table.groupby("strategy").size().to_dict() == {"biotune": 4, "full": 4, "linear_probe": 2}


def test_what_may_be_returned_is_the_winner_then_the_others_by_score_but_none_that_was_ruled_out(tmp_path: Path) -> None:
    def score(trial: Trial) -> float:
        noise = 0.02 if trial.fold == 4 else 0.0
        return {0.0: 0.2, 0.5: 0.792, 0.8: 0.79 + noise, 1.0: 0.8}[trial.schedule.lr_weights[0]]

    hall = [entry(4, 0.5, 1.0), entry(6, 0.8, 1.0)]
    found = confirmed(tmp_path, score, hall, {"linear_probe": PROBE, "full": FULL}, choose="score")
    assert [one.name for one in found.retrained("finalists")] == ["full", "schedule_6", "schedule_4"]
    assert [one.name for one in found.retrained("winner")] == ["full"]


def test_a_schedule_that_is_a_baseline_is_confirmed_once_and_makes_room_for_the_next(tmp_path: Path) -> None:
    hall = [entry(4, 1.0, 1.0), entry(5, 0.5, 1.0), entry(6, 0.2, 1.0)]
    found = confirmed(tmp_path, lambda trial: 0.5, hall, {"full": FULL}, top_k=1)
    assert [one["schedule"] for one in found.document["finalists"]] == ["full", "5"]


def test_a_failed_finalist_never_wins_and_if_all_fail_nothing_does(tmp_path: Path) -> None:
    def score(trial: Trial) -> float:
        return math.nan if trial.schedule.lr_weights[0] == 1 and trial.fold == 4 else 0.5

    assert confirmed(tmp_path, score, [entry(4, 0.5, 1.0)], {"full": FULL}).winner.strategy == "biotune"
    with pytest.raises(SearchError, match="nothing could|no schedule could be confirmed"):
        confirmed(tmp_path, lambda trial: math.nan, [entry(4, 0.5, 1.0)], {"full": FULL})


def test_the_predicted_score_is_that_of_images_which_chose_neither_epoch_nor_schedule(tmp_path: Path) -> None:
    found = confirmed(tmp_path, lambda trial: 0.8, [entry(4, 0.5, 1.0)], {"full": FULL})
    expected = found.document["predicted"]["macro_accuracy"]
    assert expected["mean"] == pytest.approx(0.7)
    half = 1.96 * math.sqrt(0.7 * 0.3 / 100)  # equal scores on all splits leave the sampling of 100 test images
    assert (expected["low"], expected["high"]) == (pytest.approx(0.7 - half), pytest.approx(0.7 + half))


@pytest.mark.parametrize(("metric", "winner"), [("acc", "4"), ("loss", "7")])
def test_the_confirmation_is_won_by_the_metric_of_the_search(metric: str, winner: str, tmp_path: Path) -> None:
    accurate, sure = entry(4, 1.0, 1.0), entry(7, 0.0, 1.0)
    results = {
        accurate.schedule.key: TrialResult("ok", (0.9,), 1.0, losses=(2.0,)),
        sure.schedule.key: TrialResult("ok", (0.8,), 1.0, losses=(0.1,)),
    }
    config = RunConfig()
    config.evolution.folds, config.confirm.splits, config.confirm.choose, config.fitness.metric = 1, 0, "score", metric
    session = SimpleNamespace(
        folder=tmp_path,
        executor=SimpleNamespace(run=lambda trials: [results[trial.schedule.key] for trial in trials]),
        network=SimpleNamespace(module=Net(), blocks=BLOCKS),
        data=SimpleNamespace(sides=(8, 8), whole=SimpleNamespace(train=range(8), val=range(2)), test=range(10)),
    )
    last = SimpleNamespace(hall=[accurate, sure], observations=[], front=None)
    found = confirm(session, config, 1e-3, last, Tuned({}, {}), SILENCE)  # type: ignore[arg-type]
    assert found.document["chosen"] == winner


def test_the_smoothest_evolved_schedule_stands_for_the_search_not_the_luckiest(tmp_path: Path) -> None:
    """A lone good score among bad neighbours loses against a good neighbourhood."""
    lucky, solid = entry(1, 0.1, 0.1), entry(2, 3.0, 3.0)
    bad = [Observation(Schedule(BLOCKS, (0.1 + 0.01 * i, 0.1)), 0, 0.6) for i in range(8)]
    good = [Observation(Schedule(BLOCKS, (3.0 + 0.1 * i, 3.0)), 0, 0.31) for i in range(8)]

    def score(trial: Trial) -> float:
        return 0.71 if trial.schedule == lucky.schedule else 0.69

    found = confirmed(tmp_path, score, [lucky, solid], {}, observations=[*bad, *good], choose="smoothed")
    assert found.winner.plan.schedule == solid.schedule
    assert confirmed(tmp_path, score, [lucky, solid], {}, observations=[*bad, *good], choose="score").document["chosen"] == "1"


def test_without_confirmation_the_best_of_the_search_is_returned(tmp_path: Path) -> None:
    found = confirmed(tmp_path, lambda trial: 0.5, [entry(4, 0.5, 1.0)], {}, top_k=0)
    assert (found.winner.plan, found.document) == (Plan(entry(4, 0.5, 1.0).schedule), {"macro_accuracy": None})
    assert list(pd.read_csv(tmp_path / "confirm.csv").columns) == ["schedule", "fold", "seed", "macro_accuracy", "seconds"]


@pytest.mark.parametrize(
    ("folds", "resplit", "splits", "seeds", "expected"),
    [
        (2, False, 0, [7, 8], [(0, 7), (0, 8), (1, 7), (1, 8)]),
        (1, True, 0, [7, 8], [(0, 7), (0, 8)]),
        (3, True, 0, [7, 8, 9], [(0, 7), (1, 8), (2, 9)]),
        (2, True, 0, [7, 8, 9], [(0, 7), (1, 8), (0, 9)]),
        (3, True, 4, [7, 8], [(3, 7), (4, 8), (5, 7), (6, 8)]),
        (3, True, 2, [7, 8, 9], [(3, 7), (4, 8), (3, 9)]),
    ],
)
def test_every_fold_is_confirmed_with_every_seed_but_new_splits_in_turn(
    folds: int, resplit: bool, splits: int, seeds: list[int], expected: list[tuple[int, int]]
) -> None:
    evolution = EvolutionConfig("biotune", folds=folds, resplit=resplit)
    assert confirming_trials(evolution, ConfirmConfig(seeds=seeds, splits=splits)) == expected
