"""What trackers are told of trials, generations and results."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

from biotune.config.schema import RunConfig
from biotune.config.tracking import MlflowConfig, TrackerConfig
from biotune.recipes.trackers.describe import child_run, end_of, parent_run
from biotune.recipes.trackers.events import FAILED, FINISHED, End
from biotune.schedule.block import Block
from biotune.schedule.plan import Method
from biotune.schedule.schedule import Schedule
from biotune.trial import Trial, TrialResult

BLOCKS = tuple(Block(name, (name,)) for name in ("stem", "body", "head"))
TRIAL = Trial(Schedule(BLOCKS, (0.0, 0.5, 2.0)), 1, 684, 30, 0.125)
RESULT = TrialResult("ok", (0.25, 0.75, 0.5), 3.5, {"accuracy": 0.625}, losses=(2.0, 1.0, 1.5))


def test_a_training_run_has_its_learning_rates_its_curve_its_score_and_its_cost() -> None:
    run = child_run(TRIAL, RESULT, "searching")
    assert [run.settings[f"lr.{name}"] for name in ("stem", "body", "head")] == [0.0, 0.0625, 0.25]
    assert run.settings["frozen"] == "stem"
    assert (run.settings["fold"], run.settings["seed"], run.settings["phase"]) == ("fold 1", 684, "searching")
    assert run.curves == {"val_macro_accuracy": (0.25, 0.75, 0.5), "val_loss": (2.0, 1.0, 1.5)}
    assert run.scores == {"best_val_macro_accuracy": 0.75, "test_accuracy": 0.625, "epochs": 3.0, "seconds": 3.5}
    assert (run.status, run.error) == ("ok", None)


def test_a_failed_training_run_has_no_score() -> None:
    run = child_run(TRIAL, TrialResult("failed", (), 0.5, error="out of memory"), "searching")
    assert (run.curves, run.scores) == ({}, {"epochs": 0.0, "seconds": 0.5})
    assert (run.status, run.error) == ("failed", "out of memory")


def test_equal_trials_have_one_identity_and_others_have_others() -> None:
    first = child_run(TRIAL, RESULT, "searching").id
    assert child_run(replace(TRIAL, floor=(0.5,)), RESULT, "confirming").id == first
    others = [replace(TRIAL, seed=1), replace(TRIAL, fold=None), replace(TRIAL, lr=1.0), replace(TRIAL, test=True)]
    others.append(replace(TRIAL, method=Method("l2_sp", (("alpha", 0.01),))))
    identities = {child_run(trial, RESULT, "searching").id for trial in others}
    identities |= {child_run(TRIAL, RESULT, "searching", f"seed-{seed}").id for seed in (1, 2)}
    assert len(identities | {first}) == 8


def test_a_run_is_described_by_all_settings_but_those_of_trackers() -> None:
    config = RunConfig(tracker=TrackerConfig(mlflow=MlflowConfig(True, "http://elsewhere:5000")))
    run = parent_run("x", "run", config, Path("/outputs/today/first"))
    assert run.name == "run first"
    assert run.settings["training.lr"] == 0.001
    assert run.settings["training.seeds"] == "[684,559,629]"
    assert run.settings["dataset.download"] == "false"
    assert "elsewhere" not in str(run) and not [key for key in run.settings if key.startswith("tracker")]


def test_the_end_has_the_means_of_the_result_and_the_files_that_are_there(tmp_path: Path) -> None:
    document = {
        "search": {"best_fitness": 0.25, "trainings": 7},
        "confirmed": {"macro_accuracy": None},
        "test": {"macro_accuracy": {"mean": 0.5, "sd": 0.1, "values": [0.4, 0.6]}},
        "schedule": {"threshold": 0.3},
        "base_lr": 0.5,
        "final": {"val_macro_accuracy": 1.0},
        "odd": [1, True, "text"],
    }
    (tmp_path / "result.json").write_text(json.dumps(document))
    (tmp_path / "report.html").write_text("page")
    end = end_of(FINISHED, tmp_path)
    assert end.scores == {
        "search/best_fitness": 0.25,
        "search/trainings": 7.0,
        "test/macro_accuracy": 0.5,
        "base_lr": 0.5,
    }
    assert end.files == (tmp_path / "report.html", tmp_path / "result.json")
    assert end_of(FAILED, tmp_path) == End(FAILED)
