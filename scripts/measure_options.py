"""Which training options help with few labelled images, and does an evolved schedule keep its lead when they are switched on?

For each task and seed full fine-tuning (its base learning rate chosen by validation, without options) and, where searched for,
the schedule that `biotune run` found are trained with one option each, from the same splits and training seeds. An option is
on in the final training runs alone (`test.training`), so that nothing is chosen with it. Finished runs are not run again.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from docs_tables import ROOT, paired_interval, write_between_marks

BEGIN, END = "<!-- measured by scripts/measure_options.py -->", "<!-- end of options -->"
FULL, FOUND = "full", "found"
NONE, AS_SEARCHED, TOGETHER = "none", "as searched", "together"
LONG = ("epochs=40", "patience=10")  # of all runs but those as searched: augmentation and decay need epochs
RICH = ("augment=standard", "label_smoothing=0.1", "ema=0.9", "cosine_epochs=auto", "warmup_epochs=3")
OPTIONS: dict[str, tuple[str, ...]] = {
    AS_SEARCHED: (),
    NONE: LONG,
    "augment=standard": (*LONG, "augment=standard"),
    "augment=randaugment": (*LONG, "augment=randaugment"),
    "augment=trivialaugment": (*LONG, "augment=trivialaugment"),
    "augment=augmix": (*LONG, "augment=augmix"),
    "mixup=0.2": (*LONG, "mixup=0.2"),
    "cutmix=1.0": (*LONG, "cutmix=1.0"),
    "label_smoothing=0.1": (*LONG, "label_smoothing=0.1"),
    "ema=0.9": (*LONG, "ema=0.9"),
    "clip_grad=1.0": (*LONG, "clip_grad=1.0"),
    "weight_decay=0.0001": (*LONG, "weight_decay=0.0001"),
    "weight_decay=0.0001 decay_norm=false": (*LONG, "weight_decay=0.0001", "decay_norm=false"),
    "cosine_epochs=auto warmup_epochs=3": (*LONG, "cosine_epochs=auto", "warmup_epochs=3"),
    "scheduler=one_cycle": (*LONG, "scheduler=one_cycle"),
    TOGETHER: (*LONG, *RICH),
}


@dataclass(frozen=True)
class Task:
    """A task: its name in tables, its settings, whether a schedule is searched for, its seeds, and the data it needs."""

    words: str
    settings: tuple[str, ...]
    searched: bool = False
    seeds: tuple[int, ...] = (1, 2, 3, 4, 5)
    data: tuple[str, str] | None = None


DIGITS = ("dataset=digits", "backbone=glyphnet", "dataset.max_per_class=10")
IMAGES = (
    "dataset=folder",
    "backbone=efficientnet_lite0",
    "dataset.image_size=64",
    "training.batch_size=32",
    "training.epochs=6",
)
FEW = (1, 2, 3)  # training runs of a network for photographs take long
FRACTIONS = ("dataset.val_fraction=0.25", "dataset.test_fraction=0.4")
TASKS = {
    "noise": Task("noisy digits", (*DIGITS, "dataset.shift=noise"), searched=True),
    "invert": Task("inverted digits", (*DIGITS, "dataset.shift=invert"), searched=True),
    "stamps": Task(
        "stamps", (*IMAGES, *FRACTIONS, "dataset.root=data/stamps"), seeds=FEW, data=("data/stamps", "fetch_stamps.py")
    ),
    "emoji": Task(
        "emoji",
        (*IMAGES, *FRACTIONS, "dataset.root=data/emoji", "dataset.max_per_class=16"),
        seeds=FEW,
        data=("data/emoji", "fetch_emoji.py"),
    ),
}
Scores = dict[str, dict[str, list[float]]]  # by subject and option, a mean for each seed


def main() -> None:
    """Run what is missing, then print the tables and write them into the documentation."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--tasks", nargs="+", choices=list(TASKS), default=list(TASKS))
    arguments.add_argument("--options", nargs="+", choices=list(OPTIONS), default=list(OPTIONS))
    arguments.add_argument("--seeds", type=int, nargs="+", help="seeds of splits and searches, by default the task's")
    arguments.add_argument("--out", type=Path, default=ROOT / "outputs" / "measure_options", help="folder of the runs")
    arguments.add_argument("--docs", type=Path, help="page to write the tables into")
    arguments.add_argument("overrides", nargs="*", help="further overrides of 'biotune train' and 'biotune run'")
    given = arguments.parse_args()
    options = list(dict.fromkeys([NONE, *given.options]))
    for name in given.tasks:
        check_data(TASKS[name])
    panel = {name: measure(name, given.seeds or TASKS[name].seeds, options, given.out, given.overrides) for name in given.tasks}
    text = tables(panel, options)
    print(text)
    if given.docs:
        write_between_marks(given.docs, text, BEGIN, END)


