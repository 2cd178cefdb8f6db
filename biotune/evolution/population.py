"""The population between two generations; numbers individuals and decodes their genes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np

from biotune.config.search import EvolutionConfig
from biotune.evolution.ablations import constrain, express, manners
from biotune.evolution.generation import Candidate
from biotune.evolution.individual import Genes, Individual, Manner, Origin, by_fitness
from biotune.evolution.objectives import Objectives, selected
from biotune.schedule.block import Block
from biotune.schedule.schedule import FRESH, Schedule
from biotune.trial import WORST, Evaluation, Status

Rank = Callable[[list[float]], list[float]]  # N fitness values, best first, to N extinction factors


class Population:
    """N individuals, best first; empty until generation 0 is finished.

    Attributes:
        members: The individuals, best first.
    """

    def __init__(self, settings: EvolutionConfig, blocks: Sequence[Block], head_start: str = FRESH) -> None:
        """Create an empty population.

        Args:
            settings: The switches of the decoding, and the number of elites.
            blocks: The network's blocks in forward order.
            head_start: Where heads start from: fresh, probe or evolved.
        """
        self.members: list[Individual] = []
        self._settings = settings
        self._blocks = tuple(blocks)
        self._manners = manners(settings, head_start)
        self._born_so_far = 0

    @property
    def orders(self) -> tuple[str, ...]:
        """The orders of unfreezing that an individual can have."""
        return self._manners[0]

    @property
    def elites(self) -> list[Individual]:
        """The E best individuals."""
        return self.members[: self._settings.elites]

    @property
    def places(self) -> int:
        """The number of places besides the elites, N − E."""
        return len(self.members) - len(self.elites)

    def newborn(self, genes: Genes, origin: Origin, manner: Manner | None = None, momentum: Genes | None = None) -> Individual:
        """Create an individual with the next serial number; it is not a member yet.

        Args:
            genes: (n,) in [0, 1], the threshold last; settings that fix the threshold overrule it.
            origin: How it was made.
            manner: Its categorical genes; None for those of an individual without parents, which take turns.
            momentum: (n,); None for zeros.
        """
        if manner is None:
            manner = self.manner_in_turn()
        number, self._born_so_far = self._born_so_far, self._born_so_far + 1
        own = np.zeros_like(genes) if momentum is None else momentum
        return Individual(constrain(self._settings, genes), own, number, origin, manner=manner)

    def manner_in_turn(self, unfreezing: str | None = None) -> Manner:
        """Return the categorical genes of the next individual without parents; all combinations take turns.

        Args:
            unfreezing: The order of unfreezing; None lets the orders take turns too.
        """
        turn, genes = self._born_so_far, []
        for values in self._manners if unfreezing is None else ((unfreezing,), *self._manners[1:]):
            turn, place = divmod(turn, len(values))
            genes.append(values[place])
        return Manner(*genes)

    def nearest_manner(self, schedule: Schedule) -> Manner:
        """Return the categorical genes of a schedule; the first value that is possible where its own is not."""
        own = schedule.unfreezing, schedule.head_start
        return Manner(*(value if value in values else values[0] for value, values in zip(own, self._manners, strict=True)))

    def schedule(self, genes: Genes, manner: Manner) -> Schedule:
        """Decode genes, after applying the threshold that the settings fix.

        Args:
            genes: (n,) in [0, 1], the threshold last.
            manner: The categorical genes.
        """
        return express(self._settings, constrain(self._settings, genes), self._blocks, manner)

    def schedule_of(self, individual: Individual) -> Schedule:
        """Return the schedule that an individual decodes to."""
        return self.schedule(individual.genes, individual.manner)

    def carry_over_elites(self, fold_changed: bool) -> list[Individual]:
        """Begin a generation; elites that are not evaluated again carry their last evaluation over at no cost.

        Args:
            fold_changed: Whether the previous generation used another fold.

        Returns:
            The elites that must be evaluated again.
        """
        anew = self.elites if fold_changed and self._settings.reevaluate_elites else []
        for elite in self.elites:
            elite.origin = Origin.ELITE
            if not anew:
                elite.evaluation = _at_no_cost(elite.evaluation)
        return anew

    def renew(self, survivors: Sequence[Individual], rank: Rank | None) -> None:
        """Replace, sort and rank the members (BioTune, section 2: survival).

        Args:
            survivors: The next population, in any order.
            rank: Computes the extinction factors; None keeps them.
        """
        self.members = sorted(survivors, key=by_fitness)
        if rank is not None:
            factors = rank([individual.score for individual in self.members])
            for individual, factor in zip(self.members, factors, strict=True):
                individual.extinction = factor

    def rank_anew(
        self,
        predict: Callable[[list[Schedule]], Iterable[float]],
        rank: Rank,
        limits: tuple[float, float] = (0.0, WORST),
    ) -> None:
        """Sort and rank the members by predicted fitness; empty schedules come last.

        Args:
            predict: Maps schedules to predicted fitness values.
            rank: Computes the extinction factors.
            limits: The smallest and the largest fitness that a candidate can have.
        """
        guesses = self.predicted(predict, limits)
        ordered = sorted(zip(guesses, self.members, strict=True), key=lambda pair: (pair[0], pair[1].number))
        self.members = [member for _, member in ordered]
        for factor, member in zip(rank([guess for guess, _ in ordered]), self.members, strict=True):
            member.extinction = factor

    def predicted(self, predict: Callable[[list[Schedule]], Iterable[float]], limits: tuple[float, float]) -> list[float]:
        """Return the predicted fitness of each member, within the limits; see `rank_anew`."""
        low, high = limits
        schedules = [self.schedule_of(member) for member in self.members]
        return [
            high if one.is_empty else min(max(float(guess), low), high)
            for one, guess in zip(schedules, predict(schedules), strict=True)
        ]

    def rank_by_dominance(self, fitness: Sequence[float], objectives: Objectives, rank: Rank) -> None:
        """Sort and rank the members by NSGA-II: the elites are those that it selects; empty schedules come last.

        Args:
            fitness: The fitness of each member, as the ranking knows it.
            objectives: The costs.
            rank: Computes the extinction factors.
        """
        schedules = [self.schedule_of(member) for member in self.members]
        costs = objectives.of(schedules)
        most = costs.max(axis=0).tolist()
        worst = max(fitness)
        points = [
            (worst, *most) if schedule.is_empty else (own, *beside)
            for own, schedule, beside in zip(fitness, schedules, costs.tolist(), strict=True)
        ]
        first = selected(points, len(self.elites))
        rest = [at for at in selected(points, len(points)) if at not in set(first)]
        self.members = [self.members[at] for at in (*first, *rest)]
        for factor, member in zip(rank([float(place) for place in range(len(points))]), self.members, strict=True):
            member.extinction = factor

    def candidates(self, considered: Sequence[Individual]) -> list[Candidate]:
        """Return the table entries of the individuals considered; to be called after `renew`."""
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
    """The evaluation that an elite carries over: the same scores, at no cost."""
    if evaluation is None:
        return None
    status = Status.CACHED if evaluation.status == Status.OK else evaluation.status
    return Evaluation(evaluation.fitness, status, evaluation.scores, error=evaluation.error)
