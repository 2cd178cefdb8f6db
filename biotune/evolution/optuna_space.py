"""Layer schedules as parameters of Optuna: their names and distributions. Optuna is imported when a function is called."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from biotune.config.sections import EVOLVED
from biotune.evolution.ablations import ORDERS
from biotune.schedule.schedule import HEAD_STARTS

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

THRESHOLD = "threshold"


def importance_of(block: str) -> str:
    """The name of the parameter that holds the importance of a block."""
    return f"importance_{block}"


def schedule_space(
    blocks: Sequence[str], fixed_threshold: float | None, unfreezing: str, head_start: str
) -> Mapping[str, BaseDistribution]:
    """The parameters of a schedule, in the order in which they are suggested.

    Args:
        blocks: The names of the blocks in forward order.
        fixed_threshold: The freezing threshold; None makes it a parameter.
        unfreezing: The order of unfreezing; evolved makes it a parameter.
        head_start: Where the head starts from; evolved makes it a parameter.
    """
    from optuna.distributions import CategoricalDistribution, FloatDistribution

    found: dict[str, BaseDistribution] = {importance_of(block): FloatDistribution(0.0, 1.0) for block in blocks}
    if fixed_threshold is None:
        found[THRESHOLD] = FloatDistribution(0.0, 1.0)
    if unfreezing == EVOLVED:
        found["unfreezing"] = CategoricalDistribution(ORDERS)
    if head_start == EVOLVED:
        found["head_start"] = CategoricalDistribution(HEAD_STARTS)
    return found


def values_in(
    own: Mapping[str, BaseDistribution],
    importances: Mapping[str, float],
    threshold: float | None,
    unfreezing: str,
    head_start: str,
) -> dict[str, Any]:
    """The values of those parameters that a space has.

    Args:
        own: The space.
        importances: The importance of each block by its name.
        threshold: The freezing threshold.
        unfreezing: The order of unfreezing.
        head_start: Where the head starts from.
    """
    every: dict[str, Any] = {importance_of(block): importance for block, importance in importances.items()}
    every |= {THRESHOLD: threshold, "unfreezing": unfreezing, "head_start": head_start}
    return {name: every[name] for name in own}
