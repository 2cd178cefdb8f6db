"""When a worker counts as standing still: the arithmetic by hand, then processes that the system really stops."""

from __future__ import annotations

import logging
import os
import re
import signal
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import faulty
import pytest
from faulty import answer_to, calls, give, trial

from biotune.cli.launch import perform
from biotune.cli.terminal.output_mode import OutputMode
from biotune.cli.terminal.view import View
from biotune.executors import process_pool, stalls, supervisor
from biotune.executors.process_pool import ProcessPool, ProcessWorker
from biotune.executors.stalls import Durations
from biotune.executors.supervisor import Batch
from biotune.trial import TrialResult

OK = TrialResult("ok", (0.5,), 1.0)


def durations(*seconds: float, epochs: int = 1) -> Durations:
    found = Durations()
    for one in seconds:
        found.add(replace(trial(0), epochs=epochs), OK, one)
    return found


def test_the_patience_is_ten_times_the_median_of_enough_trials_and_at_least_the_floor() -> None:
    assert durations(20, 1, 40, 30).patience(trial(0)) == 3600  # four are too few
    assert durations(20, 1, 40, 30, 900).patience(trial(0)) == 300
    assert durations(2, 1, 4, 3, 900).patience(trial(0)) == 60
    assert durations(20, 10, 40, 30, 900, 10).patience(trial(0)) == 250


def test_a_trial_of_more_epochs_has_more_time() -> None:
    found = durations(20, 1, 40, 30, 900, epochs=3)
    assert found.patience(replace(trial(0), epochs=3)) == pytest.approx(300)
    assert found.patience(replace(trial(0), epochs=30)) == pytest.approx(3000)


def test_trials_that_ended_before_their_time_do_not_count() -> None:
    found = durations(20, 20, 20, 20)
    found.add(trial(0), TrialResult("failed", (), 0.0, error="x"), 0.1)
    found.add(trial(0), TrialResult("pruned", (0.1,), 0.1), 0.1)
    assert found.usual(trial(0)) is None


def test_the_report_is_a_line_with_process_times_and_remedies() -> None:
    said = durations(20, 1, 40, 30, 900).report(trial(0), 4242, "", 312.0)
    assert said.startswith("worker process 4242 has not answered for 5 minutes")
    assert "a training run usually takes 30 seconds" in said
    assert "'kill -9 4242'" in said and "executor.trial_timeout" in said and "\n" not in said
    assert "usually" not in Durations().report(trial(0), 4242, "", 3600.0)


# --- the pool -----------------------------------------------------------------------------------------------------------


class Heard(logging.Handler):
    """The warnings of the pool; `then` is called with the process that each names."""

    def __init__(self, then: Callable[[int], object] = lambda process: None) -> None:
        super().__init__(logging.WARNING)
        self.lines: list[str] = []
        self.then = then

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())
        found = re.search(r"process (\d+)", self.lines[-1])
        assert found is not None
        self.then(int(found[1]))


@pytest.fixture
def heard() -> Iterator[Heard]:
    handler, logger = Heard(), logging.getLogger("biotune")
    logger.addHandler(handler)
    yield handler
    logger.removeHandler(handler)


class Clock:
    """A clock that moves while the pool waits, and more than that where `stopped` is given."""

    def __init__(self, stopped: float = 0.0) -> None:
        self.now, self.stopped = 1000.0, stopped

    def monotonic(self) -> float:
        return self.now

    def wait(self, sources: object, patience: float) -> list[object]:
        self.now += patience + self.stopped
        return []


def listening(monkeypatch: pytest.MonkeyPatch, clock: Clock, timeout: float | None = None) -> tuple[ProcessPool, Batch]:
    """A pool with one worker that never answers."""
    monkeypatch.setattr(supervisor, "time", clock)
    monkeypatch.setattr(process_pool, "wait", clock.wait)
    pool = ProcessPool(faulty.setup(Path()), [], timeout)
    process = SimpleNamespace(sentinel=7, pid=4242)
    limit = None if timeout is None else clock.now + timeout
    worker = {"slot": faulty.slots(1)[0], "child": process, "pipe": 8, "setup": None}
    pool._workers = [ProcessWorker(**worker, ready=True, task=0, deadline=limit, begun=clock.now)]  # type: ignore[arg-type]
    pool._durations = durations(20, 20, 20, 20, 20)
    return pool, Batch([trial(0)], lambda *_: None, [])


