"""A search in a process of its own, for tests that disturb it: started, watched, finished, compared."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from pathlib import Path

import pandas as pd

SEARCH = [
    "experiment=smoke",
    "executor=process_pool",
    "executor.workers=2",
    "dataset.max_classes=null",
    "dataset.max_per_class=10",
    "dataset.max_eval_per_class=10",
    "evolution.folds=2",
    "evolution.generations=8",
    "training.epochs=2",
    "training.lr=0.003",
    "training.batch_size=16",
    "training.seeds=[1,4]",
    "confirm.top_k=2",
    "test.seeds=[3,5]",
    "-q",
]
SAME = ("best_schedule.yaml", "model.safetensors", "predictions.csv", "curves.csv")
TABLES = ("generations.csv", "summary.csv", "confirm.csv", "test.csv")


def start(*arguments: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "biotune", *arguments],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )


def trained(folder: Path) -> list[str]:
    """Keys of the journalled trainings, in order."""
    try:
        lines = (folder / "journal.jsonl").read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return []
    keys = []
    for line in lines:
        with contextlib.suppress(ValueError):  # the last line may be torn
            record = json.loads(line)
            if record["kind"] == "trial":
                keys.append(record["key"])
    return keys


def workers_of(driver: int) -> list[int]:
    """Process ids of a driver's children, as Linux tells them."""
    found = []
    for task in Path(f"/proc/{driver}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            found += [int(pid) for pid in task.read_text().split()]
    return found


def assert_same(one: Path, other: Path) -> None:
    for name in TABLES:
        left, right = (pd.read_csv(folder / name).drop(columns="seconds") for folder in (one, other))
        pd.testing.assert_frame_equal(left, right, check_exact=True)
    for name in SAME:
        assert (one / name).read_bytes() == (other / name).read_bytes(), name


def finish(folder: Path) -> None:
    if json.loads((folder / "status.json").read_text())["state"] == "finished":
        return
    process = start("resume", str(folder), "-q")
    _, error = process.communicate(timeout=240)
    assert process.returncode == 0, error.decode()
