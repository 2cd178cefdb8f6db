"""Compare what `biotune suggest` suggests without earlier runs with linear probing and full fine-tuning, on the panel's tasks.

The baselines are those of the panel's comparisons (scripts/measure_panel.py), each with its learning rate tuned. The suggestion
is trained as often as they are, on the same splits. Finished suggestions and comparisons are not made again.
"""

from __future__ import annotations

import argparse
import statistics
from pathlib import Path

from comparisons import METRIC, refuse_others, rows_of, settings_of
from docs_tables import DOCS, ROOT, paired_interval, write_between_marks
from measure_panel import FRESH, RESTARTS, TASKS, check_data

from biotune.cli import main as biotune

SUGGESTED = "suggestion"
STRATEGIES = {SUGGESTED: "the suggestion", "linear_probe": "linear probing", "full": "full fine-tuning"}
Scores = dict[str, dict[int, dict[str, float]]]


def main() -> None:
    """Suggest, compare what is missing, print the table and write it."""
    parser = argparse.ArgumentParser(description=__doc__)
    known = [name for name, task in TASKS.items() if task.group != FRESH]  # these are for what biotune finds
    parser.add_argument("--tasks", nargs="+", default=known, choices=list(TASKS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3, 4, 5], help="seeds of splits and training runs")
    parser.add_argument("--panel", type=Path, default=ROOT / "outputs" / "measure_panel", help="folder of the panel")
    parser.add_argument("--out", type=Path, default=ROOT / "outputs" / "measure_suggest", help="folder of the suggestions")
    parser.add_argument("--docs", type=Path, nargs="?", const=DOCS / "evidence" / "warm-start.md", help="page to write into")
    given = parser.parse_args()
    for task in given.tasks:
        check_data(task)
    found: Scores = {task: {} for task in given.tasks}
    for seed in given.seeds:
        for task in given.tasks:
            panel = given.panel / task / f"seed-{seed}"
            if (panel / "result.json").is_file():
                baselines = {str(row["strategy"]): float(row[METRIC]) for row in rows_of(panel)}
                found[task][seed] = {**baselines, SUGGESTED: compared(task, seed, given.out.absolute())}
    text = table({task: by_seed for task, by_seed in found.items() if by_seed})
    print(text)
    if given.docs is not None:
        write_between_marks(given.docs, text, "<!-- measured by scripts/measure_suggest.py -->", "<!-- end of suggestions -->")


def compared(task: str, seed: int, out: Path) -> float:
    """The test score of the suggestion on one split.

    Raises:
        SystemExit: A command has failed.
    """
    place = out / task / f"seed-{seed}"
    folder = place / "compared"
    suggestion = place / "suggestion"
    if not (suggestion / "result.json").is_file():
        call("suggest", suggestion, *settings_of(f"panel_{task}"), "executor=in_process", f"dataset.split_seed={seed}")
    own = [
        f"experiment=panel_{task}",
        "executor=in_process",
        "strategies=[full,schedule]",  # a comparison needs full; the baselines that count are tuned
        f"schedule={suggestion / 'suggestion.yaml'}",
        f"test.seeds=[{seed}]",
        f"compare.restarts={RESTARTS}",
        "compare.tune_lr=false",
    ]
    refuse_others(folder, own)
    if not (folder / "result.json").is_file():
        call("compare", folder, *own)
    (score,) = [float(row[METRIC]) for row in rows_of(folder) if row["strategy"] == "schedule"]
    return score


def call(command: str, folder: Path, *overrides: str) -> None:
    """Run a command in this process, or go on with it where it was interrupted."""
    begun = (folder / ".hydra" / "config.yaml").is_file()
    words = ["resume", str(folder)] if begun else [command, f"hydra.run.dir={folder}", *overrides]
    if biotune([*words, "-q"]):
        raise SystemExit(f"biotune {' '.join(words)}: failed.")


def table(found: Scores) -> str:
    """A row a task: mean test scores, and the suggestion's paired difference from each baseline; below, over all pairs."""
    others = [name for name in STRATEGIES if name != SUGGESTED]
    heads = [*STRATEGIES.values(), *(f"suggestion less {STRATEGIES[name]}" for name in others)]
    lines = [f"| task | splits | {' | '.join(heads)} |", "|---" * (len(heads) + 2) + "|"]
    for task, by_seed in found.items():
        scores = {name: [own[name] for own in by_seed.values()] for name in STRATEGIES}
        means = [f"{statistics.fmean(own):.4f}" for own in scores.values()]
        against = [paired_interval(scores[SUGGESTED], scores[name]) for name in others]
        lines.append(f"| {TASKS[task].words} | {' | '.join([str(len(by_seed)), *means, *against])} |")
    every = [own for by_seed in found.values() for own in by_seed.values()]
    pooled = [
        f"over {STRATEGIES[name]} {paired_interval([own[SUGGESTED] for own in every], [own[name] for own in every])}"
        for name in others
    ]
    told = "Test macro accuracy, means over the splits, and paired differences with pointwise 95 % intervals"
    return "\n".join([*lines, "", f"{told}. Over all {len(every)} pairs of task and split: {'; '.join(pooled)}."])


if __name__ == "__main__":
    main()
