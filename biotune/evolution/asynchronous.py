"""The search without a barrier at the end of a generation: one schedule is proposed whenever a trial can begin.

Generations remain as a way of counting: N evaluations that were taken in close generation 0, and every N − E more close the
next. Candidates are evaluated beside one another, whichever generation they will be counted in.
"""

from __future__ import annotations

import statistics
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from biotune.config.search import EvolutionConfig
from biotune.evolution.believer import Believer
from biotune.evolution.generation import Generation, Outcome, most_evaluations
from biotune.evolution.history import History, OverFolds
from biotune.evolution.individual import Individual
from biotune.evolution.prior import Source
from biotune.evolution.state import SearchState
from biotune.evolution.surrogate import FEWEST, most_promising
from biotune.schedule.block import Block
from biotune.schedule.schedule import FRESH, Schedule
from biotune.trial import Evaluation

_FEWEST_PARENTS = 3  # two parents and a prototype


@dataclass(frozen=True)
class Proposal:
    """One schedule to evaluate.

    Attributes:
        individual: The individual of the schedule, with its origin.
        schedule: The schedule; it may be empty, and may equal one that was evaluated before.
        fold: The fold to evaluate it on.
    """

    individual: Individual
    schedule: Schedule
    fold: int

    @property
    def number(self) -> int:
        """The serial number of the individual, by which `AsynchronousSearch.tell` knows the proposal."""
        return self.individual.number


class AsynchronousSearch:
    """A search with an ask-and-tell interface for one schedule at a time, any number of which may be out together.

    Call `ask` whenever an evaluation can begin, and `tell` whenever one has ended, in any order, until `over`. The same calls
    in the same order with the same evaluations give the same search.
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
    ) -> None:
        """Start before generation 0; see `evolve` for the arguments."""
        self._settings = settings
        self._state = SearchState(settings, blocks, seed, hall_size, over_folds, smoothed, head_start, sources)
        self._total = most_evaluations(settings)
        self._initial = deque(self._state.initial())
        # children need parents that are known; half of the initial individuals, so that slow ones are not waited for
        self._enough = max(-(-settings.population_size // 2), _FEWEST_PARENTS)
        self._asked = self._told = self._number = 0
        self._out: dict[int, Proposal] = {}
        self._keys: set[str] = set()
        self._survivors: list[Individual] = []
        self._taken: list[Individual] = []  # in since the last generation was closed, in their order
        self._evaluations: list[Evaluation] = []
        self._believer: Believer | None = None
        self._learnt = 0  # evaluations that the believer knows
        self._ranked = False

    @property
    def history(self) -> History:
        """All evaluations so far."""
        return self._state.history

    @property
    def over(self) -> bool:
        """Whether the last generation is closed."""
        return self._told == self._total

    def ask(self) -> Proposal | None:
        """Propose the next schedule to evaluate.

        Returns:
            The proposal, or None where an evaluation has to be told first: until half of the initial individuals are known,
            and after all evaluations of the search are out.
        """
        if self._asked == self._total or (not self._initial and self._told < self._enough):
            return None
        individual = self._initial.popleft() if self._initial else self._child()
        schedule = self._state.population.schedule_of(individual)
        proposal = Proposal(individual, schedule, self._asked % self._settings.num_folds)
        self._asked += 1
        self._out[proposal.number] = proposal
        if not schedule.is_empty:
            self._keys.add(schedule.key)
            if self._believer is not None:
                self._believer.propose(schedule)
        return proposal

    def tell(self, number: int, evaluation: Evaluation) -> Generation | None:
        """Receive the evaluation of a proposal.

        Args:
            number: The number of the proposal.
            evaluation: Its evaluation.

        Returns:
            The generation that it closes, or None.

        Raises:
            ValueError: No proposal of this number is out.
        """
        proposal = self._out.pop(number, None)
        if proposal is None:
            raise ValueError(f"AsynchronousSearch.tell: proposal {number} is not out. Tell each proposal that ask gave once.")
        proposal.individual.receive(evaluation, proposal.fold)
        self._state.history.remember(proposal.schedule, proposal.individual)
        self._taken.append(proposal.individual)
        self._evaluations.append(evaluation)
        self._told += 1
        places = self._settings.population_size - (self._settings.elites if self._number else 0)
        return self._close() if len(self._taken) == places else None

    def _child(self) -> Individual:
        """Draw the next child; in a screened search the most promising one of several."""
        self._update()
        toolbox, population, settings = self._state.toolbox, self._state.population, self._settings
        members = population.members[: settings.population_size]
        screened = self._believer is not None and settings.screen > 1
        drawn = []
        for _ in range(settings.screen if screened else 1):
            first, second, prototype = toolbox.select(range(len(members)))
            drawn.append(toolbox.breed(members[first], members[second], members[prototype]))
        chosen = drawn[0]
        if self._believer is not None and screened:
            schedules = [population.schedule(one.genes, one.manner) for one in drawn]
            (position,) = most_promising(self._believer, schedules, self._keys, 1, settings.exploration)
            chosen = drawn[position]
        return population.newborn(chosen.genes, chosen.origin, chosen.manner, chosen.momentum)

    def _update(self) -> None:
        """Take what was told since the last child into the process, and into the pool of parents."""
        observations = self._state.history.observations
        fitted = False
        if self._believer is not None and not self._believer.is_stale(len(observations)):
            self._learn()
        elif (self._settings.screen > 1 or self._settings.ranking == "predicted") and len(observations) >= FEWEST:
            in_flight = [one.schedule for one in self._out.values() if not one.schedule.is_empty]
            self._believer = Believer(observations, in_flight, self._state.history.prior)
            self._learnt, fitted = len(observations), True
        if fitted or not self._ranked or self._believer is None:
            self._rank([*self._survivors, *self._taken])
            self._ranked = True

    def _learn(self) -> None:
        """Take the evaluations since the last time into the process, whose hyperparameters stay."""
        observations = self._state.history.observations
        if self._believer is not None:
            self._believer.learn(observations[self._learnt :])
            self._learnt = len(observations)

    def _rank(self, individuals: Sequence[Individual]) -> None:
        """Make individuals the members of the population, best first."""
        population, rank = self._state.population, self._state.toolbox.rank
        population.renew(individuals, rank if self._number > 0 or self._settings.mutate_first_brood else None)
        if self._settings.ranking == "predicted" and self._believer is not None:
            population.rank_anew(self._believer.predict, rank, self._state.history.limits)

    def _close(self) -> Generation:
        """Close a generation: the elites of the survivors before it, and those taken in, survive."""
        number, population = self._number, self._state.population
        self._learn()
        if self._survivors:  # none before generation 0 is closed
            self._rank(self._survivors)
            population.carry_over_elites(fold_changed=False)
        elites = population.elites if self._survivors else []
        considered = [*elites, *self._taken]
        closed = self._state.close_generation(
            number,
            number % self._settings.num_folds,
            Outcome(considered, considered),
            self._evaluations,
            None if self.over else self._believer,  # the process is fitted to all evaluations in the end
        )
        self._survivors, self._taken, self._evaluations = list(population.members), [], []
        self._number, self._ranked = number + 1, False
        return closed
