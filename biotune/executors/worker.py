"""A worker process of the pool: sets itself up once, then runs trials until its pipe closes.

Imports nothing heavy at module level: the environment that torch reads must be set before torch is imported.
"""

from __future__ import annotations

import faulthandler
import io
import os
import signal
import sys
import threading
from collections.abc import Mapping
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING

from biotune.errors import BiotuneError, RunFolderError, one_line
from biotune.executors.base import reason_of
from biotune.executors.processes import end_with_parent
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
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the pool handles Ctrl-C
    _print_to(log)
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


def _print_to(log: Path) -> None:
    """Redirect this process's output, that of native code included, to the run's log: a worker has no terminal."""
    handle = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os.dup2(handle, 1)
    os.dup2(handle, 2)
    os.close(handle)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(line_buffering=True)  # a killed worker does not flush its buffers
    faulthandler.enable()
