"""Runs trials in parallel in supervised worker processes, with the same results as in one process.

A worker that dies, hangs or has a corrupt state is replaced. A death counts as the machine's fault: the trial goes to another
worker, up to three times. A trial that fails or hangs is tried once more. The pool survives every failure of a worker.
Without a limit on trials, a worker that takes far longer than usual is reported.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from typing import TYPE_CHECKING

from biotune.config.schema import TrialsConfig
from biotune.errors import RunFolderError, WorkerError, one_line
from biotune.executors.base import ATTEMPTS, OnResult, failure, shortened
from biotune.executors.processes import how_it_ended
from biotune.executors.setup import Setup
from biotune.executors.slots import Slot, make_slots, workers_per_device
from biotune.executors.stalls import Durations
from biotune.executors.worker import BROKEN, CORRUPT, FOLDER, HELLO, READY, serve
from biotune.store.cores import usable_cores
from biotune.store.files import LOG
from biotune.trial import Trial, TrialResult

if TYPE_CHECKING:
    import torch

    from biotune.backbones.network import Network

DEATHS = 3  # number of workers that may die during one trial before it fails
_LONGEST_WAIT = 10.0  # seconds; so that little goes unnoticed when this process itself is stopped for a while
_LATE = 1.0  # seconds by which a wait may be late before this process counts as having been stopped
_SETUP_SECONDS = 600.0  # limit of a worker's set-up, or executor.trial_timeout if that is longer
_STARTS = 3  # number of workers in a row that may die before they are set up
_log = logging.getLogger(__name__)


@dataclass
class Worker:
    """The pool's handle of one worker process.

    Attributes:
        slot: Its slot.
        process: The process.
        pipe: The pool's end of the pipe.
        ready: Whether the worker is set up.
        task: Index of the trial it is running, or None.
        deadline: Time at which its set-up or trial counts as hung, in monotonic seconds, or None.
        begun: Time at which it got its trial.
        reported: Whether its trial was reported for taking long.
    """

    slot: Slot
    process: SpawnProcess
    pipe: Connection
    ready: bool = False
    task: int | None = None
    deadline: float | None = None
    begun: float = 0.0
    reported: bool = False

    def end(self) -> None:
        """Kill the process, even during a trial."""
        with suppress(OSError):
            self.pipe.close()
        self.process.kill()
        self.process.join()


@dataclass
class _Batch:
    """The trials of one call of `run`, with their attempts and results."""

    trials: Sequence[Trial]
    on_result: OnResult
    waiting: list[int]
    results: dict[int, TrialResult] = field(default_factory=dict)
    failures: Counter[int] = field(default_factory=Counter)
    deaths: Counter[int] = field(default_factory=Counter)

    def finish(self, task: int, result: TrialResult) -> None:
        self.results[task] = result
        self.on_result(self.trials[task], result)

    def fail(self, task: int, reason: str) -> None:
        """The trial failed through its own fault: try it once more, then record the failure."""
        self.failures[task] += 1
        self._again(task, self.failures[task] < ATTEMPTS, reason)

    def lose(self, task: int, reason: str) -> None:
        """The worker of the trial died: give the trial to another worker, up to three times."""
        self.deaths[task] += 1
        self._again(task, self.deaths[task] < DEATHS, reason)

    def _again(self, task: int, again: bool, reason: str) -> None:
        if again:
            self.waiting.insert(0, task)
        else:
            self.finish(task, failure(shortened(reason)))


class ProcessPool:
    """Supervised workers, started when trials wait for them and kept between calls of `run`."""

    def __init__(self, setup: Setup, slots: Sequence[Slot], trial_timeout: float | None = None) -> None:
        """Prepare; no process is started yet.

        Args:
            setup: The description from which each worker sets itself up.
            slots: One slot per worker.
            trial_timeout: Seconds after which a trial counts as hung; None never interrupts a trial, but reports it once.
        """
        self._setup = setup
        self._free = list(slots)
        self._timeout = trial_timeout
        self._workers: list[Worker] = []
        self._dead_starts = 0
        self._durations = Durations()

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

    def run(self, trials: Sequence[Trial], on_result: OnResult) -> list[TrialResult]:
        """Run trials in parallel.

        Args:
            trials: The trials.
            on_result: Called with each trial and its result, in the order in which trials end.

        Returns:
            One result per trial, in the order of the trials.

        Raises:
            RunFolderError: A worker cannot write into the run's folder.
            WorkerError: Workers cannot be set up.
        """
        for worker in [worker for worker in self._workers if worker.task is not None]:
            self._remove(worker)  # it still runs a trial of an interrupted call
        # longest trials first, so that none is left to one worker while the others are idle
        order = sorted(range(len(trials)), key=lambda task: (trials[task].schedule.first_trained, task))
        batch = _Batch(trials, on_result, order)
        while len(batch.results) < len(trials):
            self._start_workers(len(batch.waiting))
            self._hand_out(batch)
            self._listen(batch)
        return [batch.results[task] for task in range(len(trials))]

    def close(self) -> None:
        """End all workers."""
        for worker in self._workers:
            worker.process.kill()
        while self._workers:
            self._remove(self._workers[-1])

    def _start_workers(self, waiting: int) -> None:
        idle = sum(worker.task is None for worker in self._workers)
        context = multiprocessing.get_context("spawn")
        while self._free and idle < waiting:
            slot = self._free.pop(0)
            ours, theirs = context.Pipe()
            arguments = (theirs, slot.environment, slot.device, self._setup.folder / LOG)
            process = context.Process(target=serve, args=arguments, daemon=True)
            try:
                process.start()
            except OSError as error:
                self._free.insert(0, slot)
                raise WorkerError(f"a worker cannot be started: {one_line(error)}. Lower executor.workers.") from None
            theirs.close()
            deadline = time.monotonic() + max(_SETUP_SECONDS, self._timeout or 0.0)
            self._workers.append(Worker(slot, process, ours, deadline=deadline))
            idle += 1

    def _hand_out(self, batch: _Batch) -> None:
        for worker in self._workers:
            if worker.ready and worker.task is None and batch.waiting:
                task = batch.waiting.pop(0)
                worker.task, worker.begun, worker.reported = task, time.monotonic(), False
                worker.deadline = None if self._timeout is None else worker.begun + self._timeout
                with suppress(OSError):  # a worker that died just now is found by its sentinel
                    worker.pipe.send(batch.trials[task])

    def _listen(self, batch: _Batch) -> None:
        """Wait for the next message, death or deadline, and handle it."""
        before = time.monotonic()
        moments = [worker.deadline for worker in self._workers if worker.deadline is not None]
        moments += [moment for _, moment in self._watched(batch)]
        patience = min(max(0.0, min(moments) - before), _LONGEST_WAIT) if moments else _LONGEST_WAIT
        known = {worker.pipe: worker for worker in self._workers} | {
            worker.process.sentinel: worker for worker in self._workers
        }
        heard = {id(known[source]): known[source] for source in wait(list(known), patience)}  # type: ignore[index]
        self._forgive(time.monotonic() - before - patience)
        for worker in heard.values():
            self._hear(worker, batch)
        for worker in list(self._workers):
            if worker.deadline is None or time.monotonic() < worker.deadline:
                continue
            task = worker.task
            self._remove(worker)
            if task is None:
                self._count_dead_start("hung")
            else:
                batch.fail(task, f"it took longer than executor.trial_timeout={self._timeout:g} seconds")
        for worker, moment in self._watched(batch):
            now = time.monotonic()
            if now >= moment and worker.task is not None:
                worker.reported = True
                _log.warning(self._durations.report(batch.trials[worker.task], worker.process.pid, now - worker.begun))

    def _watched(self, batch: _Batch) -> list[tuple[Worker, float]]:
        """The workers whose trials have no limit and are not reported yet, each with the time at which it is to be reported."""
        return [
            (worker, worker.begun + self._durations.patience(batch.trials[worker.task]))
            for worker in self._workers
            if worker.task is not None and worker.deadline is None and not worker.reported
        ]

    def _forgive(self, late: float) -> None:
        """Do not count the time for which this process was stopped, as by Ctrl-Z, which stops its workers too."""
        if late < _LATE:
            return
        for worker in self._workers:
            worker.begun += late
            worker.deadline = None if worker.deadline is None else worker.deadline + late

    def _hear(self, worker: Worker, batch: _Batch) -> None:
        try:
            # a worker may have answered and then died: its answer counts
            message = worker.pipe.recv() if worker.pipe.poll() else None
        except (EOFError, OSError):
            message = None
        if message is None:
            self._on_worker_died(worker, batch)
            return
        kind = message[0]
        if kind == HELLO:
            with suppress(OSError):  # a worker that died just now is found by its sentinel
                worker.pipe.send(self._setup)
        elif kind == READY:
            worker.ready, worker.deadline, self._dead_starts = True, None, 0
        elif kind == BROKEN:
            raise WorkerError(f"a worker cannot be set up: {message[1]}")
        elif kind == FOLDER:
            raise RunFolderError(message[1])
        else:
            self._on_answer(worker, batch, kind, message[1])

    def _on_answer(self, worker: Worker, batch: _Batch, kind: str, content: object) -> None:
        """Handle a worker's answer to its trial."""
        task, worker.task, worker.deadline = worker.task, None, None
        if kind == CORRUPT:
            self._remove(worker)
        if task is None:
            return
        if isinstance(content, TrialResult):
            self._durations.add(batch.trials[task], content, time.monotonic() - worker.begun)
            batch.finish(task, content)
        else:
            batch.fail(task, str(content))

    def _on_worker_died(self, worker: Worker, batch: _Batch) -> None:
        """Handle a worker's death."""
        task, ready = worker.task, worker.ready
        self._remove(worker)
        how = how_it_ended(worker.process.exitcode)
        if task is not None:
            batch.lose(task, f"its worker {how}, {DEATHS} times")
        elif not ready:
            self._count_dead_start(how)

    def _count_dead_start(self, how: str) -> None:
        self._dead_starts += 1
        if self._dead_starts >= _STARTS:
            self._dead_starts = 0  # a caller that continues after this error gets all attempts again
            raise WorkerError(f"workers die before they are set up: the last one {how}. See {LOG} for their output.")

    def _remove(self, worker: Worker) -> None:
        worker.end()
        self._workers.remove(worker)
        self._free.append(worker.slot)
