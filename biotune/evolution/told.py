"""The costs of a search that a program asks and tells: which of them are told with a trial, and the checks of what is told."""

from __future__ import annotations

import math
import numbers
from collections.abc import Mapping, Sequence

from biotune.config.search import SECONDS, TRAINABLE_PARAMS
from biotune.errors import SearchError, shown
from biotune.evolution.objectives import Objectives, parameters_of
from biotune.schedule.block import Block

SHARE = "trainable_share"  # the cost of a front in a search with one objective
Cost = float | Mapping[str, float] | None


def objectives_of(costs: tuple[str, ...], blocks: Sequence[Block]) -> Objectives | None:
    """Return the costs of a search; None for a search with one objective.

    Args:
        costs: The objectives besides accuracy.
        blocks: The blocks; where all state their sizes, the number of trained parameters need not be told.
    """
    sizes = _sizes(blocks)
    exact = {TRAINABLE_PARAMS: parameters_of(sizes)} if sizes and TRAINABLE_PARAMS in costs else {}
    return Objectives(costs, exact) if costs else None


def by_share(blocks: Sequence[Block]) -> Objectives:
    """Return the trained share of the parameters as the only cost.

    Raises:
        SearchError: Blocks do not state their sizes.
    """
    sizes = _sizes(blocks)
    if not sizes:
        raise SearchError(
            "Search.front: the blocks do not state their sizes; give biotune.Block its parameters, or objectives."
        )
    trained, total = parameters_of(sizes), sum(sizes.values()) or 1
    return Objectives((SHARE,), {SHARE: lambda schedule: trained(schedule) / total})


def _sizes(blocks: Sequence[Block]) -> dict[str, int]:
    sizes = {block.name: block.parameters for block in blocks if block.parameters is not None}
    return sizes if len(sizes) == len(blocks) else {}


def told_costs(number: int, cost: Cost, objectives: Objectives | None, elapsed: float, failed: bool) -> dict[str, float]:
    """Return what was told of a trial's costs, the seconds for the tables always among it.

    Args:
        number: The trial's number.
        cost: What was told: a number is the only cost that must be told, or else the seconds.
        objectives: The costs of the search.
        elapsed: The seconds since the trial was asked for.
        failed: Whether the trial failed; it needs no costs then.

    Raises:
        SearchError: A cost is missing, unknown, or no finite number of at least 0.
    """
    needed = () if objectives is None else objectives.measured
    if isinstance(cost, Mapping):
        given = dict(cost)
    elif cost is None:
        given = {}
    elif len(needed) > 1:
        raise SearchError(f"trial {number}: cost={shown(cost)} is one number; give a mapping with {' and '.join(needed)}.")
    else:
        given = {needed[0] if needed else SECONDS: cost}
    known = dict.fromkeys((*needed, SECONDS))
    for name, value in given.items():
        if name not in known:
            raise SearchError(f"trial {number}: {shown(name)} is no cost to tell; known are {', '.join(known)}.")
        if not isinstance(value, numbers.Real) or isinstance(value, bool) or not (math.isfinite(value) and value >= 0):
            raise SearchError(f"trial {number}: its {name} are {shown(value)}; must be a finite number of at least 0.")
    found = {SECONDS: elapsed, **{name: float(value) for name, value in given.items()}}
    if missing := [name for name in needed if name not in found and not failed]:
        raise SearchError(f"trial {number}: lacks its {missing[0]}; tell cost={{{missing[0]!r}: …}}.")
    return found
