"""Run `biotune compare` on a panel of tasks: four for choosing settings, and two groups that are opened when these are settled.

Every task and seed is a comparison of its own; finished ones are not run again, interrupted ones go on. The first seed of all
tasks comes first, so that an unfinished panel has every task.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from comparisons import compare, rows_of
from docs_tables import ROOT, around_marks, write_between_marks
from panel_tables import OURS, panel_text

CHOOSING, UNOPENED, FRESH = "choosing", "unopened", "fresh"
GROUPS = (CHOOSING, UNOPENED, FRESH)
# the baselines that are cheap on a network of this size
SMALL = ("full", "linear_probe", "lp_ft", "gradual_last_to_first", "layer_decay", "discriminative", "l2_sp", "lora")
LARGE = SMALL[:6]
# final training runs of each strategy and seed: `biotune run` hands over the model that validates best, and so may the others
RESTARTS = 3


@dataclass(frozen=True)
class Task:
    """One task of the panel; `configs/experiment/panel_NAME.yaml` holds its settings.

    Attributes:
        group: choosing, unopened, or fresh: tasks added when the unopened ones had been looked at twice. Which task is in which
            was settled before any comparison on it.
        words: Its name in tables.
        baselines: The strategies that biotune is compared with.
        data: A path that the task needs, from where the script is started, and the script that makes it.
    """

    group: str
    words: str
    baselines: tuple[str, ...]
    data: tuple[str, str] | None = None


TASKS = {
    "digits": Task(CHOOSING, "clean digits", SMALL),
    "noise": Task(CHOOSING, "noisy digits, ten a class", SMALL),
    "invert": Task(CHOOSING, "inverted digits, ten a class", SMALL),
    "stamps": Task(CHOOSING, "stamps, eight classes", LARGE, ("data/stamps", "fetch_stamps.py")),
    "blur": Task(UNOPENED, "blurred digits, ten a class", SMALL),
    "mnist": Task(UNOPENED, "MNIST, ten a class", SMALL, ("data/mnist/MNIST/raw", "fetch_mnist.py")),
    "emoji": Task(UNOPENED, "emoji, six classes", LARGE, ("data/emoji", "fetch_emoji.py")),
    "foods": Task(UNOPENED, "photographs of foods, eight classes", LARGE, ("data/foods", "fetch_foods.py")),
    "clothes": Task(FRESH, "clothes of Fashion-MNIST, ten a class", SMALL, ("data/clothes", "fetch_clothes.py")),
    "clipart": Task(FRESH, "clip art, ten classes", LARGE, ("data/clipart", "fetch_clipart.py")),
    "icons": Task(FRESH, "icons, six classes", LARGE, ("data/icons", "fetch_icons.py")),
}


def main(arguments: list[str] | None = None) -> None:
    """Compare what is missing, print the tables and write them."""
    given = parsed(arguments)
    if given.docs is not None:
        around_marks(given.docs, *marks(given.group))  # known before the work, not after it
    names = given.tasks or [name for name, task in TASKS.items() if task.group in given.group]
    for name in () if given.finished else names:
        check_data(name)
    folders = {(seed, name): (given.out / name / f"seed-{seed}").absolute() for seed in given.seeds for name in names}
    if given.finished:
        folders = {pair: folder for pair, folder in folders.items() if (folder / "result.json").is_file()}
    for (seed, name), folder in folders.items():
        strategies = ",".join([*TASKS[name].baselines, OURS])
        own = [f"experiment=panel_{name}", f"strategies=[{strategies}]", f"test.seeds=[{seed}]", f"compare.restarts={RESTARTS}"]
        compare(folder, [*own, *given.overrides])
    panel: dict[str, list[dict[str, Any]]] = {name: [] for name in names if name in {of for _, of in folders}}
    for (_, name), folder in folders.items():
        panel[name] += rows_of(folder)
    text = panel_text(panel, {name: task.words for name, task in TASKS.items()})
    print(text)
    if given.docs is not None:
        write_between_marks(given.docs, text, *marks(given.group))


def parsed(arguments: list[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--group", nargs="+", default=[CHOOSING], choices=GROUPS, help="tasks to open (default: choosing)")
    parser.add_argument("--tasks", nargs="+", choices=list(TASKS), help="only these tasks of the group")
    parser.add_argument(
        "--seeds", type=int, nargs="+", default=[1, 2, 3, 4, 5], help="seeds of splits, searches and training runs"
    )
    parser.add_argument("--finished", action="store_true", help="run nothing: tables of the comparisons that are finished")
    parser.add_argument("--out", type=Path, default=ROOT / "outputs" / "measure_panel", help="folder of the comparisons")
    parser.add_argument("--docs", type=Path, help="page to write the tables into, between the group's marks")
    parser.add_argument("overrides", nargs="*", help="further overrides of 'biotune compare'")
    given = parser.parse_args(arguments)
    for name in given.tasks or []:
        if TASKS[name].group not in given.group:
            parser.error(f"argument --tasks: {name} is of the group {TASKS[name].group}; give --group {TASKS[name].group}.")
    if len(set(given.seeds)) < len(given.seeds):
        parser.error("argument --seeds: a seed is given twice; each must be another.")
    return given


def check_data(name: str) -> None:
    """Stop before any work where a task's data is missing.

    Raises:
        SystemExit: With the command that fetches it.
    """
    needed = TASKS[name].data
    if needed is not None and not Path(needed[0]).is_dir():
        raise SystemExit(f"task {name}: {needed[0]} is missing. Run: python scripts/{needed[1]}")


def marks(groups: Sequence[str]) -> tuple[str, str]:
    """The marks in the page between which the tables of a group, or of several together, stand."""
    which = " and ".join(group for group in GROUPS if group in groups)
    return f"<!-- measured by scripts/measure_panel.py, {which} -->", f"<!-- end of panel, {which} -->"


if __name__ == "__main__":
    main()
