"""Two Ray nodes on one machine: the tables of one process, a node that is lost, a driver that is killed and resumed."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import faulty
import pytest
from faulty import answer_to, calls, give, trial
from kills import SEARCH, assert_same, start, trained

from biotune.config.sections import ExecutorConfig
from biotune.executors.ray_pool import RayPool
from biotune.trial import TrialResult

ray = pytest.importorskip("ray")
pytestmark = pytest.mark.slow
HERE = [word for word in SEARCH if not word.startswith("executor")]


@pytest.fixture
def cluster() -> Iterator[Any]:
    from ray.cluster_utils import Cluster

    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    try:
        made.second = made.add_node(num_cpus=1)
        made.wait_for_nodes()
        yield made
    finally:
        ray.shutdown()
        made.shutdown()


def test_a_node_that_is_lost_in_the_middle_costs_no_trial(cluster: Any, tmp_path: Path) -> None:
    settings = ExecutorConfig("ray", address=cluster.address)
    pool = RayPool(faulty.setup(tmp_path), settings, None, actor=faulty.FaultyActor)
    try:
        give(tmp_path, {seed: ["naps"] for seed in range(6)})
        trials = [trial(seed) for seed in range(6)]
        told: list[int] = []

        def tell(one: Any, result: TrialResult) -> None:
            told.append(one.seed)
            if len(told) == 3:
                cluster.remove_node(cluster.second)

        assert pool.run(trials, tell) == [answer_to(one) for one in trials]
        assert sorted(told) == list(range(6))
        begun = [call["seed"] for call in calls(tmp_path)]
        assert len(begun) in (6, 7), "at most the one that ran there was begun again"
    finally:
        pool.close()


def actors() -> list[int]:
    """Process ids of the actors that run or wait for a trial, which Ray names."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            if path.read_bytes().startswith(b"ray::TrialActor"):
                found.append(int(path.parent.name))
    return found


@pytest.mark.timeout(1800)  # thirty deaths, and the machine may be busy
@pytest.mark.skipif(not Path("/proc/self/cmdline").exists(), reason="needs Linux's table of processes")
@pytest.mark.parametrize("kills", [0, 30])
def test_a_search_on_two_nodes_whatever_dies_on_the_way_ends_with_the_tables_of_one_process(
    kills: int, cluster: Any, tmp_path: Path
) -> None:
    here, there, rng = tmp_path / "here", tmp_path / "there", random.Random(kills)
    alone = start("run", *HERE, "executor=in_process", f"hydra.run.dir={here}")
    assert alone.wait(timeout=600) == 0
    driver = start("run", *HERE, "executor=ray", f"executor.address={cluster.address}", f"hydra.run.dir={there}")
    for number in range(kills):
        before, until = len(trained(there)), time.monotonic() + 300
        while driver.poll() is None and len(trained(there)) < before + 1 and time.monotonic() < until:
            time.sleep(0.02)
        time.sleep(rng.uniform(0, 0.25))
        if driver.poll() is not None:
            break
        if number % 3 == 0:
            driver.kill()
            driver.wait()
            driver = start("resume", str(there), "-q")
        elif running := actors():
            with contextlib.suppress(ProcessLookupError):
                os.kill(rng.choice(running), signal.SIGKILL)
    _, error = driver.communicate(timeout=600)
    assert driver.returncode == 0, error.decode()
    assert_same(there, here)
    keys = trained(there)
    assert len(keys) == len(set(keys)) and set(keys) == set(trained(here))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_driver_that_is_asked_to_end_says_how_to_go_on(number: int, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    driver = start("run", *HERE, "executor=ray", "executor.workers=2", f"hydra.run.dir={folder}")
    until = time.monotonic() + 240
    while driver.poll() is None and len(trained(folder)) < 3 and time.monotonic() < until:
        time.sleep(0.05)
    driver.send_signal(number)
    _, error = driver.communicate(timeout=60)
    assert driver.returncode == 130, error.decode()
    assert f"'biotune resume {folder}' goes on from here" in error.decode()
    assert json.loads((folder / "status.json").read_text())["state"] == "interrupted"
