"""Median pruning: the floors below which training runs are stopped early.

The median stopping rule (Golovin et al., "Google Vizier: a service for black-box optimization", 2017), with the best score so
far in place of the running mean. scripts/bench_prune.py measures its savings and costs with the two constants below; no
script compares other values of them.
"""

from collections.abc import Sequence
from itertools import accumulate
from statistics import median

WARMUP_EPOCHS = 2  # never stopped: the first epochs of a new head depend more on its initial weights than on the schedule
FEWEST_CURVES = 5  # a median of fewer is mostly noise; Optuna's MedianPruner waits for as many trials


def median_floor(curves: Sequence[Sequence[float]], epochs: int) -> tuple[float, ...]:
    """Return the median of the best scores that earlier training runs had reached by each epoch.

    A run that had ended by then counts with its best score, so that the floor is never above the true median.

    Args:
        curves: For each earlier run with the same data and training seed its scores by epoch, at least one, in [0, 1].
        epochs: Largest number of epochs of a run.

    Returns:
        `epochs` floors, one after each epoch, 0 where no run is stopped; empty where there are too few curves.
    """
    if len(curves) < FEWEST_CURVES:
        return ()
    best = [list(accumulate(curve, max)) for curve in curves]
    return tuple(
        0.0 if epoch < WARMUP_EPOCHS else median(reached[min(epoch, len(reached) - 1)] for reached in best)
        for epoch in range(epochs)
    )
