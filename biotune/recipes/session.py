"""Set-up and tear-down of every command with training runs: device, network, data, executor, journal, status file."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from biotune.backbones.network import Network, weights_fingerprint
from biotune.config.schema import TrialsConfig
from biotune.config.sections import AUTO
from biotune.datasets.data import Data
from biotune.errors import RunFolderError
from biotune.executors.recorded import Recorded
from biotune.executors.registry import EXECUTORS
from biotune.executors.setup import Setup
from biotune.recipes.inputs import Prepared
from biotune.recipes.progress import Progress
from biotune.recipes.resuming import pin_config, pin_fact
from biotune.schedule.plan import Plan
from biotune.store.files import STATUS, write_json
from biotune.store.journal import Journal
from biotune.store.lock import sole_user
from biotune.store.scratch import scratch
from biotune.store.status import status_kept
from biotune.training.device import describe
from biotune.training.model import forget_kept

TRAINING_IMAGES = "training_images"  # in `status.json`: their number, of the whole split
ELAPSED = "elapsed_seconds"  # in a generation's journal record: wall-clock time spent on the run up to its end


@dataclass
class Session:
    """The resources of one running command.

    Attributes:
        config: The command's config.
        folder: The run's folder.
        device: The device on which networks are trained.
        network: The backbone, for its blocks and sizes.
        data: The dataset.
        journal: The run's journal.
        executor: Runs trials and journals them.
    """

    config: TrialsConfig
    folder: Path
    device: torch.device
    network: Network
    data: Data
    journal: Journal
    executor: Recorded
    started: float = field(default_factory=time.monotonic)
    hours_before: float = 0.0

    def __post_init__(self) -> None:
        self._generations = self.journal.understood("generation", lambda record: (int(record["number"]), record))
        elapsed = self.journal.understood("generation", lambda record: (record["number"], float(record[ELAPSED])))
        self.hours_before = max(elapsed.values(), default=0.0) / 3600

    @property
    def total_parameters(self) -> int:
        """Number of parameters of the network with its new head."""
        return sum(self.network.parameters.values())

    @property
    def hours(self) -> float:
        """Wall-clock time of the run so far in hours; interrupted sessions count up to their last complete generation."""
        return self.hours_before + (time.monotonic() - self.started) / 3600

    def pin(self, name: str, content: bytes, what: str) -> None:
        """Record the fingerprint of another input of the run, or check that it equals the recorded one.

        Args:
            name: The name of the record.
            content: The input's content, for example that of a file.
            what: Subject and auxiliary verb of the error message, such as "the genotypes have".

        Raises:
            RunFolderError: The input has changed.
        """
        pin_fact(self.journal, name, hashlib.sha256(content).hexdigest()[:24], what, self.folder)

    def close_generation(self, record: dict[str, Any]) -> float:
        """Journal a generation, or check that a replayed generation equals the journalled one.

        Args:
            record: The generation's journal record.

        Returns:
            The wall-clock time spent on the run up to the end of this generation, in hours.

        Raises:
            RunFolderError: The replayed search differs from the journalled one.
        """
        known = self._generations.get(record["number"])
        if known is None:
            hours = self.hours
            self.journal.append({**record, ELAPSED: hours * 3600})
            return hours
        if json.dumps({key: value for key, value in known.items() if key != ELAPSED}) != json.dumps(record):
            raise RunFolderError(
                f"{self.folder}: generation {record['number']} differs from the one journalled before the interruption. Were "
                "biotune, torch, numpy or DEAP updated in between? Begin a new run."
            )
        return float(known[ELAPSED]) / 3600


def pin_schedule(session: Session, plans: Sequence[Plan]) -> None:
    """Record the schedules to train with, or check that they are the recorded ones.

    Raises:
        RunFolderError: They differ.
    """
    session.pin("schedule", "\n".join(plan.schedule.key for plan in plans).encode(), "the schedule to train with has")


@contextmanager
def open_session(
    command: str, config: TrialsConfig, folder: Path, progress: Progress, prepared: Prepared | None = None
) -> Iterator[Session]:
    """Set up a session, keep `status.json` up to date, and tear the session down.

    Args:
        command: The name of the command.
        config: Its settings.
        folder: The run's folder, which exists.
        progress: Receives the progress, including every trial's result.
        prepared: The inputs that the check before the run has prepared; None prepares them now.

    Raises:
        BiotuneError: Bad input, or a folder that cannot be written.
    """
    with folder_in_use(command, config, folder) as (journal, status):
        torch.set_num_threads(config.executor.threads)
        inputs = (prepared or Prepared()).take(config, progress.decoding)
        network, data = inputs.network, inputs.data
        pin_fact(journal, "data", data.contents, "images, labels or splits have", folder, earlier=data.fingerprint)
        pin_fact(journal, "weights", weights_fingerprint(network), "the weights that training starts from have", folder)
        status |= {"device": describe(inputs.device), TRAINING_IMAGES: len(data.whole.train)}
        write_json(folder / STATUS, status)
        with scratch() as space:
            setup = Setup.of(config, data, folder, space)
            with closing(EXECUTORS[config.executor.name](setup, config, inputs.device, network)) as runner:
                unstated = None if config.training.lr == AUTO else config.training.base_lr
                executor = Recorded(runner, journal, progress.trained, unstated)
                yield Session(config, folder, inputs.device, network, data, journal, executor)
        forget_kept(folder)


@contextmanager
def folder_in_use(command: str, config: TrialsConfig, folder: Path) -> Iterator[tuple[Journal, dict[str, Any]]]:
    """Lock a run's folder for this process; yields its journal and the entries of `status.json`.

    Args:
        command: The name of the command.
        config: Its settings.
        folder: The run's folder, which exists.

    Raises:
        RunFolderError: Another process uses the folder, it was begun with other settings, or it cannot be written.
    """
    with sole_user(folder):
        journal = Journal(folder)
        try:
            # before anything else is written: the folder may belong to another run
            pin_config(journal, config, folder)
            with status_kept(command, folder) as status:
                yield journal, status
        finally:
            journal.close()
