"""What every command with trainings sets up and tears down: device, network, data, executor, journal, status file."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from biotune.backbones.network import Network, weights_fingerprint
from biotune.config.schema import TrialsConfig
from biotune.datasets.data import Data
from biotune.datasets.splits import Resampling
from biotune.errors import RunFolderError
from biotune.executors.base import Runner, Site
from biotune.executors.recorded import Recorded
from biotune.executors.registry import EXECUTORS
from biotune.recipes.inputs import OnDecoded, prepare
from biotune.recipes.resuming import pin_config, pin_fact
from biotune.store.files import STATUS, write_json
from biotune.store.journal import Journal
from biotune.store.lock import sole_user
from biotune.store.scratch import scratch
from biotune.store.status import status_kept
from biotune.training.device import describe
from biotune.training.model import forget_kept

ELAPSED = "elapsed_seconds"  # in a generation's journal record: wall time spent on the run up to its end


@dataclass
class Session:
    """One command at work.

    Attributes:
        config: The command's config.
        folder: The run's folder.
        device: Where trainings run.
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
        """Wall time spent on the run so far, in sessions that were interrupted too, up to their last whole generation."""
        return self.hours_before + (time.monotonic() - self.started) / 3600

    def pin(self, name: str, content: bytes, what: str) -> None:
        """Note what else the run depends on, or make sure that it is what was noted before.

        Args:
            name: What it is noted under.
            content: The content of a file, say.
            what: How the error names it.

        Raises:
            RunFolderError: It has changed.
        """
        pin_fact(self.journal, name, hashlib.sha256(content).hexdigest()[:24], what, self.folder)

    def close_generation(self, record: dict[str, Any]) -> float:
        """Journal a generation, or make sure that a replayed one is the one that was journalled.

        Args:
            record: What the journal holds of it.

        Returns:
            The wall time spent on the run up to the end of this generation, in hours.

        Raises:
            RunFolderError: The search does not walk the way it walked before.
        """
        known = self._generations.get(record["number"])
        if known is None:
            hours = self.hours
            self.journal.append({**record, ELAPSED: hours * 3600})
            return hours
        if json.dumps({key: value for key, value in known.items() if key != ELAPSED}) != json.dumps(record):
            raise RunFolderError(
                f"{self.folder}: generation {record['number']} does not come out as it did before it was interrupted. Were "
                "biotune, torch, numpy or DEAP updated in between? Begin a new run."
            )
        return float(known[ELAPSED]) / 3600


@contextmanager
def open_session(
    command: str,
    config: TrialsConfig,
    folder: Path,
    resampling: Resampling,
    on_decoded: OnDecoded = lambda done, total: None,
) -> Iterator[Session]:
    """Set up, keep `status.json` true, and tear down.

    Raises:
        BiotuneError: Bad input, or a folder that cannot be written.
    """
    with folder_in_use(command, config, folder) as (journal, status):
        torch.set_num_threads(config.executor.threads)
        device, network, data = prepare(config, resampling, on_decoded)
        pin_fact(journal, "data", data.fingerprint, "images, labels or splits have", folder)
        pin_fact(journal, "weights", weights_fingerprint(network), "the weights that training starts from have", folder)
        status["device"] = describe(device)
        write_json(folder / STATUS, status)
        with scratch() as space, _executor(Site(config, device, network, data, folder, space)) as inner:
            yield Session(config, folder, device, network, data, journal, Recorded(inner, journal))
        forget_kept(folder)


@contextmanager
def folder_in_use(command: str, config: TrialsConfig, folder: Path) -> Iterator[tuple[Journal, dict[str, Any]]]:
    """A run's folder for this process alone: its journal, and what `status.json` tells of how it goes.

    Raises:
        RunFolderError: Another process works there, it was begun with other settings, or it cannot be written.
    """
    with sole_user(folder):
        journal = Journal(folder)
        try:
            # before anything else is written: the folder may be another run's
            pin_config(journal, config, folder)
            with status_kept(command, folder) as status:
                yield journal, status
        finally:
            journal.close()


@contextmanager
def _executor(site: Site) -> Iterator[Runner]:
    inner = EXECUTORS[site.config.executor.name](site)
    try:
        yield inner
    finally:
        inner.close()
