"""Runs one job of run, train, compare or evaluate: a recipe with a config and a folder. Errors end the job, not the process."""

from __future__ import annotations

import logging
import multiprocessing
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from biotune.cli.launch.interrupts import INTERRUPTED, end_cleanly
from biotune.cli.registry import COMMANDS, load
from biotune.cli.terminal.output_mode import OutputMode
from biotune.errors import BiotuneError, RunFolderError, one_line
from biotune.executors.processes import end_with_parent, how_it_ended, print_to
from biotune.store.files import LOG, STATUS, read_json
from biotune.store.status import record_end

if TYPE_CHECKING:
    from biotune.cli.terminal.view import View
    from biotune.recipes.inputs import Prepared

_FAILED = 1
_GRACE = 5.0  # seconds that a job gets to end cleanly after its parent process has died
_log = logging.getLogger("biotune")


def perform(
    command: str, config: Any, folder: Path, mode: OutputMode, title: str | None = None, prepared: Prepared | None = None
) -> bool:
    """Run a job; on an error, print one line and write the traceback to the run's log.

    Args:
        command: A command that writes a run folder.
        config: Its typed config.
        folder: The run's folder, which exists.
        mode: How much to print.
        title: A line above its output, where there are several jobs.
        prepared: The inputs prepared by the check before the run.

    Returns:
        Whether it finished.

    Raises:
        KeyboardInterrupt: The user pressed Ctrl-C, or the process received SIGTERM.
    """
    from biotune.cli.terminal.results import show_result
    from biotune.cli.terminal.view import View
    from biotune.recipes.trackers.tracked import tracked

    recipe: Callable[..., Any] = load(str(COMMANDS[command].job))
    handler = _log_to(folder)
    try:
        with View(mode=mode) as view, _warnings_shown(view), tracked(command, config, folder, view) as progress:
            if title is not None:
                view.final(title, "bold")
            show_result(view, command, recipe(config, folder, progress, prepared), folder)
        return True
    except KeyboardInterrupt:
        raise KeyboardInterrupt(f"'biotune resume {folder}' goes on from here.") from None
    except (Exception, SystemExit) as error:
        _log.exception("%s failed", command)
        ours = isinstance(error, BiotuneError)
        text = str(error) if ours else f"{type(error).__name__}: {one_line(error)}"
        hint = "" if ours else f" The traceback is in {folder / LOG}."
        print(f"biotune: {text}{hint}", file=sys.stderr)
        return False
    finally:
        _log.removeHandler(handler)
        with suppress(OSError):  # a full disk, which the run's own error has reported
            handler.close()


def perform_apart(command: str, config: Any, folder: Path, mode: OutputMode, title: str) -> bool:
    """Run a job of a sweep in a process of its own, so that a crash of native code does not end the other jobs.

    Args:
        command: A command that writes a run folder.
        config: Its typed config.
        folder: The run's folder, which exists.
        mode: How much to print.
        title: A line above its output.

    Returns:
        Whether it finished; the status of a job whose process died becomes `failed`, with the cause.

    Raises:
        KeyboardInterrupt: The user pressed Ctrl-C, or the process received a signal that asks it to end.
    """
    sys.stdout.flush()
    ended = _wait_for(_Alone(command, config, folder, mode, title))
    if ended == INTERRUPTED:
        raise KeyboardInterrupt(f"'biotune resume {folder}' goes on from here.")
    if died := _note_death(folder, ended):
        print(f"biotune: {died} 'biotune resume {folder}' continues after its last training run.", file=sys.stderr)
    return ended == 0


def perform_launched(command: str, config: Any, folder: Path, mode: OutputMode, title: str) -> bool:
    """Run a job of a sweep in a child of a launcher's process; its output goes to the run's log, and its end is one line.

    Neither a crash nor a signal to the job alone ends the launcher's process, with which joblib would lose all other jobs.

    Args:
        command: A command that writes a run folder.
        config: Its typed config.
        folder: The run's folder, which exists.
        mode: How much to print.
        title: Names the job.

    Returns:
        Whether it finished.
    """
    # joblib's own start method would be handed down to the child, which does not know it
    multiprocessing.set_start_method("spawn", force=True)
    ended = _wait_for(_Alone(command, config, folder, mode, title, to_log=True))
    _note_death(folder, ended)
    status = read_json(folder / STATUS)
    state, error = ("interrupted", None) if ended == INTERRUPTED else (status.get("state"), status.get("error"))
    if ended == 0:
        if mode is not OutputMode.QUIET:
            print(f"{title}: finished", flush=True)
    elif state in ("failed", "interrupted"):
        print(f"{title}: {state}{f': {error}' if error else ''}", file=sys.stderr, flush=True)
    else:  # it has ended before it could write its state
        print(f"{title}: failed, see {folder / LOG}", file=sys.stderr, flush=True)
    return ended == 0


@dataclass(frozen=True)
class _Alone:
    """A job in a process of its own; see `perform_apart` and `perform_launched`."""

    command: str
    config: Any
    folder: Path
    mode: OutputMode
    title: str
    to_log: bool = False

    def __call__(self) -> None:
        if self.to_log:
            print_to(self.folder / LOG)
        threading.Thread(target=end_with_parent, args=(_GRACE,), daemon=True).start()
        end_cleanly(at_once_by_second=False)
        try:
            status = 0 if perform(self.command, self.config, self.folder, self.mode, self.title) else _FAILED
        except KeyboardInterrupt:
            status = INTERRUPTED
        sys.stdout.flush()
        sys.exit(status)


def _wait_for(job: _Alone) -> int | None:
    """Run a job in a child process and return its exit code; whatever interrupts the wait ends the job cleanly too."""
    process = multiprocessing.get_context("spawn").Process(target=job)
    process.start()
    try:
        process.join()
    except BaseException:  # Ctrl-C, or submitit's SystemExit once it has asked Slurm to requeue the job
        process.terminate()  # for a signal to this process alone; Ctrl-C has reached the job already
        process.join()
        raise
    return process.exitcode


def _note_death(folder: Path, exitcode: int | None) -> str | None:
    """Write into a job's status how its process died, and return it; None if it ended by itself."""
    if exitcode in (0, _FAILED, INTERRUPTED):
        return None
    died = f"the job's process {how_it_ended(exitcode)}."
    with suppress(RunFolderError):  # the folder has been deleted
        record_end(folder, "failed", died)
    return died


@contextmanager
def _warnings_shown(view: View) -> Iterator[None]:
    """Show the warnings that go to the log, such as one about a worker that stands still; errors are printed by others."""
    shown = _Shown(view)
    _log.addHandler(shown)
    try:
        yield
    finally:
        _log.removeHandler(shown)


class _Shown(logging.Handler):
    def __init__(self, view: View) -> None:
        super().__init__(logging.WARNING)
        self._view = view

    def emit(self, record: logging.LogRecord) -> None:
        if record.levelno == logging.WARNING:
            self._view.warning(one_line(record.getMessage()))


def _log_to(folder: Path) -> logging.Handler:
    logging.raiseExceptions = False  # else a log that cannot be written would print a traceback per line
    try:
        handler: logging.Handler = logging.FileHandler(folder / LOG, encoding="utf-8")
    except OSError:  # whatever needs the folder reports that it cannot be written
        handler = logging.NullHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    _log.addHandler(handler)
    _log.setLevel(logging.INFO)
    _log.propagate = False
    return handler
