"""Helpers for child processes: they end with their parent, and their exit is described in words."""

from __future__ import annotations

import faulthandler
import io
import os
import signal
import sys
import time
from contextlib import suppress
from multiprocessing.connection import wait
from multiprocessing.process import parent_process
from pathlib import Path

# what asks a run to end: Ctrl-C, and what Slurm and submitit send before a time limit; not every system has them all
WARNING_SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGUSR1", "SIGUSR2") if hasattr(signal, name))


def end_with_parent(grace: float = 0.0) -> None:
    """Block until the parent process is gone, then end this process.

    Args:
        grace: Seconds that this process gets to end by itself after SIGTERM; 0 ends it at once.
    """
    parent = parent_process()
    if parent is not None:
        wait([parent.sentinel])
        if grace:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(grace)
        os._exit(1)


def how_it_ended(exitcode: int | None) -> str:
    """Describe how a process ended, as a predicate: `was killed by SIGSEGV`, `exited with status 3`."""
    if exitcode is not None and exitcode < 0:
        with suppress(ValueError):
            return f"was killed by {signal.Signals(-exitcode).name}"
    return f"exited with status {exitcode}"


def print_to(log: Path) -> None:
    """Redirect this process's output, that of native code included, to a run's log: the process has no terminal of its own."""
    handle = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os.dup2(handle, 1)
    os.dup2(handle, 2)
    os.close(handle)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(line_buffering=True)  # a killed process does not flush its buffers
    faulthandler.enable()
