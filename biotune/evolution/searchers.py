"""The table of searchers: BioTune, and as baselines random search, DEAP's genetic algorithm and CMA-ES, and Optuna's samplers.

The baselines propose genes for a whole generation, and the best of them survive beside the elites. DEAP draws from the
global generators of `random` and `numpy.random`; they are seeded from the search's generator and restored afterwards.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

import numpy as np
from deap import base, cma, tools
from numpy.random import Generator

from biotune.config.search import EvolutionConfig
from biotune.evolution.generation import Outcome, Steps, most_candidates
from biotune.evolution.history import History
from biotune.evolution.individual import Fitness, Genes, Individual, Origin, by_fitness
from biotune.evolution.objectives import Objectives
from biotune.evolution.operators import random_genes
from biotune.evolution.optuna_searcher import OPTUNA, OptunaSampler
from biotune.evolution.population import Population
from biotune.evolution.procedure import BioTune


class Searcher(Protocol):
    """Makes the generations after the initial one from the population."""

    def generation(self, fold: int, fold_changed: bool) -> Steps:
        """Return the steps of one generation.

        Args:
            fold: The fold it is evaluated on.
            fold_changed: Whether the previous generation used another fold.

        Returns:
            A generator of batches of individuals, at least one batch; it resumes when all individuals of a batch have
            received their evaluations, and returns the individuals considered and the survivors.
        """
        ...


class Proposer(Protocol):
    """Proposes genes for a whole generation."""

    def propose(self, population: Sequence[Individual], latest: Sequence[Individual], count: int) -> list[Genes]:
        """Propose the genes to evaluate next.

        Args:
            population: The survivors, best first.
            latest: The individuals evaluated in the previous generation, oldest first.
            count: Number of genotypes to propose.

        Returns:
            `count` arrays (n,) in [0, 1], the threshold last.
        """
        ...


class Proposals:
    """A searcher that evaluates a proposer's genes at the cost of BioTune's generation; the elites and the best survive."""

    def __init__(self, settings: EvolutionConfig, proposer: Proposer, population: Population) -> None:
        """Start with a population before generation 0.

        Args:
            settings: Sizes, which determine the number of proposals.
            proposer: The source of the proposals.
            population: The population to which elites and survivors belong.
        """
        self._settings = settings
        self._proposer = proposer
        self._population = population
        self._latest: list[Individual] = []

    def generation(self, fold: int, fold_changed: bool) -> Steps:
        """Return the steps of a generation, see `Searcher`."""
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
    """Random search, the baseline of all searchers."""

    def __init__(self, rng: Generator, num_genes: int) -> None:
        self._rng, self._num_genes = rng, num_genes

    def propose(self, population: Sequence[Individual], latest: Sequence[Individual], count: int) -> list[Genes]:
        """Draw genes as in generation 0."""
        return [random_genes(self._rng, self._num_genes) for _ in range(count)]


class Genetic:
    """DEAP's genetic algorithm: tournaments of 3, simulated binary crossover, polynomial mutation, both bounded."""

    CROSSOVER, MUTATION, CROWDING = 0.9, 0.2, 15.0

    def __init__(self, rng: Generator, num_genes: int) -> None:
        self._rng, self._num_genes = rng, num_genes

    def propose(self, population: Sequence[Individual], latest: Sequence[Individual], count: int) -> list[Genes]:
        """Return children of parents selected by tournaments."""
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
    """DEAP's CMA-ES, started at the centre of the unit cube; points outside are reflected into it."""

    STEP = 0.3

    def __init__(self, rng: Generator, num_genes: int) -> None:
        self._rng = rng
        self._strategy = cma.Strategy(centroid=[0.5] * num_genes, sigma=self.STEP)

    def propose(self, population: Sequence[Individual], latest: Sequence[Individual], count: int) -> list[Genes]:
        """Update the distribution with the previous sample, and draw the next one."""
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
    """The point reflected at 0 and 1 until it lies in [0, 1]."""
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
    objectives: Objectives | None = None,
) -> Searcher:
    """Build the searcher named `settings.algorithm`; any name that is not a baseline's gives BioTune.

    Args:
        settings: Sizes and switches.
        rng: The search's generator, the source of all random draws.
        num_genes: n, the number of blocks plus one.
        toolbox: BioTune's operators, on the same generator.
        population: The population with the parents and elites.
        history: All evaluations so far.
        objectives: The costs that BioTune minimises too; None for the fitness alone.

    Raises:
        ConfigError: It is Optuna's, and a package is missing.
    """
    if settings.algorithm == OPTUNA:
        return Proposals(settings, OptunaSampler(rng, num_genes, settings.sampler), population)
    proposer = _PROPOSERS.get(settings.algorithm)
    if proposer is None:
        return BioTune(settings, toolbox, population, history, objectives)
    return Proposals(settings, proposer(rng, num_genes), population)
