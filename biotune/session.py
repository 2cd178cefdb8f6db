"""What every command with trainings sets up and tears down: device, network, data, executor, journal, status file."""

from __future__ import annotations

import datetime
import hashlib
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
from biotune.errors import BiotuneError, one_line
from biotune.executors import EXECUTORS, Recorded, Runner, Site
from biotune.plugins import load_plugins
from biotune.scratch import scratch
from biotune.store import STATUS, Journal, write_json

OnDecoded = Callable[[int, int], None]


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

    @property
    def total_parameters(self) -> int:
        """Number of parameters of the network with its new head."""
        return sum(self.network.parameters.values())

    @property
    def hours(self) -> float:
        """Wall time since the session began."""
        return (time.monotonic() - self.started) / 3600


def prepare(
    config: TrialsConfig, num_folds: int, on_decoded: OnDecoded = lambda done, total: None
) -> tuple[torch.device, Network, Data]:
    """Everything that can be wrong before the first training: device, data, network, weights, pictures.

    Raises:
        BiotuneError: Something is.
    """
    load_plugins(config.plugins)
    device = resolve_device(config.device)
    backbones.architecture(config.backbone)
    plan = datasets.find(config.dataset, num_folds)
    network = backbones.build(config.backbone, len(plan.classes))
    data = _load_once(repr((config.dataset, network.preprocessing, num_folds)), plan, network, on_decoded)
    return device, network, data


@contextmanager
def session(
    command: str, config: TrialsConfig, folder: Path, num_folds: int, on_decoded: OnDecoded = lambda done, total: None
) -> Iterator[Session]:
    """Set up, keep `status.json` true, and tear down.

    Raises:
        BiotuneError: Bad input, or a folder that cannot be written.
    """
    journal = Journal(folder)
    # before anything else is written: the folder may be another run's
    journal.pin("config", hashlib.sha256(repr(config).encode()).hexdigest())
    status: dict[str, Any] = {"command": command, "state": "running", "error": None, "started": _now(), "finished": None}
    status |= {"versions": _versions(), "device": None, "git_commit": _git_commit()}
    write_json(folder / STATUS, status)
    torch.set_num_threads(config.executor.threads)
    try:
        device, network, data = prepare(config, num_folds, on_decoded)
        journal.pin("data", data.fingerprint)
        status["device"] = describe(device)
        write_json(folder / STATUS, status)
        with scratch() as space, _executor(Site(config, device, network, data, folder, space)) as inner:
            yield Session(config, folder, device, network, data, journal, Recorded(inner, journal))
        status["state"] = "finished"
    except Exception as error:
        text = str(error) if isinstance(error, BiotuneError) else f"{type(error).__name__}: {error}"
        status |= {"state": "failed", "error": one_line(text)}
        raise
    except BaseException:  # Ctrl-C, or whoever else asks the process to go
        status["state"] = "interrupted"
        raise
    finally:
        journal.close()
        status["finished"] = _now()
        with suppress(BiotuneError):  # the folder may be what failed; its own error is already on its way
            write_json(folder / STATUS, status)


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
