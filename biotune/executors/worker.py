"""A worker process of the pool: sets itself up once, then runs trials until its pipe closes.

Imports nothing heavy at module level: the environment that torch reads must be set before torch is imported.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Mapping
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING

from biotune.errors import BiotuneError, RunFolderError, one_line
from biotune.executors.base import reason_of
from biotune.executors.processes import WARNING_SIGNALS, end_with_parent, print_to
from biotune.executors.setup import Setup, build, run_trial
from biotune.trial import Trial

if TYPE_CHECKING:
    from biotune.training.workspace import Workspace

HELLO, READY, RESULT, FAILED, CORRUPT, FOLDER, BROKEN = "hello", "ready", "result", "failed", "corrupt", "folder", "broken"


def serve(pipe: Connection, environment: Mapping[str, str], device: str, log: Path) -> None:
    """The worker's main function.

    Sends `(HELLO,)` when the process is running and `(READY,)` when it is set up, or `(BROKEN, reason)` if the set-up fails.
    Then sends one message per trial: `(RESULT, result)`; `(FAILED, reason)`; `(CORRUPT, reason)` if the process must be
    replaced; `(FOLDER, text)` if the run's folder cannot be written.

    Args:
        pipe: The worker's end of the pipe; receives a `Setup` after the hello, then trials.
        environment: Environment variables to set before torch is imported.
        device: Torch's name of the device on which to train.
        log: The file that receives this process's output.
    """
    os.environ.update(environment)
    for number in WARNING_SIGNALS:  # which reach all processes of a job; the pool handles them
        signal.signal(number, signal.SIG_IGN)
    print_to(log)
    threading.Thread(target=end_with_parent, daemon=True).start()
    try:
        pipe.send((HELLO,))
        try:
            setup: Setup = pipe.recv()
            workspace = build(setup, device)
        except BiotuneError as error:
            pipe.send((BROKEN, one_line(error)))
            return
        except Exception as error:
            if not isinstance(error, EOFError):
                pipe.send((BROKEN, reason_of(error)))
            return
        pipe.send((READY,))
        while True:
            pipe.send(answer(pipe.recv(), workspace, setup.folder))
    except (EOFError, BrokenPipeError, ConnectionResetError):
        return  # the pool has closed the pipe: no more trials follow


def answer(trial: Trial, workspace: Workspace, folder: Path) -> tuple[object, ...]:
    """Run one trial and return the worker's message about it, see `serve`."""
    try:
        return RESULT, run_trial(trial, workspace, folder)
    except RunFolderError as error:
        return FOLDER, one_line(error)
    except Exception as error:  # an error in one candidate's training run fails that candidate, not the search
        return (CORRUPT if corrupts(error) else FAILED), reason_of(error)


def corrupts(error: BaseException) -> bool:
    """Whether a process must be replaced after an error: out of memory, or any error of the accelerator."""
    if isinstance(error, MemoryError):
        return True
    if not isinstance(error, RuntimeError):
        return False
    text = str(error)
    return any(word in text for word in ("CUDA", "cuDNN", "CUBLAS", "MPS backend", "out of memory", "can't allocate memory"))
