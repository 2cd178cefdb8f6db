"""What the scripts share that run `biotune compare`: reuse, resuming, reading, the baseline that validation would choose."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import yaml
from docs_tables import ROOT

from biotune.report.statistics import shared_by_seed

METRIC = "test_macro_accuracy"
Rows = Sequence[Mapping[str, Any]]


def compare(folder: Path, overrides: Sequence[str]) -> None:
    """One comparison, from where it stands: a finished one is not run again, an interrupted one goes on.

    Args:
        folder: Its folder.
        overrides: What `biotune compare` gets.

    Raises:
        SystemExit: The folder holds a comparison with other overrides.
    """
    refuse_others(folder, overrides)
    if (folder / "result.json").is_file():
        return
    begun = (folder / ".hydra" / "config.yaml").is_file()
    words = ["resume", str(folder)] if begun else ["compare", f"hydra.run.dir={folder}", *overrides]
    subprocess.run([sys.executable, "-m", "biotune", *words], check=True)


def refuse_others(folder: Path, overrides: Sequence[str]) -> None:
    """Refuse to take a comparison that was begun with other overrides for the one that is wanted.

    Raises:
        SystemExit: They differ.
    """
    written = folder / ".hydra" / "overrides.yaml"
    if not written.is_file():
        return
    before = {one for one in yaml.safe_load(written.read_text(encoding="utf-8")) or [] if not one.startswith("hydra.")}
    if changed := sorted(before ^ set(overrides)):
        raise SystemExit(f"{folder}: was begun with other overrides ({', '.join(changed)}); give the same, or another --out.")


def settings_of(experiment: str) -> list[str]:
    """What an experiment sets, as overrides for commands that know no experiments."""
    stored = yaml.safe_load((ROOT / "configs" / "experiment" / f"{experiment}.yaml").read_text(encoding="utf-8"))
    groups = [f"{name.rpartition('/')[2]}={value}" for one in stored.pop("defaults", []) for name, value in one.items()]
    return groups + [f"{section}.{key}={value}" for section, values in stored.items() for key, value in values.items()]


def rows_of(folder: Path) -> list[dict[str, Any]]:
    """The rows of a comparison's table."""
    records = pd.read_csv(folder / "comparison.csv").to_dict("records")
    return [{str(name): value for name, value in record.items()} for record in records]


def chosen_rows(rows: Rows) -> dict[int, Mapping[str, Any]]:
    """The row of the strategy other than biotune with the best validation score, by seed; ties to the first."""
    best: dict[int, Mapping[str, Any]] = {}
    for row in rows:
        if row["strategy"] == "biotune" or row[METRIC] != row[METRIC]:
            continue
        if row["seed"] not in best or row["val_macro_accuracy"] > best[row["seed"]]["val_macro_accuracy"]:
            best[row["seed"]] = row
    return best


def chosen_baseline(rows: Rows) -> dict[int, float]:
    """The test score of the strategy other than biotune with the best validation score, by seed; ties to the first."""
    return {seed: float(row[METRIC]) for seed, row in chosen_rows(rows).items()}


def best_on_average(rows: Rows, metric: str = "val_macro_accuracy") -> str:
    """The strategy other than biotune with the best score on average over the seeds that all have; ties to the first."""
    scores = shared_by_seed([row for row in rows if row["strategy"] != "biotune"], metric)
    return max(scores, key=lambda name: mean(scores[name]))


def mean(scores: Mapping[int, float]) -> float:
    """Mean over the seeds."""
    return sum(scores.values()) / max(len(scores), 1)


def mean_of(rows: Rows, column: str) -> float:
    """Mean of a column."""
    return float(pd.Series([row[column] for row in rows]).mean())


def spread(scores: Mapping[int, float]) -> str:
    """Mean ± standard deviation over the seeds; `failed` where there are none."""
    if not scores:
        return "failed"
    values = pd.Series(list(scores.values()))
    return f"{values.mean():.4f} ± {values.std():.4f}"
