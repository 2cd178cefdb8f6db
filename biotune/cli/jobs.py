"""One job of run, train, compare or evaluate: a typed config, a folder, a recipe. Its errors end the job, never the process."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from biotune.errors import BiotuneError, one_line
from biotune.voice import Voice

WITH_FOLDER = ("run", "train", "compare", "evaluate")  # the commands that train and leave a run's folder
_log = logging.getLogger("biotune")


def perform(command: str, config: Any, folder: Path, voice: Voice, title: str | None = None) -> bool:
    """Do a job, say in one line what went wrong if anything did, and leave the traceback in the run's log.

    Args:
        command: One of `WITH_FOLDER`.
        config: Its typed config.
        folder: The run's folder, which exists.
        voice: How much is said.
        title: A line above it, where there are several jobs.

    Returns:
        Whether it came to its end.

    Raises:
        KeyboardInterrupt: The user, or a signal, wants the process to end.
    """
    from biotune import recipes
    from biotune.view import View

    recipe: Callable[..., Any] = getattr(recipes, command)
    handler = _log_to(folder)
    try:
        with View(voice=voice) as view:
            if title is not None:
                view.final(title, "bold")
            recipe(config, folder, view)
        return True
    except KeyboardInterrupt:
        raise KeyboardInterrupt(f"'biotune resume {folder}' goes on from here.") from None
    except (Exception, SystemExit) as error:
        _log.exception("%s failed", command)
        ours = isinstance(error, BiotuneError)
        text = str(error) if ours else f"{type(error).__name__}: {one_line(error)}"
        hint = "" if ours else f" The traceback is in {folder / 'run.log'}."
        print(f"biotune: {text}{hint}", file=sys.stderr)
        return False
    finally:
        _log.removeHandler(handler)
        with suppress(OSError):  # a full disk; the run's own error has told of it
            handler.close()


def _log_to(folder: Path) -> logging.Handler:
    logging.raiseExceptions = False  # a log that cannot be written is no reason to fill the terminal with tracebacks
    try:
        handler: logging.Handler = logging.FileHandler(folder / "run.log", encoding="utf-8")
    except OSError:  # a folder that cannot be written is told of by what needs it
        handler = logging.NullHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    _log.addHandler(handler)
    _log.setLevel(logging.INFO)
    _log.propagate = False
    return handler
