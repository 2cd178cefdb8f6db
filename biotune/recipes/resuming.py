"""What must be as it was when a run goes on, what may change, and the words for what differs. Knows neither torch nor Hydra."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from biotune.config.key import keys_of, show
from biotune.config.schema import value_at
from biotune.errors import RunFolderError
from biotune.store.journal import Journal

# where and how a training runs, but not what comes out of it
FREE = (
    "executor.name",
    "executor.workers",
    "executor.workers_per_gpu",
    "executor.trial_timeout",
    "dataset.root",  # the images themselves are told by their fingerprint
    "dataset.download",
)


# more of these only adds to what is there
EXTENDABLE = ("evolution.generations", "evolution.max_hours", "test.seeds", "strategies")


def pin_config(journal: Journal, config: Any, folder: Path) -> None:
    """Note what a run's numbers depend on, or make sure that nothing of it has changed.

    Raises:
        RunFolderError: Something has, with the keys and both values.
    """
    now = {item.path: value_at(config, item.path) for item in keys_of(type(config)) if item.path not in FREE}
    before = journal.pinned("config")
    if before == now:
        return
    if isinstance(before, dict):
        # what an earlier version had no key for was as the key's default says
        before = {item.path: item.default for item in keys_of(type(config)) if item.path in now} | before
    if isinstance(before, dict) and (changes := differences(before, now)):
        raise RunFolderError(f"{folder}: was begun with other settings ({', '.join(changes)}); they must stay as they were.")
    journal.pin("config", now)


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """What has changed that must not, as `KEY=BEFORE, now NOW`; a search that is only made longer has not changed."""
    found = []
    for key in [*before, *(key for key in now if key not in before)]:
        old, new = before.get(key), now.get(key)
        if old != new and not (key in EXTENDABLE and _is_longer(old, new)):
            found.append(f"{key}={show(old)}, now {show(new)}")
    return found


def _is_longer(old: Any, new: Any) -> bool:
    if isinstance(old, list):
        return isinstance(new, list) and new[: len(old)] == old
    return new is None or (old is not None and new > old)


def pin_fact(journal: Journal, name: str, value: str, what: str, folder: Path) -> None:
    """Note a fingerprint, or make sure that it is the one noted before.

    Raises:
        RunFolderError: It is another: `what` has changed.
    """
    before = journal.pinned(name)
    if before is None:
        journal.pin(name, value)
    elif before != value:
        raise RunFolderError(f"{folder}: {what} changed since the run began; what it has found belongs to the old ones.")
