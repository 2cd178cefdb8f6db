"""A generation: its largest size, its steps and its record. Independent of the searchers."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from biotune.config.search import EvolutionConfig
from biotune.evolution.front import Front
from biotune.evolution.history import HallEntry
from biotune.evolution.individual import Individual, Origin
from biotune.evolution.surrogate import Observation
from biotune.schedule.schedule import Schedule
from biotune.trial import Evaluation, Status


@dataclass(frozen=True)
class Candidate:
    """One candidate of a generation, in its state at that time.

    Attributes:
        individual: Serial number of the genotype.
        origin: How it was made.
        genes: (n,) importances in forward order, threshold last; each in [0, 1].
        schedule: The schedule that the genes decode to.
        evaluation: Its fitness and cost; an elite that was not evaluated again has its last one, at no cost.
        fold: The fold the fitness was measured on.
        kept: Whether it is in the population after this generation.
    """

    individual: int
    origin: Origin
    genes: tuple[float, ...]
    schedule: Schedule
    evaluation: Evaluation
    fold: int
    kept: bool


@dataclass(frozen=True, kw_only=True)
class Generation:
    """One finished generation.

    Attributes:
        number: 0 for the initial one.
        fold: The fold it was evaluated on.
        candidates: All candidates considered: elites, their probes, then the others.
        record: The row of the logbook: statistics of the survivors, and counts.
        hall: The best distinct schedules seen so far, best first.
        observations: Every evaluation of a trained candidate so far, the data of the surrogate.
        survivors: Number, fitness, extinction factor and momentum of each member of the population, best first.
        random_state: State of the search's random number generator after this generation.
        front: The trade-offs found so far, None in a search with one objective.
    """

    number: int
    fold: int
    candidates: list[Candidate]
    record: dict[str, Any]
    hall: list[HallEntry]
    observations: list[Observation]
    survivors: list[dict[str, Any]]
    random_state: dict[str, Any]
    front: Front | None = None


class Outcome(NamedTuple):
    """The result of a generation's steps.

    Attributes:
        considered: All individuals considered, in the order of the tables.
        survivors: The members of the next population, in any order.
    """

    considered: list[Individual]
    survivors: list[Individual]


# The steps of a generation: each yields the individuals to be evaluated next, at least one, and resumes when all of them have
# received their evaluations.
Steps = Generator[list[Individual], None, Outcome]


@dataclass
class OpenGeneration:
    """An unfinished generation.

    Attributes:
        number: 0 for the initial one.
        fold: The fold it is evaluated on.
        steps: The generator of its batches.
        evaluations: The evaluations received so far.
    """

    number: int
    fold: int
    steps: Steps
    evaluations: list[Evaluation] = field(default_factory=list)


def costs(evaluations: Sequence[Evaluation]) -> dict[str, Any]:
    """Return the costs for the logbook: numbers of evaluations and of training runs made and saved, and seconds."""
    statuses = [evaluation.status for evaluation in evaluations]
    return {
        "evaluations": len(statuses),
        "trainings": sum(evaluation.trainings for evaluation in evaluations),
        "cache_hits": statuses.count(Status.CACHED),
        "saved": sum(len(one.scores) - one.trainings for one in evaluations if one.scores),
        "pruned": statuses.count(Status.PRUNED),
        "failures": statuses.count(Status.FAILED),
        "seconds": sum(evaluation.seconds for evaluation in evaluations),
    }


def survivor_states(population: Sequence[Individual]) -> list[dict[str, Any]]:
    """Return number, fitness, extinction factor and momentum of each individual, as values that JSON can hold."""
    return [
        {
            "individual": individual.number,
            "fitness": individual.score,
            "extinction": individual.extinction,
            "momentum": individual.momentum.tolist(),
        }
        for individual in population
    ]


def most_candidates(settings: EvolutionConfig) -> int:
    """Return the most evaluations of a generation after the initial one: 2E + N − E, plus E where the fold changes."""
    n, e = settings.population_size, settings.elites
    probes = 2 * e if settings.exploitation else 0
    again = e if settings.reevaluate_elites and settings.folds != 1 else 0
    return probes + n - e + again


def most_evaluations(settings: EvolutionConfig) -> int:
    """Return the most evaluations of a search: N + G (2E + N − E), plus E per generation where the fold changes."""
    return settings.population_size + settings.generations * most_candidates(settings)
