"""The number of workers and the device that each one sees. Starts no process and needs no GPU."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from biotune.config.sections import ExecutorConfig

_VISIBLE = "CUDA_VISIBLE_DEVICES"


@dataclass(frozen=True)
class Slot:
    """The device and environment of one worker.

    Attributes:
        device: The name of the device inside the worker.
        environment: Environment variables to set before the worker imports torch.
    """

    device: str
    environment: dict[str, str] = field(default_factory=dict)


def make_slots(
    device: str, kind: str, settings: ExecutorConfig, gpus: int, cores: int, environment: Mapping[str, str]
) -> list[Slot]:
    """Make one slot per worker.

    Args:
        device: The value of `device`; only `cuda:INDEX` restricts the workers to one GPU.
        kind: The type of the resolved device: cpu, cuda or mps.
        settings: Numbers of workers and threads.
        gpus: Number of CUDA devices that this process sees.
        cores: Number of processor cores that this process may use.
        environment: The environment variables of this process.
    """
    threads = {"OMP_NUM_THREADS": str(settings.threads)}
    if kind != "cuda":
        usual = max(1, cores // settings.threads) if kind == "cpu" else 1
        return [Slot(kind, threads) for _ in range(settings.workers or usual)]
    named = [int(device.partition(":")[2])] if ":" in device else list(range(gpus))
    seen = [name.strip() for name in environment.get(_VISIBLE, "").split(",") if name.strip()]
    physical = seen if len(seen) >= gpus else [str(index) for index in range(gpus)]
    count = settings.workers or len(named) * settings.workers_per_gpu
    # each worker sees one GPU only, as cuda:0, so it cannot allocate memory on another one
    return [Slot("cuda:0", {**threads, _VISIBLE: physical[named[index % len(named)]]}) for index in range(count)]


def workers_per_device(slots: Sequence[Slot]) -> int:
    """The largest number of workers that share one device, at least 1."""
    return max(Counter((slot.device, slot.environment.get(_VISIBLE)) for slot in slots).values(), default=1)
