"""Compare searchers on tabulated tasks: the true quality of what each returns, at equal cost, over many seeds.

Cost is counted in fine-tunes on half of the data; one on all data counts as two. What a searcher spends on confirming its
choice counts too.
"""

from __future__ import annotations

import argparse
import math
import statistics
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml
from draw_figures import FIGURES
from matplotlib.figure import Figure
from measure_default import write_between_marks
from numpy.typing import NDArray
from tabulated_task import Simulated, Task, best_quality, read_task

from biotune.config import ConfirmConfig, EvolutionConfig, TrainingConfig
from biotune.evolution import evolve
from biotune.evolution.books import Entry
from biotune.evolution.surrogate import Observation
from biotune.fitness import ScheduleFitness, Trial
from biotune.schedule import TOGETHER, Block, Schedule, decode
from biotune.searching import confirming_observations, smoothest
from biotune.strategies import fixed_schedule

ROOT = Path(__file__).resolve().parent.parent
TABLES = Path(__file__).parent / "tables"
MODELS = {"gp": "Gaussian process", "trees": "boosted trees"}
BATCH = 10  # candidates a fold in turn, as a generation of the default search, for searchers that know no generations
ENDLESS = 1000  # generations: the cost ends a search
CONFIRM = ConfirmConfig()
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
STYLES = ("-", "--", ":", "-.")
ONE_SEED = tuple(TrainingConfig().seeds[:1])
THREE_SEEDS = tuple(TrainingConfig().seeds)


@dataclass(frozen=True)
class Finalist:
    """A schedule that a search may return, with its fitness."""

    schedule: Schedule
    score: float


@dataclass(frozen=True)
class Known:
    """What a search knows after some step: its cost so far, its best schedules, best first, and all that it has seen."""

    cost: int
    hall: list[Finalist]
    observations: list[Observation] = field(default_factory=list)
    entries: list[Entry] = field(default_factory=list)


Steps = Iterator[Known]


@dataclass(frozen=True)
class Searcher:
    """One line of the table.

    Attributes:
        words: How the table names it.
        search: What runs it; gets the settings.
        preset: Name of a preset in configs/evolution.
        changes: What differs from the preset.
        top_k: How many of the best are confirmed with fresh seeds.
        over_folds: How fitness values of one schedule on several folds become one.
        smoothed: Whether a regression over all evaluations ranks and chooses, as `confirm.choose=smoothed` does.
        training_seeds: Training seeds of a candidate, where they are not the preset's.
        dear: Whether it takes so long that it gets a third of the seeds.
    """

    words: str
    search: Callable[[Searcher, EvolutionConfig, Task, ScheduleFitness, int, int], Steps]
    preset: str = "biotune"
    changes: dict[str, Any] = field(default_factory=dict)
    top_k: int = CONFIRM.top_k
    over_folds: Callable[[Sequence[float]], float] = statistics.fmean
    smoothed: bool = False
    training_seeds: tuple[int, ...] = ()
    dear: bool = False

    @property
    def settings(self) -> EvolutionConfig:
        """The preset with the changes, but without new splits and orders of unfreezing: the tables know none."""
        preset = dict(self._preset.get("evolution", self._preset))
        if preset.pop("resplit", False):
            preset["folds"] = 1
        return EvolutionConfig(**{**preset, "generations": ENDLESS, "unfreezing": TOGETHER, **self.changes})

    @property
    def seeds(self) -> tuple[int, ...]:
        """Training seeds of a candidate, the preset's where it sets them."""
        return self.training_seeds or tuple(self._preset.get("training", {}).get("seeds", TrainingConfig().seeds))

    @property
    def _preset(self) -> dict[str, Any]:
        loaded: dict[str, Any] = yaml.safe_load(
            (ROOT / "configs" / "evolution" / f"{self.preset}.yaml").read_text(encoding="utf-8")
        )
        return loaded


def evolved(
    searcher: Searcher, settings: EvolutionConfig, task: Task, fitness: ScheduleFitness, seed: int, budget: int
) -> Steps:
    """The library's own search."""
    spent = 0
    size = max(searcher.top_k, 1)
    for generation in evolve(settings, task.blocks, fitness, seed, size, searcher.over_folds, searcher.smoothed):
        last, spent = fitness.trainings - spent, fitness.trainings
        if spent > budget:  # a generation that came dearer than the one before counts for nothing
            return
        hall = [Finalist(entry.schedule, entry.score) for entry in generation.hall]
        yield Known(spent, hall, generation.observations, generation.hall)
        if spent + last > budget or not last:  # where nothing is new any more, time alone would be spent
            return


