"""A task that trains: its scores are those that `biotune train` gives on the same split with the same seeds."""

from __future__ import annotations

import statistics
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from biotune.cli import main
from biotune.schedule.schedule import Schedule

script = pytest.importorskip("trained_task")

TINY = [
    "dataset.max_classes=3",
    "dataset.max_per_class=8",
    "dataset.max_eval_per_class=20",
    "training.epochs=3",
    "test.seeds=[1,2]",
]
EXPERIMENT, SPLIT = "panel_noise", 4


@pytest.fixture(scope="module")
def task(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return script.TrainedTask(EXPERIMENT, SPLIT, tmp_path_factory.mktemp("scratch"), TINY)


def test_a_quality_is_the_mean_of_final_training_runs_and_a_score_that_of_one(
    task: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    own = ["dataset.shift=noise", f"dataset.split_seed={SPLIT}", *TINY, "training.head_start=fresh"]
    assert main(["train", "strategy=full", *own, "executor=in_process", "hydra.run.dir=trained", "-q"]) == 0
    told = pd.read_csv("trained/test.csv")
    full = Schedule(task.blocks, (1.0,) * len(task.blocks))
    assert task.quality(full) == pytest.approx(statistics.fmean(told["macro_accuracy"]))
    assert main(["train", "strategy=full", *own, "executor=in_process", "test.seeds=[684]", "hydra.run.dir=one", "-q"]) == 0
    assert task.score(full) == pytest.approx(pd.read_csv("one/test.csv")["val_macro_accuracy"].item())


def test_a_training_run_that_fails_ends_the_script_with_its_reason(task: Any) -> None:
    strange = Schedule(task.blocks, (1e300,) * len(task.blocks))
    with pytest.raises(SystemExit, match="a training run failed: "):
        task.score(strange)


def test_settings_that_are_refused_end_it(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="failed with exit status 2"):
        script.composed(["experiment=panel_noise", "training.epoch=3"])
    assert "training.epoch=3: no such key" in capfd.readouterr().err
