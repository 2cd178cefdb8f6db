"""Weights & Biases, offline: what the files hold that `wandb sync` would send."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import tracking
from tracking import RUN, child, end, events, row, tell
from wandb_files import OfflineRun, offline_runs

from biotune.config.tracking import TrackerConfig, WandbConfig
from biotune.recipes.trackers.events import INTERRUPTED
from biotune.recipes.trackers.registry import Tracker, open_tracker

pytest.importorskip("wandb")

KILLED = """
import os, signal
from pathlib import Path
from tracking import RUN, events, tell
from biotune.config.tracking import TrackerConfig, WandbConfig
from biotune.recipes.trackers.registry import open_tracker
tell(open_tracker("wandb", TrackerConfig(wandb=WandbConfig(True, mode="offline")), Path({folder!r}), RUN), *events(0, 2))
os.kill(os.getpid(), signal.SIGKILL)
"""
Start = Callable[..., Tracker]


@pytest.fixture
def start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Start:
    """Opens a session; keyword arguments are settings of W&B."""
    monkeypatch.setenv("WANDB_DATA_DIR", "none")  # so that what the tracker sets does not stay
    monkeypatch.setenv("WANDB_API_KEY", "x" * 40)

    def begin(**settings: str) -> Tracker:
        own = WandbConfig(True, **{"mode": "offline", **settings})
        return open_tracker("wandb", TrackerConfig(wandb=own), tmp_path, RUN)

    return begin


def children(folder: Path) -> list[OfflineRun]:
    return [run for run in offline_runs(folder) if run.id != RUN.id]


def generations(folder: Path) -> list[tuple[int, int, float]]:
    """Step, number and best fitness of every generation that any session has sent."""
    parents = [run for run in offline_runs(folder) if run.id == RUN.id]
    return [(entry["_step"], entry["generation"], entry["best_fitness"]) for run in parents for entry in run.history]


def test_a_search_is_a_run_and_each_training_run_one_of_its_group(start: Start, tmp_path: Path) -> None:
    tell(start(), *events(0, 2), child(2, "failed"), end(tmp_path))
    (parent,) = (run for run in offline_runs(tmp_path) if run.id == RUN.id)
    assert (parent.name, parent.group, parent.kind, parent.exit) == ("run made-up", RUN.id, "run", 0)
    assert parent.config == {"training.lr": 0.5, "dataset.name": "digits"}
    assert generations(tmp_path) == [(0, 0, 0.5), (1, 1, 0.375)]
    assert parent.summary["result/test/macro_accuracy"] == 0.875
    assert sorted(parent.files) == ["best_schedule.yaml", "report.html"]
    found = {run.id: run for run in children(tmp_path)}
    assert set(found) == {f"{RUN.id}-{child(number).id}" for number in (0, 1, 2)}
    own = found[f"{RUN.id}-{child(1).id}"]
    assert (own.name, own.group, own.kind, own.exit) == (child(1).name, RUN.id, "searching", 0)
    assert own.config == child(1).settings
    assert [(entry["_step"], entry["val_macro_accuracy"], entry["val_loss"]) for entry in own.history] == [
        (1, 0.5, 1.5),
        (2, 0.75, 1.25),
    ]
    assert (own.summary["best_val_macro_accuracy"], own.summary["seconds"], own.summary["status"]) == (0.75, 2.5, "ok")
    failed = found[f"{RUN.id}-{child(2).id}"]
    assert (failed.exit, failed.summary["error"]) == (1, "loss is not finite")


def test_a_run_that_goes_on_is_continued_and_nothing_is_written_twice(start: Start, tmp_path: Path) -> None:
    tell(start(), *events(0, 2), end(tmp_path, INTERRUPTED))
    tell(start(), *events(0, 3), end(tmp_path))
    tell(start(), *events(0, 3), end(tmp_path))
    assert generations(tmp_path) == [(0, 0, 0.5), (1, 1, 0.375), (2, 2, 0.25)]
    assert sorted(run.id for run in children(tmp_path)) == [f"{RUN.id}-{child(number).id}" for number in range(3)]
    assert len([file for run in offline_runs(tmp_path) for file in run.files]) == 2


def test_what_a_killed_session_has_not_written_is_written_then(start: Start, tmp_path: Path) -> None:
    tell(start(), *events(0, 2), end(tmp_path, INTERRUPTED))
    (torn,) = tmp_path.glob(f"wandb/offline-run-*/run-{RUN.id}-{child(1).id}.wandb")
    os.truncate(torn, torn.stat().st_size - 10)
    (torn,) = tmp_path.glob(f"wandb/offline-run-*/run-{RUN.id}.wandb")
    while len(generations(tmp_path)) > 1:
        os.truncate(torn, torn.stat().st_size - 1)
    tell(start(), *events(0, 2), end(tmp_path))
    assert sorted(run.id for run in children(tmp_path)) == [f"{RUN.id}-{child(number).id}" for number in range(2)]
    assert generations(tmp_path) == [(0, 0, 0.5), (1, 1, 0.375)]


def test_a_session_that_is_killed_before_it_writes_anything_leaves_nothing_missing(start: Start, tmp_path: Path) -> None:
    script = tmp_path / "killed.py"
    script.write_text(KILLED.format(folder=str(tmp_path)))
    paths = os.pathsep.join([str(Path(__file__).parents[3]), str(Path(tracking.__file__).parent)])
    subprocess.run([sys.executable, str(script)], env={**os.environ, "PYTHONPATH": paths}, check=False, capture_output=True)
    assert list(tmp_path.glob("wandb/offline-run-*"))
    tell(start(), *events(0, 2), end(tmp_path))
    assert generations(tmp_path) == [(0, 0, 0.5), (1, 1, 0.375)]
    assert sorted(run.id for run in children(tmp_path)) == [f"{RUN.id}-{child(number).id}" for number in range(2)]


def test_another_project_receives_everything(start: Start, tmp_path: Path) -> None:
    tell(start(), *events(0, 1), end(tmp_path))
    tell(start(project="other"), *events(0, 1), end(tmp_path))
    assert generations(tmp_path) == [(0, 0, 0.5)] * 2


def test_neither_key_nor_facts_about_the_machine_are_written(start: Start, tmp_path: Path) -> None:
    tell(start(), child(0), row(0), end(tmp_path))
    content = b"".join(path.read_bytes() for path in (tmp_path / "wandb").rglob("*") if path.is_file())
    assert b"x" * 40 not in content
    names = {path.name for path in (tmp_path / "wandb").rglob("*")}
    assert not names & {"wandb-metadata.json", "requirements.txt", "output.log", "diff.patch"}
