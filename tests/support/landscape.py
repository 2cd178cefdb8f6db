"""Known fitnesses of schedules of three and of more blocks, and noisy evaluations, for tests of regressions and searches."""

from __future__ import annotations

import numpy as np

from biotune.evolution.surrogate import Observation
from biotune.schedule.block import Block
from biotune.schedule.schedule import Schedule

BLOCKS = tuple(Block(name, (name,)) for name in ("a", "b", "c"))


def schedule(*weights: float) -> Schedule:
    return Schedule(BLOCKS, weights)


def drawn(count: int, seed: int) -> list[Schedule]:
    rng = np.random.default_rng(seed)
    logs = rng.uniform(-1, 1, (count, 3))
    frozen = rng.random((count, 3)) < 0.3
    return [schedule(*np.where(off, 0.0, 10.0**log).tolist()) for log, off in zip(logs, frozen, strict=True)]


def truth(one: Schedule) -> float:
    """Best with `a` frozen and `b` at 3."""
    a, b, _ = one.lr_weights
    return 0.3 + (0.1 if a > 0 else 0.0) + (0.05 * (np.log10(b) - 0.5) ** 2 if b > 0 else 0.2)


def noisy(schedules: list[Schedule], sd: float = 0.03, kindness: tuple[float, float] = (0.0, 0.0)) -> list[Observation]:
    rng = np.random.default_rng(0)
    return [
        Observation(one, index % 2, truth(one) + kindness[index % 2] + sd * rng.standard_normal())
        for index, one in enumerate(schedules)
    ]


def true_fitness(one: Schedule) -> float:
    """Of four blocks or more: best with the first two frozen and the rest at 3."""
    cost = 0.0
    for index, weight in enumerate(one.lr_weights):
        if index < 2:
            cost += 0.06 if weight > 0 else 0.0
        else:
            cost += 0.1 if weight == 0 else 0.06 * (np.log10(weight) - 0.5) ** 2
    return 0.2 + cost
