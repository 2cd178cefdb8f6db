"""The DEAP toolbox: the operator registered under each name. A disabled operator is replaced by one that does nothing."""

from functools import partial
from typing import NamedTuple

import numpy as np
from deap import base
from numpy.random import Generator

from biotune.config.search import EvolutionConfig
from biotune.evolution import operators, variation
from biotune.evolution.ablations import constrain, manners
from biotune.evolution.individual import Genes, Individual, Manner, Origin
from biotune.schedule.schedule import FRESH


class Bred(NamedTuple):
    """The inheritance of a child.

    Attributes:
        genes: (n,) in [0, 1].
        momentum: (n,).
        manner: Its categorical genes.
        origin: How it was made.
    """

    genes: Genes
    momentum: Genes
    manner: Manner
    origin: Origin = Origin.CHILD


def build_toolbox(settings: EvolutionConfig, rng: Generator, num_genes: int, head_start: str = FRESH) -> base.Toolbox:
    """Register every operator under its name.

    `genes()`, `rank(fitness)`, `probe(genes)`, `select(ranks)`, `mate(p1, p2)`, `inherit(v1, v2)`, `move(c, v)`,
    `mutate(x, e)`, `adopt(x, p1, p2, prototype)`, `remember(v, moved, x)`, `manner(m1, m2, e)`, `mutant(x)`,
    `crossing(p1, p2)` and `breed(first, second, prototype)`, which makes a child of individuals with the others.

    Args:
        settings: The switches, the radius of probes and the population size.
        rng: Source of all draws.
        num_genes: n, the number of blocks plus one.
        head_start: Where heads start from: fresh, probe or evolved.
    """
    toolbox = base.Toolbox()
    toolbox.register("genes", operators.random_genes, rng, num_genes)
    toolbox.register("rank", operators.extinction_factors)
    toolbox.register("probe", partial(operators.probe_pair, rng, radius=settings.exploitation_radius))
    toolbox.register("select", partial(operators.draw_mates, rng, population_size=settings.population_size))
    toolbox.register("mate", partial(operators.crossover, rng) if settings.crossover else _first_parent)
    toolbox.register("inherit", partial(operators.inherit_momentum, rng) if settings.momentum else _no_momentum)
    toolbox.register("move", partial(operators.move, rng) if settings.momentum else _unmoved)
    toolbox.register("mutate", partial(operators.mutate, rng) if settings.mutation else _unmutated)
    toolbox.register("adopt", partial(operators.adopt, rng) if settings.adoption else _unadopted)
    toolbox.register("remember", partial(operators.renew_momentum, rng) if settings.momentum else _forget)
    choices = manners(settings, head_start)
    toolbox.register("manner", partial(operators.inherit_manner, rng, choices=choices, num_genes=num_genes))
    moves = settings.freezing and settings.fixed_threshold is None
    toolbox.register("mutant", partial(variation.mutant, rng, threshold_moves=moves) if settings.mutation else _kept)
    toolbox.register("crossing", partial(variation.crossing, rng) if settings.crossover else _first_parent)
    if settings.offspring == "schedules":
        toolbox.register("genes", lambda: variation.newcomer(rng, constrain(settings, operators.random_genes(rng, num_genes))))
        toolbox.register("select", variation.draw_parents, rng)
        toolbox.register("breed", vary, toolbox, rng)
    else:
        toolbox.register("breed", breed, toolbox)
    return toolbox


def breed(toolbox: base.Toolbox, first: Individual, second: Individual, prototype: Individual) -> Bred:
    """Breed one child (BioTune, section 2: mating).

    Args:
        toolbox: The operators, see `build_toolbox`.
        first: The first parent.
        second: The second parent.
        prototype: The prototype.
    """
    crossed = toolbox.mate(first.genes, second.genes)
    inherited = toolbox.inherit(first.momentum, second.momentum)
    moved = toolbox.move(crossed, inherited)
    extinction = (first.extinction + second.extinction) / 2
    genes = toolbox.mutate(moved, extinction)
    genes = np.clip(toolbox.adopt(genes, first.genes, second.genes, prototype.genes), 0.0, 1.0)
    momentum = toolbox.remember(inherited, moved, genes)
    return Bred(genes, momentum, toolbox.manner(first.manner, second.manner, extinction))


def vary(toolbox: base.Toolbox, rng: Generator, first: Individual, second: Individual, prototype: Individual) -> Bred:
    """Make one child in the space of schedules: a mutant of the first parent, a crossing of both, or a newcomer.

    Args:
        toolbox: The operators, see `build_toolbox`.
        rng: Source of the choice among them.
        first: The first parent.
        second: The second parent.
        prototype: Has no part in it.
    """
    share, extinction = rng.random(), (first.extinction + second.extinction) / 2
    no_momentum = np.zeros_like(first.momentum)
    if share < variation.NEWCOMERS:
        return Bred(toolbox.genes(), no_momentum, toolbox.manner(first.manner, second.manner, 1.0), Origin.NEWCOMER)
    if share >= variation.NEWCOMERS + variation.CROSSINGS:
        return Bred(toolbox.mutant(first.genes), no_momentum, toolbox.manner(first.manner, first.manner, extinction))
    genes = toolbox.crossing(first.genes, second.genes)
    if rng.random() < variation.MUTANT_CROSSINGS:
        genes = toolbox.mutant(genes)
    return Bred(genes, no_momentum, toolbox.manner(first.manner, second.manner, extinction))


def _kept(genes: Genes) -> Genes:
    return genes


def _first_parent(first: Genes, second: Genes) -> Genes:
    return first.copy()


def _no_momentum(first: Genes, second: Genes) -> Genes:
    return np.zeros_like(first)


def _unmoved(genes: Genes, momentum: Genes) -> Genes:
    return genes


def _unmutated(genes: Genes, extinction: float) -> Genes:
    return genes


def _unadopted(genes: Genes, first: Genes, second: Genes, prototype: Genes) -> Genes:
    return genes


def _forget(inherited: Genes, moved: Genes, final: Genes) -> Genes:
    return np.zeros_like(inherited)
