"""A process that sends a run's events to one tracker, so that a tracker that fails, hangs or crashes cannot harm the run.

An event that cannot be sent stays, with those after it, and is tried again. What is left at the end is sent when the run is
resumed: then all events come again, and the tracker is sent what it lacks.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import re
import signal
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.queues import Queue
from pathlib import Path
from queue import Empty

from biotune.config.tracking import TrackerConfig
from biotune.errors import one_line
from biotune.executors.processes import WARNING_SIGNALS, end_with_parent, how_it_ended
from biotune.recipes.trackers.events import ChildRun, End, Event, GenerationRow, ParentRun
from biotune.recipes.trackers.registry import Tracker, open_tracker

PAUSE, LONGEST_PAUSE = 20.0, 640.0  # seconds after a failure until the next attempt: twice as many each time
_MOST = 200  # characters of a reason
_SECRETS = ("WANDB_API_KEY", "MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN", "DATABRICKS_TOKEN")


@dataclass(frozen=True)
class Failed:
    """What a process reports when it cannot send.

    Attributes:
        reason: In one line, without credentials.
    """

    reason: str


@dataclass(frozen=True)
class Recovered:
    """What a process reports when everything has been sent again after a failure."""


@dataclass(frozen=True)
class Over:
    """The last that a process reports.

    Attributes:
        left: Number of events that were not sent.
    """

    left: int


class Sender:
    """The driver's end: hands events over, without waiting, and hears how it goes.

    Attributes:
        name: The tracker's name.
        trouble: The reason of the first failure; empty before one.
        failing: Whether the last attempt has failed.
    """

    def __init__(self, name: str, config: TrackerConfig, folder: Path, run: ParentRun) -> None:
        """Start the process.

        Args:
            name: The tracker's name.
            config: The settings.
            folder: The run's folder.
            run: The run.
        """
        self.name, self.trouble, self.failing = name, "", False
        self._over: Over | None = None
        context = multiprocessing.get_context("spawn")
        self._events: Queue[Event] = context.Queue()
        self._events.cancel_join_thread()  # a process that hangs must not hold up the end of this one
        self._reports, theirs = context.Pipe(duplex=False)
        arguments = (name, config, folder, run, self._events, theirs)
        self._process = context.Process(target=serve, args=arguments, name=f"tracker-{name}", daemon=True)
        self._process.start()
        theirs.close()

    def put(self, event: Event) -> None:
        """Hand over an event."""
        self._events.put(event)

    def listen(self, seconds: float = 0.0) -> bool:
        """Hear what the process has reported.

        Args:
            seconds: How long to wait for its end.

        Returns:
            Whether it has ended.
        """
        until = time.monotonic() + seconds
        while self._over is None and self._reports.poll(max(until - time.monotonic(), 0)):
            try:
                report = self._reports.recv()
            except (EOFError, OSError):
                self._process.join(1)
                report = Over(-1)
                self.trouble = self.trouble or f"its process {how_it_ended(self._process.exitcode)}"
            if isinstance(report, Over):
                self._over = report
            else:
                self.failing = isinstance(report, Failed)
            if isinstance(report, Failed):
                self.trouble = self.trouble or report.reason
        return self._over is not None

    def close(self, seconds: float) -> bool:
        """Wait for the end of the process, and then end it.

        Args:
            seconds: How long to wait; the last event has been handed over.

        Returns:
            Whether everything has been sent.
        """
        ended = self.listen(seconds)
        if ended:
            self._process.join(1)
        if self._process.is_alive():
            _end_group(self._process.pid)
            self._process.join()
        self._reports.close()
        return self._over is not None and self._over.left == 0


def serve(name: str, config: TrackerConfig, folder: Path, run: ParentRun, events: Queue[Event], reports: Connection) -> None:
    """The process: send events to a tracker until the last one, which is an `End`.

    Args:
        name: The tracker's name.
        config: The settings.
        folder: The run's folder.
        run: The run.
        events: Receives the events.
        reports: See `deliver`.
    """
    _stand_apart()
    deliver(lambda: open_tracker(name, config, folder, run), events, reports)


def deliver(start: Callable[[], Tracker], events: Queue[Event], reports: Connection) -> None:
    """Send events in their order, each until it is sent; at the end what is left is tried once more.

    Args:
        start: Opens a session with the tracker.
        events: Receives the events.
        reports: Takes `Failed` and `Recovered`, and in the end `Over`.
    """
    waiting: deque[Event] = deque()
    tracker: Tracker | None = None
    again, pause, failed = time.monotonic(), PAUSE, False
    while True:
        ending = bool(waiting) and isinstance(waiting[-1], End)
        if ending or time.monotonic() >= again:
            try:
                tracker = tracker or start()
                while waiting:
                    send(tracker, waiting[0])
                    waiting.popleft()
                if failed:
                    failed, pause = False, PAUSE
                    reports.send(Recovered())
            except BaseException as error:  # libraries end the process when they think it is theirs
                failed, tracker, again, pause = True, None, time.monotonic() + pause, min(2 * pause, LONGEST_PAUSE)
                reports.send(Failed(reason_of(error)))
            if ending:
                reports.send(Over(len(waiting)))
                return
        patience = None if tracker is not None else max(again - time.monotonic(), 0)
        with contextlib.suppress(Empty):
            waiting.append(events.get(timeout=patience))


def send(tracker: Tracker, event: Event) -> None:
    """Send one event."""
    if isinstance(event, ChildRun):
        tracker.trained(event)
    elif isinstance(event, GenerationRow):
        tracker.generation(event)
    else:
        tracker.end(event)


def reason_of(error: BaseException) -> str:
    """Describe an exception in one line, without the credentials that URLs and the environment hold."""
    text = re.sub(r"://[^/\s]*@", "://***@", one_line(error))
    for name in _SECRETS:
        if secret := os.environ.get(name):
            text = text.replace(secret, "***")
    return f"{type(error).__name__}: {text if len(text) <= _MOST else text[:_MOST] + '…'}"


def _stand_apart() -> None:
    """Keep a terminal's signals and output away from the tracker's library, and end with the run."""
    if hasattr(os, "setsid"):
        os.setsid()
    for number in WARNING_SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    nowhere = os.open(os.devnull, os.O_RDWR)
    for stream in range(3):
        os.dup2(nowhere, stream)
    os.close(nowhere)
    threading.Thread(target=end_with_parent, daemon=True).start()


def _end_group(pid: int | None) -> None:
    """End a process that does not listen, together with those that its library has started."""
    with contextlib.suppress(OSError):
        if pid is not None:
            os.killpg(pid, signal.SIGKILL) if hasattr(os, "killpg") else os.kill(pid, signal.SIGTERM)
