"""Carries a schedule over to the blocks of another network, matched by their relative depth. Imports no torch."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from biotune.schedule.block import Block
from biotune.schedule.schedule import Schedule


def transferred(schedule: Schedule, blocks: Sequence[Block]) -> Schedule:
    """Return the schedule for the blocks of another network.

    The head gets the weight of the head. The other blocks of both networks stand at even steps from 0 (first) to 1 (last
    before the head). A block is frozen where the nearest block of the schedule is, the earlier of two; else the decimal
    logarithm of its weight lies on the line between its trained neighbours. Between equal numbers of blocks nothing changes.

    Args:
        schedule: A schedule of any network.
        blocks: The blocks of the other one in forward order, the head last.

    Returns:
        A schedule without importances and threshold; its order of unfreezing and the start of its head stay.
    """
    weights = _matched(schedule.lr_weights, len(blocks))
    return Schedule(tuple(blocks), weights, unfreezing=schedule.unfreezing, head_start=schedule.head_start)


def _matched(weights: tuple[float, ...], count: int) -> tuple[float, ...]:
    if len(weights) == count:
        return weights
    body, head = np.array(weights[:-1]), weights[-1]
    if not len(body):  # a network of a head alone
        return (head,) * count
    theirs, own = _depths(len(body)), _depths(count - 1)
    nearest = [int(np.argmin(np.abs(theirs - depth))) for depth in own]
    trained = body > 0
    if not trained.any():
        return (*(0.0 for _ in own), head)
    lines = 10.0 ** np.interp(own, theirs[trained], np.log10(body[trained]))
    return (*(float(weight) if trained[at] else 0.0 for at, weight in zip(nearest, lines, strict=True)), head)


def _depths(count: int) -> np.ndarray:
    """(count,) relative depths of the blocks before the head; a single one stands at the end, beside the head."""
    return np.linspace(0.0, 1.0, count) if count > 1 else np.ones(count)
