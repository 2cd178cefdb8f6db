"""The example script for Slurm: told of its time limit, it requeues itself; run again, it resumes."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from kills import trained
from slurm import slurm_environment

from biotune.store.status import state_of

SCRIPT = Path(__file__).parents[2] / "docs/examples/biotune.sbatch"
KEYS = ["experiment=smoke", "executor=in_process", "evolution.generations=6", "training.epochs=2"]


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """Slurm's variables of a job, a `biotune` that is this one, and an `scontrol` that notes what it is asked."""
    made = slurm_environment(tmp_path / "slurm")
    command = tmp_path / "slurm/bin/biotune"
    command.write_text(f'#!/bin/bash\nexec {sys.executable} -m biotune "$@"\n')
    command.chmod(0o755)
    return {**made, "SLURM_JOB_ID": "77", "PYTHONPATH": os.pathsep.join(sys.path)}


def start(environment: dict[str, str], place: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        ["bash", str(SCRIPT), *KEYS], cwd=place, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash")
def test_it_requeues_itself_before_its_time_limit_and_resumes_when_it_is_run_again(
    environment: dict[str, str], tmp_path: Path
) -> None:
    folder, calls = tmp_path / "runs/77", tmp_path / "slurm/scontrol.calls"
    job = start(environment, tmp_path)
    deadline = time.monotonic() + 240
    while len(trained(folder)) < 2:
        assert time.monotonic() < deadline and job.poll() is None, job.communicate()
        time.sleep(0.02)
    job.send_signal(signal.SIGUSR1)  # to the script alone, as `B:` says
    out, error = job.communicate(timeout=60)
    assert job.returncode == 0, (out, error)
    assert f"biotune: interrupted. 'biotune resume {folder}' goes on from here." in error
    assert state_of(folder) == "interrupted"
    assert calls.read_text() == "requeue 77\n"
    before = trained(folder)

    job = start(environment, tmp_path)
    out, error = job.communicate(timeout=280)
    assert job.returncode == 0, (out, error)
    assert state_of(folder) == "finished"
    assert trained(folder)[: len(before)] == before
    assert len(set(trained(folder))) == len(trained(folder)) > len(before)
    assert calls.read_text() == "requeue 77\n", "it is not requeued once it has finished"


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash")
def test_a_run_that_fails_is_not_requeued(environment: dict[str, str], tmp_path: Path) -> None:
    job = subprocess.run(
        ["bash", str(SCRIPT), "seeds=5"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert job.returncode == 2
    assert "seeds=5: no such key" in job.stderr
    assert not (tmp_path / "slurm/scontrol.calls").exists()
