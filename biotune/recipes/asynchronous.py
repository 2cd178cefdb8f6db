"""Runs an asynchronous search: proposals to free slots, results to the search, and the order of both to the journal.

A search that is resumed proposes and takes in what the journal says, in its order, and then goes on. So its generations are
those from before the interruption, however many workers there are now.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

from biotune.errors import RunFolderError
from biotune.evolution.asynchronous import AsynchronousSearch, Proposal
from biotune.evolution.generation import Generation
from biotune.executors.base import NextTrial
from biotune.fitness.fitness import ScheduleFitness
from biotune.store.journal import Journal
from biotune.trial import Trial, TrialResult

ASKED, TOLD = "asked", "told"  # kinds of journal records


class Streaming(Protocol):
    """Runs trials as they are drawn, and answers those that it knows; see `Recorded`."""

    def stream(self, next_trial: NextTrial) -> Iterator[tuple[Trial, TrialResult]]:
        """See `Runner.stream`."""
        ...

    def recall(self, trial: Trial) -> TrialResult | None:
        """Report and return the known result of a trial; None where there is none."""
        ...


@dataclass
class _Flight:
    """A proposal that is out.

    Attributes:
        proposal: The proposal.
        own: The trials that are run for it.
        lacking: The keys of the trials whose results it waits for, its own and those run for an equal one.
    """

    proposal: Proposal
    own: list[Trial]
    lacking: set[str]


class Driver:
    """Leads a search over an executor's stream of trials."""

    def __init__(self, search: AsynchronousSearch, fitness: ScheduleFitness, executor: Streaming, journal: Journal) -> None:
        """Prepare; nothing is asked yet.

        Args:
            search: The search, before its first proposal.
            fitness: Makes trials and evaluations.
            executor: Runs the trials.
            journal: Holds and receives the order of proposals and of results taken in.
        """
        self._search, self._fitness, self._executor, self._journal = search, fitness, executor, journal
        self._flights: dict[int, _Flight] = {}
        self._results: dict[str, TrialResult] = {}  # of flights that lack others yet
        self._running: set[str] = set()
        self._queue: deque[Trial] = deque()
        self._closed: deque[Generation] = deque()

    def generations(self) -> Iterator[Generation]:
        """Run the search, at first as the journal says.

        Yields:
            Each generation when it is closed.

        Raises:
            RunFolderError: The journal tells of other proposals than the search makes.
        """
        yield from self._replay()
        for trial, result in self._executor.stream(self._next_trial):
            yield from self._closed_generations()  # by schedules that needed no trial
            self._arrived(trial, result)
            self._tell_complete()
            yield from self._closed_generations()
        yield from self._closed_generations()

    def _replay(self) -> Iterator[Generation]:
        records = [record for record in self._journal.records() if record.get("kind") in (ASKED, TOLD)]
        for record in records:
            number = record.get("individual")
            if record["kind"] == ASKED:
                proposal = self._search.ask()
                if proposal is None or _record_of(proposal) != record:
                    raise self._differs(number)
                self._begin(proposal)
                continue
            flight = self._flights.get(number) if isinstance(number, int) else None
            if flight is None:
                raise self._differs(number)
            for trial in flight.own:
                result = self._executor.recall(trial)
                if result is None:
                    raise self._differs(number)
                self._arrived(trial, result)
                self._queue.remove(trial)
            self._tell(flight)
            yield from self._closed_generations()
        self._tell_complete()  # an interruption may have come between a proposal and what needs no trial
        yield from self._closed_generations()

    def _differs(self, number: object) -> RunFolderError:
        return RunFolderError(
            f"{self._journal.folder}: the search differs from the one journalled before the interruption, at individual "
            f"{number}. Were biotune, torch, numpy or DEAP updated in between? Begin a new run."
        )

    def _next_trial(self) -> Trial | None:
        while not self._queue:
            proposal = self._search.ask()
            if proposal is None:
                return None
            self._journal.append(_record_of(proposal))
            self._begin(proposal)
            self._tell_complete()
        return self._queue.popleft()

    def _begin(self, proposal: Proposal) -> None:
        """Queue the trials that a proposal needs, but for those that are run for another one."""
        trials = self._fitness.trials(proposal.schedule, proposal.fold)
        own = [trial for trial in trials if trial.key not in self._running]
        lacking = {trial.key for trial in trials} - self._results.keys()
        self._flights[proposal.number] = _Flight(proposal, own, lacking)
        self._running.update(trial.key for trial in own)
        self._queue.extend(own)

    def _arrived(self, trial: Trial, result: TrialResult) -> None:
        self._results[trial.key] = result
        for flight in self._flights.values():
            flight.lacking.discard(trial.key)

    def _tell_complete(self) -> None:
        """Tell the proposals that lack nothing, the oldest first."""
        for flight in [flight for flight in self._flights.values() if not flight.lacking]:
            self._journal.append({"kind": TOLD, "individual": flight.proposal.number})
            self._tell(flight)

    def _tell(self, flight: _Flight) -> None:
        proposal, keys = flight.proposal, [trial.key for trial in flight.own]
        self._fitness.take_in(flight.own, [self._results.pop(key) for key in keys])
        self._running.difference_update(keys)
        del self._flights[proposal.number]
        evaluation = self._fitness.evaluation(proposal.schedule, proposal.fold, flight.own)
        generation = self._search.tell(proposal.number, evaluation)
        if generation is not None:
            self._fitness.close_generation()
            self._closed.append(generation)

    def _closed_generations(self) -> Iterator[Generation]:
        while self._closed:
            yield self._closed.popleft()


def _record_of(proposal: Proposal) -> dict[str, Any]:
    """The journal's record of a proposal: enough to tell whether a resumed search makes the same."""
    return {
        "kind": ASKED,
        "individual": proposal.number,
        "fold": proposal.fold,
        "schedule": proposal.schedule.key,
    }
