"""Giving up training runs that fall behind: the floor below which the best score so far must not be.

The median stopping rule (Golovin et al., "Google Vizier: a service for black-box optimization", 2017), with the best score so
far in place of the running mean. scripts/bench_prune.py measures what it spares and costs with the two constants below; no
script compares other values of them.
"""

from collections.abc import Sequence
from itertools import accumulate
from statistics import median

WARMUP_EPOCHS = 2  # not judged: a fresh head's first epochs tell more of its initial weights than of the schedule
FEWEST_CURVES = 5  # a median of fewer is mostly chance; Optuna's MedianPruner waits for as many trials


def median_floor(curves: Sequence[Sequence[float]], epochs: int) -> tuple[float, ...]:
    """The median of the best scores that earlier training runs had reached by each epoch.

    A run that had ended by then counts with its best score, so that the floor is never above the true median.

    Args:
        curves: For each earlier run with the same data and the same training seed its scores by epoch, at least one, in [0, 1].
        epochs: The most epochs of a run.

    Returns:
        `epochs` floors, one after each epoch, 0 where nothing is given up; empty where there are too few curves.
    """
    if len(curves) < FEWEST_CURVES:
        return ()
    best = [list(accumulate(curve, max)) for curve in curves]
    return tuple(
        0.0 if epoch < WARMUP_EPOCHS else median(reached[min(epoch, len(reached) - 1)] for reached in best)
        for epoch in range(epochs)
    )
