"""Runs trials in parallel in supervised actors of a Ray cluster, with the same results as in one process.

Ray's object store brings network and images to a node once, unless the node sees the driver's file of the images. Ray is
imported where it is used: it comes with the extra `ray`.
"""

from __future__ import annotations

import logging
import os
import secrets
import signal
import socket
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from biotune.config.schema import TrialsConfig
from biotune.config.sections import AUTO, ExecutorConfig
from biotune.errors import ConfigError, RunFolderError, WorkerError, one_line
from biotune.executors.actor import Message, Seen, Shipped, TrialActor, clean, file_digest, folder_of
from biotune.executors.setup import Setup
from biotune.executors.slots import Slot
from biotune.executors.supervisor import Message as Heard
from biotune.executors.supervisor import Supervisor, Worker
from biotune.executors.worker import BROKEN, FOLDER, HELLO
from biotune.store.cores import usable_cores
from biotune.store.files import LOG, write_bytes
from biotune.trial import Trial

if TYPE_CHECKING:
    import torch

    from biotune.backbones.network import Network

LOCAL = "local"  # the value of executor.address for a Ray of this command's own
_REACHED = 10.0  # seconds within which a cluster must answer
_PATIENCE = 60.0  # seconds that an actor may wait for a place before that is said
_log = logging.getLogger(__name__)


@dataclass(kw_only=True, eq=False)
class ActorWorker(Worker):
    """The pool's handle of one actor.

    Attributes:
        actor: The actor's handle.
        answer: Reference to its next message.
        shipped: What it is set up from.
        shared: References to the network and to the images.
        started: When it was asked for, in monotonic seconds.
        seen: What it told of itself; None before its hello.
        end_by: What became of it.
        late: Whether it was said that it waits for a place.
    """

    actor: Any
    answer: Any
    shipped: Shipped
    shared: Shared
    started: float
    seen: Seen | None = None
    end_by: str = "ended"
    late: bool = False

    def greet(self) -> None:
        """Send the network, and the images unless the actor sees their file."""
        pixels = None if self.seen is not None and self.seen.pixels else self.shared.pixels()
        self.answer = self.actor.set_up.remote(self.shipped, [self.shared.network, pixels])

    def send(self, trial: Trial) -> None:
        """Have the actor run a trial."""
        self.answer = self.actor.run.remote(trial)

    def end(self) -> None:
        """Kill the actor's process."""
        import ray

        with suppress(Exception):  # it may be dead, or the cluster may be gone
            ray.kill(self.actor, no_restart=True)

    def how_it_ended(self) -> str:
        """As Ray tells it."""
        return self.end_by

    def process(self) -> tuple[int | None, str]:
        """Its process id on its node."""
        return (None, "") if self.seen is None else (self.seen.process, f"on {self.seen.address}")


class Shared:
    """What Ray's object store holds for all actors of a run.

    Attributes:
        network: Reference to the network with its initial weights.
    """

    def __init__(self, network: object, pixels: Path | None) -> None:
        """Put the network into the store; the images only when an actor does not see their file."""
        import ray

        self.network = ray.put(network)
        self._path = pixels
        self._pixels: Any = None

    def pixels(self) -> Any:
        """Reference to the images, a uint8 array (N, H, W, 3); None if there is no file of them."""
        import ray

        if self._pixels is None and self._path is not None:
            self._pixels = ray.put(np.load(self._path, allow_pickle=False))
        return self._pixels