def test_a_worker_is_reported_once_when_its_time_is_over(monkeypatch: pytest.MonkeyPatch, heard: Heard) -> None:
    clock = Clock()
    pool, batch = listening(monkeypatch, clock)
    while clock.now < 1200:
        assert heard.lines == []
        pool._listen(batch)
    assert clock.now == 1200
    for _ in range(100):
        pool._listen(batch)
    assert len(heard.lines) == 1
    assert "worker process 4242 has not answered for 3 minutes" in heard.lines[0]


def test_with_a_limit_nothing_is_reported(monkeypatch: pytest.MonkeyPatch, heard: Heard) -> None:
    clock = Clock()
    pool, batch = listening(monkeypatch, clock, 100_000)
    for _ in range(100):
        pool._listen(batch)
    assert heard.lines == []


def test_time_for_which_the_run_itself_was_stopped_counts_neither_for_the_report_nor_for_the_limit(
    monkeypatch: pytest.MonkeyPatch, heard: Heard
) -> None:
    for timeout in (None, 150.0):
        clock = Clock(stopped=5000.0)
        pool, batch = listening(monkeypatch, clock, timeout)
        pool._listen(batch)
        assert clock.now == 6010
        assert heard.lines == [] and len(pool._workers) == 1
        assert pool._workers[0].begun == 6000
        assert pool._workers[0].deadline == (None if timeout is None else 6150)


@pytest.fixture
def pool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ProcessPool]:
    """Two workers without a limit, after enough trials to know their duration; reported after half a second."""
    monkeypatch.setattr(process_pool, "serve", faulty.serve)
    monkeypatch.setattr(stalls, "FLOOR_SECONDS", 0.5)
    monkeypatch.setattr(stalls, "TIMES", 0)
    pool = ProcessPool(faulty.setup(tmp_path), faulty.slots(2))
    give(tmp_path, {})
    pool.run([trial(seed) for seed in range(10, 16)], lambda *_: None)
    yield pool
    pool.close()


def resume_later(process: int) -> None:
    threading.Timer(1.2, os.kill, (process, signal.SIGCONT)).start()  # time in which a second line would come


@pytest.mark.parametrize(
    ("then", "starts"),
    [(resume_later, 1), (lambda process: os.kill(process, signal.SIGKILL), 2)],
    ids=["goes on when woken", "is trained again when killed"],
)
def test_a_stopped_worker_is_reported_once_and_its_trial(
    then: Callable[[int], object], starts: int, pool: ProcessPool, heard: Heard, tmp_path: Path
) -> None:
    heard.then = then
    give(tmp_path, {1: ["pauses", "works"]})
    trials = [trial(seed) for seed in range(4)]
    assert pool.run(trials, lambda *_: None) == [answer_to(one) for one in trials]
    assert len(heard.lines) == 1
    begun = [call["pid"] for call in calls(tmp_path) if call["seed"] == 1]
    assert len(begun) == starts
    assert f"worker process {begun[0]} has not answered" in heard.lines[0]


# --- what the user sees -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", list(OutputMode))
def test_the_report_reaches_the_log_and_the_terminal_quiet_or_not(
    mode: OutputMode, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    handler = perform._log_to(tmp_path)
    try:
        with View(mode=mode) as view, perform._warnings_shown(view):
            logging.getLogger("biotune.executors.supervisor").warning("worker process 7\nhas not answered")
            logging.getLogger("biotune").error("what its own line says")
    finally:
        logging.getLogger("biotune").removeHandler(handler)
        handler.close()
    said = capsys.readouterr()
    aside = mode in (OutputMode.QUIET, OutputMode.JSON)
    assert "worker process 7 has not answered" in (said.err if aside else said.out)
    assert "worker process 7" not in (said.out if aside else said.err)
    assert "what its own line says" not in said.out + said.err
    assert "WARNING biotune.executors.supervisor: worker process 7" in (tmp_path / "run.log").read_text()
