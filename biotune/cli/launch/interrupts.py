"""Handles the signals that ask a command to end: the first ends it cleanly, the second at once."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading

from biotune.executors.processes import WARNING_SIGNALS

INTERRUPTED = 130  # the exit status


def end_cleanly(at_once_by_second: bool = True) -> None:
    """Make the first of these signals raise KeyboardInterrupt: SIGINT (Ctrl-C), SIGTERM, SIGUSR1, SIGUSR2.

    Slurm and submitit send one of the last two some time before a job's time limit. All results are journalled as they
    come, so that nothing has to be saved.

    Args:
        at_once_by_second: Whether a second signal ends the process and its children; else it is ignored, because the parent
            process sends it again what both have received.
    """
    if threading.current_thread() is not threading.main_thread():
        return
    heard: list[int] = []

    def interrupt(number: int, frame: object) -> None:
        heard.append(number)
        if len(heard) == 1:
            raise KeyboardInterrupt
        if at_once_by_second:
            for child in multiprocessing.active_children():
                child.kill()
            os._exit(INTERRUPTED)

    for number in (*WARNING_SIGNALS, signal.SIGTERM):
        signal.signal(number, interrupt)
