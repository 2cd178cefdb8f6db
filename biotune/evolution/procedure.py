"""BioTune's own procedure for a generation (BioTune, section 2): exploitation of the elites, then mating."""

from __future__ import annotations

import copy
from collections.abc import Generator
from dataclasses import replace

from deap import base

from biotune.config.search import EvolutionConfig
from biotune.evolution.generation import Outcome, Steps
from biotune.evolution.history import History
from biotune.evolution.individual import Individual, Origin, by_fitness
from biotune.evolution.objectives import FrontScreen, Objectives
from biotune.evolution.population import Population
from biotune.evolution.surrogate import Screen, Surrogate, most_promising
from biotune.evolution.toolbox import Bred

_FEWEST_IN_POOL = 3  # two parents and a prototype; with fewer in the pool, random newcomers are evaluated


class BioTune:
    """BioTune's searcher: probes beside the elites, then children of the whole population."""

    def __init__(
        self,
        settings: EvolutionConfig,
        toolbox: base.Toolbox,
        population: Population,
        history: History,
        objectives: Objectives | None = None,
    ) -> None:
        """Start with a population before generation 0.

        Args:
            settings: The switches.
            toolbox: The operators, see `build_toolbox`.
            population: The population from which parents are drawn.
            history: All evaluations so far, the data of the surrogate that screens children.
            objectives: The costs that are minimised too; None for the fitness alone.
        """
        self._objectives = objectives
        self._settings = settings
        self._toolbox = toolbox
        self._population = population
        self._history = history

    def generation(self, fold: int, fold_changed: bool) -> Steps:
        """Return the steps of a generation, see `Searcher`."""
        surrogate = self._history.surrogate() if self._settings.ranking == "predicted" else None
        if self._objectives is not None:
            self._rank_by_dominance(self._objectives, surrogate)
        elif surrogate is not None:
            self._population.rank_anew(surrogate.predict, self._toolbox.rank, self._history.limits)
        considered = yield from self._exploit(fold_changed)
        children = yield from (self._mate_sequentially() if self._settings.mating == "sequential" else self._mate_brood(fold))
        return Outcome(considered + children, self._population.elites + children)

    def _rank_by_dominance(self, objectives: Objectives, surrogate: Surrogate | None) -> None:
        population = self._population
        if surrogate is None:
            fitness = [member.score for member in population.members]
        else:
            fitness = population.predicted(surrogate.predict, self._history.limits)
        population.rank_by_dominance(fitness, objectives, self._toolbox.rank)

    def _screen(self, surrogate: Surrogate) -> Screen:
        if self._objectives is None:
            return surrogate
        return FrontScreen(surrogate, self._objectives, [entry.schedule for entry in self._history.every(estimated=True)])

    def _exploit(self, fold_changed: bool) -> Generator[list[Individual], None, list[Individual]]:
        """Step 1: two probes of each elite along one selected block, in one batch with the elites' re-evaluation."""
        elites = self._population.elites
        probes = [self._probes_of(elite) for elite in elites]
        anew = self._population.carry_over_elites(fold_changed)
        batch = [*anew, *(probe for pair in probes for probe in pair)]
        if batch:
            yield batch
        considered = [_snapshot(elite) for elite in elites] + [probe for pair in probes for probe in pair]
        for elite, pair in zip(elites, probes, strict=True):
            better = min(pair, key=by_fitness, default=elite)
            if better.score < elite.score:
                elite.genes, elite.number = better.genes, better.number
                elite.fold, elite.evaluation = better.fold, better.evaluation
                elite.fitness.values = better.fitness.values
        return considered

    def _probes_of(self, elite: Individual) -> list[Individual]:
        """Two individuals on either side of an elite; none beside an empty one, which has no selected block."""
        if not self._settings.exploitation or self._population.schedule_of(elite).is_empty:
            return []
        return [self._population.newborn(genes, Origin.PROBE, elite.manner) for genes in self._toolbox.probe(elite.genes)]

    def _mate_brood(self, fold: int) -> Generator[list[Individual], None, list[Individual]]:
        """Steps 2 and 3: draw all children, then evaluate them in one batch."""
        ranks, count = range(len(self._population.members)), self._population.places
        surrogate = self._history.surrogate() if self._settings.screen > 1 else None
        if surrogate is None:
            # one after the other, as in the published procedure: order and number of random draws must not change
            children = [self._born(self._bred(*self._toolbox.select(ranks))) for _ in range(count)]
        else:
            drawn = [self._bred(*self._toolbox.select(ranks)) for _ in range(count * self._settings.screen)]
            schedules = [self._population.schedule(one.genes, one.manner) for one in drawn]
            known = self._history.known(None if self._settings.spread else fold)
            chosen = most_promising(self._screen(surrogate), schedules, known, count, self._settings.exploration)
            children = [self._born(drawn[position]) for position in chosen]
        yield children
        return children

    def _mate_sequentially(self) -> Generator[list[Individual], None, list[Individual]]:
        """The published loop with batches of one child: a parent strictly worse than its child leaves the mating pool."""
        members = self._population.members
        pool = list(range(len(members)))
        children: list[Individual] = []
        for _ in range(self._population.places):
            parents: tuple[int, ...] = ()
            if len(pool) < _FEWEST_IN_POOL:
                child = self._population.newborn(self._toolbox.genes(), Origin.NEWCOMER)
            else:
                first, second, prototype = self._toolbox.select(pool)
                child, parents = self._born(self._bred(first, second, prototype)), (first, second)
            yield [child]
            pool = [rank for rank in pool if rank not in parents or members[rank].score <= child.score]
            children.append(child)
        return children

    def _bred(self, first: int, second: int, prototype: int) -> Bred:
        members = self._population.members
        bred: Bred = self._toolbox.breed(members[first], members[second], members[prototype])
        return bred

    def _born(self, bred: Bred) -> Individual:
        return self._population.newborn(bred.genes, bred.origin, bred.manner, bred.momentum)


def _snapshot(individual: Individual) -> Individual:
    """A copy of the individual, before a probe may replace its genes."""
    return replace(individual, fitness=copy.deepcopy(individual.fitness))
