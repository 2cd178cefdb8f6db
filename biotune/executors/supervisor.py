"""Supervises workers that run trials in parallel, whatever they are: processes of this machine, or actors of a cluster.

A worker that dies, hangs or has a corrupt state is replaced. A death counts as the machine's fault: the trial goes to another
worker, up to three times. A trial that fails or hangs is tried once more. The pool survives every failure of a worker.
Without a limit on trials, a worker that takes far longer than usual is reported.
"""

from __future__ import annotations

import logging
import time
from abc import ABC, abstractmethod
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from biotune.errors import RunFolderError, WorkerError
from biotune.executors.base import ATTEMPTS, NextTrial, OnResult, failure, shortened
from biotune.executors.slots import Slot
from biotune.executors.stalls import Durations
from biotune.executors.worker import BROKEN, CORRUPT, FOLDER, HELLO, READY
from biotune.store.files import LOG
from biotune.trial import Trial, TrialResult

DEATHS = 3  # number of workers that may die during one trial before it fails
SETUP_SECONDS = 600.0  # limit of a worker's set-up, or executor.trial_timeout if that is longer
_LONGEST_WAIT = 10.0  # seconds; so that little goes unnoticed when this process itself is stopped for a while
_LATE = 1.0  # seconds by which a wait may be late before this process counts as having been stopped
_STARTS = 3  # number of workers in a row that may die before they are set up
_log = logging.getLogger(__name__)

Message = tuple[object, ...]  # see `worker.serve`


@dataclass(kw_only=True, eq=False)
class Worker(ABC):
    """The pool's handle of one worker.

    Attributes:
        slot: Its slot.
        ready: Whether the worker is set up.
        task: Index of the trial it is running, or None.
        deadline: Time at which its set-up or trial counts as hung, in monotonic seconds, or None.
        begun: Time at which it got its trial.
        reported: Whether its trial was reported for taking long.
    """

    slot: Slot
    ready: bool = False
    task: int | None = None
    deadline: float | None = None
    begun: float = 0.0
    reported: bool = False

    @abstractmethod
    def greet(self) -> None:
        """Send the worker, which has said hello, what to set itself up from; one that died just now is found later."""

    @abstractmethod
    def send(self, trial: Trial) -> None:
        """Send the worker a trial; one that died just now is found later."""

    @abstractmethod
    def end(self) -> None:
        """End the worker, even during a trial."""

    @abstractmethod
    def how_it_ended(self) -> str:
        """How a worker that is dead came to its end, as a predicate."""

    @abstractmethod
    def process(self) -> tuple[int | None, str]:
        """The process id, and where it runs, as in `on 10.0.0.2`; empty on this machine."""


@dataclass
class Batch:
    """The trials of one call of `run` or `stream`, with their attempts and results."""

    trials: list[Trial]
    on_result: OnResult
    waiting: list[int]
    results: dict[int, TrialResult] = field(default_factory=dict)
    failures: Counter[int] = field(default_factory=Counter)
    deaths: Counter[int] = field(default_factory=Counter)

    def draw(self, next_trial: NextTrial, places: int) -> None:
        """Add trials until as many wait as there are places for them, or there are none at present."""
        while len(self.waiting) < places and (trial := next_trial()) is not None:
            self.waiting.append(len(self.trials))
            self.trials.append(trial)

    def finish(self, task: int, result: TrialResult) -> None:
        """The trial has ended."""
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


W = TypeVar("W", bound=Worker)


