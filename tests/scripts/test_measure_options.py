"""The script that measures training options: which runs it makes, and its tables."""

from __future__ import annotations

import json
from pathlib import Path

import measure_options
import pytest
from measure_options import AS_SEARCHED, FOUND, FULL, NONE, OPTIONS, TASKS, measure, tables

from biotune.config.sections import FinalTrainingConfig


def test_every_option_is_one_of_final_training_runs() -> None:
    names = set(vars(FinalTrainingConfig()))
    changed = {change.partition("=")[0] for changes in OPTIONS.values() for change in changes}
    assert changed <= names
    assert names - changed == {"batch_size", "step_epochs", "step_factor", "drop_path"}


def test_each_subject_is_trained_with_each_option_from_the_rate_and_the_schedule_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[tuple[str, list[str]]] = []

    def result(command: str, folder: Path, overrides: list[str]) -> dict[str, object]:
        made.append((command, overrides))
        return {"base_lr": 0.005, "test": {"macro_accuracy": {"values": [0.5, 0.7]}}}

    monkeypatch.setattr(measure_options, "result_of", result)
    assert measure("noise", [4], [NONE, "ema=0.9"], tmp_path, []) == {
        FULL: {NONE: [0.6], "ema=0.9": [0.6]},
        FOUND: {NONE: [0.6], "ema=0.9": [0.6]},
    }
    assert [command for command, _ in made] == ["train", "run", "train", "train", "train", "train"]
    assert all("dataset.split_seed=4" in overrides and "dataset.shift=noise" in overrides for _, overrides in made)
    assert "training.lr=0.005" in made[3][1] and "test.training.ema=0.9" in made[3][1]
    assert f"schedule={tmp_path / 'noise-4' / 'search' / 'best_schedule.yaml'}" in made[5][1]
    assert not any("ema" in override for override in made[1][1] + made[2][1])


def test_finished_runs_are_read_and_not_run_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measure_options.subprocess, "run", lambda *given, **options: pytest.fail("ran again"))
    (tmp_path / "result.json").write_text(json.dumps({"base_lr": 0.1}))
    assert measure_options.result_of("train", tmp_path, []) == {"base_lr": 0.1}


def test_the_tables_pair_each_option_with_none_and_the_schedule_with_full_fine_tuning() -> None:
    panel = {
        "noise": {
            FULL: {NONE: [0.5, 0.7], AS_SEARCHED: [0.4, 0.6]},
            FOUND: {NONE: [0.6, 0.8], AS_SEARCHED: [0.7, 0.9]},
        },
        "stamps": {FULL: {NONE: [0.8, 0.8], AS_SEARCHED: [0.9, 0.9]}},
    }
    lines = tables(panel, [AS_SEARCHED, NONE]).splitlines()
    assert "| option | noisy digits | stamps |" in lines
    assert "| none | 0.6000 | 0.8000 |" in lines
    assert "| as the search trains | -0.1000 (-0.1000 to -0.1000) | +0.1000 (+0.1000 to +0.1000) |" in lines
    assert lines[-5:-2] == [
        "| --- | --- |",
        "| as the search trains | +0.3000 (+0.3000 to +0.3000) |",
        "| none | +0.1000 (+0.1000 to +0.1000) |",
    ]


@pytest.mark.parametrize("name", [name for name, task in TASKS.items() if task.data])
def test_missing_data_stop_before_any_work(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit, match=f"python scripts/fetch_{name}.py"):
        measure_options.check_data(TASKS[name])
