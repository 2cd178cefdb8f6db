"""The real command with real trackers: a server that dies on the way, a driver that is killed, and what comes out of each."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from kills import SEARCH, assert_same, finish, start, trained
from wandb_files import offline_runs

pytestmark = pytest.mark.slow


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


@contextmanager
def mlflow_server(folder: Path, port: int) -> Iterator[str]:
    """MLflow's own server with a store on SQLite."""
    pytest.importorskip("mlflow")
    uri = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    command += ["--backend-store-uri", f"sqlite:///{folder}/server.db", "--artifacts-destination", str(folder / "artifacts")]
    with (folder / "server.log").open("ab") as log:
        server = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
    try:
        until = time.monotonic() + 120
        while True:
            try:
                urllib.request.urlopen(f"{uri}/health", timeout=5).close()
                break
            except OSError:
                assert server.poll() is None and time.monotonic() < until, (folder / "server.log").read_text()
                time.sleep(0.2)
        yield uri
    finally:
        os.killpg(server.pid, signal.SIGKILL)
        server.wait()


def of_mlflow(uri: str) -> tuple[Any, list[Any]]:
    """The parent run and its children."""
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=uri)
    found = client.search_runs([client.get_experiment_by_name("biotune").experiment_id], max_results=1000)
    (parent,) = (run for run in found if "mlflow.parentRunId" not in run.data.tags)
    children = [run for run in found if run.data.tags.get("mlflow.parentRunId") == parent.info.run_id]
    assert len(children) + 1 == len(found)
    return parent, children


def wait_for(folder: Path, process: subprocess.Popen[bytes], trainings: int) -> None:
    until = time.monotonic() + 300
    while process.poll() is None and len(trained(folder)) < trainings and time.monotonic() < until:
        time.sleep(0.02)
    assert process.poll() is None, process.communicate()[1].decode()


def complete(folder: Path) -> list[str]:
    return json.loads((folder / "trackers.json").read_text())["complete"]


def test_a_run_is_seen_on_the_server_while_it_goes_on_and_whole_in_the_end(tmp_path: Path, twin: Path) -> None:
    folder = tmp_path / "run"
    with mlflow_server(tmp_path, free_port()) as uri:
        process = start("run", *SEARCH, "tracker=mlflow", f"tracker.mlflow.uri={uri}", f"hydra.run.dir={folder}")
        live = 0
        while process.poll() is None and not live:
            time.sleep(0.5)
            if (folder / "trackers.json").exists() and len(trained(folder)) > 8:
                try:
                    live = len(of_mlflow(uri)[1])
                except (AttributeError, ValueError):  # nothing is there yet
                    continue
        assert live, "training runs appear while the search goes on"
        _, error = process.communicate(timeout=300)
        assert (process.returncode, error) == (0, b"")
        parent, children = of_mlflow(uri)
        assert parent.info.status == "FINISHED"
        assert len(children) == len(set(trained(folder)))
        assert {run.info.status for run in children} == {"FINISHED"}
        assert_same(folder, twin)
        assert complete(folder) == ["mlflow"]


def test_a_server_that_dies_on_the_way_changes_nothing_and_gets_the_rest_when_the_run_is_resumed(
    tmp_path: Path, twin: Path
) -> None:
    folder, port = tmp_path / "run", free_port()
    with mlflow_server(tmp_path, port) as uri:
        process = start("run", *SEARCH, "tracker=mlflow", f"tracker.mlflow.uri={uri}", f"hydra.run.dir={folder}")
        wait_for(folder, process, 10)
    _, error = process.communicate(timeout=300)
    assert process.returncode == 0
    said = error.decode().splitlines()
    assert 1 <= len(said) <= 2 and all("tracker=mlflow" in line for line in said), said
    assert f"'biotune resume {folder}' sends" in said[-1]
    assert_same(folder, twin)
    assert complete(folder) == []
    with mlflow_server(tmp_path, port) as uri:
        process = start("resume", str(folder), "-q")
        _, error = process.communicate(timeout=300)
        assert (process.returncode, error) == (0, b"")
        parent, children = of_mlflow(uri)
        assert parent.info.status == "FINISHED" and len(children) == len(set(trained(folder)))
    assert_same(folder, twin)
    assert complete(folder) == ["mlflow"]


def test_a_driver_that_is_killed_twice_leaves_each_tracker_with_everything_once(tmp_path: Path, twin: Path) -> None:
    for package in ("mlflow", "tensorboard", "wandb"):
        pytest.importorskip(package)
    folder, uri = tmp_path / "run", f"sqlite:///{tmp_path}/mlflow.db"
    trackers = ["tracker=[tensorboard,mlflow,wandb]", f"tracker.mlflow.uri={uri}", "tracker.wandb.mode=offline"]
    trackers.append("tracker.patience=200")  # the default may be too short where the machine has other work
    from mlflow import MlflowClient

    # MLflow's own set-up of a new store does not survive a kill: the store is lost then, whoever used it
    MlflowClient(tracking_uri=uri).search_experiments()
    process = start("run", *SEARCH, *trackers, f"hydra.run.dir={folder}")
    for trainings, command in ((12, ("resume", str(folder), "-q")), (24, ())):
        wait_for(folder, process, trainings)
        process.kill()
        process.communicate()
        if command:
            process = start(*command)
    finish(folder)
    assert_same(folder, twin)
    assert complete(folder) == ["tensorboard", "mlflow", "wandb"]
    made, generations = len(set(trained(folder))), list(range(9))

    from tensorboard.backend.event_processing.event_multiplexer import EventMultiplexer

    parent, children = of_mlflow(uri)
    assert len(children) == made and {run.info.status for run in children} == {"FINISHED"}
    history = MlflowClient(tracking_uri=uri).get_metric_history(parent.info.run_id, "best_fitness")
    assert sorted(entry.step for entry in history) == generations
    found = EventMultiplexer(size_guidance={"scalars": 0}).AddRunsFromDirectory(str(folder / "tensorboard")).Reload()
    assert len(found.Runs()) == made + 1
    assert [event.step for event in found.Scalars("search", "best_fitness")] == generations
    runs = offline_runs(folder)
    identity = json.loads((folder / "trackers.json").read_text())["id"]
    own = [run for run in runs if run.id == identity]
    assert len(runs) - len(own) == made == len({run.id for run in runs}) - 1
    assert [entry["generation"] for run in own for entry in run.history] == generations
