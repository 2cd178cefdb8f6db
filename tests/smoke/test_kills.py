"""The real command killed at random moments, its workers too, and resumed until it is done: as if nothing had been."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import time
from pathlib import Path

import pandas as pd
import pytest
from kills import SEARCH, assert_same, finish, start, trained, workers_of


def run_with_kills(folder: Path, kills: int, rng: random.Random) -> int:
    """Kill the driver's process group so many times, a random while after a training has been added; returns those done."""
    for done in range(kills):
        begun = (folder / ".hydra" / "config.yaml").is_file()
        process = start("resume", str(folder), "-q") if begun else start("run", *SEARCH, f"hydra.run.dir={folder}")
        before, until = len(trained(folder)), time.monotonic() + 300
        while process.poll() is None and len(trained(folder)) < before + 1 and time.monotonic() < until:
            time.sleep(0.02)
        time.sleep(rng.uniform(0, 0.25))
        if process.poll() is not None:  # it was done before it could be killed
            process.communicate()
            return done
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
    return kills


@pytest.mark.timeout(1200)  # thirty times a start, and the machine may be busy
@pytest.mark.skipif(not hasattr(os, "killpg"), reason="needs process groups")
@pytest.mark.slow
@pytest.mark.parametrize("kills", [1, 30])
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


def generations(folder: Path) -> list[str]:
    """The lines of the journal about generations, in order."""
    try:
        lines = (folder / "journal.jsonl").read_text(encoding="utf-8").splitlines(keepends=True)
    except FileNotFoundError:
        return []
    return [line for line in lines if line.startswith('{"kind": "generation"') and line.endswith("\n")]


ASYNCHRONOUS = ("evolution.mating=asynchronous", "evolution.population_size=8", "evolution.elites=5", "fitness.racing=false")


@pytest.mark.timeout(1200)
@pytest.mark.skipif(not hasattr(os, "killpg"), reason="needs process groups")
@pytest.mark.slow
@pytest.mark.parametrize(
    "workers", [("executor=process_pool", "executor.workers=2"), ("executor=in_process", "executor.workers=null")]
)
def test_an_asynchronous_search_that_was_killed_goes_on_from_what_its_journal_says(
    workers: tuple[str, ...], tmp_path: Path
) -> None:
    folder, before = tmp_path / "run", list[str]()
    for wanted in (2, 5):
        begun = (folder / ".hydra" / "config.yaml").is_file()
        first = ("run", *SEARCH, *ASYNCHRONOUS, *workers, f"hydra.run.dir={folder}")
        process = start("resume", str(folder), "-q") if begun else start(*first)
        until = time.monotonic() + 300
        while process.poll() is None and len(generations(folder)) < wanted and time.monotonic() < until:
            time.sleep(0.02)
        os.killpg(process.pid, signal.SIGKILL)
        _, error = process.communicate()
        assert process.returncode == -signal.SIGKILL, error.decode()  # it was not done yet, and had not failed
        closed = generations(folder)
        assert len(closed) >= wanted and closed[: len(before)] == before
        before = closed
    finish(folder)
    after = generations(folder)
    assert len(after) == 9 and after[: len(before)] == before
    numbers = [json.loads(line)["number"] for line in after]
    assert numbers == list(range(9))
    # the tables are those of the journal: each generation's evaluated candidates in the order in which they came in
    table = pd.read_csv(folder / "generations.csv")
    for line in after:
        record = json.loads(line)
        rows = table[table["generation"] == record["number"]]
        assert rows["individual"].tolist() == [one["individual"] for one in record["candidates"]]
        assert rows["fitness"].tolist() == [one["fitness"] for one in record["candidates"]]
    keys = trained(folder)
    assert len(keys) == len(set(keys))


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
    _, error = process.communicate(timeout=600)
    assert process.returncode == 0, error.decode()
    assert killed >= 1
    assert_same(folder, twin)
