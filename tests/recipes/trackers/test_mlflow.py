"""MLflow: what its own client finds in a store."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tracking import RUN, child, end, events, row, tell

from biotune.config.tracking import MlflowConfig, TrackerConfig
from biotune.recipes.trackers.events import FAILED, INTERRUPTED
from biotune.recipes.trackers.registry import Tracker, open_tracker

pytest.importorskip("mlflow")

from mlflow import MlflowClient  # noqa: E402

from biotune.recipes.trackers import mlflow as module  # noqa: E402

Start = Callable[..., Tracker]


@pytest.fixture(scope="module")
def uri(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A store on SQLite, whose tables take seconds to make."""
    return f"sqlite:///{tmp_path_factory.mktemp('mlflow')}/mlflow.db"


@pytest.fixture
def client(uri: str) -> MlflowClient:
    return MlflowClient(tracking_uri=uri)


@pytest.fixture
def name(request: pytest.FixtureRequest, client: MlflowClient, tmp_path: Path) -> str:
    """An experiment of this test's own."""
    client.create_experiment(request.node.name, artifact_location=str(tmp_path / "artifacts"))
    return request.node.name


@pytest.fixture
def start(uri: str, name: str, tmp_path: Path) -> Start:
    """Opens a session."""
    return lambda: open_tracker("mlflow", TrackerConfig(mlflow=MlflowConfig(True, uri, name)), tmp_path, RUN)


def runs(client: MlflowClient, name: str) -> dict[str, Any]:
    """All runs of an experiment by their names; two of one name would be doubles."""
    found = client.search_runs([client.get_experiment_by_name(name).experiment_id])
    assert len({run.info.run_name for run in found}) == len(found)
    return {run.info.run_name: run for run in found}


def history(client: MlflowClient, run: Any, metric: str) -> list[tuple[int, float]]:
    return sorted((entry.step, entry.value) for entry in client.get_metric_history(run.info.run_id, metric))


def everything(client: MlflowClient, name: str) -> str:
    """All that an experiment holds, but for times and MLflow's own identities."""
    return json.dumps(
        {
            title: [run.info.status, run.data.params, {metric: history(client, run, metric) for metric in run.data.metrics}]
            for title, run in runs(client, name).items()
        },
        sort_keys=True,
    )


def title(number: int) -> str:
    return f"searching {number:08x} fold 0 seed 1"


def test_a_search_is_a_run_and_each_training_run_a_child(start: Start, client: MlflowClient, name: str, tmp_path: Path) -> None:
    tell(start(), *events(0, 2), child(2, "failed"), end(tmp_path))
    found = runs(client, name)
    assert set(found) == {"run made-up", title(0), title(1), title(2)}
    parent = found["run made-up"]
    assert parent.info.status == "FINISHED"
    assert parent.data.params == {"training.lr": "0.5", "dataset.name": "digits"}
    assert history(client, parent, "best_fitness") == [(0, 0.5), (1, 0.375)]
    assert math.isnan(history(client, parent, "mean_fitness")[0][1])
    assert parent.data.metrics["result/test/macro_accuracy"] == 0.875
    own = found[title(1)]
    assert own.data.tags["mlflow.parentRunId"] == parent.info.run_id
    assert own.data.params["lr.head"] == "0.25" and own.data.params["frozen"] == "stem"
    assert history(client, own, "val_macro_accuracy") == [(1, 0.5), (2, 0.75)]
    assert own.data.metrics["best_val_macro_accuracy"] == 0.75 and own.data.metrics["seconds"] == 2.5
    assert [found[title(number)].info.status for number in (0, 1, 2)] == ["FINISHED", "FINISHED", "FAILED"]
    assert found[title(2)].data.tags["biotune.error"] == "loss is not finite"
    files = [entry.path for entry in client.list_artifacts(parent.info.run_id)]
    assert files == ["best_schedule.yaml", "report.html"]


