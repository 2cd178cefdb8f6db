"""`status.json`: the state of a run, or how it ended."""

from __future__ import annotations

import datetime
import platform
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

from biotune.errors import BiotuneError, one_line
from biotune.store.files import STATUS, read_json, write_json
from biotune.store.lock import in_use


def state_of(folder: Path) -> str | None:
    """The state in a folder's `status.json`, or None if it holds none."""
    state = read_json(folder / STATUS).get("state")
    return None if state is None else str(state)


def command_of(folder: Path) -> str | None:
    """The command in a folder's `status.json`, or None if it holds none."""
    command = read_json(folder / STATUS).get("command")
    return None if command is None else str(command)


def state_and_error(folder: Path) -> tuple[str | None, str | None]:
    """The state of a run and its error, from its folder alone.

    A run whose status says that it is running, but on whose folder no process works, was ended too roughly to write it. From
    another machine that cannot be told for sure.

    Returns:
        None twice if the folder holds no run that has begun.
    """
    status = read_json(folder / STATUS)
    state, error = status.get("state"), status.get("error")
    if state == "running" and not in_use(folder):
        if status.get("host", platform.node()) == platform.node():
            return "interrupted", "its process was ended before it could write why."
        return "running", f"on {status['host']}, as far as its folder tells."
    return state, error


def record_end(folder: Path, state: str, error: str) -> None:
    """Write into `status.json` how a run ended that could not write it itself.

    Args:
        folder: The run's folder.
        state: The final state.
        error: The reason.

    Raises:
        RunFolderError: The folder cannot be written.
    """
    write_json(folder / STATUS, {**read_json(folder / STATUS), "state": state, "error": error})


@contextmanager
def status_kept(command: str, folder: Path) -> Iterator[dict[str, Any]]:
    """Keep `status.json` up to date while the context lasts; yields the entries that callers may add to.

    Args:
        command: The command that runs.
        folder: The run's folder.
    """
    status = begun(command)
    write_json(folder / STATUS, status)
    try:
        yield status
        status["state"] = "finished"
    except Exception as error:
        text = str(error) if isinstance(error, BiotuneError) else f"{type(error).__name__}: {error}"
        status |= {"state": "failed", "error": one_line(text)}
        raise
    except BaseException:  # Ctrl-C, or another request to stop the process
        status["state"] = "interrupted"
        raise
    finally:
        status["finished"] = now()
        with suppress(BiotuneError):  # if the folder itself failed, its error is being raised already
            write_json(folder / STATUS, status)


def begun(command: str) -> dict[str, Any]:
    """The entries of a `status.json` at the beginning of a command."""
    status: dict[str, Any] = {"command": command, "state": "running", "error": None, "started": now(), "finished": None}
    return status | {"versions": _versions(), "host": platform.node(), "device": None, "git_commit": _git_commit()}


def now() -> str:
    """The time, as `status.json` states it."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


@lru_cache
def _versions() -> dict[str, str]:
    packages = ("biotune", "torch", "torchvision", "hydra-core", "deap", "numpy")
    return {"python": platform.python_version()} | {package: version(package) for package in packages}


@lru_cache
def _git_commit() -> str | None:
    """The git commit of the running code, if it runs from a checkout."""
    here = Path(__file__).parent
    with suppress(OSError, subprocess.SubprocessError):
        answer = subprocess.run(["git", "rev-parse", "HEAD"], cwd=here, capture_output=True, text=True, timeout=5, check=True)
        return answer.stdout.strip()
    return None