class RayPool(Supervisor[ActorWorker]):
    """Supervised actors of a Ray cluster."""

    def __init__(
        self,
        setup: Setup,
        settings: ExecutorConfig,
        network: object,
        gpus: float = 0.0,
        actor: type[TrialActor] = TrialActor,
    ) -> None:
        """Join the cluster, or start a local one that ends with this pool; no actor is started yet.

        Args:
            setup: The description from which each actor sets itself up; `pixels` names the file of the images.
            settings: The executor's settings.
            network: The backbone with its initial weights.
            gpus: GPUs of an actor, or the share of one; 0 trains on the CPU.
            actor: The class of the actors.

        Raises:
            ConfigError: Ray is not installed.
            WorkerError: The cluster cannot be joined, or no node has what an actor needs.
        """
        self._own = _connect(settings.address)
        try:
            self._needs = {"num_cpus": settings.cpus or settings.threads, "num_gpus": gpus}
            self._device = "cuda:0" if gpus else "cpu"
            count = settings.workers or self._room()
            super().__init__([Slot(self._device) for _ in range(count)], settings.trial_timeout)
            self._actor = actor
            # as in a process pool, what this process can import a worker can: a user's plugins, where the node sees them
            paths = os.pathsep.join(str(Path(entry).absolute()) for entry in sys.path)
            self._environment = {"OMP_NUM_THREADS": str(settings.threads), "PYTHONPATH": paths}
            self._pixels = setup.pixels if setup.pixels is not None and setup.pixels.is_file() else None
            self._digest = "" if self._pixels is None else file_digest(self._pixels)
            self._shipped = Shipped(setup, secrets.token_hex(8), socket.gethostname(), gpus if 0 < gpus < 1 else 1.0)
            self._shared = Shared(network, self._pixels)
        except BaseException:
            self._disconnect()
            raise

    @staticmethod
    def of(setup: Setup, config: TrialsConfig, device: torch.device, network: Network) -> RayPool:
        """Join the cluster and write the images into a file for its workers.

        Args:
            setup: The description of a worker.
            config: The command's config with the executor's settings.
            device: The device that this machine would train on; executor.gpus decides about the workers'.
            network: The backbone with its initial weights.

        Raises:
            ConfigError: Ray is not installed.
            RunFolderError: The images cannot be written into the scratch folder.
            WorkerError: The cluster cannot be joined, or no node has what a worker needs.
        """
        settings = config.executor
        gpus = settings.gpus if settings.gpus is not None else float(device.type == "cuda")
        shared = replace(
            setup.with_pixels_in_a_file(),
            workers_per_gpu=max(1, int(1 / gpus)) if gpus else 1,
            decoders=max(1, int(settings.cpus or settings.threads)),
        )
        return RayPool(shared, settings, network, gpus)

    def close(self) -> None:
        """End all actors, remove what they share on their nodes, and end a Ray of this pool's own."""
        import ray

        if not ray.is_initialized():
            return
        last = {worker.seen.node: worker.actor for worker in self._workers if worker.seen and worker.task is None}
        with suppress(Exception):  # a node may be gone, and its folder with it
            for text in ray.get([actor.clean.remote() for actor in last.values()], timeout=5.0):
                self._write_log(text)
        super().close()
        self._write_log(clean(folder_of(self._shipped.run)))  # actors that were busy could not be asked
        self._disconnect()

    def _disconnect(self) -> None:
        import ray

        if self._own:
            ray.shutdown()
            self._own = False

    def _room(self) -> int:
        """Number of actors that the nodes have room for.

        Raises:
            WorkerError: None has.
        """
        import ray

        cpus, gpus = self._needs["num_cpus"], self._needs["num_gpus"]
        nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        places = [int(min(node.get("CPU", 0) / cpus, node.get("GPU", 0) / gpus if gpus else float("inf"))) for node in nodes]
        if not sum(places):
            have = ", ".join(f"{node.get('CPU', 0):g} CPUs and {node.get('GPU', 0):g} GPUs" for node in nodes)
            raise WorkerError(
                f"no node of the Ray cluster has {cpus:g} CPUs and {gpus:g} GPUs for a worker; its nodes have {have}. Lower "
                "executor.cpus or executor.gpus; executor.workers=N waits for nodes that are still to come."
            )
        return sum(places)

    def _start(self, slot: Slot) -> ActorWorker:
        import ray

        options = {**self._needs, "runtime_env": {"env_vars": self._environment}, "max_restarts": 0, "max_task_retries": 0}
        remote: Any = ray.remote(self._actor)
        actor = remote.options(**options).remote(slot.device)
        hello = actor.hello.remote(self._pixels, self._digest)
        now = time.monotonic()
        # no deadline yet: it may have to wait for a place in a cluster that others use
        return ActorWorker(slot=slot, actor=actor, answer=hello, shipped=self._shipped, shared=self._shared, started=now)

    def _wait(self, workers: Sequence[ActorWorker], seconds: float) -> list[tuple[ActorWorker, Heard | None]]:
        import ray

        known = {worker.answer: worker for worker in workers if worker.answer is not None}
        if not known:
            time.sleep(seconds)
            return []
        ready, _ = ray.wait(list(known), num_returns=1, timeout=seconds)
        if ready:  # and all others that are by now
            ready, _ = ray.wait(list(known), num_returns=len(known), timeout=0)
        self._say_who_waits(workers)
        return [(known[reference], self._receive(known[reference])) for reference in ready]

    def _receive(self, worker: ActorWorker) -> Heard | None:
        """The message that has come; None if the actor is dead."""
        import ray

        reference, worker.answer = worker.answer, None
        try:
            message: Message = ray.get(reference)
        except ray.exceptions.RayTaskError as error:  # an error outside the trial, such as one of unpickling
            return (BROKEN, f"{type(error.cause).__name__}: {one_line(error.cause)}")
        except ray.exceptions.RayError as error:
            if worker.seen is None and "creation task" in str(error):  # such as a node without this package
                return (BROKEN, str(error).strip().splitlines()[-1])
            worker.end_by = _how(error, worker.seen)
            return None
        self._write_log(message.log)
        if message.kind == HELLO:
            worker.seen = message.content
        try:
            for name, content in (message.files or {}).items():
                write_bytes(self._shipped.setup.folder / name, content)
        except RunFolderError as error:
            return (FOLDER, one_line(error))
        return (message.kind, message.content)

    def _write_log(self, text: str) -> None:
        if text:
            with suppress(OSError), (self._shipped.setup.folder / LOG).open("a", encoding="utf-8") as file:
                file.write(text)

    def _say_who_waits(self, workers: Sequence[ActorWorker]) -> None:
        """Say once of an actor that it has found no place, if no other runs."""
        if any(worker.seen is not None for worker in workers):
            return
        for worker in workers:
            if not worker.late and time.monotonic() > worker.started + _PATIENCE:
                for one in workers:
                    one.late = True
                need = f"{self._needs['num_cpus']:g} CPUs and {self._needs['num_gpus']:g} GPUs"
                _log.warning(
                    f"no worker has found a place in the Ray cluster for a minute; each needs {need}. It goes on waiting."
                )


