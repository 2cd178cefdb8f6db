"""Compare `biotune.search` with Optuna's samplers on tabulated tasks: one objective, one space, as many evaluations each.

What a search returns is told by its true quality. Optuna's studies return their best trial; so that the ways of choosing are
not what is compared, each study is also judged by the schedule that biotune's regression over the same trials chooses. Each
search is written down as it ends, and one that is written down already is not made again.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from docs_tables import paired_interval, write_between_marks
from tabulated_task import Simulated, Task, read_task

import biotune
from biotune.evolution.surrogate import FEWEST, Observation, Surrogate
from biotune.schedule.schedule import Schedule
from biotune.trial import Trial

ROOT = Path(__file__).resolve().parent.parent
TABLES = ROOT / "scripts" / "tables"
MODELS = {"gp": "Gaussian process", "trees": "boosted trees"}
OURS = "biotune"
SAMPLERS = {"tpe": "Optuna's TPE", "gp": "Optuna's Gaussian process", "random": "Optuna's random sampler"}
WORDS = {OURS: "**`biotune.search`**", **SAMPLERS}
WAYS = ("returned", "best_value", "regression")
Cell = tuple[str, str, str]  # task, model of it, searcher
BEGIN, END = "<!-- measured by scripts/compare_optuna.py -->", "<!-- end of compared with Optuna -->"


NOTE = (
    "mean ± standard error over the searches, whose seeds are 0, 1, …; mean differences over the seeds that both have, with "
    "pointwise 95 % intervals of the paired differences."
)


class Objective:
    """Scores of a task with the noise of single fine-tunes, and all that was asked of it."""

    def __init__(self, task: Task, seed: int) -> None:
        """Begin; the seed is that of the noise."""
        self._executor = Simulated(task, 1, np.random.default_rng([seed, 1]))
        self.seen: list[tuple[Schedule, float]] = []

    def __call__(self, schedule: Schedule) -> float:
        """The score of one fine-tune on all data; 0 where nothing is trained, as in a search."""
        if schedule.is_empty:
            return 0.0
        (result,) = self._executor.run([Trial(schedule, 0, 0, 1, 1e-3)])
        self.seen.append((schedule, result.score))
        return result.score


def search_once(task: Task, name: str, evaluations: int, seed: int) -> dict[str, float]:
    """One search; returns the true quality of what it returns, and of its trials' best by single value and by regression."""
    objective = Objective(task, seed)
    if name == OURS:
        search = biotune.search(lambda trial: objective(trial.schedule), task.blocks, evaluations, seed=seed, prune="none")
        returned = search.best.schedule
    else:
        import optuna  # here, so that the page of the options can be shown without it

        from biotune.optuna import suggest_schedule

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        samplers = {"tpe": optuna.samplers.TPESampler, "gp": optuna.samplers.GPSampler, "random": optuna.samplers.RandomSampler}
        study = optuna.create_study(direction="maximize", sampler=samplers[name](seed=seed))
        study.optimize(lambda trial: objective(suggest_schedule(trial, task.blocks)), n_trials=evaluations)
        returned = suggest_schedule(study.best_trial, task.blocks)
    highest = max(objective.seen, key=lambda pair: pair[1])[0]
    chosen = highest
    if len(objective.seen) >= FEWEST:
        schedules = [schedule for schedule, _ in objective.seen]
        surrogate = Surrogate([Observation(schedule, 0, 1.0 - score) for schedule, score in objective.seen])
        chosen = schedules[int(surrogate.predict(schedules).argmin())]
    return dict(zip(WAYS, (task.quality(one) for one in (returned, highest, chosen)), strict=True))


