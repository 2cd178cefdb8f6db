"""Run `biotune compare` on several tasks and write their table, with the baseline that validation data would choose.

Finished comparisons are not run again, interrupted ones go on.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from docs_tables import ROOT, shown, write_between_marks

from biotune.report.statistics import best_of, by_seed, difference

BEGIN, END = "<!-- measured by scripts/measure_comparison.py -->", "<!-- end of comparison -->"
TASKS = {
    "digits": [],
    "noise": ["dataset.shift=noise", "dataset.max_per_class=10"],
    "invert": ["dataset.shift=invert", "dataset.max_per_class=10"],
}
WORDS = {"digits": "clean digits", "noise": "noisy digits, ten a class", "invert": "inverted digits, ten a class"}
METRIC = "test_macro_accuracy"
Rows = Sequence[Mapping[str, Any]]


def main() -> None:
    """Compare what is missing, print the table and write it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", nargs="+", default=list(TASKS), choices=list(TASKS))
    parser.add_argument("--out", type=Path, default=ROOT / "outputs" / "measure_comparison", help="folder of the comparisons")
    parser.add_argument("--docs", type=Path, help="page to write the table into, between the script's marks")
    parser.add_argument("overrides", nargs="*", help="further overrides of 'biotune compare'")
    given = parser.parse_args()
    lines: list[str] = []
    for task in given.tasks:
        folder = given.out / task
        compare(folder, [*TASKS[task], *given.overrides])
        rows = pd.read_csv(folder / "comparison.csv").to_dict("records")
        lines += table(WORDS[task], [{str(name): value for name, value in row.items()} for row in rows])
    text = "\n".join(lines).strip()
    print(text)
    if given.docs is not None:
        write_between_marks(given.docs, text, BEGIN, END)


def compare(folder: Path, overrides: Sequence[str]) -> None:
    """One comparison, from where it stands."""
    if (folder / "result.json").is_file():
        return
    begun = (folder / ".hydra" / "config.yaml").is_file()
    words = ["resume", str(folder)] if begun else ["compare", f"hydra.run.dir={folder}", *overrides]
    subprocess.run([sys.executable, "-m", "biotune", *words], check=True)


def table(title: str, rows: Rows) -> list[str]:
    """A task's table, best first."""
    names = list(dict.fromkeys(row["strategy"] for row in rows))
    scores = {name: by_seed(rows, name, METRIC) for name in names}
    chosen = chosen_baseline(rows)
    best = best_of(rows)
    ranked = sorted(names, key=lambda name: -mean(scores[name]))
    lines = [
        f"**{title}**",
        "",
        "| strategy | test macro accuracy | over full fine-tuning (95 % interval) | trained | trainings | epochs |",
        "|---|---|---|---|---|---|",
    ]
    for name in ranked:
        own = [row for row in rows if row["strategy"] == name]
        over = "" if name == "full" else shown(difference(scores[name], scores["full"]))
        share, trainings, epochs = (mean_of(own, column) for column in ("trainable_share", "trainings", "epochs"))
        star = " *" if name == best else ""
        lines.append(
            f"| {name}{star} | {spread(scores[name])} | {over} | {100 * share:.0f} % | {trainings:.0f} | {epochs:.0f} |"
        )
    lines.append("")
    if "biotune" in scores and chosen:
        steady = best_on_average(rows)
        lines.append(
            f"Over {steady}, the baseline with the best mean validation score, biotune is "
            f"{shown(difference(scores['biotune'], scores[steady]))}. Keeping in each seed whichever of the "
            f"{len(names) - 1} baselines' models validates best reaches {spread(chosen)}; biotune's one model over that: "
            f"{shown(difference(scores['biotune'], chosen))}."
        )
    marked = "* better than every other, all paired intervals above 0" if best else "no strategy is better than every other"
    lines += [f"{len(scores['full'])} seeds, each with its own splits, search and training; {marked}.", ""]
    return lines


def chosen_baseline(rows: Rows) -> dict[int, float]:
    """The test score of the strategy other than biotune with the best validation score, by seed; ties to the first."""
    best: dict[int, Mapping[str, Any]] = {}
    for row in rows:
        if row["strategy"] == "biotune" or row[METRIC] != row[METRIC]:
            continue
        if row["seed"] not in best or row["val_macro_accuracy"] > best[row["seed"]]["val_macro_accuracy"]:
            best[row["seed"]] = row
    return {seed: float(row[METRIC]) for seed, row in best.items()}


def best_on_average(rows: Rows) -> str:
    """The strategy other than biotune with the best validation score on average over the seeds; ties to the first."""
    names = dict.fromkeys(str(row["strategy"]) for row in rows if row["strategy"] != "biotune")
    return max(names, key=lambda name: mean(by_seed(rows, name, "val_macro_accuracy")))


def mean(scores: Mapping[int, float]) -> float:
    """Mean over the seeds."""
    return sum(scores.values()) / max(len(scores), 1)


def mean_of(rows: Rows, column: str) -> float:
    """Mean of a column."""
    return float(pd.Series([row[column] for row in rows]).mean())


def spread(scores: Mapping[int, float]) -> str:
    """Mean ± standard deviation over the seeds."""
    values = pd.Series(list(scores.values()))
    return f"{values.mean():.4f} ± {values.std():.4f}"


if __name__ == "__main__":
    main()
