"""Runs trials in parallel in supervised worker processes of this machine, with the same results as in one process."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from typing import TYPE_CHECKING

from biotune.config.schema import TrialsConfig
from biotune.errors import WorkerError, one_line
from biotune.executors.processes import how_it_ended
from biotune.executors.setup import Setup
from biotune.executors.slots import Slot, make_slots, workers_per_device
from biotune.executors.supervisor import Message, Supervisor, Worker
from biotune.executors.worker import serve
from biotune.store.cores import usable_cores
from biotune.store.files import LOG
from biotune.trial import Trial

if TYPE_CHECKING:
    import torch

    from biotune.backbones.network import Network


@dataclass(kw_only=True, eq=False)
class ProcessWorker(Worker):
    """The pool's handle of one worker process.

    Attributes:
        child: The process.
        pipe: The pool's end of the pipe.
        setup: The description from which it sets itself up.
    """

    child: SpawnProcess
    pipe: Connection
    setup: Setup

    def greet(self) -> None:
        """Send the description."""
        with suppress(OSError):  # a worker that died just now is found by its sentinel
            self.pipe.send(self.setup)

    def send(self, trial: Trial) -> None:
        """Send a trial through the pipe."""
        with suppress(OSError):
            self.pipe.send(trial)

    def receive(self) -> Message | None:
        """The next message; None if the process is dead and has left none: it may have answered and then died."""
        try:
            return self.pipe.recv() if self.pipe.poll() else None
        except (EOFError, OSError):
            return None

    def end(self) -> None:
        """Kill the process."""
        with suppress(OSError):
            self.pipe.close()
        self.child.kill()
        self.child.join()

    def how_it_ended(self) -> str:
        """By a signal, or with a status."""
        return how_it_ended(self.child.exitcode)

    def process(self) -> tuple[int | None, str]:
        """Its process id on this machine."""
        return self.child.pid, ""


class ProcessPool(Supervisor[ProcessWorker]):
    """Supervised worker processes."""

    def __init__(self, setup: Setup, slots: Sequence[Slot], trial_timeout: float | None = None) -> None:
        """Prepare; no process is started yet.

        Args:
            setup: The description from which each worker sets itself up.
            slots: One slot per worker.
            trial_timeout: Seconds after which a trial counts as hung; None never interrupts a trial, but reports it once.
        """
        super().__init__(slots, trial_timeout)
        self._setup = setup

    @staticmethod
    def of(setup: Setup, config: TrialsConfig, device: torch.device, network: Network) -> ProcessPool:
        """Choose the number of workers and write the images into a file for them.

        Args:
            setup: The description of a worker.
            config: The command's config with the executor's settings.
            device: The device on which trials train.
            network: Not used; each worker builds its own.

        Raises:
            RunFolderError: The images cannot be written into the scratch folder.
        """
        import torch

        gpus = torch.cuda.device_count() if device.type == "cuda" else 0
        cores = usable_cores()
        slots = make_slots(config.device, device.type, config.executor, gpus, cores, os.environ)
        shared = replace(
            setup.with_pixels_in_a_file(),
            workers_per_gpu=workers_per_device(slots),
            decoders=max(1, cores // len(slots)),
        )
        return ProcessPool(shared, slots, config.executor.trial_timeout)

    def close(self) -> None:
        """End all workers; they die side by side."""
        for worker in self._workers:
            worker.child.kill()
        super().close()

    def _start(self, slot: Slot) -> ProcessWorker:
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        arguments = (theirs, slot.environment, slot.device, self._setup.folder / LOG)
        process = context.Process(target=serve, args=arguments, daemon=True)
        try:
            process.start()
        except OSError as error:
            raise WorkerError(f"a worker cannot be started: {one_line(error)}. Lower executor.workers.") from None
        theirs.close()
        return ProcessWorker(slot=slot, child=process, pipe=ours, setup=self._setup, deadline=self._setup_deadline())

    def _wait(self, workers: Sequence[ProcessWorker], seconds: float) -> list[tuple[ProcessWorker, Message | None]]:
        known = {worker.pipe: worker for worker in workers} | {worker.child.sentinel: worker for worker in workers}
        heard = {id(known[source]): known[source] for source in wait(list(known), seconds)}  # type: ignore[index]
        return [(worker, worker.receive()) for worker in heard.values()]
