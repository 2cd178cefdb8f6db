"""Handles Ctrl-C and SIGTERM: the first signal ends a command cleanly, the second at once."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading

INTERRUPTED = 130  # the exit status


def end_cleanly() -> None:
    """Make the first SIGINT (Ctrl-C) or SIGTERM raise KeyboardInterrupt, and the second end the process and its children."""
    if threading.current_thread() is not threading.main_thread():
        return
    heard: list[int] = []

    def interrupt(number: int, frame: object) -> None:
        heard.append(number)
        if len(heard) > 1:
            for child in multiprocessing.active_children():
                child.kill()
            os._exit(INTERRUPTED)
        raise KeyboardInterrupt

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, interrupt)
