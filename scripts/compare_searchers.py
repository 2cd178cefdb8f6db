"""Compare searchers on tabulated tasks: the true quality of what each returns, at equal cost, over many seeds.

Cost is counted in fine-tunes on half of the data; one on all data counts as two. What a searcher spends on confirming its
choice counts too.
"""

from __future__ import annotations

import argparse
import math
import statistics
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from docs_tables import FIGURES, write_between_marks
from matplotlib.figure import Figure
from numpy.typing import NDArray
from tabulated_searchers import ABLATIONS, ALL_SEARCHERS, CONFIRM, SEARCHERS, Finalist, Known
from tabulated_task import Simulated, Task, best_quality, read_task, schedules_of

from biotune.evolution.surrogate import FEWEST, Observation, Surrogate
from biotune.fitness.fitness import ScheduleFitness
from biotune.recipes.confirm import confirming_trials
from biotune.schedule.block import Block
from biotune.schedule.schedule import Schedule
from biotune.strategies.registry import fixed_schedule
from biotune.trial import Trial

RATE = 1e-3  # stated in every simulated trial; the tables know one base learning rate
TABLES = Path(__file__).parent / "tables"
MODELS = {"gp": "Gaussian process", "trees": "boosted trees"}
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
STYLES = ("-", "--", ":", "-.")


@dataclass(frozen=True)
class Outcome:
    """What one search came to.

    Attributes:
        quality: True quality of what it returned.
        cost: What it spent in all.
        path: Cost so far and true quality of the best so far, by step.
    """

    quality: float
    cost: int
    path: list[tuple[int, float]]


