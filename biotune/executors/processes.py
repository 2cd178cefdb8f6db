"""Helpers for child processes: they end with their parent, and their exit is described in words."""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from multiprocessing.connection import wait
from multiprocessing.process import parent_process


def end_with_parent() -> None:
    """Block until the parent process is gone, then end this process at once."""
    parent = parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)


def how_it_ended(exitcode: int | None) -> str:
    """Describe how a process ended, as a predicate: `was killed by SIGSEGV`, `exited with status 3`."""
    if exitcode is not None and exitcode < 0:
        with suppress(ValueError):
            return f"was killed by {signal.Signals(-exitcode).name}"
    return f"exited with status {exitcode}"
