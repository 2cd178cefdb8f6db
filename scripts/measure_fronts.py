"""Measure fronts on tabulated tasks: what a search for trade-offs returns, beside Optuna's NSGA-II at equal evaluations.

A front counts by the true quality of its schedules, which no search sees, and by their trained share of the parameters: the
area that it dominates from quality 1 at share 0 to quality 0 at share 1.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import optuna
from docs_tables import DOCS, paired_interval, write_between_marks
from tabulated_task import Simulated, Task, read_task

import biotune
from biotune.backbones.registry import build_network
from biotune.config.sections import BackboneConfig
from biotune.evolution.objectives import dominated_volume
from biotune.evolution.warm_start import THRESHOLD, warm_starts
from biotune.schedule.block import Block
from biotune.schedule.genotype import decode
from biotune.schedule.schedule import Schedule
from biotune.trial import Trial

TABLES = Path(__file__).parent / "tables"
WORDS = {"gp": "Gaussian process", "trees": "boosted trees"}
CLASSES = 10
OBJECTIVES = ["accuracy", "trainable_params"]

Score = Callable[[Schedule], float]
Fronts = tuple[list[Schedule], list[Schedule]]  # what a search returns as its front, and all that it has evaluated


class Landscape:
    """A tabulated task whose blocks have sizes.

    Attributes:
        blocks: The network's blocks.
    """

    def __init__(self, task: Task) -> None:
        sizes = build_network(BackboneConfig(name="glyphnet", library="biotune", weights="none"), CLASSES).parameters
        self._task = task
        self.blocks = tuple(Block(block.name, block.modules, sizes[block.name]) for block in task.blocks)
        self._total = sum(sizes.values())

    def scores(self, seed: int) -> Score:
        """Return the noisy scores that a search sees."""
        executor = Simulated(self._task, 1, np.random.default_rng([seed, 1]))
        return lambda schedule: executor.run([Trial(schedule, None, 0, 1, 1e-3)])[0].score

    def share(self, schedule: Schedule) -> float:
        """The trained share of the parameters."""
        trained = zip(self.blocks, schedule.selected, strict=True)
        return sum(block.parameters or 0 for block, selected in trained if selected) / self._total

    def area(self, front: Sequence[Schedule]) -> float:
        """The area that schedules dominate by true quality and share."""
        return dominated_volume([(1 - self._task.quality(one), self.share(one)) for one in front], (1.0, 1.0))


def evolved(landscape: Landscape, seed: int, evaluations: int, objectives: Sequence[str]) -> Fronts:
    """Biotune's own search."""
    scores = landscape.scores(seed)
    search = biotune.Search(landscape.blocks, evaluations=evaluations, seed=seed, prune="none", objectives=list(objectives))
    seen: list[Schedule] = []
    while not search.over:
        trial = search.ask()
        seen.append(trial.schedule)
        search.tell(trial, scores(trial.schedule))
    return [one.schedule for one in search.front], seen


def asked(
    landscape: Landscape, seed: int, evaluations: int, sampler: optuna.samplers.BaseSampler, warm: bool = False
) -> Fronts:
    """One of Optuna's samplers over the importances; the threshold is the one that biotune's search fixes.

    Args:
        landscape: What to search on.
        seed: Seed of the noise.
        evaluations: Their number.
        sampler: The sampler, with a seed of its own.
        warm: Whether its first evaluations are those of biotune's warm start.
    """
    scores = landscape.scores(seed)
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(directions=["maximize", "minimize"], sampler=sampler)
    names = [block.name for block in landscape.blocks]
    for start in warm_starts(len(names)) if warm else ():
        study.enqueue_trial(dict(zip(names, start.genes[:-1].tolist(), strict=True)))
    seen: dict[int, Schedule] = {}

    def evaluate(trial: optuna.Trial) -> tuple[float, float]:
        genes = [trial.suggest_float(name, 0.0, 1.0) for name in names]
        schedule = decode([*genes, THRESHOLD], landscape.blocks)
        seen[trial.number] = schedule
        return (0.0, 1.0) if schedule.is_empty else (scores(schedule), landscape.share(schedule))

    study.optimize(evaluate, n_trials=evaluations)
    front = [seen[trial.number] for trial in study.best_trials]
    return [one for one in front if not one.is_empty], [one for one in seen.values() if not one.is_empty]