def search_once(task: Task, name: str, budget: int, seed: int) -> Outcome:
    """Search and confirm once.

    Args:
        task: What to search on.
        name: The searcher.
        budget: What it may spend in all.
        seed: Seed of the search and of the noise.
    """
    searcher = ALL_SEARCHERS[name]
    settings = searcher.settings_on(task)
    unit = 2 if settings.num_folds == 1 or task.splits else 1
    confirming = searcher.top_k * len(confirming_trials(settings, CONFIRM))
    executor = Simulated(task, settings.num_folds, np.random.default_rng([seed, 1]))
    fitness = ScheduleFitness(executor, searcher.seeds, 1, RATE, task.name)
    path, hall = [], []
    last = Known(0, [])
    for known in searcher.search(searcher, settings, task, fitness, seed, budget // unit - confirming):
        last, hall = known, known.hall
        path.append((known.cost * unit, task.quality(hall[0].schedule)))
    if searcher.smoothed and searcher.top_k:
        choice = confirm_smoothly(executor, last, confirming_trials(settings, CONFIRM))
    else:
        choice = confirm(executor, hall, confirming_trials(settings, CONFIRM)) if searcher.top_k else hall[0].schedule
    return Outcome(task.quality(choice), (last.cost + confirming) * unit, path)


def confirm(executor: Simulated, hall: Sequence[Finalist], trials: Sequence[tuple[int | None, int]]) -> Schedule:
    """The best mean over folds (None is all data) and fresh seeds, as after a real search."""
    means = []
    for entry in hall:
        results = executor.run([Trial(entry.schedule, fold, seed, 1, RATE) for fold, seed in trials])
        means.append(statistics.fmean(result.score for result in results))
    return max(zip(means, hall, strict=True), key=lambda pair: (pair[0], -pair[1].score))[1].schedule


def confirm_smoothly(executor: Simulated, known: Known, trials: Sequence[tuple[int, int]]) -> Schedule:
    """The one of which a regression over search and confirmation expects the most, as after a real search."""
    schedules = [entry.schedule for entry in known.entries]
    observations = list(known.observations)
    for schedule in schedules:
        results = executor.run([Trial(schedule, fold, seed, 1, RATE) for fold, seed in trials])
        by_fold: dict[int, list[float]] = {}
        for (fold, _), result in zip(trials, results, strict=True):
            by_fold.setdefault(fold, []).append(result.score)
        observations += [Observation(schedule, fold, 1.0 - statistics.fmean(own)) for fold, own in by_fold.items()]
    if len(observations) < FEWEST:
        return schedules[0]
    return schedules[int(Surrogate(observations).predict(schedules).argmin())]


_TASKS: dict[tuple[Path, str], Task] = {}


def search_many(path: Path, kind: str, name: str, budget: int, seeds: Sequence[int]) -> list[Outcome]:
    """Some searches in a worker process, which fits a task once."""
    if (path, kind) not in _TASKS:
        _TASKS[path, kind] = read_task(path, kind)
    return [search_once(_TASKS[path, kind], name, budget, seed) for seed in seeds]


def main() -> None:
    """Search, print the table, draw the figure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tables", type=Path, default=TABLES, help="folder of the tables")
    parser.add_argument("--tasks", nargs="+", default=["noise", "invert", "clean"])
    parser.add_argument("--searchers", nargs="+", choices=list(ALL_SEARCHERS), help="by default all but the ablations")
    parser.add_argument("--ablations", action="store_true", help="the default with one part switched off each, instead")
    parser.add_argument("--models", nargs="+", default=list(MODELS), choices=list(MODELS))
    parser.add_argument("--budgets", type=int, nargs="+", default=[510, 255], help="cost of a search, in half-data fine-tunes")
    parser.add_argument("--seeds", type=int, default=100, help="searches a cell")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--figures", type=Path, default=FIGURES, help="where the figure goes")
    parser.add_argument("--docs", type=Path, help="page to write the table into, between the script's marks")
    parser.add_argument("--small", action="store_true", help="few seeds and a small budget, to try it out")
    given = parser.parse_args()
    given.searchers = given.searchers or (["default", *ABLATIONS] if given.ablations else list(SEARCHERS))
    if given.small:
        given.seeds, given.budgets = min(given.seeds, 3), [120]
    lines: list[str] = []
    for task in given.tasks:
        lines += compare(next(given.tables.glob(f"{task}.csv*")), given)
    text = "\n".join(lines).strip()
    print(text)
    if given.docs is not None:
        option, end = (" --ablations", "ablations") if given.ablations else ("", "compared")
        begin, end = f"<!-- measured by scripts/compare_searchers.py{option} -->", f"<!-- end of {end} -->"
        write_between_marks(given.docs, text, begin, end)


def compare(path: Path, given: argparse.Namespace) -> list[str]:
    """One task's table, and its figure."""
    cells = [(kind, budget) for kind in given.models for budget in given.budgets]
    with ProcessPoolExecutor(given.workers) as pool:
        futures = {
            (name, *cell): pool.submit(search_many, path, cell[0], name, cell[1], range(seeds_of(name, given.seeds)))
            for cell in cells
            for name in given.searchers
            if cell[1] <= ALL_SEARCHERS[name].longest
        }
        outcomes = {key: future.result() for key, future in futures.items()}
    tasks = {kind: read_task(path, kind) for kind in given.models}
    kind = given.models[0]
    dearest = {name: max(b for other, k, b in outcomes if (other, k) == (name, kind)) for name in given.searchers}
    first = {name: outcomes[name, kind, budget] for name, budget in dearest.items()}
    given.figures.mkdir(parents=True, exist_ok=True)
    figure = draw(tasks[given.models[0]], first)
    kind = "ablations" if given.ablations else "searchers"
    figure.savefig(given.figures / f"{kind}_{task_name(path)}.png", dpi=130, metadata={"Software": None})
    return table(path, tasks, cells, outcomes, given.seeds)


def seeds_of(name: str, seeds: int) -> int:
    """Number of searches a cell."""
    return max(seeds // 3, 2) if ALL_SEARCHERS[name].dear else seeds


def table(
    path: Path,
    tasks: dict[str, Task],
    cells: Sequence[tuple[str, int]],
    outcomes: dict[tuple[str, str, int], list[Outcome]],
    seeds: int,
) -> list[str]:
    """A row a searcher, a column a model and budget, and below them fixed schedules and the best there is."""
    heads = [f"{MODELS[kind]}, cost {budget}" for kind, budget in cells]
    names = list(dict.fromkeys(name for name, _, _ in outcomes))
    rows = [(ALL_SEARCHERS[name].words, [mean_and_error(outcomes.get((name, *cell))) for cell in cells]) for name in names]
    blocks = next(iter(tasks.values())).blocks
    count = len(blocks)
    fixed = {
        "linear probing": fixed_schedule("linear_probe", blocks),
        "full fine-tuning": fixed_schedule("full", blocks),
        "full fine-tuning at five times the rate": Schedule(blocks, (5.0,) * count),
    }
    rows += [(words, [f"{tasks[kind].quality(one):.4f}" for kind, _ in cells]) for words, one in fixed.items()]
    best = {kind: best_quality(task, tabulated(path, blocks), np.random.default_rng(0)) for kind, task in tasks.items()}
    rows.append(("the best there is", [f"{best[kind]:.4f}" for kind, _ in cells]))
    spent = [statistics.fmean(outcome.cost for outcome in own) for own in outcomes.values()]
    facts = "; ".join(f"{MODELS[kind]}: {explanation(task)}" for kind, task in tasks.items())
    return [
        f"**{task_name(path)}**",
        "",
        f"| searcher | {' | '.join(heads)} |",
        "|---" * (1 + len(cells)) + "|",
        *(f"| {words} | {' | '.join(values)} |" for words, values in rows),
        "",
        f"True test macro accuracy of what is returned, mean ± standard error over {seeds} searches"
        + (f" (TPE {seeds_of('parzen', seeds)})" if any(ALL_SEARCHERS[name].dear for name in names) else "")
        + f"; a search spends {min(spent):.0f} to {max(spent):.0f}. {facts}.",
        "",
    ]


def mean_and_error(outcomes: Sequence[Outcome] | None) -> str:
    """Mean and standard error of the quality; a dash where it was not measured."""
    if outcomes is None:
        return "–"
    qualities = [outcome.quality for outcome in outcomes]
    return f"{statistics.fmean(qualities):.4f} ± {statistics.stdev(qualities) / math.sqrt(len(qualities)):.4f}"


def explanation(task: Task) -> str:
    """How good a task's model is, and how strong the noise at good schedules."""
    shares = ", ".join(f"{data} {share:.2f}" for data, share in task.explained.items())
    noises = ", ".join(f"{data} {noise.sds[-1]:.3f} and {noise.shared:.3f}" for data, noise in task.noise.items())
    return (
        f"share of unseen genotypes' variance explained {shares}; noise of a fine-tune among the best sixth, own and shared "
        f"{noises}"
    )


def task_name(path: Path) -> str:
    """The task that a table is of."""
    return path.name.partition(".")[0]


def tabulated(path: Path, blocks: Sequence[Block]) -> list[Schedule]:
    """The schedules of a table."""
    return schedules_of(pd.read_csv(path).drop_duplicates("genotype"), blocks)


def draw(task: Task, outcomes: dict[str, list[Outcome]]) -> Figure:
    """True quality of the best so far against cost: means, and the middle half of the first and of the best searcher."""
    figure = Figure(figsize=(9, 4.5), layout="constrained")
    axes = figure.subplots()
    best = max(outcomes, key=lambda name: statistics.fmean(outcome.path[-1][1] for outcome in outcomes[name]))
    for index, (name, own) in enumerate(outcomes.items()):
        begin = max(outcome.path[0][0] for outcome in own)
        grid = np.arange(begin, max(cost for outcome in own for cost, _ in outcome.path) + 1, 10)
        courses = np.stack([course(outcome.path, grid) for outcome in own])
        colour, style = COLOURS[index % len(COLOURS)], STYLES[index // len(COLOURS) % len(STYLES)]
        axes.plot(grid, courses.mean(axis=0), color=colour, linestyle=style, label=ALL_SEARCHERS[name].words.strip("*"))
        if index == 0 or name == best:
            axes.fill_between(grid, *np.quantile(courses, (0.25, 0.75), axis=0), color=colour, alpha=0.15, linewidth=0)
    axes.set_xlabel("cost so far (fine-tunes on half of the data)")
    axes.set_ylabel("true test macro accuracy")
    axes.set_title(f"{task.name}: quality of the best so far", loc="left")
    axes.spines[["top", "right"]].set_visible(False)
    figure.legend(fontsize=8, frameon=False, loc="outside right upper")
    return figure


def course(path: Sequence[tuple[int, float]], grid: NDArray[np.int_]) -> NDArray[np.float64]:
    """The quality at each cost of a grid: what the last step until then has left; NaN before the first."""
    costs, qualities = [cost for cost, _ in path], np.array([np.nan, *(quality for _, quality in path)])
    return qualities[np.searchsorted(costs, grid, side="right")]


if __name__ == "__main__":
    main()
