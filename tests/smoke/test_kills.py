"""The real command killed at random moments, its workers too, and resumed until it is done: as if nothing had been."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest

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
SAME = ("best_schedule.yaml", "model.safetensors", "predictions.csv")
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


@pytest.fixture(scope="module")
def twin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run that nobody disturbs."""
    folder = tmp_path_factory.mktemp("twin") / "run"
    process = start("run", *SEARCH, f"hydra.run.dir={folder}")
    _, error = process.communicate(timeout=240)
    assert process.returncode == 0, error.decode()
    return folder


def run_with_kills(folder: Path, kills: int, rng: random.Random) -> int:
    """Kill the driver's process group so many times, a random while after a training has been added; returns those done."""
    for done in range(kills):
        begun = (folder / ".hydra" / "config.yaml").is_file()
        process = start("resume", str(folder), "-q") if begun else start("run", *SEARCH, f"hydra.run.dir={folder}")
        before, until = len(trained(folder)), time.monotonic() + 120
        while process.poll() is None and len(trained(folder)) < before + 1 and time.monotonic() < until:
            time.sleep(0.02)
        time.sleep(rng.uniform(0, 0.25))
        if process.poll() is not None:  # it was done before it could be killed
            process.communicate()
            return done
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
    return kills


def finish(folder: Path) -> None:
    if json.loads((folder / "status.json").read_text())["state"] == "finished":
        return
    process = start("resume", str(folder), "-q")
    _, error = process.communicate(timeout=240)
    assert process.returncode == 0, error.decode()


@pytest.mark.timeout(1200)  # thirty times a start, and the machine may be busy
@pytest.mark.skipif(not hasattr(os, "killpg"), reason="needs process groups")
@pytest.mark.parametrize("kills", [1, pytest.param(30, marks=pytest.mark.slow)])
def test_a_driver_killed_at_random_moments_ends_as_one_that_was_not(kills: int, twin: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    done = run_with_kills(folder, kills, random.Random(7))
    assert done >= min(kills, 10)
    finish(folder)
    assert_same(folder, twin)
    # nothing that had ended was trained again
    keys = trained(folder)
    assert len(keys) == len(set(keys))
    assert set(keys) == set(trained(twin))


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="needs Linux's table of processes")
def test_workers_killed_at_random_change_nothing(twin: Path, tmp_path: Path) -> None:
    folder, rng, killed = tmp_path / "run", random.Random(3), 0
    process = start("run", *SEARCH, f"hydra.run.dir={folder}")
    until = time.monotonic() + 300
    while process.poll() is None and time.monotonic() < until:
        time.sleep(rng.uniform(1.0, 4.0))
        # one at a time, and only once trainings come in: three deaths of one training would rightly be a failure
        workers = workers_of(process.pid)
        if workers and trained(folder) and killed < 5:
            with contextlib.suppress(ProcessLookupError):
                os.kill(rng.choice(workers), signal.SIGKILL)
                killed += 1
    _, error = process.communicate(timeout=240)
    assert process.returncode == 0, error.decode()
    assert killed >= 1
    assert_same(folder, twin)
