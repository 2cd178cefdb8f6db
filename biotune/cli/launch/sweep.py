"""The summary of a multirun: a table on the terminal, the same table as `sweep.csv`, and a page that compares all jobs."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import yaml
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException

from biotune.cli.launch.hydra_internals import jobs_of
from biotune.cli.launch.run_folders import NUMBERED, holds_run
from biotune.errors import RunFolderError
from biotune.store.files import OVERRIDES, RESULT, read_json, write_table
from biotune.store.status import state_and_error

TABLE, PAGE = "sweep.csv", "sweep.html"
_MULTIRUN = "multirun.yaml"  # written by Hydra


def is_sweep(folder: Path) -> bool:
    """Whether a folder is that of a multirun: it holds the folders of jobs, or says which jobs there are to be."""
    return not holds_run(folder) and (bool(_jobs_begun(folder)) or bool(_jobs_planned(folder)))


def summarise_sweep(folder: Path, page: Path | None = None) -> int:
    """Print one line per job with its overrides and its score; write the table and the page.

    Reads the folders alone, so that jobs of other processes and other machines count too, whatever has become of the command
    that launched them.

    Args:
        folder: The sweep's folder.
        page: Where to write the page; None is the sweep's folder.

    Returns:
        The exit status: 0, or 1 where a job has not finished.

    Raises:
        RunFolderError: The folder cannot be written.
    """
    from biotune.cli.terminal.view import View

    planned = _jobs_planned(folder)
    jobs = {path.name: path for path in _jobs_begun(folder)} | {name: folder / name for name in planned}
    rows = [_row(jobs[name], planned.get(name, [])) for name in sorted(jobs, key=_job_number)]
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
    finished = [jobs[row["job"]] for row in rows if row["state"] == "finished"]
    with View() as view:
        view.table(
            f"Sweep {folder}", ["job", "overrides", "state", "test macro accuracy", "full fine-tuning", "failed finals"], cells
        )
        if written := _write_page(page or folder / PAGE, finished):
            view.line(f"Page: {written}")
    return 0 if len(finished) == len(jobs) else 1


def _jobs_begun(folder: Path) -> list[Path]:
    return [path for path in folder.iterdir() if holds_run(path)] if os.path.isdir(folder) else []


def _jobs_planned(folder: Path) -> dict[str, list[str]]:
    """The overrides of all jobs by the names of their folders, as Hydra has written the command down; empty if it is unknown.

    Jobs that wait in a queue, or were lost before they made a folder, are known from it alone.
    """
    with suppress(OSError, yaml.YAMLError, HydraException, KeyError, TypeError, UnicodeDecodeError):
        hydra = yaml.safe_load((folder / _MULTIRUN).read_text(encoding="utf-8"))["hydra"]
        if hydra["sweep"]["subdir"] == NUMBERED:
            overrides = OverridesParser.create().parse_overrides(hydra["overrides"]["task"])
            return {str(number): job for number, job in enumerate(jobs_of(overrides))}
    return {}


def _row(job: Path, planned: Sequence[str]) -> dict[str, Any]:
    state, error = state_and_error(job)
    overrides: Sequence[Any] = planned
    with suppress(OSError, yaml.YAMLError, UnicodeDecodeError):
        overrides = yaml.safe_load((job / OVERRIDES).read_text(encoding="utf-8")) or []
    result = read_json(job / RESULT)
    scores = {"test": result.get("test", {}), **result.get("baselines", {})}
    row = {
        "job": job.name,
        "overrides": " ".join(map(str, overrides)),
        "state": state or "missing",
        "error": error,
    }
    row["failed"] = sum(result.get("failed", {}).values()) if result else None  # of the final training runs
    for name in ("test", "full", "linear_probe"):
        score = scores.get(name, {}).get("macro_accuracy", {})
        row |= {f"{name}_macro_accuracy": score.get("mean"), f"{name}_macro_accuracy_sd": score.get("sd")}
    return row


def _shown(row: Mapping[str, Any], name: str) -> str:
    from biotune.cli.terminal.view import mean_sd

    mean, sd = row[f"{name}_macro_accuracy"], row[f"{name}_macro_accuracy_sd"]
    return "" if mean is None else mean_sd({"mean": mean, "sd": sd})


def _write_page(page: Path, jobs: Sequence[Path]) -> Path | None:
    """Write a page that compares all jobs that can be reported; those of `biotune evaluate` cannot."""
    from biotune.report.read import read_finished_run
    from biotune.report.runs_page import write_comparison

    runs = []
    for job in jobs:
        with suppress(RunFolderError):
            runs.append(read_finished_run(job))
    return write_comparison(runs, page) if runs else None


def _job_number(name: str) -> tuple[int, str]:
    return (int(name) if name.isdigit() else sys.maxsize, name)
