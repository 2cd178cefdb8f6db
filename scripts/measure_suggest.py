"""Compare what `biotune suggest` suggests without earlier runs with linear probing and full fine-tuning, on shifted digits.

Every task and seed is a suggestion and a comparison of its own, on the same split; finished ones are not made again.
"""

from __future__ import annotations

import argparse
import statistics
from pathlib import Path

from comparisons import METRIC, refuse_others, rows_of
from docs_tables import DOCS, ROOT, paired_interval, write_between_marks

from biotune.cli import main as biotune

TASKS = {
    "digits": "clean digits",
    "noise": "noisy digits, ten a class",
    "invert": "inverted digits, ten a class",
    "blur": "blurred digits, ten a class",
}
STRATEGIES = {"schedule": "the suggestion", "linear_probe": "linear probing", "full": "full fine-tuning"}


def main() -> None:
    """Suggest, compare what is missing, print the table and write it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", nargs="+", default=list(TASKS), choices=list(TASKS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3, 4, 5], help="seeds of splits and training runs")
    parser.add_argument("--out", type=Path, default=ROOT / "outputs" / "measure_suggest", help="folder of the comparisons")
    parser.add_argument("--docs", type=Path, nargs="?", const=DOCS / "evidence" / "warm-start.md", help="page to write into")
    given = parser.parse_args()
    found: dict[str, dict[int, dict[str, float]]] = {task: {} for task in given.tasks}
    for seed in given.seeds:
        for task in given.tasks:
            found[task][seed] = compared(task, seed, given.out.absolute())
    text = table(found)
    print(text)
    if given.docs is not None:
        write_between_marks(given.docs, text, "<!-- measured by scripts/measure_suggest.py -->", "<!-- end of suggestions -->")


def compared(task: str, seed: int, out: Path) -> dict[str, float]:
    """The test score of each strategy on one split.

    Raises:
        SystemExit: A command has failed.
    """
    place = out / task / f"seed-{seed}"
    folder = place / "compared"
    shared = [f"experiment=panel_{task}", "executor=in_process"]
    suggestion = place / "suggestion"
    if not (suggestion / "result.json").is_file():
        call("suggest", suggestion, *shared[1:], *settings_of(task), f"dataset.split_seed={seed}")
    own = [
        *shared,
        f"strategies=[{','.join(STRATEGIES)}]",
        f"schedule={suggestion / 'suggestion.yaml'}",
        f"test.seeds=[{seed}]",
        "compare.tune_lr=false",
        "training.head_start=probe",  # as the suggestion has it: a new head has hardly learned at the base learning rate
    ]
    refuse_others(folder, own)
    if not (folder / "result.json").is_file():
        call("compare", folder, *own)
    return {str(row["strategy"]): float(row[METRIC]) for row in rows_of(folder)}


def settings_of(task: str) -> list[str]:
    """The keys that `configs/experiment/panel_TASK.yaml` sets: experiments are of the commands that train."""
    return [] if task == "digits" else [f"dataset.shift={task}", "dataset.max_per_class=10"]


def call(command: str, folder: Path, *overrides: str) -> None:
    """Run a command in this process, or go on with it where it was interrupted."""
    begun = (folder / ".hydra" / "config.yaml").is_file()
    words = ["resume", str(folder)] if begun else [command, f"hydra.run.dir={folder}", *overrides]
    if biotune([*words, "-q"]):
        raise SystemExit(f"biotune {' '.join(words)}: failed.")


def table(found: dict[str, dict[int, dict[str, float]]]) -> str:
    """A row a task: mean test scores, and the suggestion's paired difference from each baseline."""
    others = [name for name in STRATEGIES if name != "schedule"]
    heads = [*STRATEGIES.values(), *(f"suggestion less {STRATEGIES[name]}" for name in others)]
    lines = [f"| task | {' | '.join(heads)} |", "|---" * (len(heads) + 1) + "|"]
    for task, by_seed in found.items():
        scores = {name: [own[name] for own in by_seed.values()] for name in STRATEGIES}
        means = [f"{statistics.fmean(own):.4f}" for own in scores.values()]
        against = [paired_interval(scores["schedule"], scores[name]) for name in others]
        lines.append(f"| {TASKS[task]} | {' | '.join([*means, *against])} |")
    seeds = len(next(iter(found.values())))
    return "\n".join([*lines, "", f"Mean test macro accuracy over {seeds} splits, and paired differences with 95 % intervals."])


if __name__ == "__main__":
    main()
