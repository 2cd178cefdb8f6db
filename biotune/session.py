"""What every command with trainings sets up and tears down: device, network, data, executor, journal, status file."""

from __future__ import annotations

import datetime
import hashlib
import json
import platform
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from biotune import backbones, datasets
from biotune.backbones import Network
from biotune.config import TrialsConfig
from biotune.datasets import Data
from biotune.device import describe, resolve_device
from biotune.errors import BiotuneError, RunFolderError, one_line
from biotune.executors import EXECUTORS, Recorded, Runner, Site
from biotune.plugins import load_plugins
from biotune.resuming import settle, settle_config, sole_user
from biotune.scratch import scratch
from biotune.store import STATUS, Journal, forget_kept, write_json

OnDecoded = Callable[[int, int], None]
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

    def settle(self, name: str, content: bytes, what: str) -> None:
        """Note what else the run depends on, or make sure that it is what was noted before.

        Args:
            name: What it is noted under.
            content: The content of a file, say.
            what: How the error names it.

        Raises:
            RunFolderError: It has changed.
        """
        settle(self.journal, name, hashlib.sha256(content).hexdigest()[:24], what, self.folder)

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


def prepare(
    config: TrialsConfig, num_folds: int, on_decoded: OnDecoded = lambda done, total: None, resplit: bool = False
) -> tuple[torch.device, Network, Data]:
    """Everything that can be wrong before the first training: device, data, network, weights, pictures.

    Raises:
        BiotuneError: Something is.
    """
    load_plugins(config.plugins)
    device = resolve_device(config.device)
    backbones.architecture(config.backbone)
    plan = datasets.find(config.dataset, num_folds, resplit)
    network = backbones.build(config.backbone, len(plan.classes))
    data = _load_once(repr((config.dataset, network.preprocessing, num_folds, resplit)), plan, network, on_decoded)
    return device, network, data


@contextmanager
def session(
    command: str,
    config: TrialsConfig,
    folder: Path,
    num_folds: int,
    on_decoded: OnDecoded = lambda done, total: None,
    resplit: bool = False,
) -> Iterator[Session]:
    """Set up, keep `status.json` true, and tear down.

    Raises:
        BiotuneError: Bad input, or a folder that cannot be written.
    """
    with folder_in_use(command, config, folder) as (journal, status):
        torch.set_num_threads(config.executor.threads)
        device, network, data = prepare(config, num_folds, on_decoded, resplit)
        settle(journal, "data", data.fingerprint, "pictures, labels or splits have", folder)
        settle(journal, "weights", weights_fingerprint(network), "the weights that training starts from have", folder)
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
            settle_config(journal, config, folder)
            with _status_kept(command, folder) as status:
                yield journal, status
        finally:
            journal.close()


@contextmanager
def _status_kept(command: str, folder: Path) -> Iterator[dict[str, Any]]:
    """`status.json` from its first state to its last."""
    status: dict[str, Any] = {"command": command, "state": "running", "error": None, "started": _now(), "finished": None}
    status |= {"versions": _versions(), "device": None, "git_commit": _git_commit()}
    write_json(folder / STATUS, status)
    try:
        yield status
        status["state"] = "finished"
    except Exception as error:
        text = str(error) if isinstance(error, BiotuneError) else f"{type(error).__name__}: {error}"
        status |= {"state": "failed", "error": one_line(text)}
        raise
    except BaseException:  # Ctrl-C, or whoever else asks the process to go
        status["state"] = "interrupted"
        raise
    finally:
        status["finished"] = _now()
        with suppress(BiotuneError):  # the folder may be what failed; its own error is already on its way
            write_json(folder / STATUS, status)


def weights_fingerprint(network: Network) -> str:
    """Changes whenever the weights that every training starts from do; a new head is drawn anew in each and left out."""
    digest = hashlib.sha256()
    for name, value in network.module.state_dict().items():
        if not (network.fresh_head and name.startswith(network.head + ".")):
            digest.update(name.encode())
            digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()[:24]


@contextmanager
def _executor(site: Site) -> Iterator[Runner]:
    inner = EXECUTORS[site.config.executor.name](site)
    try:
        yield inner
    finally:
        inner.close()


_DECODED: dict[str, Data] = {}


def _load_once(key: str, plan: datasets.Plan, network: Network, on_decoded: OnDecoded) -> Data:
    """Decode once a process: the check before a run and the run itself ask for the same data."""
    full_key = f"{key}/{plan.source.fingerprint}"
    if full_key not in _DECODED:
        _DECODED.clear()
        _DECODED[full_key] = datasets.load(plan, network.preprocessing, on_decoded)
    return _DECODED[full_key]


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


@lru_cache
def _versions() -> dict[str, str]:
    packages = ("biotune", "torch", "torchvision", "hydra-core", "deap", "numpy")
    return {"python": platform.python_version()} | {package: version(package) for package in packages}


@lru_cache
def _git_commit() -> str | None:
    """The commit of the code at work, where it runs from a checkout."""
    here = Path(__file__).parent
    with suppress(OSError, subprocess.SubprocessError):
        answer = subprocess.run(["git", "rev-parse", "HEAD"], cwd=here, capture_output=True, text=True, timeout=5, check=True)
        return answer.stdout.strip()
    return None
