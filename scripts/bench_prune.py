"""A search with and without pruning and racing, over several run seeds: trained epochs, wall time, test accuracy.

The default search has one training seed per candidate and so nothing to race for; racing is measured in the plain search. A
run seed is a split seed too. Finished runs are not run again.
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

PRUNING = {rule: [f"fitness.prune={rule}"] for rule in ("none", "median", "predicted")}
RACING = {
    "none": ["fitness.prune=none", "fitness.racing=false"],
    "racing": ["fitness.prune=none", "fitness.racing=true"],
    "predicted, racing": ["fitness.prune=predicted", "fitness.racing=true"],
}
CASES = {
    "digits": ([], PRUNING),
    "noise, 10 labels a class": (["dataset.shift=noise", "dataset.max_per_class=10"], PRUNING),
    "digits, plain search": (["evolution=plain", "confirm.choose=score"], RACING),
}
Found = dict[str, dict[str, list[dict[str, Any]]]]  # by case and kind of pruning, what each seed came to


def main() -> None:
    """Run what is missing and print the table."""
    arguments = parser(__doc__)
    arguments.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4], help="run and split seeds")
    arguments.add_argument("--cases", nargs="+", default=list(CASES), choices=list(CASES))
    arguments.add_argument("--out", type=Path, default=ROOT / "outputs" / "bench_prune", help="folder of the runs")
    arguments.add_argument("overrides", nargs="*", help="further overrides of 'biotune run'")
    given = arguments.parse_args()
    if len(set(given.seeds)) < 2:
        arguments.error("argument --seeds: a spread needs at least two different seeds")
    found: Found = {case: {kind: [] for kind in CASES[case][1]} for case in given.cases}
    for seed in given.seeds:
        for case in given.cases:
            task, kinds = CASES[case]
            for kind, rule in kinds.items():
                own = [f"seed={seed}", f"dataset.split_seed={seed}", f"device={given.device}"]
                folder = given.out / f"{case}-{kind}-{seed}".replace(", ", "-").replace(" ", "_")
                found[case][kind].append(run(folder, [*task, *rule, *own, *given.overrides]))
                print(case, kind, seed, found[case][kind][-1], file=sys.stderr, flush=True)
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


def table(found: Found) -> list[str]:
    """Sums over the seeds against the first kind of each case, and the paired difference in test accuracy."""
    lines = [
        "| search | pruning, racing | trainings of a search | epochs of a search | epochs of a whole run | wall time "
        "| test macro accuracy | over none (pointwise 95 % interval) |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for case, by_kind in found.items():
        first = next(iter(by_kind.values()))
        for kind, runs in by_kind.items():
            shares = {
                name: sum(run[name] for run in runs) / sum(run[name] for run in first)
                for name in ("trainings", "search_epochs", "epochs", "seconds")
            }
            means = [run["test"] for run in runs]
            lines.append(
                f"| {case} | {kind} | {shares['trainings']:.2f}× | {shares['search_epochs']:.2f}× | {shares['epochs']:.2f}× "
                f"| {shares['seconds']:.2f}× | {statistics.fmean(means):.4f} ± {statistics.stdev(means):.4f} "
                f"| {'' if runs is first else paired_interval(means, [run['test'] for run in first])} |"
            )
    seeds = len(next(iter(next(iter(found.values())).values())))
    return [*lines, "", f"Over {seeds} run and split seeds; ratios are of sums over them."]


if __name__ == "__main__":
    main()
