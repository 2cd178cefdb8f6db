"""Several objectives: the costs of schedules, the selection by dominance, and the dominated area. All of them are minimised."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean

import numpy as np
from deap import base, tools

from biotune.evolution.surrogate import FEWEST, Floats, Observation, Surrogate, once_evaluated
from biotune.schedule.schedule import Schedule

Point = tuple[float, ...]
Exact = Callable[[Schedule], float]


@dataclass(frozen=True)
class BlockCosts:
    """Multiply-accumulate operations of a training step for one image, from which those of any schedule follow.

    Attributes:
        alone: Per block those of a step that trains this block alone: the forward pass of the whole network, and the backward
            pass down to the block.
        joined: Per block what it adds where an earlier block is trained too: the gradients of its own weights.
    """

    alone: tuple[float, ...]
    joined: tuple[float, ...]

    def __call__(self, schedule: Schedule) -> float:
        """Return those of a step once all blocks of a schedule have joined; 0 where none is trained."""
        if schedule.is_empty:
            return 0.0
        first = schedule.first_trained
        later = [cost for cost, selected in zip(self.joined, schedule.selected, strict=True) if selected][1:]
        return self.alone[first] + sum(later)


def parameters_of(sizes: Mapping[str, int]) -> Exact:
    """Return the function from a schedule to the number of parameters that it trains.

    Args:
        sizes: Number of parameters of each block by name.
    """
    return lambda schedule: float(
        sum(sizes[name] for name, selected in zip(schedule.names, schedule.selected, strict=True) if selected)
    )


@dataclass
class Objectives:
    """The costs that a search minimises beside the fitness.

    Attributes:
        names: Their names, in the order of `evolution.objectives`.
        exact: Those that follow from a schedule by itself, by name; the others are noted after each evaluation.
    """

    names: tuple[str, ...]
    exact: Mapping[str, Exact] = field(default_factory=dict)
    _noted: dict[str, dict[str, list[float]]] = field(default_factory=dict)  # by objective and canonical key
    _schedules: dict[str, Schedule] = field(default_factory=dict)

    @property
    def measured(self) -> tuple[str, ...]:
        """The objectives that are noted."""
        return tuple(name for name in self.names if name not in self.exact)

    def note(self, schedule: Schedule, costs: Mapping[str, float]) -> None:
        """Take in the costs of an evaluated schedule; of several values for equal schedules the mean counts."""
        self._schedules.setdefault(schedule.key, schedule)
        for name in self.measured:
            if name in costs:
                self._noted.setdefault(name, {}).setdefault(schedule.key, []).append(costs[name])

    def of(self, schedules: Sequence[Schedule]) -> Floats:
        """Return the costs of schedules.

        Args:
            schedules: N schedules.

        Returns:
            (N, objectives); a measured cost that is not known is predicted by a regression over those that are, or by their
            mean while there are too few.
        """
        return np.array([self._column(name, schedules) for name in self.names]).reshape(len(self.names), -1).T

    def _column(self, name: str, schedules: Sequence[Schedule]) -> list[float]:
        if name in self.exact:
            return [self.exact[name](schedule) for schedule in schedules]
        known = {key: fmean(values) for key, values in self._noted.get(name, {}).items()}
        unknown = {schedule.key: schedule for schedule in schedules if schedule.key not in known}
        if unknown:
            known = known | dict(zip(unknown, self._predicted(known, list(unknown.values())), strict=True))
        return [known[schedule.key] for schedule in schedules]

    def _predicted(self, known: Mapping[str, float], schedules: Sequence[Schedule]) -> list[float]:
        if len(known) < FEWEST:
            return [fmean(known.values()) if known else 0.0] * len(schedules)
        regression = Surrogate([Observation(self._schedules[key], 0, value) for key, value in known.items()])
        return [max(float(guess), 0.0) for guess in regression.predict(schedules)]


class _Placed:
    """What DEAP selects: a position with a fitness of several objectives."""

    def __init__(self, position: int, point: Sequence[float]) -> None:
        self.position = position
        self.fitness = _fitness_of(len(point))(tuple(point))


_CLASSES: dict[int, type[base.Fitness]] = {}


def _fitness_of(count: int) -> type[base.Fitness]:
    if count not in _CLASSES:
        _CLASSES[count] = type("Fitness", (base.Fitness,), {"weights": (-1.0,) * count})
    return _CLASSES[count]


def selected(points: Sequence[Sequence[float]], count: int) -> list[int]:
    """Return the positions of the points that DEAP's NSGA-II selects.

    Source: Deb et al., "A fast and elitist multiobjective genetic algorithm: NSGA-II", *IEEE Transactions on Evolutionary
    Computation* 2002.

    Args:
        points: N points, all objectives minimised.
        count: Number to select, at most N.
    """
    return [one.position for one in tools.selNSGA2([_Placed(*pair) for pair in enumerate(points)], count)]


def nondominated(points: Sequence[Sequence[float]]) -> list[int]:
    """Return the positions of the points that no other point dominates, in ascending order."""
    if not points:
        return []
    placed = [_Placed(*pair) for pair in enumerate(points)]
    return sorted(one.position for one in tools.sortNondominated(placed, len(placed), first_front_only=True)[0])


def dominated_volume(points: Sequence[Sequence[float]], reference: Sequence[float]) -> float:
    """Return the volume that points dominate up to a reference point (the hypervolume); points beyond it add nothing."""
    from deap.benchmarks.tools import hypervolume  # takes seconds to import

    within = [_Placed(0, point) for point in points if all(own < bound for own, bound in zip(point, reference, strict=True))]
    return float(hypervolume(within, np.asarray(reference, dtype=float))) if within else 0.0


def knee(points: Sequence[Sequence[float]]) -> int | None:
    """Return the position of the knee of a front: the smallest sum of the objectives, each scaled to [0, 1] over the front.

    With two objectives it lies farthest from the straight line between the two extremes (Das, "On characterizing the 'knee' of
    the Pareto curve based on normal-boundary intersection", *Structural Optimization* 1999).

    Args:
        points: The front, all objectives minimised.

    Returns:
        None with fewer than three points, of which none lies between extremes.
    """
    if len(points) < 3:
        return None
    table = np.asarray(points, dtype=float)
    low, high = table.min(axis=0), table.max(axis=0)
    return int(((table - low) / np.where(high > low, high - low, 1.0)).sum(axis=1).argmin())


@dataclass(frozen=True)
class FrontScreen:
    """Selects children by how much they would enlarge the dominated volume.

    A child stands for its optimistic fitness, the predicted mean less κ standard deviations, and its costs (Ponweiser et al.,
    "Multiobjective optimization on a limited budget of evaluations using model-assisted S-metric selection", *PPSN* 2008).

    Attributes:
        surrogate: The regression of the fitness.
        objectives: The costs.
        seen: Distinct schedules that were evaluated, at least one.
    """

    surrogate: Surrogate
    objectives: Objectives
    seen: Sequence[Schedule]

    def most_promising(self, schedules: Sequence[Schedule], count: int, exploration: float) -> list[int]:
        """See `Surrogate.most_promising`; schedules that enlarge nothing come last, by their optimistic fitness."""
        known = np.column_stack([self.surrogate.predict(self.seen), self.objectives.of(self.seen)])
        front = known[nondominated(known.tolist())]
        scale = _Scale.of(front, known)
        around, reference = [tuple(point) for point in scale(front).tolist()], (_BEYOND,) * known.shape[1]
        costs = self.objectives.of(schedules)
        mean, covariance = self.surrogate.posterior(schedules)
        left = set(range(len(schedules)))
        chosen: list[int] = []
        while len(chosen) < count:
            bound = self.surrogate.unscaled(mean - exploration * np.sqrt(np.maximum(np.diag(covariance), 0.0)))
            points = [tuple(point) for point in scale(np.column_stack([bound, costs])).tolist()]
            volume = dominated_volume(around, reference)
            gains = {at: _gain(points[at], around, reference, volume) for at in left}
            position = min(left, key=lambda at: (-gains[at], points[at], at))
            chosen.append(position)
            left.remove(position)
            around.append(points[position])
            covariance = once_evaluated(covariance, self.surrogate.noise, position)
        return chosen


_BEYOND = 1.1  # the reference point, where the front goes from 0 to 1 in each objective


@dataclass(frozen=True)
class _Scale:
    """Maps each objective of a front to [0, 1]; where the front has no extent, that of all points."""

    low: Floats
    extent: Floats

    @staticmethod
    def of(front: Floats, every: Floats) -> _Scale:
        own, whole = np.ptp(front, axis=0), np.ptp(every, axis=0)
        extent = np.where(own > 0, own, np.where(whole > 0, whole, 1.0))
        return _Scale(front.min(axis=0), extent)

    def __call__(self, points: Floats) -> Floats:
        scaled: Floats = (points - self.low) / self.extent
        return scaled


def _gain(point: Point, around: Sequence[Point], reference: Point, volume: float) -> float:
    """What a point adds to a dominated volume."""
    if any(all(own >= other for own, other in zip(point, one, strict=True)) for one in around):
        return 0.0
    return dominated_volume([*around, point], reference) - volume