def require_ray() -> None:
    """Check that Ray is installed; it is not imported.

    Raises:
        ConfigError: It is not.
    """
    if find_spec("ray") is None:
        raise ConfigError("executor=ray: needs the extra 'ray': pip install 'biotune[ray]'.")


def _connect(address: str) -> bool:
    """Join a cluster, or start one; returns whether it is this process's own to end.

    Raises:
        ConfigError: Ray is not installed.
        WorkerError: The cluster cannot be reached, or none can be started.
    """
    require_ray()
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    import ray

    if ray.is_initialized():
        return False  # a program that uses biotune has joined one
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    try:
        if address not in (LOCAL, AUTO):  # Ray itself would try for minutes
            host, _, port = address.rpartition(":")
            socket.create_connection((host.strip("[]"), int(port)), _REACHED).close()
        if address == LOCAL:
            ray.init(address=LOCAL, num_cpus=usable_cores(), include_dashboard=False, **quiet)
        else:
            ray.init(address=address, **quiet)
    except Exception as error:  # of many types, plain ones among them
        raise WorkerError(f"executor.address={address}: no Ray cluster can be joined there: {one_line(error)}") from None
    if threading.current_thread() is threading.main_thread():
        for number, handler in handlers.items():  # Ray's own would end this process without a word
            signal.signal(number, handler)
    return True


def _how(error: Exception, seen: Seen | None) -> str:
    """What became of an actor, as a predicate, in the words that Ray has for it."""
    import ray

    if isinstance(error, ray.exceptions.OutOfMemoryError):
        return "was ended by Ray for lack of memory"
    if seen is not None and not any(node["Alive"] and node["NodeID"] == seen.node for node in ray.nodes()):
        return f"was lost with its node {seen.address}"
    return "was killed or has crashed"
