"""The number of workers and the device that each one sees. Starts no process and needs no GPU."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import takewhile

from biotune.config.sections import ExecutorConfig

_VISIBLE = "CUDA_VISIBLE_DEVICES"
_MIG = "MIG-"  # begins the UUID of an instance of a GPU that is divided into several


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
    names = _names_of_gpus(environment.get(_VISIBLE), gpus)
    if ":" in device:
        names = [names[int(device.partition(":")[2])]]
    count = settings.workers or len(names) * settings.workers_per_gpu
    # each worker sees one GPU only, as cuda:0, so it cannot allocate memory on another one
    return [Slot("cuda:0", {**threads, _VISIBLE: names[index % len(names)]}) for index in range(count)]


def _names_of_gpus(visible: str | None, gpus: int) -> list[str]:
    """The names by which workers are given one GPU each: indices, or UUIDs as a scheduler has set them.

    Args:
        visible: The value of CUDA_VISIBLE_DEVICES; None where it is not set.
        gpus: Number of CUDA devices that this process sees, at least 1.
    """
    if visible is None:
        return [str(index) for index in range(gpus)]
    listed = [name.strip() for name in visible.split(",")]
    # CUDA takes no device from the first name on that is none, such as -1, or is of another kind than the first
    names = list(takewhile(lambda name: name and name[0] != "-" and _kind(name) == _kind(listed[0]), listed))
    if listed[0].startswith(_MIG):
        return names  # a process sees the first instance of a divided GPU only, and each worker is a process of its own
    return names[:gpus] or [str(index) for index in range(gpus)]


def _kind(name: str) -> str:
    """How a GPU is named: `GPU` or `MIG` by a UUID, `` by an index."""
    return name.partition("-")[0] if "-" in name else ""


def workers_per_device(slots: Sequence[Slot]) -> int:
    """The largest number of workers that share one device, at least 1."""
    return max(Counter((slot.device, slot.environment.get(_VISIBLE)) for slot in slots).values(), default=1)
