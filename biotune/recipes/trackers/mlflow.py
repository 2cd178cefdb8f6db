"""MLflow: a parent run for the command, a child run for each training run.

What MLflow holds is the only record of what was sent: runs are found by tags with biotune's own identities, and of each run
only what it lacks is sent. So a session that was cut off anywhere is continued without doubles.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from biotune.config.tracking import TrackerConfig
from biotune.recipes.trackers.events import FAILED, FINISHED, INTERRUPTED, ChildRun, End, GenerationRow, ParentRun

# before the import, which reads them: no usage data for MLflow's makers, and a server that is away fails within seconds
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")

from mlflow import MlflowClient  # noqa: E402
from mlflow.entities import Experiment, Metric, Param, Run  # noqa: E402
from mlflow.exceptions import MlflowException  # noqa: E402

RUN, TRIAL = "biotune.run", "biotune.trial"  # tags that hold the identities
_PARENT = "mlflow.parentRunId"
_STATES = {FINISHED: "FINISHED", FAILED: "FAILED", INTERRUPTED: "KILLED"}
_OPEN = "RUNNING"
_PAGE = 1000  # runs of one answer, and metrics of one request
_MOST_SETTINGS = 100  # of one request
_LONGEST = 6000  # characters of a setting


def start(config: TrackerConfig, folder: Path, run: ParentRun) -> Mlflow:
    """See `open_tracker`."""
    return Mlflow(MlflowClient(tracking_uri=config.mlflow.uri), config.mlflow.experiment, run)


class Mlflow:
    """A session; see `Tracker`."""

    def __init__(self, client: MlflowClient, experiment: str, run: ParentRun) -> None:
        """Begin, or go on.

        Args:
            client: Reaches the server or store.
            experiment: Name of the experiment.
            run: The run.
        """
        self._client = client
        self._experiment = _experiment(client, experiment)
        found = next(self._search(f"tags.`{RUN}` = '{run.id}'"), None)
        if found is None:
            tags = {RUN: run.id, "biotune.command": run.command}
            found = self._client.create_run(self._experiment, tags=tags, run_name=run.name)
        elif found.info.status != _OPEN:
            self._client.update_run(found.info.run_id, status=_OPEN)
        self._parent: str = found.info.run_id
        self._send_settings(found, run.settings)
        self._begun: dict[str, Run] = {}
        self._sent: set[str] = set()
        for child in self._search(f"tags.`{_PARENT}` = '{self._parent}'"):
            identity = child.data.tags.get(TRIAL, "")
            if child.info.status == _OPEN:
                self._begun[identity] = child
            else:
                self._sent.add(identity)
        self._known = {name: self._steps(self._parent, name) for name in found.data.metrics}

    def trained(self, run: ChildRun) -> None:
        """Send a training run, or what of it is missing."""
        if run.id in self._sent:
            return
        now, child = _now(), self._begun.get(run.id)
        if child is None:
            tags = {_PARENT: self._parent, TRIAL: run.id}
            begun = now - round(1000 * run.seconds)
            child = self._client.create_run(self._experiment, start_time=begun, tags=tags, run_name=run.name)
        where = child.info.run_id
        self._send_settings(child, run.settings)
        values = [(name, epoch, value) for name, curve in run.curves.items() for epoch, value in enumerate(curve, 1)]
        values += [(name, 0, value) for name, value in run.scores.items()]
        known = {name: self._steps(where, name) for name in child.data.metrics}
        self._send_metrics(where, [entry for entry in values if entry[1] not in known.get(entry[0], {})])
        self._client.set_tag(where, "biotune.status", run.status)
        if run.error is not None:
            self._client.set_tag(where, "biotune.error", run.error)
        self._client.set_terminated(where, _STATES[FAILED if run.status == "failed" else FINISHED], now)
        self._sent.add(run.id)

    def generation(self, row: GenerationRow) -> None:
        """Send the statistics of a generation to the parent run."""
        self._send_new(row.number, row.values)

    def end(self, end: End) -> None:
        """Send scores and files to the parent run, and end it."""
        self._send_new(0, {f"result/{name}": value for name, value in end.scores.items()})
        for path in end.files:
            self._client.log_artifact(self._parent, str(path))
        self._client.set_terminated(self._parent, _STATES[end.state])

    def _search(self, condition: str) -> Iterator[Run]:
        token: str | None = None
        while True:
            page = self._client.search_runs([self._experiment], condition, max_results=_PAGE, page_token=token)
            yield from page
            token = page.token
            if not token:
                return

    def _steps(self, run: str, name: str) -> dict[int, float]:
        """The steps that a run has of a metric, with the last value of each."""
        return {entry.step: entry.value for entry in self._client.get_metric_history(run, name)}

    def _send_new(self, step: int, values: Mapping[str, float]) -> None:
        new = {name: value for name, value in values.items() if repr(self._known.get(name, {}).get(step)) != repr(value)}
        self._send_metrics(self._parent, [(name, step, value) for name, value in new.items()])
        for name, value in new.items():
            self._known.setdefault(name, {})[step] = value

    def _send_metrics(self, run: str, values: Iterable[tuple[str, int, float]]) -> None:
        now = _now()
        metrics = [Metric(name, value, now, step) for name, step, value in values]
        for first in range(0, len(metrics), _PAGE):
            self._client.log_batch(run, metrics=metrics[first : first + _PAGE])

    def _send_settings(self, run: Run, settings: Mapping[str, Any]) -> None:
        missing = [Param(name, str(value)[:_LONGEST]) for name, value in settings.items() if name not in run.data.params]
        for first in range(0, len(missing), _MOST_SETTINGS):
            self._client.log_batch(run.info.run_id, params=missing[first : first + _MOST_SETTINGS])


def _experiment(client: MlflowClient, name: str) -> str:
    """The id of an experiment, which is made if there is none."""
    found: Experiment | None = client.get_experiment_by_name(name)
    if found is None:
        try:
            made: str = client.create_experiment(name)
            return made
        except MlflowException:  # another run may have made it meanwhile
            found = client.get_experiment_by_name(name)
            if found is None:
                raise
    if found.lifecycle_stage != "active":
        raise RuntimeError(f"the experiment {name} is deleted; restore it, or give another tracker.mlflow.experiment")
    identity: str = found.experiment_id
    return identity


def _now() -> int:
    return round(1000 * time.time())