class Supervisor(ABC, Generic[W]):
    """Workers that are started when trials wait for them and kept between calls of `run`."""

    def __init__(self, slots: Sequence[Slot], trial_timeout: float | None = None) -> None:
        """Prepare; no worker is started yet.

        Args:
            slots: One slot per worker.
            trial_timeout: Seconds after which a trial counts as hung; None never interrupts a trial, but reports it once.
        """
        self._free = list(slots)
        self._timeout = trial_timeout
        self._workers: list[W] = []
        self._dead_starts = 0
        self._durations = Durations()

    @abstractmethod
    def _start(self, slot: Slot) -> W:
        """Start a worker; it says hello when it runs.

        Raises:
            WorkerError: None can be started.
        """

    @abstractmethod
    def _wait(self, workers: Sequence[W], seconds: float) -> Sequence[tuple[W, Message | None]]:
        """Wait until a worker sends a message or dies; return the next message of each that did, None for a death."""

    def run(self, trials: Sequence[Trial], on_result: OnResult) -> list[TrialResult]:
        """Run trials in parallel, see `Runner.run`.

        Raises:
            RunFolderError: A worker cannot write into the run's folder.
            WorkerError: Workers cannot be set up.
        """
        self._end_interrupted()
        # longest trials first, so that none is left to one worker while the others are idle
        order = sorted(range(len(trials)), key=lambda task: (trials[task].schedule.first_trained, task))
        batch = Batch(list(trials), on_result, order)
        while len(batch.results) < len(trials):
            self._advance(batch)
        return [batch.results[task] for task in range(len(trials))]

    def stream(self, next_trial: NextTrial) -> Iterator[tuple[Trial, TrialResult]]:
        """Run trials as they are drawn, each when a worker is free or can be started, see `Runner.stream`.

        Raises:
            RunFolderError: A worker cannot write into the run's folder.
            WorkerError: Workers cannot be set up.
        """
        self._end_interrupted()
        ended: deque[tuple[Trial, TrialResult]] = deque()
        batch = Batch([], lambda trial, result: ended.append((trial, result)), [])
        while True:
            batch.draw(next_trial, len(self._free) + sum(worker.task is None for worker in self._workers))
            if len(batch.results) == len(batch.trials):
                return
            self._advance(batch)
            while ended:
                yield ended.popleft()

    def close(self) -> None:
        """End all workers."""
        while self._workers:
            self._remove(self._workers[-1])

    def _end_interrupted(self) -> None:
        """End the workers that still run a trial of an interrupted call."""
        for worker in [worker for worker in self._workers if worker.task is not None]:
            self._remove(worker)

    def _advance(self, batch: Batch) -> None:
        """Hand out what waits, and handle what happens next."""
        self._start_workers(len(batch.waiting))
        self._hand_out(batch)
        self._listen(batch)

    def _start_workers(self, waiting: int) -> None:
        idle = sum(worker.task is None for worker in self._workers)
        while self._free and idle < waiting:
            worker = self._start(self._free[0])
            del self._free[0]
            self._workers.append(worker)
            idle += 1

    def _setup_deadline(self) -> float:
        """The time at which the set-up of a worker that starts now counts as hung."""
        return time.monotonic() + max(SETUP_SECONDS, self._timeout or 0.0)

    def _hand_out(self, batch: Batch) -> None:
        for worker in self._workers:
            if worker.ready and worker.task is None and batch.waiting:
                task = batch.waiting.pop(0)
                worker.task, worker.begun, worker.reported = task, time.monotonic(), False
                worker.deadline = None if self._timeout is None else worker.begun + self._timeout
                worker.send(batch.trials[task])

    def _listen(self, batch: Batch) -> None:
        """Wait for the next message, death or deadline, and handle it."""
        before = time.monotonic()
        moments = [worker.deadline for worker in self._workers if worker.deadline is not None]
        moments += [moment for _, moment in self._watched(batch)]
        patience = min(max(0.0, min(moments) - before), _LONGEST_WAIT) if moments else _LONGEST_WAIT
        heard = self._wait(self._workers, patience)
        self._forgive(time.monotonic() - before - patience)
        for worker, message in heard:
            self._hear(worker, message, batch)
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
                _log.warning(self._durations.report(batch.trials[worker.task], *worker.process(), now - worker.begun))

    def _watched(self, batch: Batch) -> list[tuple[W, float]]:
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

    def _hear(self, worker: W, message: Message | None, batch: Batch) -> None:
        if message is None:
            self._on_worker_died(worker, batch)
            return
        kind = message[0]
        if kind == HELLO:
            worker.deadline = worker.deadline or self._setup_deadline()
            worker.greet()
        elif kind == READY:
            worker.ready, worker.deadline, self._dead_starts = True, None, 0
        elif kind == BROKEN:
            raise WorkerError(f"a worker cannot be set up: {message[1]}")
        elif kind == FOLDER:
            raise RunFolderError(str(message[1]))
        else:
            self._on_answer(worker, batch, kind, message[1])

    def _on_answer(self, worker: W, batch: Batch, kind: object, content: object) -> None:
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

    def _on_worker_died(self, worker: W, batch: Batch) -> None:
        """Handle a worker's death."""
        task, ready = worker.task, worker.ready
        self._remove(worker)
        how = worker.how_it_ended()
        if task is not None:
            batch.lose(task, f"its worker {how}, {DEATHS} times")
        elif not ready:
            self._count_dead_start(how)

    def _count_dead_start(self, how: str) -> None:
        self._dead_starts += 1
        if self._dead_starts >= _STARTS:
            self._dead_starts = 0  # a caller that continues after this error gets all attempts again
            raise WorkerError(f"workers die before they are set up: the last one {how}. See {LOG} for their output.")

    def _remove(self, worker: W) -> None:
        worker.end()
        self._workers.remove(worker)
        self._free.append(worker.slot)
