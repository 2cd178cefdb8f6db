"""Workers for tests of the pool: the real `serve` and `answer`, but made-up trainings that go wrong on demand, without torch.

`orders.json` in the run's folder says what happens in a trial of a seed, at its first start, its second and so on; the last
word holds from then on. Every start is a line of `calls.jsonl`.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from biotune.config.plugins import load_plugins
from biotune.config.sections import BackboneConfig, TrainingConfig
from biotune.errors import BiotuneError, RunFolderError
from biotune.executors import process_pool, worker
from biotune.executors.actor import Message, TrialActor
from biotune.executors.process_pool import ProcessPool
from biotune.executors.setup import Setup
from biotune.executors.slots import Slot
from biotune.schedule.block import Block
from biotune.schedule.schedule import Schedule
from biotune.trial import Trial, TrialResult

LR = 3e-3  # the base learning rate of trials

ORDERS, CALLS = "orders.json", "calls.jsonl"
MEMORY_GROUP = "BIOTUNE_TESTS_MEMORY_GROUP"
SCHEDULE = Schedule((Block("stem", ("stem",)), Block("head", ("head",))), (0.0, 1.0))


class DivergedError(BiotuneError):
    """What a training raises whose loss is no number."""


def throw(error: BaseException) -> None:
    raise error


def end_by(number: int) -> None:
    os.kill(os.getpid(), number)
    time.sleep(1000)


def spin() -> None:
    while True:
        pass


def say() -> None:
    print("a word on stdout")
    print("a word on stderr", file=sys.stderr)
    os.write(1, b"a word of native code\n")


def fill_memory() -> None:
    """Take memory until the system's killer comes; the control group named in the environment makes that soon."""
    Path(os.environ[MEMORY_GROUP], "cgroup.procs").write_text(str(os.getpid()), encoding="ascii")
    taken = []
    while True:
        taken.append(bytearray(os.urandom(1)) * (8 << 20))


FAULTS: dict[str, Callable[[], object]] = {
    "works": lambda: None,
    "raises": lambda: throw(ValueError("first\n  second")),
    "diverges": lambda: throw(DivergedError("the loss became nan in epoch 1")),
    "has no memory": lambda: throw(MemoryError()),
    "breaks the GPU": lambda: throw(RuntimeError("CUDA error: device-side assert triggered")),
    "cannot write": lambda: throw(RunFolderError("runs/7: cannot be written (No space left on device).")),
    "exits": lambda: os._exit(3),
    "leaves": lambda: sys.exit(4),
    "is killed": lambda: end_by(signal.SIGKILL),
    "fills the memory": fill_memory,
    "crashes": lambda: ctypes.string_at(0),
    "sleeps": lambda: time.sleep(1000),
    "spins": spin,
    "stands still": lambda: end_by(signal.SIGSTOP),
    "pauses": lambda: os.kill(os.getpid(), signal.SIGSTOP),
    "speaks": say,
    "naps": lambda: time.sleep(2.0),
}


def trial(seed: int, first_trained: int = 1) -> Trial:
    """A trial of one epoch; made up, so that its seed alone tells it from others."""
    return Trial(Schedule(SCHEDULE.blocks, (1.0, 1.0) if first_trained == 0 else (0.0, 1.0)), 0, seed, 1, LR)


def answer_to(trial: Trial) -> TrialResult:
    """What comes of a trial when nothing goes wrong."""
    return TrialResult("ok", (trial.seed / 7,), 1.0)


def run_trial(trial: Trial, workspace: Any, folder: Path) -> TrialResult:
    """Stands in for the training: notes that it was called, then does as it is told."""
    before = sum(call["seed"] == trial.seed for call in calls(folder))
    call = {
        "seed": trial.seed,
        "pid": os.getpid(),
        "device": workspace.device,
        "threads": os.environ.get("OMP_NUM_THREADS"),
        "gpus": os.environ.get("CUDA_VISIBLE_DEVICES"),
        "torch came first": workspace.torch_came_first,
    }
    with (folder / CALLS).open("a", encoding="utf-8") as file:
        file.write(json.dumps(call) + "\n")
    orders = json.loads((folder / ORDERS).read_text(encoding="utf-8")).get(str(trial.seed), ["works"])
    FAULTS[orders[min(before, len(orders) - 1)]]()
    return answer_to(trial)


def build(setup: Setup, device: str) -> Any:
    load_plugins(setup.plugins)
    return SimpleNamespace(device=device, torch_came_first=TORCH_CAME_FIRST)


def serve(pipe: Connection, environment: Mapping[str, str], device: str, log: Path) -> None:
    """What the pool starts in place of `worker.serve`."""
    worker.build = build
    worker.run_trial = run_trial
    worker.serve(pipe, environment, device, log)


class FaultyActor(TrialActor):
    """What a pool of Ray actors starts in place of `TrialActor`."""

    def build(self, setup: Setup, network: Any) -> Any:
        self.run_folder = setup.folder
        return build(setup, self._device)

    def run(self, trial: Trial) -> Message:
        # an actor has a folder of its own to write into; orders lie in the run's
        worker.run_trial = lambda trial, workspace, _: run_trial(trial, workspace, self.run_folder)
        return super().run(trial)


TORCH_CAME_FIRST = "torch" in sys.modules  # of a worker: it imports this module to find `serve`, which sets the environment


def serve_one_and_die(pipe: Connection, environment: Mapping[str, str], device: str, log: Path) -> None:
    """A worker that is gone the moment it has answered its first trial."""
    pipe.send((worker.HELLO,))
    pipe.recv()
    pipe.send((worker.READY,))
    pipe.send((worker.RESULT, answer_to(pipe.recv())))
    os._exit(3)


def die_at_the_hello(pipe: Connection, environment: Mapping[str, str], device: str, log: Path) -> None:
    """A worker that is gone before it has read what to set itself up from."""
    pipe.send((worker.HELLO,))
    os._exit(3)


def setup(folder: Path, plugins: Sequence[str] = (), data: Any = None) -> Setup:
    return Setup(
        plugins=tuple(plugins),
        backbone=BackboneConfig("biotune", "glyphnet"),
        training=TrainingConfig(),
        data=data,
        pixels=folder / "none.npy",
        folder=folder,
        scratch=folder,
        max_gb=0.0,
        threads=1,
        workers_per_gpu=1,
    )


def slots(count: int) -> list[Slot]:
    return [Slot("cpu", {"OMP_NUM_THREADS": "1"}) for _ in range(count)]


def give(folder: Path, orders: Mapping[int, Sequence[str]]) -> None:
    """Say what goes wrong from now on, and forget what was started until now."""
    (folder / ORDERS).write_text(json.dumps(orders), encoding="utf-8")
    (folder / CALLS).write_text("", encoding="utf-8")


def calls(folder: Path) -> list[dict[str, Any]]:
    """The trainings that were started, in order."""
    return [json.loads(line) for line in (folder / CALLS).read_text(encoding="utf-8").splitlines()]


def alive(pid: int) -> bool:
    """Whether a process is there and is no zombie, which a container's first process may never fetch."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in ("Z", "X")
    except OSError:
        if Path("/proc/self/stat").exists():
            return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def wait_until(holds: Callable[[], bool], seconds: float = 20.0) -> bool:
    """Whether something comes to hold within a time."""
    end = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > end:
            return False
        time.sleep(0.05)
    return True


def drive(folder: Path) -> None:
    """A driver with two workers, for tests that kill it."""
    process_pool.serve = serve  # type: ignore[assignment]
    ProcessPool(setup(folder), slots(2)).run([trial(0), trial(1)], lambda *_: None)
