"""Run `biotune run` over several seeds and write the README's table: evolved schedule against its baselines.

A run seed is a split seed too, so that the spread is over searches and over data. Finished runs are not run again.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

from scipy.stats import t as student

ROOT = Path(__file__).resolve().parent.parent
BEGIN, END = "<!-- measured by scripts/measure_default.py -->", "<!-- end of measured -->"
FAST_RATE = 0.003  # the base rate matters too, so full fine-tuning is also shown at three times the default
METHODS = {
    "biotune": "evolved schedule",
    "full": "full fine-tuning",
    "linear_probe": "linear probing",
    "full_fast": "full fine-tuning at three times the base rate",
}


def main() -> None:
    """Run what is missing, then print the table and write it into the README."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4], help="run and split seeds")
    parser.add_argument("--out", type=Path, default=ROOT / "outputs" / "measure_default", help="folder of the runs")
    parser.add_argument("--readme", type=Path, default=ROOT / "README.md", help="file to write the table into")
    parser.add_argument("overrides", nargs="*", help="further overrides of 'biotune run'")
    arguments = parser.parse_args()
    results = [run(seed, arguments.out, arguments.overrides) for seed in arguments.seeds]
    text = table(results)
    print(text)
    write_between_marks(arguments.readme, text)


def run(seed: int, out: Path, overrides: list[str]) -> dict[str, list[float]]:
    """The test macro accuracies of one search and its rivals, by method; what is finished already is not run again."""
    searched = result_of("run", out / f"seed-{seed}", [f"seed={seed}", f"dataset.split_seed={seed}", *overrides])
    fast = ["strategy=full", f"training.lr={FAST_RATE}", f"dataset.split_seed={seed}"]
    rival = result_of("train", out / f"full-fast-{seed}", fast)
    entries = {"biotune": searched["test"], **searched["baselines"], "full_fast": rival["test"]}
    return {method: entries[method]["macro_accuracy"]["values"] for method in METHODS}


def result_of(command: str, folder: Path, overrides: list[str]) -> dict[str, Any]:
    """The result of one biotune command in its own folder."""
    result = folder / "result.json"
    if not result.is_file():
        subprocess.run([sys.executable, "-m", "biotune", command, f"hydra.run.dir={folder}", *overrides], check=True)
    content: dict[str, Any] = json.loads(result.read_text(encoding="utf-8"))
    return content


def table(results: list[dict[str, list[float]]]) -> str:
    """Mean and spread over the runs, and the paired difference to full fine-tuning with its 95 % interval."""
    rows = ["| method | test macro accuracy | over full fine-tuning (95 % interval) |", "|---|---|---|"]
    reference = [statistics.fmean(result["full"]) for result in results]
    for method, words in METHODS.items():
        means = [statistics.fmean(result[method]) for result in results]
        differences = [own - full for own, full in zip(means, reference, strict=True)]
        difference = "" if method == "full" else interval(differences)
        rows.append(f"| {words} | {statistics.fmean(means):.4f} ± {statistics.stdev(means):.4f} | {difference} |")
    trainings = len(results[0]["full"])
    rows.append("")
    rows.append(f"Mean ± standard deviation over {len(results)} run and split seeds, {trainings} final trainings each.")
    return "\n".join(rows)


def interval(differences: list[float]) -> str:
    """Mean of paired differences and its 95 % interval by Student's t."""
    count = len(differences)
    half = float(student.ppf(0.975, count - 1)) * statistics.stdev(differences) / math.sqrt(count)
    mean = statistics.fmean(differences)
    return f"{mean:+.4f} ({mean - half:+.4f} to {mean + half:+.4f})"


def write_between_marks(readme: Path, text: str, begin: str = BEGIN, end: str = END) -> None:
    """Replace what stands between two marks."""
    content = readme.read_text(encoding="utf-8")
    before, found, rest = content.partition(begin)
    _, closed, after = rest.partition(end)
    if not found or not closed:
        raise SystemExit(f"{readme}: has no marks {begin} and {end}.")
    readme.write_text(f"{before}{begin}\n{text}\n{end}{after}", encoding="utf-8")


if __name__ == "__main__":
    main()
