"""The warm start: the usual ways of fine-tuning, each at several learning rates, and what earlier searches found."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from biotune.evolution.individual import Genes
from biotune.evolution.prior import Source
from biotune.schedule.genotype import importance
from biotune.schedule.schedule import LAST_TO_FIRST, TOGETHER, Schedule

FACTORS = (3.0, 1.0, 10.0, 0.3)  # multiples of the base learning rate, the most promising first
DECAY = 0.75  # of layer-wise decay, as `strategy.decay`
THRESHOLD = 0.3  # leaves the learning rates from 0.4 to ten times the base learning rate
EARLIER_SHARE = 4  # a quarter of generation 0 at most is what earlier searches found
_ABOVE = 1e-3  # how far the importance of a trained block stays above the threshold


class WarmStart(NamedTuple):
    """One individual of generation 0.

    Attributes:
        genes: (n,) importances, the threshold last.
        unfreezing: The order in which its blocks join, see `Schedule`.
    """

    genes: Genes
    unfreezing: str


def warm_starts(num_blocks: int, orders: Sequence[str] = (TOGETHER,), threshold: float | None = THRESHOLD) -> list[WarmStart]:
    """Return full fine-tuning, layer-wise decay, gradual unfreezing and linear probing, each at `FACTORS`, best factor first.

    Sources: `biotune.strategies.fixed`. Learning rates become the nearest ones that the threshold leaves, which are 0.4 to 10
    times the base learning rate with the usual one.

    Args:
        num_blocks: Number of blocks, the head included.
        orders: The orders of unfreezing that a schedule can have; without last_to_first there is no gradual unfreezing.
        threshold: Of all of them, below 1; None takes the usual one.

    Returns:
        Distinct ones, of `num_blocks` + 1 genes each.
    """
    threshold = THRESHOLD if threshold is None else threshold
    place = np.arange(num_blocks)
    alike, head = np.ones(num_blocks), (place == num_blocks - 1).astype(float)
    decaying = DECAY ** (num_blocks - 1.0 - place)
    methods = [(alike, TOGETHER), (decaying, TOGETHER), (alike, LAST_TO_FIRST), (head, TOGETHER)]
    found: dict[tuple[bytes, str], WarmStart] = {}
    for factor in FACTORS:
        for weights, order in methods:
            if order in orders or order == TOGETHER:
                one = WarmStart(genes_of((factor * weights).tolist(), threshold), order if order in orders else orders[0])
                found.setdefault((one.genes.tobytes(), one.unfreezing if num_blocks > 1 else TOGETHER), one)
    return list(found.values())


def genes_of(lr_weights: Sequence[float], threshold: float | None = THRESHOLD) -> Genes:
    """Return the genes of a schedule.

    Args:
        lr_weights: (B,) multiples of the base learning rate, those beyond what the threshold leaves become the nearest ones; 0
            is frozen.
        threshold: The freezing threshold; None takes the usual one.

    Returns:
        (B + 1,) importances, the threshold last.
    """
    threshold = THRESHOLD if threshold is None else threshold
    importances = [
        min(max(importance(weight), threshold + _ABOVE), 1.0) if weight > 0 else threshold / 2 for weight in lr_weights
    ]
    return np.array([*importances, threshold])


def best_of(sources: Sequence[Source], count: int) -> list[Schedule]:
    """Return the best schedules of earlier searches: the best of each, then the second ones, and so on.

    Args:
        sources: The earlier searches, matched to the blocks of this one.
        count: The most to return.

    Returns:
        Distinct schedules that train a block.
    """
    found: dict[str, Schedule] = {}
    for rank in range(max((len(source.schedules) for source in sources), default=0)):
        for source in sources:
            for schedule in source.schedules[rank : rank + 1]:
                if not schedule.is_empty:
                    found.setdefault(schedule.key, schedule)
    return list(found.values())[:count]
