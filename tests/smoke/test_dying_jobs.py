"""A sweep whose jobs die: the others are run, the table tells, and the same command again runs only what is missing."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest

# dies where the job itself runs, but neither where it is checked beforehand nor once it is told not to
DYING = """
import multiprocessing, os, signal
from pathlib import Path
import biotune
from biotune.strategies.fixed import full

def die(blocks):
    if multiprocessing.parent_process() is not None and not Path("healed").exists():
        os.kill(os.getpid(), signal.SIGSEGV)
    return full(blocks)

def wait(blocks):
    if multiprocessing.parent_process() is not None:
        Path("waiting").write_text(str(os.getpid()))
        import time
        time.sleep(60)
    return full(blocks)

biotune.register_strategy("dying", die)
biotune.register_strategy("waiting", wait)
"""
SMALL = [
    "executor=in_process",
    "plugins=[dying]",
    "training.epochs=1",
    "test.seeds=[1]",
    "dataset.max_per_class=4",
    "dataset.max_eval_per_class=4",
]


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    (tmp_path / "dying.py").write_text(DYING)
    return tmp_path


def command(strategies: str) -> list[str]:
    return [sys.executable, "-m", "biotune", "train", "-m", f"strategy.name={strategies}", *SMALL, "hydra.sweep.dir=sweep"]


def environment(shop: Path) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(shop), *sys.path])}


def run(shop: Path, strategies: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(strategies), cwd=shop, env=environment(shop), capture_output=True, text=True, timeout=300, check=False
    )


@pytest.mark.slow
def test_a_job_that_dies_takes_no_other_along_and_is_run_again(shop: Path) -> None:
    first = run(shop, "full,dying")
    assert first.returncode == 1
    assert "the job's process was killed by SIGSEGV" in first.stderr
    assert "Traceback" not in first.stderr
    table = pd.read_csv(shop / "sweep" / "sweep.csv")
    assert list(table["state"]) == ["finished", "failed"]
    assert "SIGSEGV" in table["error"][1]
    assert json.loads((shop / "sweep/1/status.json").read_text())["state"] == "failed"
    before = (shop / "sweep/0/journal.jsonl").read_bytes()
    (shop / "healed").touch()
    second = run(shop, "full,dying")
    assert second.returncode == 0, second.stderr
    assert second.stdout.count("has finished already") == 1
    assert list(pd.read_csv(shop / "sweep" / "sweep.csv")["state"]) == ["finished"] * 2
    assert (shop / "sweep/0/journal.jsonl").read_bytes() == before


@pytest.mark.slow
def test_an_interrupted_sweep_goes_on_in_the_job_that_was_interrupted(shop: Path) -> None:
    more = ["test.seeds=[1,2,3]"]
    process = subprocess.Popen(
        [*command("full,linear_probe"), *more], cwd=shop, env=environment(shop), stderr=subprocess.PIPE, text=True
    )
    deadline = time.monotonic() + 300
    while not trained(shop / "sweep/1"):
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=300)
    assert process.returncode == 130
    assert "hydra.sweep.dir=sweep continues the sweep" in said
    states = [json.loads((shop / "sweep" / job / "status.json").read_text())["state"] for job in "01"]
    assert states == ["finished", "interrupted"]
    first, second = (trained(shop / "sweep" / job) for job in "01")
    assert [len(first), 0 < len(second) < 3] == [3, True]
    again = subprocess.run([*command("full,linear_probe"), *more], cwd=shop, env=environment(shop), timeout=300, check=False)
    assert again.returncode == 0
    assert trained(shop / "sweep/0") == first
    assert trained(shop / "sweep/1")[: len(second)] == second
    assert len(trained(shop / "sweep/1")) == 3


def trained(job: Path) -> list[str]:
    """The trainings in a job's journal."""
    journal = job / "journal.jsonl"
    return [line for line in journal.read_text().splitlines() if "curve" in line] if journal.exists() else []


@pytest.mark.slow
@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGKILL])
def test_the_job_ends_with_the_command_that_runs_the_sweep(shop: Path, end: signal.Signals) -> None:
    process = subprocess.Popen(
        command("waiting,full"), cwd=shop, env=environment(shop), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    deadline = time.monotonic() + 300
    while not (shop / "waiting").exists() or not (shop / "waiting").read_text():
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.1)
    job = int((shop / "waiting").read_text())
    process.send_signal(end)
    _, said = process.communicate(timeout=300)
    if end == signal.SIGTERM:
        assert process.returncode == 130
        assert json.loads((shop / "sweep/0/status.json").read_text())["state"] == "interrupted"
        assert "hydra.sweep.dir=" in said and "Traceback" not in said
    deadline = time.monotonic() + 10
    while is_alive(job):
        assert time.monotonic() < deadline
        time.sleep(0.1)


def is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    state = Path(f"/proc/{process}/stat")
    return not state.exists() or state.read_text().rsplit(")", 1)[1].split()[0] != "Z"