def main() -> None:
    """Make the searches that are missing, print the tables, and write them into the documentation."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", nargs="+", default=["noise", "invert", "clean"])
    parser.add_argument("--models", nargs="+", default=list(MODELS), choices=list(MODELS))
    parser.add_argument("--samplers", nargs="+", default=list(SAMPLERS), choices=list(SAMPLERS))
    parser.add_argument("--evaluations", type=int, default=60, help="evaluations of a search")
    parser.add_argument("--seeds", type=int, default=40, help="searches a cell")
    parser.add_argument("--dear", type=int, default=7, help="searches a cell of the Gaussian process, which takes long")
    parser.add_argument("--out", type=Path, default=ROOT / "outputs" / "compare_optuna.jsonl", help="where searches are kept")
    parser.add_argument("--docs", type=Path, help="page to write the tables into, between the script's marks")
    given = parser.parse_args()
    known = read(given.out, given.evaluations)
    cells = [(*pair, name) for pair in itertools.product(given.tasks, given.models) for name in (OURS, *given.samplers)]
    most = {cell: min(given.seeds, given.dear) if cell[2] == "gp" else given.seeds for cell in cells}
    tasks: dict[tuple[str, str], Task] = {}
    given.out.parent.mkdir(parents=True, exist_ok=True)
    for seed in range(given.seeds):  # the cells in turn, so that a part of the searches is a table too
        for cell in cells:
            if (cell, seed) in known or seed >= most[cell]:
                continue
            task, model, name = cell
            if (task, model) not in tasks:
                tasks[task, model] = read_task(next(TABLES.glob(f"{task}.csv*")), model)
            known[cell, seed] = search_once(tasks[task, model], name, given.evaluations, seed)
            line = {"cell": cell, "evaluations": given.evaluations, "seed": seed, **known[cell, seed]}
            with given.out.open("a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")
    counted = {key: values for key, values in known.items() if key[1] < most.get(key[0], 0)}
    lines = [line for task in given.tasks for line in table(task, cells, counted)]
    text = "\n".join([*lines, f"True test macro accuracy after {given.evaluations} evaluations: {NOTE}"])
    print(text)
    if given.docs is not None:
        write_between_marks(given.docs, text, BEGIN, END)


def read(path: Path, evaluations: int) -> dict[tuple[Cell, int], dict[str, float]]:
    """The searches of so many evaluations that were made before, by cell and seed."""
    lines: list[dict[str, Any]] = []
    if path.is_file():
        lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    mine = [line for line in lines if line["evaluations"] == evaluations]
    return {((*line["cell"],), line["seed"]): {way: line[way] for way in WAYS} for line in mine}


def table(task: str, cells: Sequence[Cell], known: dict[tuple[Cell, int], dict[str, float]]) -> list[str]:
    """A task's table: a row a searcher, with what it returns, what the regression chooses, and both beside `biotune.search`."""
    lines = [
        f"**{task}**",
        "",
        "| quality model | searcher | searches | its own choice | chosen by biotune's regression | "
        "`biotune.search` − its own choice | `biotune.search` − the regression's choice |",
        "|---|---|---|---|---|---|---|",
    ]
    for cell in [cell for cell in cells if cell[0] == task]:
        own = {seed: values for (other, seed), values in known.items() if other == cell}
        ours = {seed: values for (other, seed), values in known.items() if other == (*cell[:2], OURS)}
        seeds = sorted(own.keys() & ours.keys())
        facts = [mean_and_error([own[seed][way] for seed in seeds]) for way in ("returned", "regression")]
        returned = [ours[seed]["returned"] for seed in seeds]
        over = [paired_interval(returned, [own[seed][way] for seed in seeds]) for way in ("returned", "regression")]
        if cell[2] == OURS:
            by_value = mean_and_error([own[seed]["best_value"] for seed in seeds])
            facts, over = [f"{facts[0]} (highest single value: {by_value})", "the same"], ["–", "–"]
        lines.append(f"| {' | '.join([MODELS[cell[1]], WORDS[cell[2]], str(len(seeds)), *facts, *over])} |")
    return [*lines, ""]


def mean_and_error(values: Sequence[float]) -> str:
    """Mean and standard error as text."""
    error = statistics.stdev(values) / math.sqrt(len(values)) if len(values) > 1 else math.nan
    return f"{statistics.fmean(values):.4f} ± {error:.4f}"


if __name__ == "__main__":
    main()
