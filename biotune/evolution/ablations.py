"""Decodes genes into the schedule that is evaluated, with the changes that the settings make; and what may evolve."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from biotune.config.search import EvolutionConfig
from biotune.config.sections import EVOLVED
from biotune.evolution.individual import PLAIN, Genes, Manner
from biotune.schedule.block import Block
from biotune.schedule.genotype import decode, lr_weight
from biotune.schedule.schedule import HEAD_STARTS, LAST_TO_FIRST, TOGETHER, Schedule

ORDERS = (TOGETHER, LAST_TO_FIRST)  # those that evolve; with a new head the third order was never found to be useful


def manners(settings: EvolutionConfig, head_start: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the values that each categorical gene can have, one where it does not evolve; in the order of `Manner`.

    Args:
        settings: The switches.
        head_start: Where heads start from: fresh, probe or evolved.
    """
    orders = ORDERS if settings.unfreezing == EVOLVED else (settings.unfreezing,)
    return orders, HEAD_STARTS if head_start == EVOLVED else (head_start,)


def constrain(settings: EvolutionConfig, genes: Genes) -> Genes:
    """Return the genes with the threshold that the settings fix; without freezing it is 0.

    Args:
        settings: The switches.
        genes: (n,) in [0, 1], one importance per block and the threshold last.

    Returns:
        (n,) genes; a copy where the threshold is fixed.
    """
    fixed = settings.fixed_threshold if settings.freezing else 0.0
    if fixed is None:
        return genes
    constrained = genes.copy()
    constrained[-1] = fixed
    return constrained


def express(settings: EvolutionConfig, genes: Genes, blocks: Sequence[Block], manner: Manner = PLAIN) -> Schedule:
    """Decode genes into a schedule (BioTune, section 1), and apply the switches of the settings.

    A schedule to which no genotype decodes has no importances.

    Args:
        settings: The switches.
        genes: (n,), one importance per block and the threshold last.
        blocks: The network's blocks in forward order.
        manner: The categorical genes.
    """
    schedule = decode(genes.tolist(), blocks)
    weights = list(schedule.lr_weights)
    if not settings.freezing:
        weights = [lr_weight(gene) for gene in genes[:-1].tolist()]
    if settings.always_head:
        weights[-1] = lr_weight(float(genes[-2]))
    if not settings.rates:
        weights = [float(weight > 0) for weight in weights]
    if tuple(weights) != schedule.lr_weights:
        schedule = Schedule(tuple(blocks), tuple(weights))
    return replace(schedule, unfreezing=manner.unfreezing, head_start=manner.head_start)
