"""BioTune's operators (section 2), each a pure function of its arguments and a numpy Generator.

Genes are (n,) float arrays in [0, 1], the freezing threshold last. U denotes numbers drawn uniformly from [0, 1].
"""

from collections.abc import Sequence

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from biotune.evolution.individual import Genes, Manner


def selected_blocks(genes: Genes) -> NDArray[np.intp]:
    """Return the (S,) indices of the blocks whose importance exceeds the threshold, ascending."""
    return np.flatnonzero(genes[:-1] > genes[-1])


def random_genes(rng: Generator, num_genes: int) -> Genes:
    """Draw genes from U[0, 1], again until a block is selected (generation 0, and newcomers).

    Args:
        rng: Source of the genes.
        num_genes: n, the number of blocks plus one.

    Returns:
        (n,) genes.
    """
    while True:
        genes = rng.random(num_genes)
        if selected_blocks(genes).size:
            return genes


def extinction_factors(fitness: Sequence[float]) -> list[float]:
    """Compute extinction factors by rank: e_i = (f_i + f_min (i/(N−1) − 1)) / f_max.

    Args:
        fitness: N ≥ 2 values, best (smallest) first. The formula is one of values of at least 0: where the best is negative,
            all of them are taken relative to it.

    Returns:
        N factors, 0 for the best and 1 for the worst; all 0 if the worst fitness is 0.
    """
    if fitness[0] < 0:
        fitness = [value - fitness[0] for value in fitness]
    f_min, f_max, last = fitness[0], fitness[-1], len(fitness) - 1
    if f_max == 0:
        return [0.0] * len(fitness)
    return [(f + f_min * (rank / last - 1)) / f_max for rank, f in enumerate(fitness)]


def probe_pair(rng: Generator, genes: Genes, radius: float) -> tuple[Genes, Genes]:
    """Exploitation: return ν + δ and ν − δ along one selected block, δ = radius · U(−1, 1), clipped.

    Args:
        rng: Source of the block and of δ.
        genes: (n,) genes of an elite with at least one selected block.
        radius: Largest |δ|, 0.25 in the paper.

    Returns:
        Two arrays (n,).
    """
    block = rng.choice(selected_blocks(genes))
    step = radius * rng.uniform(-1.0, 1.0)
    plus, minus = genes.copy(), genes.copy()
    plus[block] = np.clip(genes[block] + step, 0.0, 1.0)
    minus[block] = np.clip(genes[block] - step, 0.0, 1.0)
    return plus, minus


def draw_mates(rng: Generator, ranks: Sequence[int], population_size: int) -> tuple[int, int, int]:
    """Draw two parents and a prototype, all distinct, with P(rank i) ∝ N − i.

    Args:
        rng: Source of the draw.
        ranks: The ranks in the mating pool, at least three.
        population_size: N.

    Returns:
        Three of `ranks`: first parent, second parent, prototype.
    """
    weights = population_size - np.asarray(ranks, dtype=float)
    first, second, prototype = rng.choice(ranks, size=3, replace=False, p=weights / weights.sum())
    return int(first), int(second), int(prototype)


def crossover(rng: Generator, first: Genes, second: Genes) -> Genes:
    """Return the (n,) genes C = U∘p1 + (1 − U)∘p2, with one U per gene; p1 and p2 are the parents' (n,) genes."""
    u = rng.random(first.size)
    return u * first + (1 - u) * second


def inherit_momentum(rng: Generator, first: Genes, second: Genes) -> Genes:
    """Return the (n,) momentum V = U∘v_p1 + U∘v_p2, with two U per gene; v_p1 and v_p2 are the parents' (n,) momenta."""
    return rng.random(first.size) * first + rng.random(second.size) * second


def move(rng: Generator, genes: Genes, momentum: Genes) -> Genes:
    """Return the (n,) genes X = c + t·v with one scalar t from U, not clipped; c are genes, v is momentum, both (n,)."""
    return genes + rng.random() * momentum


def mutation_probability(extinction: float, num_genes: int) -> float:
    """Return (ē (n − 1) + 1) / n: on average one gene for the best parents, every gene for the worst.

    Args:
        extinction: ē in [0, 1], the mean of the parents' factors.
        num_genes: n.
    """
    return (extinction * (num_genes - 1) + 1) / num_genes


def mutate(rng: Generator, genes: Genes, extinction: float) -> Genes:
    """Add U(−1, 1)·ē to each gene with `mutation_probability`, clipped; ē = 0 changes nothing.

    Args:
        rng: Source of the draws.
        genes: (n,) genes.
        extinction: ē in [0, 1], the mean of the parents' factors.

    Returns:
        (n,) genes in [0, 1].
    """
    hit = rng.random(genes.size) < mutation_probability(extinction, genes.size)
    return np.clip(genes + hit * rng.uniform(-1.0, 1.0, genes.size) * extinction, 0.0, 1.0)


def inherit_manner(
    rng: Generator, first: Manner, second: Manner, extinction: float, choices: Sequence[Sequence[str]], num_genes: int
) -> Manner:
    """Return a child's categorical genes: each that of a random parent, or a random value with `mutation_probability`.

    A gene with a single value draws no random numbers, so that a search in which it does not evolve is the same without it.

    Args:
        rng: Source of the draws.
        first: The first parent's genes.
        second: The second parent's genes.
        extinction: ē, the mean of the parents' factors.
        choices: The values that each gene can have.
        num_genes: n.
    """
    inherited = []
    for own, values in enumerate(choices):
        gene = first[own]
        if len(values) > 1:
            parent = (first, second)[int(rng.integers(2))]
            drawn = values[int(rng.integers(len(values)))]
            gene = drawn if rng.random() < mutation_probability(extinction, num_genes) else parent[own]
        inherited.append(gene)
    return Manner(*inherited)


def adopt(rng: Generator, genes: Genes, first: Genes, second: Genes, prototype: Genes) -> Genes:
    """Return the (n,) genes X = x + r1·a·(mean(p1, p2) − x) + (1 − r1)·b·(prototype − x), scalars r1, a, b from U, clipped.

    Args:
        rng: Source of r1, a and b.
        genes: x, (n,) the child's genes.
        first: p1, (n,) the first parent's genes.
        second: p2, (n,) the second parent's genes.
        prototype: (n,) the prototype's genes.
    """
    r1, a, b = rng.random(3)
    parents = (first + second) / 2
    return np.clip(genes + r1 * a * (parents - genes) + (1 - r1) * b * (prototype - genes), 0.0, 1.0)


def renew_momentum(rng: Generator, inherited: Genes, moved: Genes, final: Genes) -> Genes:
    """Return the (n,) momentum v_child = U∘v + (x − (c + t·v)): the inherited momentum, damped, and the change since `move`.

    Args:
        rng: Source of U, one number per gene.
        inherited: v, (n,) the inherited momentum.
        moved: c + t·v, (n,) the result of `move`.
        final: x, (n,) the child's final genes.
    """
    return rng.random(inherited.size) * inherited + (final - moved)
