"""The population between two generations, the serial numbers of those born into it, and what their genes decode to."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from biotune.config.schema import EvolutionConfig
from biotune.evolution.ablations import constrain, express
from biotune.evolution.generation import Candidate
from biotune.evolution.individual import Genes, Individual, Origin, by_fitness
from biotune.evolution.operators import ORDERS
from biotune.schedule.block import Block
from biotune.schedule.schedule import TOGETHER, Schedule
from biotune.trial import Evaluation, Status


class Population:
    """N individuals, best first; empty before generation 0 is over.

    Attributes:
        members: The individuals.
    """

    def __init__(self, settings: EvolutionConfig, blocks: Sequence[Block]) -> None:
        """Begin with nobody.

        Args:
            settings: What a genotype decodes to, and the number of elites.
            blocks: The network's blocks in forward order.
        """
        self.members: list[Individual] = []
        self._settings = settings
        self._blocks = tuple(blocks)
        self._born_so_far = 0

    @property
    def elites(self) -> list[Individual]:
        """The E best."""
        return self.members[: self._settings.elites]

    @property
    def places(self) -> int:
        """The N − E places that the elites leave to others."""
        return len(self.members) - len(self.elites)

    def newborn(self, genes: Genes, origin: Origin, unfreezing: str = TOGETHER, momentum: Genes | None = None) -> Individual:
        """An individual with the next serial number, not a member yet.

        Args:
            genes: (n,) in [0, 1], the threshold last; settings that fix the threshold overrule it.
            origin: How it came about.
            unfreezing: In which order its blocks join, where that evolves.
            momentum: (n,); by default it is at rest.
        """
        number, self._born_so_far = self._born_so_far, self._born_so_far + 1
        own = np.zeros_like(genes) if momentum is None else momentum
        return Individual(constrain(self._settings, genes), own, number, origin, unfreezing=unfreezing)

    def order_in_turn(self) -> str:
        """The order of unfreezing of the next one who inherits none: by turns, so that each order has as many."""
        return ORDERS[self._born_so_far % len(ORDERS)]

    def schedule(self, genes: Genes, unfreezing: str) -> Schedule:
        """What genes decode to, once the settings have fixed what they fix."""
        return express(self._settings, constrain(self._settings, genes), self._blocks, unfreezing)

    def schedule_of(self, individual: Individual) -> Schedule:
        """What an individual decodes to."""
        return self.schedule(individual.genes, individual.unfreezing)

    def carry_over_elites(self, fold_changed: bool) -> list[Individual]:
        """Begin a generation: the elites that must be evaluated anew; the others show their last evaluation at no cost."""
        anew = self.elites if fold_changed and self._settings.reevaluate_elites else []
        for elite in self.elites:
            elite.origin = Origin.ELITE
            if not anew:
                elite.evaluation = _at_no_cost(elite.evaluation)
        return anew

    def renew(self, survivors: Sequence[Individual], rank: Callable[[list[float]], list[float]] | None) -> None:
        """Survival, sorting and extinction factors (BioTune, section 2: survival).

        Args:
            survivors: The next population, in any order.
            rank: N fitness values, best first, to as many extinction factors; None leaves the factors as they are.
        """
        self.members = sorted(survivors, key=by_fitness)
        if rank is not None:
            factors = rank([individual.score for individual in self.members])
            for individual, factor in zip(self.members, factors, strict=True):
                individual.extinction = factor

    def candidates(self, considered: Sequence[Individual]) -> list[Candidate]:
        """What tables say of everyone considered, once the population has been renewed."""
        kept = {individual.number for individual in self.members}
        return [
            Candidate(
                one.number,
                one.origin,
                tuple(one.genes.tolist()),
                self.schedule_of(one),
                one.evaluation or Evaluation(float("nan"), Status.FAILED),
                one.fold,
                one.number in kept,
            )
            for one in considered
        ]


def _at_no_cost(evaluation: Evaluation | None) -> Evaluation | None:
    """What an elite carries over: the same scores, answered from memory."""
    if evaluation is None:
        return None
    status = Status.CACHED if evaluation.status == Status.OK else evaluation.status
    return Evaluation(evaluation.fitness, status, evaluation.scores, error=evaluation.error)
