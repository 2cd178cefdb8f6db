"""How many workers there are and which device each one sees. Starts nothing and needs no GPU to be decided."""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from biotune.config.schema import ExecutorConfig

_VISIBLE = "CUDA_VISIBLE_DEVICES"


@dataclass(frozen=True)
class Slot:
    """A place for one worker.

    Attributes:
        device: The device as the worker names it.
        environment: Variables that must be set before the worker imports torch.
    """

    device: str
    environment: dict[str, str] = field(default_factory=dict)


def make_slots(
    device: str, kind: str, settings: ExecutorConfig, gpus: int, cores: int, environment: Mapping[str, str]
) -> list[Slot]:
    """A slot a worker.

    Args:
        device: What the user asked for; only `cuda:INDEX` keeps the workers to one GPU.
        kind: The type of the device it came to: cpu, cuda or mps.
        settings: How many workers and threads.
        gpus: CUDA devices that this process sees.
        cores: Processor cores that this process may use.
        environment: The environment of this process.
    """
    threads = {"OMP_NUM_THREADS": str(settings.threads)}
    if kind != "cuda":
        usual = max(1, cores // settings.threads) if kind == "cpu" else 1
        return [Slot(kind, threads) for _ in range(settings.workers or usual)]
    named = [int(device.partition(":")[2])] if ":" in device else list(range(gpus))
    seen = [name.strip() for name in environment.get(_VISIBLE, "").split(",") if name.strip()]
    physical = seen if len(seen) >= gpus else [str(index) for index in range(gpus)]
    count = settings.workers or len(named) * settings.workers_per_gpu
    # each worker sees one GPU only, which it calls cuda:0: nothing of it can land on another's
    return [Slot("cuda:0", {**threads, _VISIBLE: physical[named[index % len(named)]]}) for index in range(count)]


def workers_per_device(slots: Sequence[Slot]) -> int:
    """The most workers that share one device, at least 1."""
    return max(Counter((slot.device, slot.environment.get(_VISIBLE)) for slot in slots).values(), default=1)


def usable_cores(cgroup: Path = Path("/sys/fs/cgroup")) -> int:
    """Processor cores that this process may use: those it may run on, or fewer where a quota of CPU time allows fewer.

    Args:
        cgroup: Where the system tells the quotas of control groups, of version 2 or 1.
    """
    try:
        cores = len(os.sched_getaffinity(0))
    except AttributeError:  # not every system has it
        cores = os.cpu_count() or 1
    quota = _quota(cgroup)
    return cores if quota is None else min(cores, max(1, math.floor(quota)))


def _quota(cgroup: Path) -> float | None:
    """Cores' worth of CPU time that a control group may use; None for any."""
    for names in (("cpu.max",), ("cpu/cpu.cfs_quota_us", "cpu/cpu.cfs_period_us")):
        try:
            quota, period = " ".join((cgroup / name).read_text(encoding="ascii") for name in names).split()
            return int(quota) / int(period) if quota not in ("max", "-1") else None
        except (OSError, ValueError, ZeroDivisionError):  # not told there, or nothing that can be read
            continue
    return None
