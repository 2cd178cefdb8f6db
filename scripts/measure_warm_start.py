"""Compare searches with a warm start from an earlier search with searches without, on tabulated tasks.

The earlier search is one of 60 evaluations on another task. It is also given with its scores negated, and with its schedules
reversed in depth, so that it misleads. Finished searches are kept in a file and not run again.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from docs_tables import DOCS, ROOT, paired_interval, write_between_marks
from tabulated_searchers import SEARCHERS
from tabulated_task import Simulated, Task, read_task

from biotune.evolution.loop import evolve
from biotune.evolution.prior import Source
from biotune.evolution.sources import source_of
from biotune.evolution.surrogate import Observation
from biotune.fitness.fitness import ScheduleFitness
from biotune.schedule.schedule import Schedule

TABLES = Path(__file__).parent / "tables"
MODELS = {"gp": "Gaussian process", "trees": "boosted trees"}
EVALUATIONS = 60
MARKS = (20, 40, 60)  # evaluations at which the quality is told
EARLIER = 1000  # added to the seed of the earlier search
RATE = 1e-3  # stated in every simulated trial; the tables know one base learning rate
WAYS = {"as_it_is": "", "negated": ", scores negated", "reversed": ", schedules reversed in depth"}
OTHERS = {"noise": ("clean", "invert"), "invert": ("clean", "noise"), "clean": ("noise", "invert")}
NONE = "none"


def searched(task: Task, seed: int, sources: Sequence[Source] = ()) -> tuple[list[tuple[int, float]], list[Observation]]:
    """Search once with the default search.

    Args:
        task: What to search on.
        seed: Seed of the search and of the noise.
        sources: The warm start.

    Returns:
        Evaluations so far and true quality of the best schedule so far, by generation; and all evaluations.
    """
    searcher = SEARCHERS["default"]
    settings = replace(searcher.settings_on(task), generations=10)
    fitness = ScheduleFitness(
        Simulated(task, settings.num_folds, np.random.default_rng([seed, 1])), searcher.seeds, 1, RATE, task.name
    )
    path: list[tuple[int, float]] = []
    observations: list[Observation] = []
    evaluations = 0
    for generation in evolve(settings, task.blocks, fitness, seed, smoothed=True, sources=sources):
        evaluations += int(generation.record["evaluations"])
        path.append((evaluations, task.quality(generation.hall[0].schedule)))
        observations = generation.observations
    return path, observations


def misled(observations: Sequence[Observation], way: str) -> list[Observation]:
    """The evaluations of an earlier search, changed so that they mislead."""
    if way == "negated":
        return [replace(one, fitness=1.0 - one.fitness) for one in observations]
    if way == "reversed":
        return [replace(one, schedule=_upside_down(one.schedule)) for one in observations]
    return list(observations)


def _upside_down(schedule: Schedule) -> Schedule:
    return Schedule(schedule.blocks, schedule.lr_weights[::-1])


_EARLIER: dict[tuple[str, int, int], list[Observation]] = {}


def warm(task: Task, source: Task, way: str, seed: int) -> list[tuple[int, float]]:
    """The course of a search with a warm start."""
    key = source.name, id(source), seed
    if key not in _EARLIER:
        _EARLIER[key] = searched(source, EARLIER + seed)[1]
    told = misled(_EARLIER[key], way)
    earlier = source_of(source.name, "glyphnet", source.name, len(source.blocks), told)
    return searched(task, seed, [earlier])[0]


def main() -> None:
    """Search what is missing, print the table and write it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", nargs="+", default=["noise", "invert"], choices=list(OTHERS))
    parser.add_argument("--models", nargs="+", default=list(MODELS), choices=list(MODELS))
    parser.add_argument("--seeds", type=int, default=20, help="searches a cell")
    parser.add_argument("--kept", type=Path, default=ROOT / "outputs" / "measure_warm_start.jsonl", help="finished searches")
    parser.add_argument("--docs", type=Path, nargs="?", const=DOCS / "evidence" / "warm-start.md", help="page to write into")
    given = parser.parse_args()
    known = read(given.kept)
    tasks: dict[tuple[str, str], Task] = {}

    def task(name: str, kind: str) -> Task:
        if (name, kind) not in tasks:
            tasks[name, kind] = read_task(TABLES / f"{name}.csv.gz", kind)
        return tasks[name, kind]

    given.kept.parent.mkdir(parents=True, exist_ok=True)
    with given.kept.open("a", encoding="utf-8") as file:
        for seed in range(given.seeds):  # seeds outermost: a measurement that is ended early has all cells
            for name in given.tasks:
                for kind in given.models:
                    for condition in conditions(name):
                        key = f"{name} {kind} {condition} {seed}"
                        if key in known:
                            continue
                        if condition == NONE:
                            path, _ = searched(task(name, kind), seed)
                        else:
                            other, way = condition.split()
                            path = warm(task(name, kind), task(other, kind), way, seed)
                        known[key] = path
                        file.write(json.dumps({"key": key, "path": path}) + "\n")
                        file.flush()
    text = "\n\n".join(table(name, kind, known, given.seeds) for name in given.tasks for kind in given.models)
    print(text)
    if given.docs is not None:
        write_between_marks(
            given.docs, text, "<!-- measured by scripts/measure_warm_start.py -->", "<!-- end of warm start -->"
        )