SEARCHES: dict[str, Callable[[Landscape, int, int], Fronts]] = {
    "**biotune, score and parameters**": lambda task, seed, number: evolved(task, seed, number, OBJECTIVES),
    "biotune, score alone": lambda task, seed, number: evolved(task, seed, number, OBJECTIVES[:1]),
    "Optuna's NSGA-II, population 50 (its default)": lambda task, seed, number: asked(
        task, seed, number, optuna.samplers.NSGAIISampler(seed=seed)
    ),
    "Optuna's NSGA-II, population 20": lambda task, seed, number: asked(
        task, seed, number, optuna.samplers.NSGAIISampler(seed=seed, population_size=20)
    ),
    "Optuna's NSGA-II, population 20, from biotune's warm start": lambda task, seed, number: asked(
        task, seed, number, optuna.samplers.NSGAIISampler(seed=seed, population_size=20), warm=True
    ),
    "random draws": lambda task, seed, number: asked(task, seed, number, optuna.samplers.RandomSampler(seed=seed)),
}


def measure(task: Task, seeds: int, evaluations: int) -> list[str]:
    """The rows of one table."""
    landscape = Landscape(task)
    fronts, every = {}, {}
    for name, search in SEARCHES.items():
        found = [search(landscape, seed, evaluations) for seed in range(seeds)]
        fronts[name] = [landscape.area(front) for front, _ in found]
        every[name] = [landscape.area(seen) for _, seen in found]
        print(name, mean_and_error(fronts[name]), flush=True)
    first = next(iter(SEARCHES))
    lines = ["| search | the front it returns | all it evaluated | the front, less that of biotune |", "|---|---|---|---|"]
    for name in SEARCHES:
        behind = "–" if name == first else paired_interval(fronts[name], fronts[first])
        lines.append(f"| {name} | {mean_and_error(fronts[name])} | {mean_and_error(every[name])} | {behind} |")
    return lines


def mean_and_error(values: Sequence[float]) -> str:
    """Mean ± standard error as text."""
    return f"{statistics.fmean(values):.4f} ± {statistics.stdev(values) / len(values) ** 0.5:.4f}"


def main() -> None:
    """Search, print the tables, and write them into the documentation."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", nargs="+", default=["noise", "invert"])
    parser.add_argument("--models", nargs="+", default=list(WORDS), choices=list(WORDS))
    parser.add_argument("--seeds", type=int, default=20, help="searches a cell, at least 2")
    parser.add_argument("--evaluations", type=int, default=60)
    parser.add_argument("--docs", type=Path, nargs="?", const=DOCS / "evidence" / "fronts.md", help="page to write into")
    given = parser.parse_args()
    lines: list[str] = []
    for name in given.tasks:
        for kind in given.models:
            task = read_task(next(TABLES.glob(f"{name}.csv*")), kind)
            lines += [f"**{name}, {WORDS[kind]}**", "", *measure(task, given.seeds, given.evaluations), ""]
            print("\n".join(lines), flush=True)
    lines.append(
        "Dominated area by true test macro accuracy and trained share of the parameters, mean ± standard error over "
        f"{given.seeds} searches of {given.evaluations} evaluations each; last column: paired differences with pointwise 95 % "
        "intervals."
    )
    text = "\n".join(lines)
    print(text)
    if given.docs is not None:
        write_between_marks(given.docs, text, "<!-- measured by scripts/measure_fronts.py -->", "<!-- end of fronts -->")


if __name__ == "__main__":
    main()
