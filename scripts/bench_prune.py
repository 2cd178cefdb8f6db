"""A search with and without pruning and racing, over several run seeds: trained epochs, wall time, test accuracy.

A run seed is a split seed too. Finished runs are not run again.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from bench_common import parser, report
from docs_tables import ROOT, paired_interval

SEARCH = ["evolution=plain", "confirm.choose=score"]  # long enough for what is spared to show
KINDS = {
    "neither": ["fitness.prune=none", "fitness.racing=false"],
    "pruning": ["fitness.prune=median", "fitness.racing=false"],
    "racing": ["fitness.prune=none", "fitness.racing=true"],
    "both": ["fitness.prune=median", "fitness.racing=true"],
}


def main() -> None:
    """Run what is missing and print the table."""
    arguments = parser(__doc__)
    arguments.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4], help="run and split seeds")
    arguments.add_argument("--kinds", nargs="+", default=list(KINDS), choices=list(KINDS))
    arguments.add_argument("--out", type=Path, default=ROOT / "outputs" / "bench_prune", help="folder of the runs")
    arguments.add_argument("overrides", nargs="*", help="further overrides of 'biotune run'")
    given = arguments.parse_args()
    if len(set(given.seeds)) < 2:
        arguments.error("argument --seeds: a spread needs at least two different seeds")
    found: dict[str, list[dict[str, Any]]] = {kind: [] for kind in given.kinds}
    for seed in given.seeds:
        for kind in given.kinds:
            own = [f"seed={seed}", f"dataset.split_seed={seed}", f"device={given.device}"]
            overrides = [*SEARCH, *KINDS[kind], *own, *given.overrides]
            found[kind].append(run(given.out / f"{kind}-{seed}", overrides))
            print(kind, seed, found[kind][-1], file=sys.stderr, flush=True)
    report("bench_prune", table(found), given.docs)


def run(folder: Path, overrides: list[str]) -> dict[str, Any]:
    """What one search came to."""
    measured = folder / "measured.json"
    if not measured.is_file():
        begun = time.perf_counter()
        subprocess.run([sys.executable, "-m", "biotune", "run", "-q", f"hydra.run.dir={folder}", *overrides], check=True)
        seconds = time.perf_counter() - begun
        result = json.loads((folder / "result.json").read_text(encoding="utf-8"))
        trials = [json.loads(line) for line in (folder / "journal.jsonl").read_bytes().split(b"\n") if line]
        every = sum(len(trial["curve"]) for trial in trials if trial["kind"] == "trial")
        facts = {
            "search_epochs": result["search"]["epochs"],
            "epochs": every,
            "trainings": result["search"]["trainings"],
            "seconds": seconds,
            "test": result["test"]["macro_accuracy"]["mean"],
            "full": result["baselines"]["full"]["macro_accuracy"]["mean"],
        }
        measured.write_text(json.dumps(facts), encoding="utf-8")
    content: dict[str, Any] = json.loads(measured.read_text(encoding="utf-8"))
    return content


def table(found: dict[str, list[dict[str, Any]]]) -> list[str]:
    """Sums over the seeds against the first kind, and the paired difference in test accuracy."""
    first = next(iter(found.values()))
    lines = [
        "| pruning, racing | trainings of a search | epochs of a search | epochs of a whole run | wall time "
        "| test macro accuracy | over neither (95 % interval) |",
        "|---|---|---|---|---|---|---|",
    ]
    for kind, runs in found.items():
        shares = {
            name: sum(run[name] for run in runs) / sum(run[name] for run in first)
            for name in ("trainings", "search_epochs", "epochs", "seconds")
        }
        means = [run["test"] for run in runs]
        lines.append(
            f"| {kind} | {shares['trainings']:.2f}× | {shares['search_epochs']:.2f}× | {shares['epochs']:.2f}× "
            f"| {shares['seconds']:.2f}× | {statistics.fmean(means):.4f} ± {statistics.stdev(means):.4f} "
            f"| {'' if runs is first else paired_interval(means, [run['test'] for run in first])} |"
        )
    return [*lines, "", f"Over {len(first)} run and split seeds; ratios are of sums over them."]


if __name__ == "__main__":
    main()
