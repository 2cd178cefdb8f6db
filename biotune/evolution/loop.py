"""The search as ask and tell (BioTune, section 2): proposes schedules, receives evaluations, yields generations.

The caller controls the training: `for generation in evolve(...)` may stop, write and print between two generations, and a
custom training loop can call a `GenerationalSearch` directly.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from biotune.config.search import EvolutionConfig
from biotune.evolution.generation import Generation, OpenGeneration, Outcome, Steps
from biotune.evolution.history import History, OverFolds
from biotune.evolution.individual import Individual
from biotune.evolution.objectives import Objectives
from biotune.evolution.prior import Source
from biotune.evolution.searchers import build_searcher
from biotune.evolution.state import SearchState
from biotune.schedule.block import Block
from biotune.schedule.schedule import FRESH, Schedule
from biotune.trial import Evaluation

Evaluate = Callable[[Sequence[Schedule], Sequence[int]], list[Evaluation]]


@dataclass(frozen=True)
class Batch:
    """The schedules to evaluate next, in any order or in parallel.

    Attributes:
        individuals: The individuals of the schedules, with their origins.
        schedules: One per individual, at least one; some may be equal, and some may be empty.
        folds: The fold to evaluate each on.
    """

    individuals: tuple[Individual, ...]
    schedules: tuple[Schedule, ...]
    folds: tuple[int, ...]


def evolve(
    settings: EvolutionConfig,
    blocks: Sequence[Block],
    evaluate: Evaluate,
    seed: int,
    hall_size: int = 10,
    over_folds: OverFolds = statistics.fmean,
    smoothed: bool = False,
    head_start: str = FRESH,
    sources: Sequence[Source] = (),
    objectives: Objectives | None = None,
) -> Iterator[Generation]:
    """Run the search and yield generations 0 to G.

    Args:
        settings: Sizes and switches.
        blocks: The network's blocks in forward order.
        evaluate: Called with a batch of schedules and the fold of each; returns their evaluations in order.
        seed: Seed of the search's numpy Generator.
        hall_size: Number of distinct schedules in the hall of fame, at least 1.
        over_folds: Aggregates the fitness values of one schedule on several folds into the one by which it is ranked; the
            published procedure takes the best (`min`).
        smoothed: Rank the hall of fame by a regression over all evaluations instead.
        head_start: Where heads start from: fresh, probe, or either, as the search finds (evolved).
        sources: Earlier searches and schedules, matched to `blocks`: first candidates, and the prior of the surrogate.
        objectives: The costs that are minimised too, see `Objectives`; None for the fitness alone. `evaluate` notes the costs
            that do not follow from a schedule.

    Yields:
        Each finished generation.
    """
    search = GenerationalSearch(settings, blocks, seed, hall_size, over_folds, smoothed, head_start, sources, objectives)
    while not search.over:
        batch = search.ask()
        generation = search.tell(evaluate(batch.schedules, batch.folds))
        if generation is not None:
            yield generation


class GenerationalSearch:
    """A search with an ask-and-tell interface for a batch of schedules at a time.

    Call `ask` and `tell` alternately until `over`; the same seed and the same evaluations give the same search.
    """

    def __init__(
        self,
        settings: EvolutionConfig,
        blocks: Sequence[Block],
        seed: int,
        hall_size: int = 10,
        over_folds: OverFolds = statistics.fmean,
        smoothed: bool = False,
        head_start: str = FRESH,
        sources: Sequence[Source] = (),
        objectives: Objectives | None = None,
    ) -> None:
        """Start before generation 0; see `evolve` for the arguments.

        Raises:
            ValueError: The settings ask for an asynchronous search, which has no batches.
        """
        if settings.mating == "asynchronous":
            raise ValueError("GenerationalSearch: evolution.mating=asynchronous has no batches. Use AsynchronousSearch.")
        self._settings = settings
        self._state = state = SearchState(
            settings, blocks, seed, hall_size, over_folds, smoothed, head_start, sources, objectives
        )
        self._searcher = build_searcher(
            settings, state.rng, len(blocks) + 1, state.toolbox, state.population, state.history, objectives
        )
        self._open = OpenGeneration(0, 0, self._initial())
        self._batch: Batch | None = None

    @property
    def history(self) -> History:
        """All evaluations so far."""
        return self._state.history

    @property
    def over(self) -> bool:
        """Whether the last generation is finished."""
        return self._open.number > self._settings.generations

    def ask(self) -> Batch:
        """Return the schedules to evaluate next; the same batch until `tell` receives its evaluations.

        Raises:
            ValueError: The search is over.
        """
        if self.over:
            raise ValueError("GenerationalSearch.ask: the search is over. Ask while not search.over.")
        if self._batch is None:
            self._batch = self._batch_of(next(self._open.steps))
        return self._batch

    def tell(self, evaluations: Sequence[Evaluation]) -> Generation | None:
        """Receive the evaluations of the batch that `ask` returned.

        Args:
            evaluations: One per schedule, in the batch's order.

        Returns:
            The generation that they complete, or None while it has further batches.

        Raises:
            ValueError: There are more or fewer evaluations than schedules, or `ask` was not called before.
        """
        batch = self._batch
        if batch is None:
            raise ValueError("GenerationalSearch.tell: no batch is waiting for evaluations. Call ask first.")
        if len(evaluations) != len(batch.schedules):
            raise ValueError(
                f"GenerationalSearch.tell: {len(evaluations)} evaluations for {len(batch.schedules)} schedules. "
                "Give one per schedule, in the batch's order."
            )
        for individual, schedule, fold, evaluation in zip(
            batch.individuals, batch.schedules, batch.folds, evaluations, strict=True
        ):
            individual.receive(evaluation, fold)
            self._state.history.remember(schedule, individual)
        self._open.evaluations += evaluations
        try:
            self._batch = self._batch_of(next(self._open.steps))
        except StopIteration as stop:
            self._batch = None
            return self._close(stop.value)
        return None

    def _initial(self) -> Steps:
        """Generation 0, in one batch."""
        individuals = self._state.initial()
        yield individuals
        return Outcome(individuals, individuals)

    def _batch_of(self, individuals: Sequence[Individual]) -> Batch:
        schedules = tuple(self._state.population.schedule_of(individual) for individual in individuals)
        first, step = self._open.fold, int(self._settings.spread)
        folds = tuple((first + step * place) % self._settings.num_folds for place in range(len(schedules)))
        return Batch(tuple(individuals), schedules, folds)

    def _close(self, outcome: Outcome) -> Generation:
        """Close the generation; the next one is opened, but draws nothing before `ask`."""
        number, fold = self._open.number, self._open.fold
        closed = self._state.close_generation(number, fold, outcome, self._open.evaluations)
        next_fold = (number + 1) % self._settings.num_folds
        self._open = OpenGeneration(number + 1, next_fold, self._searcher.generation(next_fold, next_fold != fold))
        return closed
