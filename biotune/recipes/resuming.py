"""The settings that must not change when a run is resumed, those that may, and messages about the differences.

Imports neither torch nor Hydra.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from biotune.config.key import Key, keys_of, show
from biotune.config.schema import value_at
from biotune.errors import RunFolderError
from biotune.store.journal import Journal

# settings of where and how trials run, which do not change results
FREE = (
    "executor.name",
    "executor.workers",
    "executor.workers_per_gpu",
    "executor.trial_timeout",
    "executor.address",
    "executor.cpus",
    "executor.gpus",
    "dataset.download",
    "dataset.decoded",
)


# raising these only extends a run
EXTENDABLE = ("evolution.generations", "evolution.max_hours", "test.seeds", "strategies")


def is_free(item: Key) -> bool:
    """Whether a key may change when a run is resumed: it says where trials run, who is told, or where a file or folder lies.

    What lies there is compared by its content, see `pin_fact`.
    """
    return item.path in FREE or item.path.startswith("tracker.") or bool(item.metadata["path"])


def pin_config(journal: Journal, config: Any, folder: Path) -> None:
    """Record the settings that a run's results depend on, or check that none of them has changed.

    Args:
        journal: The run's journal.
        config: The composed config.
        folder: The run's folder, for the error message.

    Raises:
        RunFolderError: A setting has changed; the message names the keys and both values.
    """
    items = list(keys_of(type(config)))
    now = {item.path: value_at(config, item.path) for item in items if not is_free(item)}
    before = journal.pinned("config")
    if before == now:
        return
    if isinstance(before, dict):
        # a key that an earlier version did not have counts as its default
        before = {item.path: item.default for item in items if item.path in now} | before
        # one that an earlier version held fast
        before = {path: value for path, value in before.items() if path not in {item.path for item in items if is_free(item)}}
    if isinstance(before, dict) and (changes := differences(before, now)):
        raise RunFolderError(f"{folder}: was begun with other settings ({', '.join(changes)}); set them back or begin anew.")
    journal.pin("config", now)


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """The changed settings that must not change, as `KEY=BEFORE, now NOW`; extending a search is allowed."""
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


def pin_fact(journal: Journal, name: str, value: str, what: str, folder: Path, earlier: str | None = None) -> None:
    """Record a fingerprint, or check that it equals the recorded one.

    Args:
        journal: The run's journal.
        name: The name of the record.
        value: The fingerprint.
        what: Subject and auxiliary verb of the error message, such as "the genotypes have".
        folder: The run's folder, for the error message.
        earlier: The same input's fingerprint as an earlier version computed it.

    Raises:
        RunFolderError: The fingerprint differs.
    """
    before = journal.pinned(name)
    if before is None:
        journal.pin(name, value)
    elif before not in (value, earlier):
        raise RunFolderError(f"{folder}: {what} changed since the run began. Restore the old ones, or begin a new run.")
