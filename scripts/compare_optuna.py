"""Compare `biotune.search` with Optuna's samplers: one objective, one space, as many evaluations each.

The tasks are tabulated ones, or with `--models trained` those of the panel, on which each evaluation is a fine-tune and each
search has a split of its own. What a search returns is told by its true quality. Optuna's studies return their best trial; so
that the ways of choosing are not what is compared, each study is also judged by the schedule that biotune's regression over the
same trials chooses. Each search is written down as it ends, and one that is written down already is not made again.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import statistics
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from docs_tables import paired_interval, write_between_marks
from tabulated_task import Simulated, Task, read_task
from trained_task import TrainedTask

import biotune
from biotune.evolution.surrogate import FEWEST, Observation, Surrogate
from biotune.schedule.schedule import Schedule
from biotune.trial import Trial

ROOT = Path(__file__).resolve().parent.parent
TABLES = ROOT / "scripts" / "tables"
TRAINED = "trained"
MODELS = {"gp": "Gaussian process", "trees": "boosted trees", TRAINED: "real training"}
OURS = "biotune"
SAMPLERS = {"tpe": "Optuna's TPE", "gp": "Optuna's Gaussian process", "random": "Optuna's random sampler"}
WORDS = {OURS: "**`biotune.search`**", **SAMPLERS}
WAYS = ("returned", "best_value", "regression")
Cell = tuple[str, str, str]  # task, model of it, searcher
MARKS = {
    False: ("<!-- measured by scripts/compare_optuna.py -->", "<!-- end of compared with Optuna -->"),
    True: ("<!-- measured by scripts/compare_optuna.py, trained -->", "<!-- end of compared with Optuna by training -->"),
}

NOTE = (
    "mean ± standard error over the searches, whose seeds are 0, 1, …; mean differences over the seeds that both have, with "
    "pointwise 95 % intervals of the paired differences."
)


class Objective:
    """Scores of a task, and all that was asked of it."""

    def __init__(self, task: Task | TrainedTask, seed: int) -> None:
        """Begin; the seed is that of the noise which a tabulated task has around its mean scores."""
        self._score = task.score if isinstance(task, TrainedTask) else drawn(task, seed)
        self.seen: list[tuple[Schedule, float]] = []

    def __call__(self, schedule: Schedule) -> float:
        """The score of one fine-tune on all data; 0 where nothing is trained, as in a search."""
        if schedule.is_empty:
            return 0.0
        score = self._score(schedule)
        self.seen.append((schedule, score))
        return score


def drawn(task: Task, seed: int) -> Callable[[Schedule], float]:
    """Scores of a tabulated task."""
    executor = Simulated(task, 1, np.random.default_rng([seed, 1]))
    return lambda schedule: executor.run([Trial(schedule, 0, 0, 1, 1e-3)])[0].score


class Subjects:
    """The tasks by cell and seed, each prepared once, as long as it is needed."""

    def __init__(self, scratch: Path) -> None:
        """Remember where training runs may put what they share."""
        self._scratch = scratch
        self._tabulated: dict[tuple[str, str], Task] = {}
        self._trained: tuple[tuple[str, int], TrainedTask] | None = None

    def of(self, task: str, model: str, seed: int) -> Task | TrainedTask:
        """A task; the seed is that of a panel's split."""
        if model == TRAINED:
            if self._trained is None or self._trained[0] != (task, seed):
                folder = self._scratch / f"{task}-{seed}"
                folder.mkdir()
                self._trained = (task, seed), TrainedTask(f"panel_{task}", seed, folder)
            return self._trained[1]
        if (task, model) not in self._tabulated:
            self._tabulated[task, model] = read_task(next(TABLES.glob(f"{task}.csv*")), model)
        return self._tabulated[task, model]


def search_once(task: Task | TrainedTask, name: str, evaluations: int, seed: int) -> dict[str, float]:
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
    parser.add_argument("--models", nargs="+", default=["gp", "trees"], choices=list(MODELS))
    parser.add_argument("--samplers", nargs="+", default=list(SAMPLERS), choices=list(SAMPLERS))
    parser.add_argument("--evaluations", type=int, default=60, help="evaluations of a search")
    parser.add_argument("--seeds", type=int, default=40, help="searches a cell")
    parser.add_argument("--dear", type=int, default=7, help="searches a cell of the Gaussian process, which takes long")
    parser.add_argument("--out", type=Path, default=ROOT / "outputs" / "compare_optuna.jsonl", help="where searches are kept")
    parser.add_argument("--docs", type=Path, help="page to write the tables into, between the script's marks")
    given = parser.parse_args()
    if TRAINED in given.models and len(given.models) > 1:
        parser.error(f"argument --models: {TRAINED} has a table of its own; give it alone")
    known = read(given.out, given.evaluations)
    cells = [(*pair, name) for pair in itertools.product(given.tasks, given.models) for name in (OURS, *given.samplers)]
    most = {cell: min(given.seeds, given.dear) if cell[2] == "gp" else given.seeds for cell in cells}
    given.out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        subjects = Subjects(Path(scratch))
        for seed in range(given.seeds):  # the cells in turn, so that a part of the searches is a table too
            for cell in cells:
                if (cell, seed) in known or seed >= most[cell]:
                    continue
                task, model, name = cell
                known[cell, seed] = search_once(subjects.of(task, model, seed), name, given.evaluations, seed)
                line = {"cell": cell, "evaluations": given.evaluations, "seed": seed, **known[cell, seed]}
                with given.out.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(line) + "\n")
    counted = {key: values for key, values in known.items() if key[1] < most.get(key[0], 0)}
    lines = [line for task in given.tasks for line in table(task, cells, counted)]
    lines += pooled(given.models, given.samplers, counted)
    text = "\n".join([*lines, f"True test macro accuracy after {given.evaluations} evaluations: {NOTE}"])
    print(text)
    if given.docs is not None:
        write_between_marks(given.docs, text, *MARKS[TRAINED in given.models])


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


def pooled(models: Sequence[str], samplers: Sequence[str], known: dict[tuple[Cell, int], dict[str, float]]) -> list[str]:
    """For each model of more than one task, `biotune.search` over each sampler, with every task and seed as one observation."""
    lines = []
    for model, name in itertools.product(models, samplers):
        pairs = [((task, model, OURS), seed) for (task, of, which), seed in known if (of, which) == (model, name)]
        both = [(known[ours], known[(ours[0][0], model, name), ours[1]]) for ours in pairs if ours in known]
        if len({ours[0][0] for ours in pairs}) < 2 or not both:
            continue
        over = [paired_interval([own["returned"] for own, _ in both], [other[way] for _, other in both]) for way in WAYS[::2]]
        told = f"over {WORDS[name]} {over[0]}; over what the regression chooses among its trials {over[1]}."
        lines += [f"{MODELS[model].capitalize()}, all {len(both)} pairs of task and seed: {told}", ""]
    return lines


def mean_and_error(values: Sequence[float]) -> str:
    """Mean and standard error as text."""
    error = statistics.stdev(values) / math.sqrt(len(values)) if len(values) > 1 else math.nan
    return f"{statistics.fmean(values):.4f} ± {error:.4f}"


if __name__ == "__main__":
    main()