def random_draws(
    searcher: Searcher, settings: EvolutionConfig, task: Task, fitness: ScheduleFitness, seed: int, budget: int
) -> Steps:
    """Genotypes drawn uniformly."""
    rng = np.random.default_rng(seed)
    genes = len(task.blocks) + 1
    return asked(lambda: rng.random(genes).tolist(), lambda fitness: None, searcher, settings, task, fitness, budget)


def parzen(
    searcher: Searcher, settings: EvolutionConfig, task: Task, fitness: ScheduleFitness, seed: int, budget: int
) -> Steps:
    """Optuna's tree-structured Parzen estimator over the genes."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=seed))
    names = [*(block.name for block in task.blocks), "threshold"]
    open_trials: list[optuna.Trial] = []

    def ask() -> list[float]:
        trial = study.ask()
        open_trials.append(trial)
        return [trial.suggest_float(name, 0.0, 1.0) for name in names]

    return asked(ask, lambda score: study.tell(open_trials.pop(), score), searcher, settings, task, fitness, budget)


def asked(
    ask: Callable[[], list[float]],
    tell: Callable[[float], object],
    searcher: Searcher,
    settings: EvolutionConfig,
    task: Task,
    fitness: ScheduleFitness,
    budget: int,
) -> Steps:
    """One candidate after the other, a batch on each fold in turn."""
    seen: dict[str, tuple[Schedule, list[float]]] = {}
    number = 0
    while fitness.trainings + len(fitness.seeds) <= budget:
        schedule = decode(ask(), task.blocks)
        (evaluation,) = fitness([schedule], number // BATCH % settings.folds)
        tell(evaluation.fitness)
        if not schedule.is_empty:
            seen.setdefault(schedule.key, (schedule, []))[1].append(evaluation.fitness)
            number += 1
            if number % BATCH == 0:
                yield Known(fitness.trainings, finalists(seen, searcher))
    yield Known(fitness.trainings, finalists(seen, searcher))


def finalists(seen: dict[str, tuple[Schedule, list[float]]], searcher: Searcher) -> list[Finalist]:
    """The best so far."""
    ranked = sorted((searcher.over_folds(scores), key) for key, (_, scores) in seen.items())
    return [Finalist(seen[key][0], score) for score, key in ranked[: max(searcher.top_k, 1)]]


HALVES = {"folds": 2}
BARE = {"adoption": False, "folds": 1}
SEARCHERS = {
    "default": Searcher("**biotune's default**", evolved, smoothed=True),
    "default_three": Searcher("the default, three seeds", evolved, smoothed=True, training_seeds=THREE_SEEDS),
    "default_folds": Searcher(
        "the default, three seeds, two folds", evolved, "biotune", HALVES, smoothed=True, training_seeds=THREE_SEEDS
    ),
    "default_screen_3": Searcher("the default, three children drawn for one", evolved, changes={"screen": 3}, smoothed=True),
    "default_seeded": Searcher("the default, seeded with heuristics", evolved, changes={"seeded": True}, smoothed=True),
    "default_adopting": Searcher("the default with adoption", evolved, changes={"adoption": True}, smoothed=True),
    "default_by_score": Searcher("the default, chosen by score", evolved),
    "bare": Searcher("BioTune's operators without adoption", evolved, "plain", BARE, training_seeds=ONE_SEED),
    "bare_three": Searcher("BioTune's operators without adoption, three seeds", evolved, "plain", BARE),
    "plain": Searcher("BioTune's operators, three seeds, two folds", evolved, "plain"),
    "published": Searcher("published procedure (three seeds, two folds)", evolved, "published", top_k=0, over_folds=min),
    "random": Searcher("random draws", random_draws, "random"),
    "random_three": Searcher("random draws, three seeds", random_draws, "random", training_seeds=THREE_SEEDS),
    "random_folds": Searcher(
        "random draws, three seeds, two folds", random_draws, "random", HALVES, training_seeds=THREE_SEEDS
    ),
    "genetic": Searcher("DEAP's genetic algorithm", evolved, "genetic"),
    "genetic_three": Searcher("DEAP's genetic algorithm, three seeds", evolved, "genetic", training_seeds=THREE_SEEDS),
    "genetic_folds": Searcher(
        "DEAP's genetic algorithm, three seeds, two folds", evolved, "genetic", HALVES, training_seeds=THREE_SEEDS
    ),
    "cma_es": Searcher("DEAP's CMA-ES", evolved, "cma_es"),
    "cma_es_three": Searcher("DEAP's CMA-ES, three seeds", evolved, "cma_es", training_seeds=THREE_SEEDS),
    "cma_es_folds": Searcher("DEAP's CMA-ES, three seeds, two folds", evolved, "cma_es", HALVES, training_seeds=THREE_SEEDS),
    "parzen": Searcher("Optuna's TPE", parzen, "random", dear=True),
    "parzen_three": Searcher("Optuna's TPE, three seeds", parzen, "random", training_seeds=THREE_SEEDS, dear=True),
    "parzen_folds": Searcher(
        "Optuna's TPE, three seeds, two folds", parzen, "random", HALVES, training_seeds=THREE_SEEDS, dear=True
    ),
}
ABLATED: dict[str, tuple[str, dict[str, Any]]] = {
    "no_freezing": ("no freezing, rates only", {"freezing": False}),
    "no_rates": ("no rates, selection only", {"rates": False}),
    "fixed_threshold": ("threshold fixed at 0.5", {"fixed_threshold": 0.5}),
    "always_head": ("head always trained", {"always_head": True}),
    "no_exploitation": ("no exploitation", {"exploitation": False}),
    "no_momentum": ("no momentum", {"momentum": False}),
    "no_mutation": ("no mutation", {"mutation": False}),
    "no_crossover": ("no crossover", {"crossover": False}),
    "no_surrogate": ("no surrogate", {"surrogate": "none", "screen": 1}),
    "sequential": ("sequential mating, and so no surrogate", {"mating": "sequential", "surrogate": "none", "screen": 1}),
}
ABLATIONS = {name: Searcher(words, evolved, changes=changes, smoothed=True) for name, (words, changes) in ABLATED.items()}
ALL_SEARCHERS = {**SEARCHERS, **ABLATIONS}


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
    settings = searcher.settings
    unit = 2 if settings.folds == 1 else 1
    confirming = searcher.top_k * settings.folds * len(CONFIRM.seeds)
    executor = Simulated(task, settings.folds, np.random.default_rng([seed, 1]))
    fitness = ScheduleFitness(executor, searcher.seeds, 1, task.name)
    path, hall = [], []
    last = Known(0, [])
    for known in searcher.search(searcher, settings, task, fitness, seed, budget // unit - confirming):
        last, hall = known, known.hall
        path.append((known.cost * unit, task.quality(hall[0].schedule)))
    folds = range(settings.folds)
    if searcher.smoothed and searcher.top_k:
        choice = confirm_smoothly(executor, last, folds)
    else:
        choice = confirm(executor, hall, folds) if searcher.top_k else hall[0].schedule
    return Outcome(task.quality(choice), (last.cost + confirming) * unit, path)


def confirm(executor: Simulated, hall: Sequence[Finalist], folds: Sequence[int | None]) -> Schedule:
    """The best mean over the folds (None is all data) with fresh seeds, as after a real search."""
    means = []
    for entry in hall:
        trials = [Trial(entry.schedule, fold, seed, 1) for fold in folds for seed in CONFIRM.seeds]
        means.append(statistics.fmean(result.score for result in executor.run(trials)))
    return max(zip(means, hall, strict=True), key=lambda pair: (pair[0], -pair[1].score))[1].schedule


def confirm_smoothly(executor: Simulated, known: Known, folds: Sequence[int]) -> Schedule:
    """The one of which a regression over search and confirmation expects the most, as after a real search."""
    confirmed = {
        (entry.number, fold): executor.run([Trial(entry.schedule, fold, seed, 1) for seed in CONFIRM.seeds])
        for entry in known.entries
        for fold in folds
    }
    observations = [*known.observations, *confirming_observations(known.entries, confirmed, "acc")]
    return smoothest(known.entries, observations, known.entries[0]).schedule


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
    parser.add_argument("--readme", type=Path, help="file to write the table into, between the script's marks")
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
    if given.readme is not None:
        option, end = (" --ablations", "ablations") if given.ablations else ("", "compared")
        begin, end = f"<!-- measured by scripts/compare_searchers.py{option} -->", f"<!-- end of {end} -->"
        write_between_marks(given.readme, text, begin, end)


def compare(path: Path, given: argparse.Namespace) -> list[str]:
    """One task's table, and its figure."""
    cells = [(kind, budget) for kind in given.models for budget in given.budgets]
    with ProcessPoolExecutor(given.workers) as pool:
        futures = {
            (name, *cell): pool.submit(search_many, path, cell[0], name, cell[1], range(seeds_of(name, given.seeds)))
            for cell in cells
            for name in given.searchers
        }
        outcomes = {key: future.result() for key, future in futures.items()}
    tasks = {kind: read_task(path, kind) for kind in given.models}
    first = {name: outcomes[name, *cells[0]] for name in given.searchers}
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
    rows = [(ALL_SEARCHERS[name].words, [mean_and_error(outcomes[name, *cell]) for cell in cells]) for name in names]
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


def mean_and_error(outcomes: Sequence[Outcome]) -> str:
    """Mean and standard error of the quality."""
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
    genes = pd.read_csv(path).drop_duplicates("genotype")[[*(block.name for block in blocks), "threshold"]]
    return [decode(row, blocks) for row in genes.to_numpy().tolist()]


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
