"""What the files hold that W&B writes offline."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass
class OfflineRun:
    """What one file holds."""

    id: str = ""
    name: str = ""
    group: str = ""
    kind: str = ""
    config: dict[str, Any] = field(default_factory=dict)
    history: list[dict[str, Any]] = field(default_factory=list)
    summary: dict[str, Any] = field(default_factory=dict)
    files: list[str] = field(default_factory=list)
    exit: int | None = None


def offline_runs(folder: Path) -> list[OfflineRun]:
    """All runs that lie in `wandb/` of a folder, those of one id as often as there were sessions."""
    return [read(path) for path in sorted(folder.glob("wandb/offline-run-*/run-*.wandb"))]


def read(path: Path) -> OfflineRun:
    from biotune.recipes.trackers.wandb_log import records

    run = OfflineRun()
    for record in records(path):
        what = record.WhichOneof("record_type")
        if what == "run":
            run.id, run.name = record.run.run_id, record.run.display_name
            run.group, run.kind = record.run.run_group, record.run.job_type
            run.config |= _values(record.run.config.update)
        elif what == "history":
            run.history.append(_values(record.history.item))
        elif what == "summary":
            run.summary |= _values(record.summary.update)
        elif what == "artifact":
            run.files += [entry.path for entry in record.artifact.manifest.contents]
        elif what == "exit":
            run.exit = record.exit.exit_code
    return run


def _values(items: Any) -> dict[str, Any]:
    found = {item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in items}
    return {name: value for name, value in found.items() if name == "_step" or not name.startswith("_")}