def conditions(name: str) -> list[str]:
    """Without a warm start, with each of the other tasks as source, and with the first of them misleading."""
    first, second = OTHERS[name]
    return [NONE, f"{first} as_it_is", f"{second} as_it_is", f"{first} negated", f"{first} reversed"]


def read(kept: Path) -> dict[str, Any]:
    """The finished searches by their key."""
    if not kept.exists():
        return {}
    rows = [json.loads(line) for line in kept.read_text(encoding="utf-8").splitlines()]
    return {row["key"]: row["path"] for row in rows}


def table(name: str, kind: str, known: dict[str, Any], seeds: int) -> str:
    """One task under one model of its scores: a row a warm start."""
    cells = {one: [known[f"{name} {kind} {one} {seed}"] for seed in range(seeds)] for one in conditions(name)}
    aim = statistics.fmean(path[-1][1] for path in cells[NONE])
    marks = [f"quality at {mark}" for mark in MARKS]
    lines = [
        f"**{name}, {MODELS[kind]}**",
        "",
        f"| warm start | {' | '.join(marks)} | against none at 20 | against none at 60 | evaluations to {aim:.4f} |",
        "|---" * (len(marks) + 4) + "|",
    ]
    for condition, paths in cells.items():
        qualities = {mark: [at(path, mark) for path in paths] for mark in MARKS}
        shown = [f"{statistics.fmean(own):.4f} ± {_error(own):.4f}" for own in qualities.values()]
        against = ["–", "–"]
        if condition != NONE:
            against = [paired_interval(qualities[mark], [at(path, mark) for path in cells[NONE]]) for mark in (20, 60)]
        needed = [next((cost for cost, quality in path if quality >= aim), None) for path in paths]
        reached = [cost for cost in needed if cost is not None]
        # those that did not reach it needed more than all: the median is one of the numbers, or more than all
        middle = sorted(math.inf if cost is None else cost for cost in needed)[len(needed) // 2]
        median = f"more than {EVALUATIONS}" if math.isinf(middle) else f"{middle:g}"
        words = NONE if condition == NONE else condition.split()[0] + WAYS[condition.split()[1]]
        lines.append(f"| {words} | {' | '.join([*shown, *against])} | {median} ({len(reached)} of {seeds} reach it) |")
    return "\n".join(lines)


def at(path: Sequence[Sequence[float]], mark: int) -> float:
    """The quality of the best schedule after so many evaluations."""
    return float([quality for cost, quality in path if cost <= mark][-1])


def _error(values: Sequence[float]) -> float:
    return statistics.stdev(values) / math.sqrt(len(values)) if len(values) > 1 else math.nan


if __name__ == "__main__":
    main()
