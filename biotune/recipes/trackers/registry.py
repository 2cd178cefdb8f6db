"""The trackers that can be chosen by `tracker=NAME`, and whether their packages are installed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Protocol

from biotune.config.tracking import TrackerConfig
from biotune.errors import ConfigError
from biotune.recipes.trackers.events import ChildRun, End, GenerationRow, ParentRun
from biotune.store.files import TRACKERS, read_json


class Tracker(Protocol):
    """One session with a tracker. What the tracker has received in earlier sessions is not sent again.

    Every call may raise whatever the tracker's library raises; the session is then over, and another one is opened.
    """

    def trained(self, run: ChildRun) -> None:
        """Send a training run."""
        ...

    def generation(self, row: GenerationRow) -> None:
        """Send a generation."""
        ...

    def end(self, end: End) -> None:
        """Send the end of the run, and close the session."""
        ...


Open = Callable[[TrackerConfig, Path, ParentRun], Tracker]


def open_tracker(name: str, config: TrackerConfig, folder: Path, run: ParentRun) -> Tracker:
    """Begin a run with a tracker, or continue the one with the same identity; imports the tracker's library.

    Args:
        name: The tracker.
        config: The settings of all trackers.
        folder: The run's folder.
        run: The run.
    """
    start: Open = import_module(f"biotune.recipes.trackers.{name}").start
    return start(config, folder, run)


def unsent(folder: Path, names: Sequence[str]) -> list[str]:
    """Those of some trackers that have not received all of a finished run."""
    complete = read_json(folder / TRACKERS).get("complete", [])
    return [name for name in names if name not in complete]


def check_installed(names: Sequence[str]) -> None:
    """Check that the packages of trackers are installed, before any work.

    Args:
        names: The trackers that were asked for.

    Raises:
        ConfigError: One is missing; the message names the extra.
    """
    for name in names:
        if find_spec(name) is None:
            raise ConfigError(f"tracker={name}: needs the extra '{name}': pip install 'biotune[{name}]'.")
