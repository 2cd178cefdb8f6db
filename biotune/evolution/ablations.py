"""Decodes genes into the schedule that is evaluated, with the changes that an ablation's settings make."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from biotune.config.search import EVOLVED, EvolutionConfig
from biotune.evolution.individual import Genes
from biotune.schedule.block import Block
from biotune.schedule.genotype import decode, lr_weight
from biotune.schedule.schedule import TOGETHER, Schedule


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


def express(settings: EvolutionConfig, genes: Genes, blocks: Sequence[Block], unfreezing: str = TOGETHER) -> Schedule:
    """Decode genes into a schedule (BioTune, section 1), and apply the switches of the settings.

    A schedule to which no genotype decodes has no importances.

    Args:
        settings: The switches.
        genes: (n,), one importance per block and the threshold last.
        blocks: The network's blocks in forward order.
        unfreezing: The order in which the blocks join; used only where it evolves.
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
    return replace(schedule, unfreezing=unfreezing if settings.unfreezing == EVOLVED else settings.unfreezing)
