"""The folder of a search that a program asks and tells: its journal, from which it goes on, and its tables."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import yaml

from biotune.config.key import keys_of, show
from biotune.config.search import EvolutionConfig
from biotune.errors import RunFolderError
from biotune.evolution.front import Front
from biotune.evolution.generation import Generation
from biotune.evolution.rows import front_rows, generation_rows, summary_row
from biotune.schedule.block import Block
from biotune.schedule.schedule import Schedule
from biotune.schedule.schedule_file import save_text
from biotune.store.files import (
    FRONT,
    GENERATIONS,
    SCHEDULE,
    SEARCH,
    STATUS,
    SUMMARY,
    GrowingTable,
    write_json,
    write_table,
    write_text,
)
from biotune.store.folders import why_not_writable
from biotune.store.journal import Journal
from biotune.store.lock import sole_user
from biotune.store.status import begun, command_of, now
from biotune.trial import TrialResult

COMMAND = "search"  # in `status.json`, where a run has the name of its command
_EXTENDABLE = "generations"
_DEFAULTS = {item.path: item.default for item in keys_of(EvolutionConfig)}


class SearchFolder:
    """A folder that this process alone works in while it is open.

    Attributes:
        records: What was asked and told before, in order.
    """

    def __init__(self, folder: Path, settings: Mapping[str, Any], blocks: Sequence[Block]) -> None:
        """Open a folder, or make it.

        Args:
            folder: The folder.
            settings: All settings of the search by name.
            blocks: Its blocks.

        Raises:
            RunFolderError: It cannot be written, is in use, holds something else, or was begun with other settings or blocks.
        """
        self.folder = folder
        sizes = {block.name: block.parameters for block in blocks if block.parameters is not None}
        self._sizes = sizes if len(sizes) == len(blocks) else {}
        self._head_start = str(settings["head_start"])
        _make(folder)
        with ExitStack() as stack:
            stack.enter_context(sole_user(folder, "another process, or another Search in this one,"))
            if (command := command_of(folder)) not in (None, COMMAND):
                raise RunFolderError(f"{folder}: holds a run of 'biotune {command}'; give the search a folder of its own.")
            self._journal = Journal(folder)
            stack.callback(self._journal.close)
            self._pin(settings, blocks)
            self.records = [one for one in self._journal.records() if one.get("kind") in ("asked", "told")]
            self._candidates = GrowingTable(folder / GENERATIONS)
            stack.callback(self._candidates.close)
            self._generations = GrowingTable(folder / SUMMARY)
            stack.callback(self._generations.close)
            self._status = begun(COMMAND)
            write_json(folder / STATUS, self._status)
            self._open = stack.pop_all()

    def _pin(self, settings: Mapping[str, Any], blocks: Sequence[Block]) -> None:
        """Record the settings and blocks, or check that they are the recorded ones."""
        own = {"settings": dict(settings), "blocks": {block.name: list(block.modules) for block in blocks}}
        before = self._journal.pinned(COMMAND)
        if before is not None:
            known = {name: value for name, value in _DEFAULTS.items() if name in settings}  # keys that came later
            old = {**known, **before["settings"], **{f"block {name}": paths for name, paths in before["blocks"].items()}}
            new = {**own["settings"], **{f"block {name}": paths for name, paths in own["blocks"].items()}}
            changes = [
                f"{name}={show(old[name]) if name in old else 'missing'}, now {show(new[name]) if name in new else 'missing'}"
                for name in {**old, **new}
                if (name in old, old.get(name)) != (name in new, new.get(name))
                and not (name == _EXTENDABLE and new[name] > old[name])
            ]
            if changes or list(before["blocks"]) != list(own["blocks"]):
                what = ", ".join(changes) or "another order of the blocks"
                raise RunFolderError(f"{self.folder}: was begun with other settings ({what}); set them back or begin anew.")
        if before != own:
            self._journal.pin(COMMAND, own)
        shown = {**own, "parameters": self._sizes}
        write_text(self.folder / SEARCH, yaml.safe_dump(shown, sort_keys=False, default_flow_style=None, width=math.inf))

    def append(self, record: Mapping[str, Any]) -> None:
        """Journal what was asked or told."""
        self._journal.append(record)

    def result_of(self, record: Mapping[str, Any]) -> TrialResult:
        """The result in a record of what was told.

        Raises:
            RunFolderError: The record is damaged.
        """
        try:
            curve = tuple(float(score) for score in record["curve"])
            return TrialResult(record["status"], curve, float(record["seconds"]), error=record["error"])
        except (KeyError, TypeError, ValueError) as error:
            raise RunFolderError(f"{self.folder}: the record of trial {record.get('trial')} is damaged ({error}).") from None

    def costs_of(self, record: Mapping[str, Any]) -> dict[str, float]:
        """The costs in a record of what was told; empty in a search with one objective.

        Raises:
            RunFolderError: The record is damaged.
        """
        try:
            return {str(name): float(cost) for name, cost in record.get("costs", {}).items()}
        except (AttributeError, TypeError, ValueError) as error:
            raise RunFolderError(f"{self.folder}: the record of trial {record.get('trial')} is damaged ({error}).") from None

    def close_generation(self, generation: Generation) -> None:
        """Add a generation to the tables, and write the best schedule."""
        self._candidates.extend(generation_rows(generation, self._sizes, self._head_start))
        self._generations.extend([summary_row(generation)])
        if generation.front is not None:
            self.write_front(generation.front)
        if generation.hall:
            self.write_best(generation.hall[0].schedule)

    def write_front(self, front: Front) -> None:
        """Write the table of the front."""
        write_table(self.folder / FRONT, front_rows(front, {}))

    def write_best(self, schedule: Schedule) -> None:
        """Write the best schedule, whose learning rates are known to the training loop alone."""
        write_text(self.folder / SCHEDULE, save_text(schedule, None, {}))

    def close(self, over: bool) -> None:
        """Release the folder; closing again changes nothing.

        Args:
            over: Whether the search is over.
        """
        if self._status["finished"] is None:
            self._status |= {"state": "finished" if over else "interrupted", "finished": now()}
            write_json(self.folder / STATUS, self._status)
        self._open.close()


def _make(folder: Path) -> None:
    if reason := why_not_writable(folder):
        raise RunFolderError(f"{folder}: cannot be made or written ({reason}).")
    os.makedirs(folder, exist_ok=True)
