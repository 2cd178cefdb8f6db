"""Run `biotune run` over several seeds and write the documentation's table: evolved schedule against its baselines.

A run seed is a split seed too, so that the spread is over searches and over data. Finished runs are not run again.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

from docs_tables import ROOT, paired_interval, write_between_marks

BEGIN, END = "<!-- measured by scripts/measure_default.py -->", "<!-- end of measured -->"
FAST_RATE = 0.003  # the base rate matters too, so full fine-tuning is also shown at three times the default
METHODS = {
    "biotune": "what biotune returns",
    "full": "full fine-tuning at its best of four base rates",
    "linear_probe": "linear probing at its best of four base rates",
    "full_fast": "full fine-tuning at three times the base rate",
}


def main() -> None:
    """Run what is missing, then print the table and write it into the documentation."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4], help="run and split seeds")
    parser.add_argument("--out", type=Path, default=ROOT / "outputs" / "measure_default", help="folder of the runs")
    parser.add_argument("--docs", type=Path, help="page to write the table into")
    parser.add_argument("overrides", nargs="*", help="further overrides of 'biotune run'")
    arguments = parser.parse_args()
    results = [run(seed, arguments.out, arguments.overrides) for seed in arguments.seeds]
    text = table(results)
    print(text)
    if arguments.docs is not None:
        write_between_marks(arguments.docs, text, BEGIN, END)


def run(seed: int, out: Path, overrides: list[str]) -> dict[str, list[float]]:
    """The test macro accuracies of one search and its baselines, by method; finished runs are not run again."""
    searched = result_of("run", out / f"seed-{seed}", [f"seed={seed}", f"dataset.split_seed={seed}", *overrides])
    own = [word for word in overrides if word.startswith(("dataset", "backbone"))]  # of a search it knows nothing
    fast = ["strategy=full", f"training.lr={FAST_RATE}", f"dataset.split_seed={seed}", *own]
    baseline = result_of("train", out / f"full-fast-{seed}", fast)
    entries = {"biotune": searched["test"], **searched["baselines"], "full_fast": baseline["test"]}
    return {method: entries[method]["macro_accuracy"]["values"] for method in METHODS}


def result_of(command: str, folder: Path, overrides: list[str]) -> dict[str, Any]:
    """The result of one biotune command in its own folder.

    Raises:
        SystemExit: A final training run failed.
    """
    result = folder / "result.json"
    if not result.is_file():
        subprocess.run([sys.executable, "-m", "biotune", command, f"hydra.run.dir={folder}", *overrides], check=True)
    content: dict[str, Any] = json.loads(result.read_text(encoding="utf-8"))
    if failed := sum(content.get("failed", {}).values()):
        raise SystemExit(f"{folder}: {failed} final training runs failed, so means would be over other seeds; delete it.")
    return content


def table(results: list[dict[str, list[float]]]) -> str:
    """Mean and spread over the runs, and the paired difference to full fine-tuning with its pointwise 95 % interval."""
    rows = ["| method | test macro accuracy | over full fine-tuning (pointwise 95 % interval) |", "|---|---|---|"]
    reference = [statistics.fmean(result["full"]) for result in results]
    for method, words in METHODS.items():
        means = [statistics.fmean(result[method]) for result in results]
        difference = "" if method == "full" else paired_interval(means, reference)
        rows.append(f"| {words} | {statistics.fmean(means):.4f} ± {statistics.stdev(means):.4f} | {difference} |")
    runs = len(results[0]["full"])
    rows.append("")
    rows.append(f"Mean ± standard deviation over {len(results)} run and split seeds, {runs} final training runs each.")
    return "\n".join(rows)


if __name__ == "__main__":
    main()
