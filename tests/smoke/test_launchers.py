"""Sweeps by Hydra's launchers: jobs side by side, in folders of their own; one that dies takes no other along."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from kills import trained
from slurm import slurm_environment

from biotune.store.lock import in_use
from biotune.store.status import state_of

# dies in the job itself, but neither where it is checked beforehand nor once it is told not to
DYING = """
import multiprocessing, os, signal
from pathlib import Path
import biotune
from biotune.strategies.fixed import full

def die(blocks):
    if multiprocessing.parent_process() is not None and not Path("healed").exists():
        os.kill(os.getpid(), signal.SIGSEGV)
    return full(blocks)

biotune.register_strategy("dying", die)
"""
SMALL = [
    "executor=in_process",
    "plugins=[dying]",
    "training.epochs=1",
    "dataset.max_per_class=4",
    "dataset.max_eval_per_class=4",
    "hydra.sweep.dir=sweep",
]
OVERRIDES = {
    "joblib": ["hydra.launcher.n_jobs=2"],
    "submitit_local": [],
    "submitit_slurm": [],
    "ray": [
        "hydra.launcher.ray.init.address=local",  # else it would join a cluster that runs here already
        "+hydra.launcher.ray.init.num_cpus=2",
        "+hydra.launcher.ray.init.include_dashboard=false",
    ],
}
PACKAGES = {
    "joblib": "hydra_plugins.hydra_joblib_launcher",
    "submitit_local": "hydra_plugins.hydra_submitit_launcher",
    "submitit_slurm": "hydra_plugins.hydra_submitit_launcher",
    "ray": "hydra_plugins.hydra_ray_launcher",
}
Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture(params=PACKAGES)
def launcher(request: pytest.FixtureRequest) -> str:
    """Each launcher, if it is installed."""
    pytest.importorskip(PACKAGES[request.param], reason=f"the launcher {request.param} is not installed")
    return request.param


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    """A working folder with a strategy that dies."""
    place = tmp_path / "shop"
    place.mkdir()
    (place / "dying.py").write_text(DYING)
    return place


@pytest.fixture
def start(shop: Path, tmp_path: Path) -> Start:
    """Starts biotune in the working folder, with a Slurm that is none."""
    environment = slurm_environment(tmp_path / "slurm")
    environment |= {"PYTHONPATH": os.pathsep.join([str(shop), *sys.path]), "RAY_AUTH_MODE": "disabled"}

    def begin(*arguments: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "biotune", *arguments]
        return subprocess.Popen(
            command,
            cwd=shop,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    return begin


def sweep(launcher: str, strategies: str, seeds: int) -> list[str]:
    keys = [f"strategy.name={strategies}", f"test.seeds={list(range(seeds))}".replace(" ", ""), f"hydra/launcher={launcher}"]
    return ["train", "-m", *keys, *OVERRIDES[launcher], *SMALL]


def wait_until(true: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 240
    while not true():
        assert time.monotonic() < deadline and process.poll() is None, process.communicate()
        time.sleep(0.02)


def descendants(pid: int) -> list[int]:
    """A process and all below it, as Linux tells them."""
    found = [pid]
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in task.read_text().split():
            found += descendants(int(child))
    return found


def works_in(pid: int, folder: Path) -> bool:
    """Whether a process or one below it has the log of a run open."""
    links = (link for below in descendants(pid) for link in Path(f"/proc/{below}/fd").iterdir())
    return any(os.path.realpath(link) == str(folder / "run.log") for link in links)


@pytest.mark.slow
def test_a_job_that_dies_takes_no_other_along_and_is_run_again(launcher: str, shop: Path, start: Start) -> None:
    process = start(*sweep(launcher, "dying,full", 1))
    out, error = process.communicate(timeout=280)
    assert process.returncode == 1, (out, error)
    assert f"2 jobs by {launcher}" in out
    assert "Traceback" not in error
    table = pd.read_csv(shop / "sweep/sweep.csv")
    assert list(table["state"]) == ["failed", "finished"]
    assert table["error"][0] == "the job's process was killed by SIGSEGV."
    assert (shop / "sweep/sweep.html").is_file()
    assert "final training runs" in (shop / "sweep/1/run.log").read_text(), "a job's output goes to its log"
    before = (shop / "sweep/1/journal.jsonl").read_bytes()

    (shop / "healed").touch()
    process = start(*sweep(launcher, "dying,full", 1))
    out, error = process.communicate(timeout=280)
    assert process.returncode == 0, (out, error)
    assert list(pd.read_csv(shop / "sweep/sweep.csv")["state"]) == ["finished"] * 2
    assert (shop / "sweep/1/journal.jsonl").read_bytes() == before


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="looks for processes as Linux tells them")
@pytest.mark.parametrize("launcher", ["submitit_local", "submitit_slurm"], indirect=True)
def test_a_job_that_is_told_to_make_room_is_requeued_and_resumes_in_its_folder(
    launcher: str, shop: Path, start: Start, tmp_path: Path
) -> None:
    seeds = 60
    process = start(*sweep(launcher, "full,linear_probe", seeds))
    folder = shop / "sweep/0"
    wait_until(lambda: len(trained(folder)) > 1, process)
    if launcher == "submitit_slurm":
        submitted = int((tmp_path / "slurm/1000_0.pid").read_text())
    else:
        (submitted,) = [
            pid
            for pid in descendants(process.pid)
            if b"submitit.core._submit" in Path(f"/proc/{pid}/cmdline").read_bytes() and works_in(pid, folder)
        ]
    before = trained(folder)
    for pid in descendants(submitted):  # as Slurm signals all processes of a step
        os.kill(pid, signal.SIGUSR2)
    out, error = process.communicate(timeout=280)
    assert process.returncode == 0, (out, error)
    assert len(before) < seeds
    assert trained(folder)[: len(before)] == before
    assert len(set(trained(folder))) == len(trained(folder)) == seeds
    assert list(pd.read_csv(shop / "sweep/sweep.csv")["state"]) == ["finished"] * 2
    said = "".join(path.read_text() for path in (shop / "sweep/.submitit").rglob("*_log.*"))
    assert said.count("Requeued job") == 1
    if launcher == "submitit_slurm":
        assert (tmp_path / "slurm/scontrol.calls").read_text() == "requeue 1000_0\n"


@pytest.mark.slow
def test_an_interrupted_sweep_says_how_it_goes_on_and_its_report_is_made_from_the_folders_alone(
    launcher: str, shop: Path, start: Start
) -> None:
    go_on = launcher.startswith("submitit")  # without the command that launched them
    process = start(*sweep(launcher, "full,linear_probe,lp_ft", 60))
    wait_until(lambda: any(trained(shop / "sweep" / job) for job in "012"), process)
    # Ray answers SIGTERM itself, and ends the command at once
    process.send_signal(signal.SIGINT if launcher == "ray" else signal.SIGTERM)
    assert process.wait(timeout=60) == 130
    assert process.stderr is not None
    said = process.stderr.readline()  # submitit's processes, which go on, have it open too
    while not said.startswith("biotune: interrupted."):
        assert "Traceback" not in said
        said = process.stderr.readline()
    assert "hydra.sweep.dir=sweep continues the sweep; 'biotune report sweep' shows how far it is" in said
    assert ("go on" in said) == go_on

    reported = start("report", "sweep")
    out, error = reported.communicate(timeout=120)
    assert error == ""
    states = pd.read_csv(shop / "sweep/sweep.csv")["state"]
    assert len(states) == 3
    assert set(states) <= {"finished", "running", "interrupted", "missing"}
    assert reported.returncode == int(any(states != "finished"))
    if go_on:
        deadline = time.monotonic() + 240
        while [state_of(shop / "sweep" / job) for job in "012"] != ["finished"] * 3:
            assert time.monotonic() < deadline
            time.sleep(0.2)
        again = start("report", "sweep")
    else:
        time.sleep(6)  # jobs whose launcher is gone end within five seconds
        assert not [job for job in "012" if in_use(shop / "sweep" / job)]
        again = start(*sweep(launcher, "full,linear_probe,lp_ft", 60))
    out, error = again.communicate(timeout=280)
    assert again.returncode == 0, (out, error)
    assert list(pd.read_csv(shop / "sweep/sweep.csv")["state"]) == ["finished"] * 3
    for job in "012":
        assert len(set(trained(shop / "sweep" / job))) == len(trained(shop / "sweep" / job))
        assert (shop / "sweep" / job / "result.json").is_file()
