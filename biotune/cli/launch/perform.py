"""Runs one job of run, train, compare or evaluate: a recipe with a config and a folder. Errors end the job, not the process."""

from __future__ import annotations

import logging
import multiprocessing
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from biotune.cli.launch.interrupts import INTERRUPTED, end_cleanly
from biotune.cli.registry import COMMANDS, load
from biotune.cli.terminal.output_mode import OutputMode
from biotune.errors import BiotuneError, RunFolderError, one_line
from biotune.executors.processes import end_with_parent, how_it_ended
from biotune.store.files import LOG
from biotune.store.status import record_end

if TYPE_CHECKING:
    from biotune.cli.terminal.view import View
    from biotune.recipes.inputs import Prepared

_FAILED = 1
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

    recipe: Callable[..., Any] = load(str(COMMANDS[command].job))
    handler = _log_to(folder)
    try:
        with View(mode=mode) as view, _warnings_shown(view):
            if title is not None:
                view.final(title, "bold")
            show_result(view, command, recipe(config, folder, view, prepared), folder)
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
        KeyboardInterrupt: The user pressed Ctrl-C, or the process received SIGTERM.
    """
    sys.stdout.flush()
    context = multiprocessing.get_context("spawn")
    job = context.Process(target=_alone, args=(command, config, folder, mode, title))
    job.start()
    try:
        job.join()
    except KeyboardInterrupt:
        job.terminate()  # for a signal to this process alone; Ctrl-C has reached the job already
        job.join()
        raise
    if job.exitcode in (0, _FAILED):
        return job.exitcode == 0
    if job.exitcode == INTERRUPTED:
        raise KeyboardInterrupt(f"'biotune resume {folder}' goes on from here.")
    died = f"the job's process {how_it_ended(job.exitcode)}."
    with suppress(RunFolderError):  # the folder has been deleted
        record_end(folder, "failed", died)
    print(f"biotune: {died} 'biotune resume {folder}' continues after its last training run.", file=sys.stderr)
    return False


def _alone(command: str, config: Any, folder: Path, mode: OutputMode, title: str) -> None:
    threading.Thread(target=end_with_parent, daemon=True).start()
    end_cleanly()
    try:
        status = 0 if perform(command, config, folder, mode, title) else _FAILED
    except KeyboardInterrupt:
        status = INTERRUPTED
    sys.stdout.flush()
    sys.exit(status)


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
