"""One job of run, train, compare or evaluate: a typed config, a folder, a recipe. Its errors end the job, never the process."""

from __future__ import annotations

import logging
import multiprocessing
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
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
    from biotune.recipes.inputs import Prepared

_FAILED = 1
_log = logging.getLogger("biotune")


def perform(
    command: str, config: Any, folder: Path, mode: OutputMode, title: str | None = None, prepared: Prepared | None = None
) -> bool:
    """Do a job, say in one line what went wrong if anything did, and leave the traceback in the run's log.

    Args:
        command: One that leaves a run folder.
        config: Its typed config.
        folder: The run's folder, which exists.
        mode: How much is said.
        title: A line above it, where there are several jobs.
        prepared: What the check before the run has prepared.

    Returns:
        Whether it came to its end.

    Raises:
        KeyboardInterrupt: The user, or a signal, wants the process to end.
    """
    from biotune.cli.terminal.results import show_result
    from biotune.cli.terminal.view import View

    recipe: Callable[..., Any] = load(str(COMMANDS[command].job))
    handler = _log_to(folder)
    try:
        with View(mode=mode) as view:
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
        with suppress(OSError):  # a full disk; the run's own error has told of it
            handler.close()


def perform_apart(command: str, config: Any, folder: Path, mode: OutputMode, title: str) -> bool:
    """Do a job of a sweep in a process of its own, so that native code that dies in it takes no other job along.

    Returns:
        Whether it came to its end; one that died is `failed` in its status, with how.

    Raises:
        KeyboardInterrupt: The user, or a signal, wants the process to end.
    """
    sys.stdout.flush()
    context = multiprocessing.get_context("spawn")
    job = context.Process(target=_alone, args=(command, config, folder, mode, title))
    job.start()
    try:
        job.join()
    except KeyboardInterrupt:
        job.terminate()  # a signal to this process alone; after Ctrl-C the job has heard of it already
        job.join()
        raise
    if job.exitcode in (0, _FAILED):
        return job.exitcode == 0
    if job.exitcode == INTERRUPTED:
        raise KeyboardInterrupt(f"'biotune resume {folder}' goes on from here.")
    died = f"the job's process {how_it_ended(job.exitcode)}."
    with suppress(RunFolderError):  # of a folder that is gone there is nothing to tell
        record_end(folder, "failed", died)
    print(f"biotune: {died} 'biotune resume {folder}' goes on from its last training.", file=sys.stderr)
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


def _log_to(folder: Path) -> logging.Handler:
    logging.raiseExceptions = False  # a log that cannot be written is no reason to fill the terminal with tracebacks
    try:
        handler: logging.Handler = logging.FileHandler(folder / LOG, encoding="utf-8")
    except OSError:  # a folder that cannot be written is told of by what needs it
        handler = logging.NullHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    _log.addHandler(handler)
    _log.setLevel(logging.INFO)
    _log.propagate = False
    return handler
