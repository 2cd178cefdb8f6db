"""Children in the space of schedules: mutants, crossings and newcomers, as in DEAP's `varOr`, one operator per child.

BioTune's operators change importances and the threshold, and so which blocks are trained only by accident. These change
blocks and learning rates as such: a block is frozen or trained, and a trained one keeps being trained whatever else moves.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from biotune.evolution.individual import Genes

NEWCOMERS, CROSSINGS = 0.1, 0.3  # shares of the children drawn; the others are mutants
MUTANT_CROSSINGS = 0.5  # share of the crossings that mutate too
STEP_SD = 0.12  # of a mutant's importances and threshold: a factor of 1.7 in a learning rate
_HIGHEST = 0.6  # of a threshold that moves: above it, few learning rates are left
_ABOVE = 1e-3  # how far a trained block stays above the threshold


def draw_parents(rng: Generator, ranks: Sequence[int]) -> tuple[int, int, int]:
    """Draw two parents from the better half, with a probability that falls linearly with the rank.

    Args:
        rng: Source of the draws.
        ranks: The ranks of the population, best first.

    Returns:
        Two of `ranks`, perhaps equal, and the first again in the place of BioTune's prototype.
    """
    half = -(-len(ranks) // 2)
    first, second = (ranks[int(half * (1 - math.sqrt(1 - rng.random())))] for _ in range(2))
    return first, second, first


def mutant(rng: Generator, genes: Genes, threshold_moves: bool = True) -> Genes:
    """Move every learning rate by a normal step, and freeze or unfreeze one block on average.

    Args:
        rng: Source of the draws.
        genes: (n,) genes of the parent, the threshold last.
        threshold_moves: Whether the threshold is a gene like the others.

    Returns:
        (n,) genes in [0, 1].
    """
    moved = np.clip(genes + rng.normal(0.0, STEP_SD, genes.size), 0.0, 1.0)
    threshold = min(float(moved[-1]), _HIGHEST) if threshold_moves else float(genes[-1])
    trained = genes[:-1] > genes[-1]
    switched = rng.random(trained.size) < 1 / trained.size
    kept = np.where(switched, threshold + rng.random(trained.size) * (1 - threshold), moved[:-1])
    return _encoded(rng, kept, trained != switched, threshold)


def crossing(rng: Generator, first: Genes, second: Genes) -> Genes:
    """Take each block from either parent; where both train it, an importance between theirs.

    Args:
        rng: Source of the draws.
        first: (n,) genes of the first parent.
        second: (n,) genes of the second parent.

    Returns:
        (n,) genes in [0, 1], the lower of the two thresholds last.
    """
    trained_by = first[:-1] > first[-1], second[:-1] > second[-1]
    from_first, share = rng.random(first.size - 1) < 0.5, rng.random(first.size - 1)
    both = trained_by[0] & trained_by[1]
    between = second[:-1] + share * (first[:-1] - second[:-1])  # exact where both are equal
    importances = np.where(both, between, np.where(from_first, first[:-1], second[:-1]))
    trained = both | np.where(from_first, *trained_by)
    return _encoded(rng, importances, trained, float(min(first[-1], second[-1])))


def newcomer(rng: Generator, genes: Genes) -> Genes:
    """Train the head of random genes: a frozen one with random weights learns nothing.

    Args:
        rng: Source of the head's importance, if it is not above the threshold.
        genes: (n,) random genes.

    Returns:
        (n,) genes whose last block is trained.
    """
    if genes[-2] > genes[-1]:
        return genes
    trained = genes.copy()
    trained[-2] = genes[-1] + (1 - rng.random()) * (1 - genes[-1])
    return trained


def _encoded(rng: Generator, importances: Genes, trained: NDArray[np.bool_], threshold: float) -> Genes:
    """Genes that decode to the trained blocks: those above the threshold, the frozen ones anywhere below it."""
    above = np.maximum(importances, min(threshold + _ABOVE, 1.0))
    below = rng.random(trained.size) * threshold
    return np.append(np.where(trained, above, below), threshold)
