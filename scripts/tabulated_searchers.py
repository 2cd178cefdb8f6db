"""The searchers that are compared on tabulated tasks: the library's own in many settings, DEAP's, random draws, Optuna's TPE.

Each is a line of the table: a preset of configs/evolution, what differs from it, and what runs it.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from tabulated_task import Task

from biotune.config.search import EVOLVED, ConfirmConfig, EvolutionConfig
from biotune.config.sections import TrainingConfig
from biotune.evolution.history import HallEntry
from biotune.evolution.loop import evolve
from biotune.evolution.surrogate import Observation
from biotune.fitness.fitness import ScheduleFitness
from biotune.schedule.genotype import decode
from biotune.schedule.schedule import FRESH, TOGETHER, Schedule

ROOT = Path(__file__).resolve().parent.parent
BATCH = 10  # candidates a fold in turn, as a generation of the default search, for searchers that know no generations
ENDLESS = 1000  # generations: the cost ends a search
CONFIRM = ConfirmConfig()
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
    entries: list[HallEntry] = field(default_factory=list)


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
        longest: The largest cost it is measured at; a regression over many evaluations takes the cube of their number.
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
    longest: int = 1000

    @property
    def settings(self) -> EvolutionConfig:
        """The preset with the changes, but without new splits and orders of unfreezing: the tables know none."""
        preset = dict(self._preset.get("evolution", self._preset))
        if preset.pop("resplit", False):
            preset["folds"] = 1
        return EvolutionConfig(**{**preset, "generations": ENDLESS, "unfreezing": TOGETHER, **self.changes})

    def settings_on(self, task: Task) -> EvolutionConfig:
        """The settings, with new splits and with orders of unfreezing where the task's table knows them."""
        if not task.splits:
            return self.settings
        preset = {**self._preset.get("evolution", self._preset), "folds": task.splits, "resplit": True}
        return EvolutionConfig(**{**preset, "generations": ENDLESS, **self.changes})

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
    start = EVOLVED if task.splits and settings.unfreezing == EVOLVED else FRESH
    ranked = size, searcher.over_folds, searcher.smoothed
    for generation in evolve(settings, task.blocks, fitness, seed, *ranked, start):
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
        (evaluation,) = fitness([schedule], number // BATCH % settings.num_folds)
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
    "default": Searcher("**biotune's default**", evolved, smoothed=True, longest=255),
    "screened": Searcher("BioTune's operators, screened", evolved, "screened", top_k=5, smoothed=True),
    "default_by_score": Searcher("the default, chosen by score", evolved, longest=255),
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
    "no_freezing": ("no freezing, rates only", {"freezing": False, "fixed_threshold": None}),
    "no_rates": ("no rates, selection only", {"rates": False}),
    "evolving_threshold": ("evolving threshold", {"fixed_threshold": None}),
    "always_head": ("head always trained", {"always_head": True}),
    "biotune_offspring": ("BioTune's crossover and mutation", {"offspring": "biotune"}),
    "ranking_by_fitness": ("ranked by fitness", {"ranking": "fitness"}),
    "no_warm_start": ("no warm start", {"seeded": False}),
    "no_mutation": ("no mutation", {"mutation": False}),
    "no_crossover": ("no crossover", {"crossover": False}),
    "no_surrogate": ("no surrogate", {"surrogate": "none", "screen": 1, "ranking": "fitness"}),
    "sequential": (
        "sequential mating, and so no surrogate",
        {"mating": "sequential", "surrogate": "none", "screen": 1, "ranking": "fitness"},
    ),
}
ABLATIONS = {
    name: Searcher(words, evolved, changes=changes, smoothed=True, longest=255) for name, (words, changes) in ABLATED.items()
}
ALL_SEARCHERS = {**SEARCHERS, **ABLATIONS}
