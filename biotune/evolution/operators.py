"""BioTune's operators (section 2), each a pure function of its arguments and a numpy Generator.

Genes are (n,) float arrays in [0, 1], the freezing threshold last. U stands for numbers drawn uniformly from [0, 1].
"""

from collections.abc import Sequence

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from biotune.evolution.individual import Genes
from biotune.schedule.schedule import LAST_TO_FIRST, TOGETHER

ORDERS = (TOGETHER, LAST_TO_FIRST)  # those that evolve; with a new head the other one was never found to be of use


def selected_blocks(genes: Genes) -> NDArray[np.intp]:
    """Indices of the blocks whose importance exceeds the threshold."""
    return np.flatnonzero(genes[:-1] > genes[-1])


def random_genes(rng: Generator, num_genes: int) -> Genes:
    """Genes U[0, 1], redrawn until a block is selected (generation 0, and newcomers)."""
    while True:
        genes = rng.random(num_genes)
        if selected_blocks(genes).size:
            return genes


def extinction_factors(fitness: Sequence[float]) -> list[float]:
    """Extinction factors by rank: e_i = (f_i + f_min (i/(N−1) − 1)) / f_max.

    Args:
        fitness: N ≥ 2 values, best (smallest) first.

    Returns:
        N factors, 0 for the best and 1 for the worst; all 0 if the worst fitness is 0.
    """
    f_min, f_max, last = fitness[0], fitness[-1], len(fitness) - 1
    if f_max == 0:
        return [0.0] * len(fitness)
    return [(f + f_min * (rank / last - 1)) / f_max for rank, f in enumerate(fitness)]


def probe_pair(rng: Generator, genes: Genes, radius: float) -> tuple[Genes, Genes]:
    """Exploitation: ν + δ and ν − δ along one selected block, δ = radius · U(−1, 1), clipped.

    Args:
        rng: Source of the block and of δ.
        genes: An elite's genes with at least one selected block.
        radius: 0.25 in the paper.
    """
    block = rng.choice(selected_blocks(genes))
    step = radius * rng.uniform(-1.0, 1.0)
    plus, minus = genes.copy(), genes.copy()
    plus[block] = np.clip(genes[block] + step, 0.0, 1.0)
    minus[block] = np.clip(genes[block] - step, 0.0, 1.0)
    return plus, minus


def draw_mates(rng: Generator, ranks: Sequence[int], population_size: int) -> tuple[int, int, int]:
    """Two parents and a prototype, all distinct, with P(rank i) ∝ N − i.

    Args:
        rng: Source of the draw.
        ranks: The ranks still in the mating pool, three at least.
        population_size: N.

    Returns:
        Three of `ranks`: first parent, second parent, prototype.
    """
    weights = population_size - np.asarray(ranks, dtype=float)
    first, second, prototype = rng.choice(ranks, size=3, replace=False, p=weights / weights.sum())
    return int(first), int(second), int(prototype)


def crossover(rng: Generator, first: Genes, second: Genes) -> Genes:
    """C = U∘p1 + (1 − U)∘p2 with a fresh U per gene: (n,)."""
    u = rng.random(first.size)
    return u * first + (1 - u) * second


def inherit_momentum(rng: Generator, first: Genes, second: Genes) -> Genes:
    """V = U∘v_p1 + U∘v_p2 with two fresh U per gene: (n,)."""
    return rng.random(first.size) * first + rng.random(second.size) * second


def move(rng: Generator, genes: Genes, momentum: Genes) -> Genes:
    """X = c + t·v with one scalar t from U; not yet clipped."""
    return genes + rng.random() * momentum


def mutation_probability(extinction: float, num_genes: int) -> float:
    """(ē (n − 1) + 1) / n: one gene in the mean for the best parents, every gene for the worst."""
    return (extinction * (num_genes - 1) + 1) / num_genes


def mutate(rng: Generator, genes: Genes, extinction: float) -> Genes:
    """Each gene moves with `mutation_probability` by U(−1, 1)·ē, clipped; ē = 0 moves nothing."""
    hit = rng.random(genes.size) < mutation_probability(extinction, genes.size)
    return np.clip(genes + hit * rng.uniform(-1.0, 1.0, genes.size) * extinction, 0.0, 1.0)


def inherit_order(rng: Generator, first: str, second: str, extinction: float, num_genes: int) -> str:
    """The order in which a child's blocks join: one parent's, drawn anew with `mutation_probability`.

    Args:
        rng: Source of the draws.
        first: The first parent's order, one of `ORDERS`.
        second: The second parent's.
        extinction: ē, the mean of the parents' factors.
        num_genes: n.
    """
    inherited = (first, second)[int(rng.integers(2))]
    drawn = ORDERS[int(rng.integers(len(ORDERS)))]
    return drawn if rng.random() < mutation_probability(extinction, num_genes) else inherited


def adopt(rng: Generator, genes: Genes, first: Genes, second: Genes, prototype: Genes) -> Genes:
    """X += r1·a·(mean(p1, p2) − x) + (1 − r1)·b·(prototype − x), scalars r1, a, b from U, clipped."""
    r1, a, b = rng.random(3)
    parents = (first + second) / 2
    return np.clip(genes + r1 * a * (parents - genes) + (1 - r1) * b * (prototype - genes), 0.0, 1.0)


def renew_momentum(rng: Generator, inherited: Genes, moved: Genes, final: Genes) -> Genes:
    """v_child = U∘v + (x − (c + t·v)): what is left of the inherited momentum, and the way since then."""
    return rng.random(inherited.size) * inherited + (final - moved)
