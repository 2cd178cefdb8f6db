"""A search asked for trials instead of schedules: those that are known or empty need none, and equal ones are run once."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from biotune.evolution.asynchronous import AsynchronousSearch, Proposal
from biotune.evolution.generation import Generation, most_evaluations
from biotune.evolution.history import History
from biotune.evolution.loop import GenerationalSearch
from biotune.evolution.objectives import Objectives
from biotune.evolution.prior import Source
from biotune.evolution.settings import AskTellConfig
from biotune.fitness.fitness import Economy, ScheduleFitness, Steps
from biotune.schedule.block import Block
from biotune.trial import Trial, TrialResult

_FINALISTS = 3  # of the best schedules whose trials pruning lets end, as `confirm.top_k`
_SEED = 0  # of every trial in the search's own terms: the training loop sets its own


class Trials(Protocol):
    """Hands out the trials of a search and takes in their results.

    Attributes:
        closed: Generations that have been closed; the caller takes them away.
    """

    closed: deque[Generation]

    @property
    def history(self) -> History:
        """All evaluations so far."""
        ...

    def next_trial(self) -> Trial | None:
        """The next trial to run; None where a result has to be taken in first, or the search is over."""
        ...

    def take_in(self, trial: Trial, result: TrialResult) -> None:
        """Take in the result of a trial that `next_trial` returned; in any order."""
        ...


@dataclass
class Flight:
    """A proposal that is out.

    Attributes:
        proposal: The proposal.
        own: The trials that are run for it.
        lacking: The keys of the trials whose results it waits for, its own and those run for an equal one.
    """

    proposal: Proposal
    own: list[Trial]
    lacking: set[str]


class AsynchronousTrials:
    """The trials of a search that proposes one schedule at a time."""

    def __init__(self, search: AsynchronousSearch, fitness: ScheduleFitness) -> None:
        """Prepare; nothing is asked yet.

        Args:
            search: The search, before its first proposal.
            fitness: Makes trials and evaluations.
        """
        self.closed: deque[Generation] = deque()
        self._search, self._fitness = search, fitness
        self._flights: dict[int, Flight] = {}
        self._results: dict[str, TrialResult] = {}  # of flights that lack others yet
        self._running: set[str] = set()
        self._queue: deque[Trial] = deque()

    @property
    def history(self) -> History:
        """See `Trials`."""
        return self._search.history

    def next_trial(self) -> Trial | None:
        """See `Trials`."""
        while not self._queue:
            proposal = self._search.ask()
            if proposal is None:
                return None
            self._note_asked(proposal)
            self._begin(proposal)
            self._tell_complete()
        return self._queue.popleft()

    def take_in(self, trial: Trial, result: TrialResult) -> None:
        """See `Trials`."""
        self._arrived(trial, result)
        self._tell_complete()

    def _note_asked(self, proposal: Proposal) -> None:
        """Called with each new proposal."""

    def _note_told(self, proposal: Proposal) -> None:
        """Called before a proposal's evaluation is told."""

    def _begin(self, proposal: Proposal) -> None:
        """Queue the trials that a proposal needs, but for those that are run for another one."""
        trials = self._fitness.trials(proposal.schedule, proposal.fold)
        own = [trial for trial in trials if trial.key not in self._running]
        lacking = {trial.key for trial in trials} - self._results.keys()
        self._flights[proposal.number] = Flight(proposal, own, lacking)
        self._running.update(trial.key for trial in own)
        self._queue.extend(own)

    def _arrived(self, trial: Trial, result: TrialResult) -> None:
        self._results[trial.key] = result
        for flight in self._flights.values():
            flight.lacking.discard(trial.key)

    def _tell_complete(self) -> None:
        """Tell the proposals that lack nothing, the oldest first."""
        for flight in [flight for flight in self._flights.values() if not flight.lacking]:
            self._note_told(flight.proposal)
            self._tell(flight)

    def _tell(self, flight: Flight) -> None:
        proposal, keys = flight.proposal, [trial.key for trial in flight.own]
        self._fitness.take_in(flight.own, [self._results.pop(key) for key in keys])
        self._running.difference_update(keys)
        del self._flights[proposal.number]
        evaluation = self._fitness.evaluation(proposal.schedule, proposal.fold, flight.own)
        generation = self._search.tell(proposal.number, evaluation)
        if generation is not None:
            self._fitness.close_generation()
            self.closed.append(generation)


class BatchedTrials:
    """The trials of a search by generations: those of one batch, or of the part of it that pruning lets begin together."""

    def __init__(self, search: GenerationalSearch, fitness: ScheduleFitness) -> None:
        """Prepare; nothing is asked yet.

        Args:
            search: The search, before its first batch.
            fitness: Makes trials and evaluations.
        """
        self.closed: deque[Generation] = deque()
        self._search, self._fitness = search, fitness
        self._steps: Steps | None = None
        self._together: list[Trial] = []  # whose results are sent to the steps at once
        self._results: dict[str, TrialResult] = {}
        self._queue: deque[Trial] = deque()

    @property
    def history(self) -> History:
        """See `Trials`."""
        return self._search.history

    def next_trial(self) -> Trial | None:
        """See `Trials`."""
        while not self._queue:
            if self._together or self._search.over:
                return None
            batch = self._search.ask()
            self._steps = self._fitness.evaluating(batch.schedules, batch.folds)
            self._go_on(self._steps, None)
        return self._queue.popleft()

    def take_in(self, trial: Trial, result: TrialResult) -> None:
        """See `Trials`."""
        self._results[trial.key] = result
        if self._steps is not None and len(self._results) == len(self._together):
            results = [self._results.pop(one.key) for one in self._together]
            self._go_on(self._steps, results)

    def _go_on(self, steps: Steps, results: Sequence[TrialResult] | None) -> None:
        """Queue the next trials of a batch, or tell its evaluations."""
        self._together = []
        try:
            self._together += next(steps) if results is None else steps.send(results)
        except StopIteration as stop:
            generation = self._search.tell(stop.value)
            if generation is not None:
                self._fitness.close_generation()
                self.closed.append(generation)
        self._queue.extend(self._together)


def trials_of(
    config: AskTellConfig, blocks: tuple[Block, ...], sources: Sequence[Source], objectives: Objectives | None
) -> Trials:
    """Return the trials of a search with a run's own fitness, one training seed and scores of any size.

    Args:
        config: The settings.
        blocks: The network's blocks.
        sources: Earlier searches, matched to `blocks`.
        objectives: The costs that are minimised too; None for the fitness alone.
    """
    evolution = config.evolution
    prune = config.prune if objectives is None else "none"  # it compares scores alone
    economy = Economy(prune, finalists=_FINALISTS, trainings=most_evaluations(evolution), bounded=False)
    fitness = ScheduleFitness(None, (_SEED,), config.epochs, 1.0, "", economy)
    how: dict[str, Any] = {"smoothed": True, "head_start": config.head_start, "sources": sources}
    if evolution.mating == "asynchronous":
        return AsynchronousTrials(AsynchronousSearch(evolution, blocks, config.seed, **how), fitness)
    return BatchedTrials(GenerationalSearch(evolution, blocks, config.seed, **how, objectives=objectives), fitness)
