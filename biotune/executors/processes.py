"""What processes that this one starts have in common: they end with it, and how they died is told in words."""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from multiprocessing.connection import wait
from multiprocessing.process import parent_process


def end_with_parent() -> None:
    """End this process at once when the one that started it is gone, whatever it is at; blocks until then."""
    parent = parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)


def how_it_ended(exitcode: int | None) -> str:
    """How a process ended, to follow its name: `was killed by SIGSEGV`, `exited with status 3`."""
    if exitcode is not None and exitcode < 0:
        with suppress(ValueError):
            return f"was killed by {signal.Signals(-exitcode).name}"
    return f"exited with status {exitcode}"
