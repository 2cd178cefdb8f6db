"""The search: generations until it is over, with tables that grow."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any

from biotune.config.key import show
from biotune.config.schema import CompareConfig, EvaluateConfig, RunConfig
from biotune.errors import SearchError
from biotune.evolution import rows
from biotune.evolution.asynchronous import AsynchronousSearch
from biotune.evolution.generation import Generation, most_candidates, most_evaluations
from biotune.evolution.loop import evolve
from biotune.evolution.prior import Source
from biotune.evolution.sources import sources_in
from biotune.fitness.fitness import Economy, ScheduleFitness, stop_if_too_many_failed
from biotune.recipes import tables
from biotune.recipes.asynchronous import Driver
from biotune.recipes.costs import evaluating, objectives_of
from biotune.recipes.progress import Progress
from biotune.recipes.session import Session
from biotune.schedule.schedule import FRESH
from biotune.store.files import GENERATIONS, SUMMARY, GrowingTable


@dataclass(frozen=True)
class Found:
    """The result of a search.

    Attributes:
        costs: best_fitness, evaluations, trainings, epochs and seconds, for `result.json`.
        summary: The rows of `summary.csv`, one per generation.
        last: The last generation.
    """

    costs: dict[str, Any]
    summary: list[dict[str, Any]]
    last: Generation


def search(session: Session, config: RunConfig | CompareConfig, base_lr: float, progress: Progress) -> Found:
    """Run the search; the tables on disk grow with every generation.

    Args:
        session: The session that runs the trials.
        config: The settings.
        base_lr: λ_0 of every trial.
        progress: Receives the progress.

    Raises:
        SearchError: No candidate could be trained, or too many failed.
    """
    settings = config.evolution
    head_start = config.training.head_start if session.network.fresh_head else FRESH  # a head that is kept has its start
    at_most = most_evaluations(settings) * len(config.training.seeds)
    fitness = fitness_of(session, config, base_lr, _economy(config, at_most))
    summary: list[dict[str, Any]] = []
    last: Generation | None = None
    epochs = 0
    sources = sources_in(session.folder, settings.warm_start, session.network.blocks)
    progress.begin("searching", at_most)
    progress.begin_generation(0, settings.generations, settings.population_size, len(config.training.seeds))
    with (
        closing(GrowingTable(session.folder / GENERATIONS)) as candidates,
        closing(GrowingTable(session.folder / SUMMARY)) as generations,
    ):
        for generation in _generations(session, config, fitness, head_start, sources):
            last = generation
            summary.append(rows.summary_row(generation))
            epochs += sum(candidate.evaluation.epochs for candidate in generation.candidates)
            hours = session.close_generation(tables.journal_record(generation))
            candidates.extend(rows.generation_rows(generation, session.network.parameters, head_start))
            generations.extend(summary[-1:])
            evaluations = [candidate.evaluation for candidate in generation.candidates]
            stop_if_too_many_failed(evaluations, config.fitness.max_failed_share)
            progress.generation(generation, settings.generations, fitness.trainings, at_most)
            progress.begin_generation(
                generation.number + 1, settings.generations, most_candidates(settings), len(config.training.seeds)
            )
            if settings.max_hours is not None and hours >= settings.max_hours:
                progress.line(
                    f"evolution.max_hours={show(settings.max_hours)} is reached after generation {generation.number}."
                )
                break
    progress.end()
    if last is None or not last.hall:
        raise SearchError("no candidate could be trained: every one was empty or failed; the journal holds the reasons.")
    costs = {
        "best_fitness": min(entry.score for entry in last.hall),
        "evaluations": sum(row["evaluations"] for row in summary),
        "trainings": fitness.trainings,
        "epochs": epochs,
        "seconds": sum(row["seconds"] for row in summary),
    }
    return Found(costs, summary, last)


def _economy(config: RunConfig | CompareConfig, at_most: int) -> Economy:
    """What the search saves on candidates that cannot win, among at most so many training runs."""
    finalists = max(config.confirm.top_k, 1)
    places = max(config.evolution.elites, finalists)
    if config.evolution.costs:  # what is cheap may be on the front with a score that cannot win
        return Economy(places=places, finalists=finalists, trainings=at_most)
    return Economy(config.fitness.prune, config.fitness.racing, places, finalists, trainings=at_most)


def _generations(
    session: Session,
    config: RunConfig | CompareConfig,
    fitness: ScheduleFitness,
    head_start: str,
    sources: Sequence[Source],
) -> Iterator[Generation]:
    """The generations of the search as they are closed."""
    settings, blocks = config.evolution, session.network.blocks
    over_folds = statistics.fmean if config.confirm.top_k else min
    # some of the best may be baselines, which are confirmed anyway
    hall_size = max(config.confirm.top_k + len(config.confirm.baselines), 1)
    smoothed = config.confirm.choose != "score"
    how = config.seed, hall_size, over_folds, smoothed, head_start, sources
    if settings.mating == "asynchronous":
        search = AsynchronousSearch(settings, blocks, *how)
        yield from Driver(search, fitness, session.executor, session.journal).generations()
        return
    costs = objectives_of(session, config)
    evaluate = fitness if costs is None else evaluating(session, config, fitness, costs)
    for generation in evolve(settings, blocks, evaluate, *how, costs):
        fitness.close_generation()
        yield generation


def fitness_of(
    session: Session, config: RunConfig | CompareConfig | EvaluateConfig, base_lr: float, economy: Economy
) -> ScheduleFitness:
    """The fitness function of this session, with trials at the base learning rate λ_0."""
    return ScheduleFitness(
        session.executor,
        tuple(config.training.seeds),
        config.training.epochs,
        base_lr,
        session.data.fingerprint,
        economy,
        config.fitness.metric,
    )
