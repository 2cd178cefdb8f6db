"""The front of a search: the schedules that no other one beats in both the score and every cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from biotune.evolution.history import HallEntry, History
from biotune.evolution.objectives import Objectives, knee, nondominated
from biotune.schedule.schedule import Schedule


@dataclass(frozen=True)
class Member:
    """One schedule of the front.

    Attributes:
        schedule: The schedule.
        number: Serial number of the first individual that decoded to it.
        score: Its score as the regression over all evaluations predicts it; with few evaluations the mean of its own.
        costs: Its costs by objective.
        evaluations: The number of folds it was evaluated on itself.
        knee: Whether it is the knee of the front, see `objectives.knee`.
    """

    schedule: Schedule
    number: int
    score: float
    costs: Mapping[str, float]
    evaluations: int
    knee: bool = False


def front_of(history: History, objectives: Objectives) -> list[Member]:
    """Return the front of all schedules that were evaluated, the best score first.

    Args:
        history: All evaluations so far.
        objectives: The costs.
    """
    surrogate = history.surrogate()
    entries: Sequence[HallEntry] = history.every(surrogate is not None)
    if not entries:
        return []
    schedules = [entry.schedule for entry in entries]
    low, high = history.limits
    guesses = [entry.score for entry in entries] if surrogate is None else surrogate.predict(schedules).tolist()
    fitness = [min(max(guess, low), high) for guess in guesses]
    costs = objectives.of(schedules).tolist()
    points = [(own, *beside) for own, beside in zip(fitness, costs, strict=True)]
    members = sorted(nondominated(points), key=lambda at: (points[at], entries[at].number))
    best = knee([points[at] for at in members])
    return [
        Member(
            schedules[at],
            entries[at].number,
            1.0 - fitness[at],
            dict(zip(objectives.names, costs[at], strict=True)),
            len(entries[at].by_fold),
            place == best,
        )
        for place, at in enumerate(members)
    ]


def outstanding(front: Sequence[Member]) -> list[Member]:
    """Return the members to look at first: the best score, the knee, and the cheapest by each cost; each once."""
    if not front:
        return []
    cheapest = [min(front, key=lambda one: (one.costs[name], -one.score)) for name in front[0].costs]
    found: dict[int, Member] = {}
    for one in (front[0], *(one for one in front if one.knee), *cheapest):
        found.setdefault(one.number, one)
    return list(found.values())
