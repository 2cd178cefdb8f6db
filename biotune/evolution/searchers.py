"""All searchers by name: BioTune, and for comparison random draws, DEAP's genetic algorithm and DEAP's CMA-ES.

Those compared propose genes for a whole generation, and their best survive beside the elites. DEAP draws from the global
generators of `random` and `numpy.random`; they are seeded from the search's own one and put back as they were.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

import numpy as np
from deap import base, cma, tools
from numpy.random import Generator

from biotune.config.schema import EvolutionConfig
from biotune.evolution.generation import Outcome, Steps, most_candidates
from biotune.evolution.history import History
from biotune.evolution.individual import Fitness, Genes, Individual, Origin, by_fitness
from biotune.evolution.operators import random_genes
from biotune.evolution.population import Population
from biotune.evolution.procedure import BioTune


class Searcher(Protocol):
    """Makes the generations after the initial one out of the population."""

    def generation(self, fold: int, fold_changed: bool) -> Steps:
        """The steps of one generation.

        Args:
            fold: The fold it works on.
            fold_changed: Whether the generation before worked on another one.

        Returns:
            A generator of batches of individuals, at least one batch; it goes on once each of them has received its
            evaluation, and at last returns who was considered and who survives.
        """
        ...


class Proposer(Protocol):
    """Proposes genes for a whole generation."""

    def propose(self, population: Sequence[Individual], latest: Sequence[Individual], count: int) -> list[Genes]:
        """Genes to evaluate next.

        Args:
            population: The survivors, best first.
            latest: The individuals that were evaluated for the generation before, oldest first.
            count: How many are wanted.

        Returns:
            `count` arrays (n,) in [0, 1], the threshold last.
        """
        ...


class Proposals:
    """What a proposer proposes, at the cost of BioTune's generation; the elites and the best of it survive."""

    def __init__(self, settings: EvolutionConfig, proposer: Proposer, population: Population) -> None:
        """Begin with a population of which generation 0 is still to come.

        Args:
            settings: Sizes, which give the cost of a generation.
            proposer: What proposes.
            population: Who survives.
        """
        self._settings = settings
        self._proposer = proposer
        self._population = population
        self._latest: list[Individual] = []

    def generation(self, fold: int, fold_changed: bool) -> Steps:
        """The steps of a generation, see `Searcher`."""
        anew = self._population.carry_over_elites(fold_changed)
        if anew:
            yield anew
        members = self._population.members
        latest = self._latest or sorted(members, key=lambda one: one.number)  # all of generation 0, in the order of birth
        genes = self._proposer.propose(members, latest, most_candidates(self._settings) - len(anew))
        self._latest = [self._population.newborn(own, Origin.CHILD) for own in genes]
        yield self._latest
        best = sorted(self._latest, key=by_fitness)[: self._population.places]
        return Outcome(self._population.elites + self._latest, self._population.elites + best)


class RandomDraws:
    """Random search: what any search must beat."""

    def __init__(self, rng: Generator, num_genes: int) -> None:
        self._rng, self._num_genes = rng, num_genes

    def propose(self, population: Sequence[Individual], latest: Sequence[Individual], count: int) -> list[Genes]:
        """Genes as in generation 0."""
        return [random_genes(self._rng, self._num_genes) for _ in range(count)]


class Genetic:
    """DEAP's genetic algorithm: tournaments of 3, simulated binary crossover, polynomial mutation, both bounded."""

    CROSSOVER, MUTATION, CROWDING = 0.9, 0.2, 15.0

    def __init__(self, rng: Generator, num_genes: int) -> None:
        self._rng, self._num_genes = rng, num_genes

    def propose(self, population: Sequence[Individual], latest: Sequence[Individual], count: int) -> list[Genes]:
        """Children of parents that won tournaments."""
        with _global_generators(self._rng):
            parents = tools.selTournament(list(population), count + count % 2, tournsize=3)
            children = [list(map(float, parent.genes)) for parent in parents]
            for one, other in zip(children[::2], children[1::2], strict=True):
                if random.random() < self.CROSSOVER:
                    tools.cxSimulatedBinaryBounded(one, other, self.CROWDING, 0.0, 1.0)
            for child in children:
                tools.mutPolynomialBounded(child, self.CROWDING, 0.0, 1.0, self.MUTATION)
        return [np.clip(np.array(child), 0.0, 1.0) for child in children[:count]]


class CmaEs:
    """DEAP's CMA-ES from the middle of the cube; what falls outside is reflected into it."""

    STEP = 0.3

    def __init__(self, rng: Generator, num_genes: int) -> None:
        self._rng = rng
        self._strategy = cma.Strategy(centroid=[0.5] * num_genes, sigma=self.STEP)

    def propose(self, population: Sequence[Individual], latest: Sequence[Individual], count: int) -> list[Genes]:
        """A sample of the distribution, after it has learned from the last one."""
        self._strategy.lambda_ = max(len(latest), 2)
        self._strategy.computeParams({})
        self._strategy.update([_Point(individual.genes, individual.score) for individual in latest])
        self._strategy.lambda_ = count
        with _global_generators(self._rng):
            return [_reflected(np.asarray(point)) for point in self._strategy.generate(np.array)]


class _Point(np.ndarray):
    """What DEAP's CMA-ES takes: an array with a fitness."""

    fitness: Fitness

    def __new__(cls, genes: Genes, score: float) -> _Point:
        point = np.asarray(genes).view(cls)
        point.fitness = Fitness((score,))
        return point


def _reflected(point: Genes) -> Genes:
    """Mirrored at 0 and 1 until it lies between."""
    folded = np.mod(point, 2.0)
    return np.where(folded > 1.0, 2.0 - folded, folded)


@contextmanager
def _global_generators(rng: Generator) -> Iterator[None]:
    before = random.getstate(), np.random.get_state()
    random.seed(int(rng.integers(2**63)))
    np.random.seed(int(rng.integers(2**32)))
    try:
        yield
    finally:
        random.setstate(before[0])
        np.random.set_state(before[1])


_PROPOSERS: dict[str, type[RandomDraws] | type[Genetic] | type[CmaEs]] = {
    "random": RandomDraws,
    "genetic": Genetic,
    "cma_es": CmaEs,
}


def build_searcher(
    settings: EvolutionConfig,
    rng: Generator,
    num_genes: int,
    toolbox: base.Toolbox,
    population: Population,
    history: History,
) -> Searcher:
    """The searcher of the name `settings.algorithm`; anything but the proposers' names is BioTune.

    Args:
        settings: Sizes and switches.
        rng: The search's own generator, which all random draws come from.
        num_genes: n, the number of blocks and one.
        toolbox: BioTune's operators, on the same generator.
        population: What the searcher reads parents and elites from.
        history: All evaluations so far.
    """
    proposer = _PROPOSERS.get(settings.algorithm)
    if proposer is None:
        return BioTune(settings, toolbox, population, history)
    return Proposals(settings, proposer(rng, num_genes), population)
