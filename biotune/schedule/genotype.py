"""Genotypes: the formulas that decode importances and a threshold into a layer schedule. Knows neither torch nor DEAP."""

from __future__ import annotations

import math
from collections.abc import Sequence

from biotune.errors import ScheduleError
from biotune.schedule.block import Block
from biotune.schedule.schedule import Schedule


def lr_weight(importance: float) -> float:
    """The importance weight W = 10^(2(ν − 0.5)), 0.1 to 10 (BioTune, section 1)."""
    return float(10.0 ** (2.0 * (importance - 0.5)))


def importance(weight: float) -> float:
    """The importance ν = 0.5 + lg(W) / 2 with weight W > 0, the inverse of `lr_weight`; in [0, 1] for weights of 0.1 to 10."""
    return 0.5 + math.log10(weight) / 2.0


def decode(genotype: Sequence[float], blocks: Sequence[Block]) -> Schedule:
    """Decode ν = [ν_0 … ν_B, ε_f] into a schedule (BioTune, section 1).

    S_b = 1 if ν_b > ε_f else 0 and λ_b = S_b · W_b · λ_0.

    Args:
        genotype: An importance in [0, 1] a block in forward order, the freezing threshold last.
        blocks: The network's blocks in forward order.

    Raises:
        ScheduleError: The length does not fit the blocks, or a gene lies outside [0, 1].
    """
    genes = [float(gene) for gene in genotype]
    if len(genes) != len(blocks) + 1:
        raise ScheduleError(
            f"a genotype for {len(blocks)} blocks has {len(blocks) + 1} genes (threshold last), not {len(genes)}."
        )
    for name, gene in zip([block.name for block in blocks] + ["threshold"], genes, strict=True):
        if not 0.0 <= gene <= 1.0:
            raise ScheduleError(f"gene {name} is {gene}: must lie in [0, 1].")
    *importances, threshold = genes
    weights = tuple(lr_weight(gene) if gene > threshold else 0.0 for gene in importances)
    return Schedule(tuple(blocks), weights, tuple(importances), threshold)
