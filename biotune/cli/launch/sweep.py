"""The summary of a multirun: a table on the terminal, the same table as `sweep.csv`, and a page that compares all jobs."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import yaml

from biotune.errors import RunFolderError
from biotune.store.files import RESULT, STATUS, write_table

TABLE, PAGE = "sweep.csv", "sweep.html"


def summarise_sweep(folder: Path) -> int:
    """Print one line per job with its overrides and its score; write the table and the page.

    Reads the folders of the jobs, so that jobs of other processes count too.

    Args:
        folder: The sweep's folder.

    Returns:
        The exit status: 0, or 1 where a job has not finished.
    """
    from biotune.cli.terminal.view import View

    jobs = sorted((path for path in folder.iterdir() if (path / STATUS).is_file()), key=_job_number)
    rows = [_row(job) for job in jobs]
    write_table(folder / TABLE, rows, list(rows[0]) if rows else None)
    cells = [
        [
            row["job"],
            row["overrides"],
            row["state"],
            _shown(row, "test") or row["error"] or "",
            _shown(row, "full"),
            row["failed"],
        ]
        for row in rows
    ]
    finished = [job for job, row in zip(jobs, rows, strict=True) if row["state"] == "finished"]
    with View() as view:
        view.table(
            f"Sweep {folder}", ["job", "overrides", "state", "test macro accuracy", "full fine-tuning", "failed finals"], cells
        )
        if page := _write_page(folder, finished):
            view.line(f"Page: {page}")
    return 0 if len(finished) == len(jobs) else 1


def _row(job: Path) -> dict[str, Any]:
    status = _json(job / STATUS)
    overrides: list[Any] = []
    with suppress(OSError, yaml.YAMLError):
        overrides = yaml.safe_load((job / ".hydra" / "overrides.yaml").read_text(encoding="utf-8")) or []
    result = _json(job / RESULT)
    scores = {"test": result.get("test", {}), **result.get("baselines", {})}
    row = {
        "job": job.name,
        "overrides": " ".join(map(str, overrides)),
        "state": status.get("state"),
        "error": status.get("error"),
    }
    row["failed"] = sum(result.get("failed", {}).values()) if result else None  # of the final training runs
    for name in ("test", "full", "linear_probe"):
        score = scores.get(name, {}).get("macro_accuracy", {})
        row |= {f"{name}_macro_accuracy": score.get("mean"), f"{name}_macro_accuracy_sd": score.get("sd")}
    return row


def _json(path: Path) -> dict[str, Any]:
    """The content of a job's JSON file; an empty dict where a job that died left it incomplete."""
    with suppress(OSError, ValueError):
        value = json.loads(path.read_text(encoding="utf-8"))
        return value if isinstance(value, dict) else {}
    return {}


def _shown(row: Mapping[str, Any], name: str) -> str:
    from biotune.cli.terminal.view import mean_sd

    mean, sd = row[f"{name}_macro_accuracy"], row[f"{name}_macro_accuracy_sd"]
    return "" if mean is None else mean_sd({"mean": mean, "sd": sd})


def _write_page(folder: Path, jobs: Sequence[Path]) -> Path | None:
    """Write a page that compares all jobs that can be reported; those of `biotune evaluate` cannot."""
    from biotune.report.read import read_finished_run
    from biotune.report.runs_page import write_comparison

    runs = []
    for job in jobs:
        with suppress(RunFolderError):
            runs.append(read_finished_run(job))
    return write_comparison(runs, folder / PAGE) if runs else None


def _job_number(path: Path) -> tuple[int, str]:
    return (int(path.name) if path.name.isdigit() else sys.maxsize, path.name)
