"""The search as ask and tell (BioTune, section 2): hands out schedules, takes back evaluations, yields generations.

The caller owns the pace and the training: `for generation in evolve(...)` may stop, write and show whatever it likes in
between, and a training loop of one's own drives a `Search` itself.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from biotune.config.schema import EvolutionConfig
from biotune.evolution.generation import Generation, OpenGeneration, Outcome, Steps, survivor_states
from biotune.evolution.history import History, OverFolds
from biotune.evolution.individual import Individual, Origin
from biotune.evolution.population import Population
from biotune.evolution.searchers import build_searcher
from biotune.evolution.toolbox import build_toolbox
from biotune.evolution.warm_start import warm_starts
from biotune.schedule.block import Block
from biotune.schedule.schedule import Schedule
from biotune.trial import Evaluation

Evaluate = Callable[[Sequence[Schedule], int], list[Evaluation]]


@dataclass(frozen=True)
class Batch:
    """What is to be evaluated next, in any order or at once.

    Attributes:
        individuals: Whose schedules they are, for those who want to know where a candidate comes from.
        schedules: One per individual, at least one; some may be alike, and some may be empty.
        fold: The fold to evaluate them on.
    """

    individuals: tuple[Individual, ...]
    schedules: tuple[Schedule, ...]
    fold: int


def evolve(
    settings: EvolutionConfig,
    blocks: Sequence[Block],
    evaluate: Evaluate,
    seed: int,
    hall_size: int = 10,
    over_folds: OverFolds = statistics.fmean,
    smoothed: bool = False,
) -> Iterator[Generation]:
    """Run the search, yielding generation 0 to G.

    Args:
        settings: Sizes and switches.
        blocks: The network's blocks in forward order.
        evaluate: Called with a whole batch of schedules and the fold; answers in order.
        seed: Seed of the search's own numpy Generator.
        hall_size: Distinct schedules to remember, at least 1.
        over_folds: How the fitness values of one schedule on several folds become the one it is ranked by; the
            published procedure takes the luckiest (`min`).
        smoothed: Rank the hall of fame by a regression over all evaluations instead.
    """
    search = Search(settings, blocks, seed, hall_size, over_folds, smoothed)
    while not search.over:
        batch = search.ask()
        generation = search.tell(evaluate(batch.schedules, batch.fold))
        if generation is not None:
            yield generation


class Search:
    """A search that is asked for schedules and told their evaluations.

    `ask` and `tell` take turns until `over`; one seed with the same evaluations is the same search.
    """

    def __init__(
        self,
        settings: EvolutionConfig,
        blocks: Sequence[Block],
        seed: int,
        hall_size: int = 10,
        over_folds: OverFolds = statistics.fmean,
        smoothed: bool = False,
    ) -> None:
        """Begin before generation 0; for the arguments see `evolve`."""
        num_genes = len(blocks) + 1
        self._settings = settings
        self._smoothed = smoothed
        self._rng = np.random.default_rng(seed)
        self._toolbox = build_toolbox(settings, self._rng, num_genes)
        self._history = History(hall_size, over_folds)
        self._population = Population(settings, blocks)
        self._searcher = build_searcher(settings, self._rng, num_genes, self._toolbox, self._population, self._history)
        self._open = OpenGeneration(0, 0, self._initial(len(blocks)))
        self._batch: Batch | None = None

    @property
    def over(self) -> bool:
        """Whether the last generation is finished."""
        return self._open.number > self._settings.generations

    def ask(self) -> Batch:
        """The schedules to evaluate next; the same ones until they have been told.

        Raises:
            ValueError: The search is over.
        """
        if self.over:
            raise ValueError("Search.ask: the search is over. Ask while not search.over.")
        if self._batch is None:
            self._batch = self._batch_of(next(self._open.steps))
        return self._batch

    def tell(self, evaluations: Sequence[Evaluation]) -> Generation | None:
        """Take the evaluations of the batch that was asked for.

        Args:
            evaluations: One per schedule, in the batch's order.

        Returns:
            The generation that they complete, or None while there is more of it to evaluate.

        Raises:
            ValueError: There are more or fewer of them than schedules, or no batch was asked for.
        """
        batch = self._batch
        if batch is None:
            raise ValueError("Search.tell: no batch is waiting for evaluations. Call ask first.")
        if len(evaluations) != len(batch.schedules):
            raise ValueError(
                f"Search.tell: {len(evaluations)} evaluations for {len(batch.schedules)} schedules. "
                "Give one per schedule, in the batch's order."
            )
        for individual, schedule, evaluation in zip(batch.individuals, batch.schedules, evaluations, strict=True):
            individual.receive(evaluation, batch.fold)
            self._history.remember(schedule, individual)
        self._open.evaluations += evaluations
        try:
            self._batch = self._batch_of(next(self._open.steps))
        except StopIteration as stop:
            self._batch = None
            return self._close(stop.value)
        return None

    def _initial(self, num_blocks: int) -> Steps:
        """Generation 0: warm starts where the search is seeded, random genes otherwise, evaluated in one batch."""
        size = self._settings.population_size
        first = warm_starts(num_blocks)[: size - 2] if self._settings.seeded else []
        genes = [*first, *(self._toolbox.genes() for _ in range(size - len(first)))]
        newborn, order = self._population.newborn, self._population.order_in_turn
        individuals = [newborn(own, Origin.INITIAL, order()) for own in genes]
        yield individuals
        return Outcome(individuals, individuals)

    def _batch_of(self, individuals: Sequence[Individual]) -> Batch:
        schedules = tuple(self._population.schedule_of(individual) for individual in individuals)
        return Batch(tuple(individuals), schedules, self._open.fold)

    def _close(self, outcome: Outcome) -> Generation:
        """Survival and the record of the generation; the next one is opened, but draws nothing before it is asked."""
        number, fold = self._open.number, self._open.fold
        ranked = number > 0 or self._settings.mutate_first_brood
        self._population.renew(outcome.survivors, self._toolbox.rank if ranked else None)
        record = self._history.close_generation(self._population.members, **self._open.facts())
        next_fold = (number + 1) % self._settings.folds
        self._open = OpenGeneration(number + 1, next_fold, self._searcher.generation(next_fold, next_fold != fold))
        return Generation(
            number=number,
            fold=fold,
            candidates=self._population.candidates(outcome.considered),
            record=record,
            hall=self._history.best(self._history.surrogate() if self._smoothed else None),
            observations=list(self._history.observations),
            survivors=survivor_states(self._population.members),
            random_state=dict(self._rng.bit_generator.state),
        )
