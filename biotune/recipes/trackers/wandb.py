"""Weights & Biases: a run for the command and one for each training run, in one group; their ids are biotune's identities.

Offline the files tell what was sent. Online the server tells it of the command's run, and notes in the run's folder, written
after each sending, of the others.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import IO, Any

from biotune.config.tracking import TrackerConfig
from biotune.recipes.trackers.events import FINISHED, ChildRun, End, GenerationRow, ParentRun
from biotune.store.files import WANDB, write_text

# before the import, which reads it: no reports of errors to W&B's makers
os.environ.setdefault("WANDB_ERROR_REPORTING", "false")

import wandb  # noqa: E402

from biotune.recipes.trackers.wandb_log import sent_offline  # noqa: E402

NOTES = "biotune-sent.jsonl"


def start(config: TrackerConfig, folder: Path, run: ParentRun) -> WeightsAndBiases:
    """See `open_tracker`."""
    return WeightsAndBiases(config, folder, run)


class WeightsAndBiases:
    """A session; see `Tracker`."""

    def __init__(self, config: TrackerConfig, folder: Path, run: ParentRun) -> None:
        """Begin, or go on.

        Args:
            config: The settings.
            folder: The run's folder.
            run: The run.
        """
        own = config.wandb
        mode = own.mode or os.environ.get("WANDB_MODE", "online")
        self._id = run.id
        (folder / WANDB).mkdir(exist_ok=True)
        os.environ["WANDB_DATA_DIR"] = str(folder / WANDB)
        self._common: dict[str, Any] = {
            "project": own.project,
            "entity": own.entity,
            "mode": mode,
            "dir": str(folder),
            "group": run.id,
            "resume": "allow",
            "reinit": "create_new",
            "settings": _quiet(),
        }
        self._sent: set[str] = set()
        self._notes: IO[str] | None = None
        if mode == "offline":
            self._sent |= sent_offline(folder / WANDB, run.id, own.project, own.entity)
        else:
            self._sent, self._notes = _noted(folder / WANDB / NOTES, [own.project, own.entity])
        self._row = 0
        self._parent = wandb.init(id=run.id, name=run.name, job_type=run.command, config=dict(run.settings), **self._common)
        self._sent |= {f"row {number}" for number in range(self._parent.step)}

    def trained(self, run: ChildRun) -> None:
        """Send a training run."""
        if run.id in self._sent:
            return
        kind = str(run.settings["phase"])
        child = wandb.init(id=f"{self._id}-{run.id}", name=run.name, job_type=kind, config=dict(run.settings), **self._common)
        for epoch in range(max(map(len, run.curves.values()), default=0)):
            child.log({name: curve[epoch] for name, curve in run.curves.items()}, step=epoch + 1)
        child.summary.update({**run.scores, "status": run.status, **({} if run.error is None else {"error": run.error})})
        child.finish(exit_code=1 if run.status == "failed" else 0)
        self._note(run.id)

    def generation(self, row: GenerationRow) -> None:
        """Send the statistics of a generation to the command's run."""
        if f"row {self._row}" not in self._sent:
            self._parent.log({"generation": row.number, **row.values}, step=self._row)
        self._row += 1  # generations come in the same order in every session

    def end(self, end: End) -> None:
        """Send scores and files to the command's run, and end it."""
        self._parent.summary.update({f"result/{name}": value for name, value in end.scores.items()})
        if end.files:
            artifact = wandb.Artifact(f"run-{self._id}", type="run")
            for path in end.files:
                artifact.add_file(str(path))
            if (name := f"files {artifact.digest}") not in self._sent:
                self._parent.log_artifact(artifact)
                self._note(name)
        self._parent.finish(exit_code=0 if end.state == FINISHED else 1)
        wandb.teardown()  # returns when everything is on the disk

    def _note(self, name: str) -> None:
        self._sent.add(name)
        if self._notes is not None:
            self._notes.write(name + "\n")
            self._notes.flush()


def _noted(path: Path, destination: list[str | None]) -> tuple[set[str], IO[str]]:
    """The names of what was sent to a destination, and the file that takes further ones; begun anew for another destination."""
    lines = path.read_text(encoding="utf-8").split("\n")[:-1] if path.is_file() else []  # the last one may be torn
    head = json.dumps(destination)
    names = set(lines[1:]) if lines[:1] == [head] else set()
    write_text(path, "\n".join([head, *sorted(names)]) + "\n")
    return names, path.open("a", encoding="utf-8")


def _quiet() -> wandb.Settings:
    """Send what biotune sends and no more: neither output nor code, nor facts about machine, git or packages."""
    return wandb.Settings(
        console="off",
        silent=True,
        save_code=False,
        disable_git=True,
        init_timeout=30,
        x_disable_meta=True,
        x_disable_machine_info=True,
        x_disable_stats=True,
        x_save_requirements=False,
    )
