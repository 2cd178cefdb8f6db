"""Giving up trainings that fall behind: the floor below which the best score so far must not be."""

from collections.abc import Sequence
from itertools import accumulate
from statistics import median

WARMUP_EPOCHS = 2  # a fresh head's first epochs tell more of its initial weights than of the schedule
FEWEST_CURVES = 5  # a median of fewer is mostly chance


def median_floor(curves: Sequence[Sequence[float]], epochs: int) -> tuple[float, ...]:
    """The median of the best scores that earlier trainings had reached by each epoch.

    A training that had ended by then counts with its best score, so that the floor is never above the true median.

    Args:
        curves: Scores by epoch, in [0, 1], of earlier trainings with the same data and the same training seed.
        epochs: The budget.

    Returns:
        The floor after each epoch, 0 where nothing is given up; empty where there are too few curves.
    """
    if len(curves) < FEWEST_CURVES:
        return ()
    best = [list(accumulate(curve, max)) for curve in curves]
    return tuple(
        0.0 if epoch < WARMUP_EPOCHS else median(reached[min(epoch, len(reached) - 1)] for reached in best)
        for epoch in range(epochs)
    )