def check_data(task: Task) -> None:
    """Stop before any work where a task's data is missing.

    Raises:
        SystemExit: With the command that fetches it.
    """
    if task.data is not None and not Path(task.data[0]).is_dir():
        raise SystemExit(f"{task.data[0]} is missing. Run: python scripts/{task.data[1]}")


def measure(name: str, seeds: Sequence[int], options: list[str], out: Path, overrides: list[str]) -> Scores:
    """The test macro accuracies on one task."""
    task = TASKS[name]
    scores: Scores = {}
    for seed in seeds:
        folder = out / f"{name}-{seed}"
        shared = [*task.settings, f"dataset.split_seed={seed}", *overrides]
        # the grid of base learning rates, once: the other runs of full fine-tuning take what it chose
        tuned = result_of("train", folder / "tuned", [*shared, "strategy=full", "training.lr=auto"])
        subjects = {FULL: ["strategy=full", f"training.lr={tuned['base_lr']}"]}
        if task.searched:
            result_of("run", folder / "search", [*shared, f"seed={seed}", "test.seeds=[1]"])
            subjects[FOUND] = [f"schedule={folder / 'search' / 'best_schedule.yaml'}"]
        for subject, plan in subjects.items():
            for option in options:
                place = folder / f"{subject}-{list(OPTIONS).index(option)}"
                changes = [f"test.training.{change}" for change in OPTIONS[option]]
                result = result_of("train", place, [*shared, *plan, "test.seeds=[1,2,3]", *changes])
                values = result["test"]["macro_accuracy"]["values"]
                scores.setdefault(subject, {}).setdefault(option, []).append(statistics.fmean(values))
    return scores


def result_of(command: str, folder: Path, overrides: list[str]) -> dict[str, Any]:
    """The result of one biotune command in its own folder; a finished one is not run again."""
    result = folder / "result.json"
    if not result.is_file():
        words = [command, f"hydra.run.dir={folder}", *overrides]
        subprocess.run([sys.executable, "-m", "biotune", *words], check=True, stdout=subprocess.DEVNULL)
    content: dict[str, Any] = json.loads(result.read_text(encoding="utf-8"))
    return content


def tables(panel: dict[str, Scores], options: list[str]) -> str:
    """What each option adds to full fine-tuning, and the found schedule's lead with each."""
    names = list(panel)
    lines = [
        "Full fine-tuning: test macro accuracy without options, and what each adds (pointwise 95 % interval).",
        "",
        _row("option", *[TASKS[name].words for name in names]),
        _row(*["---"] * (len(names) + 1)),
        _row("none", *[f"{statistics.fmean(panel[name][FULL][NONE]):.4f}" for name in names]),
    ]
    for option in options:
        if option != NONE:
            own = [paired_interval(panel[name][FULL][option], panel[name][FULL][NONE]) for name in names]
            lines.append(_row(_shown(option), *own))
    if searched := [name for name in names if FOUND in panel[name]]:
        lines += [
            "",
            "The found schedule over full fine-tuning, both with the option (pointwise 95 % interval).",
            "",
            _row("option", *[TASKS[name].words for name in searched]),
            _row(*["---"] * (len(searched) + 1)),
        ]
        for option in options:
            leads = [paired_interval(panel[name][FOUND][option], panel[name][FULL][option]) for name in searched]
            lines.append(_row(_shown(option), *leads))
    seeds = ", ".join(f"{TASKS[name].words} {len(panel[name][FULL][NONE])}" for name in names)
    lines += ["", f"Seeds of splits: {seeds}; each with three final training runs."]
    return "\n".join(lines)


def _row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


def _shown(option: str) -> str:
    words = {AS_SEARCHED: "as the search trains", NONE: "none", TOGETHER: " ".join(f"`{change}`" for change in RICH)}
    return words.get(option, f"`{option}`")


if __name__ == "__main__":
    main()
