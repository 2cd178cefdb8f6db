"""The process that sends: order, further attempts, what is left, and trackers that fail in every way."""

from __future__ import annotations

import os
import queue
import signal
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tracking import RUN, end, events, row

from biotune.config.tracking import MlflowConfig, TrackerConfig
from biotune.recipes.trackers import sender as module
from biotune.recipes.trackers.events import INTERRUPTED, ChildRun, End, Event, GenerationRow
from biotune.recipes.trackers.sender import Failed, Over, Recovered, Sender, deliver, reason_of


class Reports(list[Any]):
    """Stands for the process's end of the pipe."""

    send = list.append


class Store:
    """A tracker in memory, which outlives its sessions; any attempt to send may fail."""

    def __init__(self, *failing: int) -> None:
        self.received: list[Event] = []
        self.sessions = self.attempts = 0
        self._failing = set(failing)

    def open(self) -> Store:
        self.sessions += 1
        return self

    def trained(self, run: ChildRun) -> None:
        self._take(run)

    def generation(self, row: GenerationRow) -> None:
        self._take(row)

    def end(self, end: End) -> None:
        self._take(end)

    def _take(self, event: Event) -> None:
        self.attempts += 1
        if self.attempts in self._failing:
            raise ConnectionError("the server is down")
        self.received.append(event)


def delivered(store: Store, told: list[Event]) -> Reports:
    """What is reported when a store is sent events; all of them wait already, so that the last one ends it."""
    inbox: queue.Queue[Event] = queue.Queue()
    for event in told:
        inbox.put(event)
    reports = Reports()
    deliver(store.open, inbox, reports)  # type: ignore[arg-type]
    return reports


ALL = [*events(0, 2), End(INTERRUPTED)]


def test_all_events_are_sent_in_their_order() -> None:
    store = Store()
    assert delivered(store, ALL) == [Over(0)]
    assert store.received == ALL and store.sessions == 1


def test_what_could_not_be_sent_is_sent_by_the_next_attempt_in_a_new_session(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PAUSE", 0.01)
    store, inbox, reports = Store(2, 3), queue.Queue[Event](), Reports()
    sending = threading.Thread(target=deliver, args=(store.open, inbox, reports), daemon=True)
    sending.start()
    for event in ALL[:-1]:
        inbox.put(event)
    until = time.monotonic() + 20
    while store.received != ALL[:-1] and time.monotonic() < until:
        time.sleep(0.01)
    inbox.put(ALL[-1])
    sending.join(20)
    assert store.received == ALL and store.sessions == 3
    assert reports == [Failed("ConnectionError: the server is down")] * 2 + [Recovered(), Over(0)]


def test_after_a_failure_the_next_attempt_waits_but_the_end_does_not() -> None:
    store = Store(1)
    assert delivered(store, ALL)[-1] == Over(0)
    assert store.received == ALL and store.sessions == 2, "no attempt between the first one and the end"


def test_what_is_left_in_the_end_is_counted() -> None:
    assert delivered(Store(*range(1, 10)), ALL)[-1] == Over(len(ALL))


def test_a_library_that_ends_the_process_does_not() -> None:
    def start() -> Any:
        raise SystemExit("unsupported")

    inbox: queue.Queue[Event] = queue.Queue()
    inbox.put(End(INTERRUPTED))
    reports = Reports()
    deliver(start, inbox, reports)  # type: ignore[arg-type]
    assert reports[-2:] == [Failed("SystemExit: unsupported"), Over(1)]


def test_reasons_are_one_line_without_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "key-of-mine")
    error = OSError("cannot reach\nhttps://me:secret@host/api with key-of-mine")
    assert reason_of(error) == "OSError: cannot reach https://***@host/api with ***"
    assert len(reason_of(OSError("x" * 5000))) < 250


@pytest.fixture
def unanswering() -> Iterator[str]:
    """A server that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        kept: list[socket.socket] = []

        def take() -> None:
            while True:
                try:
                    kept.append(server.accept()[0])
                except OSError:
                    return

        threading.Thread(target=take, daemon=True).start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


def mlflow_at(uri: str, folder: Path) -> Sender:
    pytest.importorskip("mlflow")
    return Sender("mlflow", TrackerConfig(mlflow=MlflowConfig(True, uri)), folder, RUN)


def test_a_server_that_never_answers_holds_up_neither_the_run_nor_its_end(unanswering: str, tmp_path: Path) -> None:
    sender = mlflow_at(unanswering, tmp_path)
    begun = time.monotonic()
    for _ in range(200):
        for event in events(0, 50):  # far more than a pipe holds
            sender.put(event)
        sender.listen()
    assert time.monotonic() - begun < 5
    sender.put(end(tmp_path))
    begun = time.monotonic()
    assert not sender.close(1.0)
    assert time.monotonic() - begun < 3
    assert not sender._process.is_alive()


def test_a_process_that_is_killed_is_said_to_be(unanswering: str, tmp_path: Path) -> None:
    sender = mlflow_at(unanswering, tmp_path)
    os.kill(sender._process.pid or 0, signal.SIGKILL)
    sender.put(row(0))
    assert sender.listen(20)
    assert sender.trouble == "its process was killed by SIGKILL"
    assert not sender.close(20)


def test_it_ends_by_itself_once_the_run_is_gone(unanswering: str, tmp_path: Path) -> None:
    """A driver that is killed cannot end it."""
    import multiprocessing

    pytest.importorskip("mlflow")

    context = multiprocessing.get_context("spawn")
    told = context.Queue()
    driver = context.Process(target=_drive, args=(unanswering, tmp_path, told))
    driver.start()
    pid = told.get(timeout=60)
    driver.kill()
    driver.join()
    until = time.monotonic() + 20
    while Path(f"/proc/{pid}").exists() and time.monotonic() < until:
        time.sleep(0.05)
    assert not Path(f"/proc/{pid}").exists()


def _drive(uri: str, folder: Path, told: Any) -> None:
    sender = mlflow_at(uri, folder)
    sender.listen(2)
    told.put(sender._process.pid)
    time.sleep(600)