def test_it_can_be_read_while_the_run_goes_on(start: Start, client: MlflowClient, name: str, tmp_path: Path) -> None:
    tracker = start()
    tell(tracker, *events(0, 1))
    assert runs(client, name)["run made-up"].info.status == "RUNNING"
    assert runs(client, name)[title(0)].info.status == "FINISHED"
    tell(tracker, end(tmp_path, FAILED))
    assert runs(client, name)["run made-up"].info.status == "FAILED"


def test_a_run_that_goes_on_is_continued_and_nothing_is_sent_twice(
    start: Start, client: MlflowClient, name: str, tmp_path: Path
) -> None:
    tell(start(), *events(0, 2), end(tmp_path, INTERRUPTED))
    parent = runs(client, name)["run made-up"]
    assert parent.info.status == "KILLED"
    tell(start(), *events(0, 3), end(tmp_path))
    once = everything(client, name)
    assert set(runs(client, name)) == {"run made-up", title(0), title(1), title(2)}
    assert runs(client, name)["run made-up"].info.run_id == parent.info.run_id
    assert history(client, parent, "best_fitness") == [(0, 0.5), (1, 0.375), (2, 0.25)]
    tell(start(), *events(0, 3), end(tmp_path))
    assert everything(client, name) == once


@pytest.mark.parametrize("lost", range(1, 7))
def test_a_session_that_is_cut_off_after_any_request_is_completed(
    lost: int, start: Start, client: MlflowClient, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tracker = start()
    tell(tracker, row(0))
    left = iter(range(lost))

    def until_it_is_cut_off(method: Callable[..., Any]) -> Callable[..., Any]:
        def called(*given: Any, **named: Any) -> Any:
            if next(left, None) is None:
                raise ConnectionError("gone")
            return method(*given, **named)

        return called

    with monkeypatch.context() as patch:
        for method in ("create_run", "log_batch", "set_tag", "set_terminated"):
            patch.setattr(MlflowClient, method, until_it_is_cut_off(getattr(MlflowClient, method)))
        with pytest.raises(ConnectionError):
            tell(tracker, child(0), child(1))
    tell(start(), child(0), row(0), *events(1, 2), end(tmp_path))
    assert set(runs(client, name)) == {"run made-up", title(0), title(1)}
    for number in (0, 1):
        own = runs(client, name)[title(number)]
        assert own.info.status == "FINISHED" and own.data.params["frozen"] == "stem"
        assert history(client, own, "val_loss") == [(1, 1.5), (2, 1.25)]
        assert history(client, own, "seconds") == [(0, 2.5)]


def test_a_deleted_run_is_begun_anew(start: Start, client: MlflowClient, name: str, tmp_path: Path) -> None:
    tell(start(), *events(0, 1), end(tmp_path))
    for run in runs(client, name).values():
        client.delete_run(run.info.run_id)
    tell(start(), *events(0, 1), end(tmp_path))
    assert set(runs(client, name)) == {"run made-up", title(0)}


def test_a_deleted_experiment_is_named(start: Start, client: MlflowClient, name: str) -> None:
    client.delete_experiment(client.get_experiment_by_name(name).experiment_id)
    with pytest.raises(RuntimeError, match=f"the experiment {name} is deleted; restore it"):
        start()


def test_an_experiment_is_made_where_there_is_none(uri: str, client: MlflowClient, tmp_path: Path) -> None:
    config = TrackerConfig(mlflow=MlflowConfig(True, uri, "new"))
    tell(open_tracker("mlflow", config, tmp_path, RUN), *events(0, 1))
    assert set(runs(client, "new")) == {"run made-up", title(0)}


def test_many_settings_values_and_runs_are_sent_and_found_in_parts(
    start: Start, client: MlflowClient, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_PAGE", 2)
    monkeypatch.setattr(module, "_MOST_SETTINGS", 2)
    tell(start(), *events(0, 5), end(tmp_path, INTERRUPTED))
    tell(start(), *events(0, 5), end(tmp_path))
    assert set(runs(client, name)) == {"run made-up", *map(title, range(5))}
    own = runs(client, name)[title(3)]
    assert set(own.data.params) == set(child(3).settings)
    assert history(client, own, "val_loss") == [(1, 1.5), (2, 1.25)]
