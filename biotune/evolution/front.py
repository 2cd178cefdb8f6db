"""The front of a search: the schedules that no other one beats in both the score and every cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from biotune.evolution.history import History
from biotune.evolution.objectives import Objectives, dominated_volume, knee, nondominated
from biotune.schedule.schedule import Schedule
from biotune.trial import WORST


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


@dataclass(frozen=True)
class Front:
    """The front of a search.

    Attributes:
        members: Its schedules, the best score first.
        reference: The cost by objective up to which the front's volume is measured: exact ones of training every block, and the
            largest seen of measured ones.
        volume: The share that the front dominates of the box from a perfect score at no cost to a score of 0 (or the worst one
            seen) at the reference, see `objectives.dominated_volume`.
    """

    members: tuple[Member, ...]
    reference: Mapping[str, float]
    volume: float

    @property
    def outstanding(self) -> list[Member]:
        """The members to look at first: the best score, the knee, and the cheapest by each cost; each once."""
        cheapest = [min(self.members, key=lambda one: (one.costs[name], -one.score)) for name in self.reference]
        found: dict[int, Member] = {}
        for one in (*self.members[:1], *(one for one in self.members if one.knee), *cheapest):
            found.setdefault(one.number, one)
        return list(found.values())


def front_of(history: History, objectives: Objectives) -> Front | None:
    """Return the front of all schedules that were evaluated; None where none was trained.

    Args:
        history: All evaluations so far.
        objectives: The costs.
    """
    surrogate = history.surrogate()
    entries = history.every(surrogate is not None)
    if not entries:
        return None
    schedules = [entry.schedule for entry in entries]
    low, high = history.limits
    guesses = [entry.score for entry in entries] if surrogate is None else surrogate.predict(schedules).tolist()
    known = [
        Member(entry.schedule, entry.number, 1.0 - min(max(guess, low), high), {}, len(entry.by_fold))
        for entry, guess in zip(entries, guesses, strict=True)
    ]
    return front_among(known, objectives, high)


def front_among(known: Sequence[Member], objectives: Objectives, worst: float = WORST) -> Front:
    """Return the front among schedules.

    Args:
        known: Schedules with their scores, at least one; their costs are looked up.
        objectives: The costs.
        worst: The largest fitness that a candidate can have.
    """
    costs = objectives.of([one.schedule for one in known])
    points = [(1.0 - one.score, *beside) for one, beside in zip(known, costs.tolist(), strict=True)]
    chosen = sorted(nondominated(points), key=lambda at: (points[at], known[at].number))
    best = knee([points[at] for at in chosen])
    blocks = known[0].schedule.blocks
    whole = Schedule(blocks, (1.0,) * len(blocks))
    most = dict(zip(objectives.names, costs.max(axis=0).tolist(), strict=True))
    reference = {name: objectives.exact[name](whole) if name in objectives.exact else most[name] for name in objectives.names}
    box = np.array([worst, *(cost or 1.0 for cost in reference.values())])
    volume = dominated_volume([tuple(point) for point in (np.array(points)[chosen] / box).tolist()], (1.0,) * len(box))
    members = tuple(
        replace(known[at], costs=dict(zip(objectives.names, points[at][1:], strict=True)), knee=place == best)
        for place, at in enumerate(chosen)
    )
    return Front(members, reference, volume)


def most_outstanding(costs: int) -> int:
    """Return the largest number of `Front.outstanding` with so many costs."""
    return 2 + costs
