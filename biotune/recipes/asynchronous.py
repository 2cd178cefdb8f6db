"""Runs an asynchronous search: proposals to free slots, results to the search, and the order of both to the journal.

A search that is resumed proposes and takes in what the journal says, in its order, and then goes on. So its generations are
those from before the interruption, however many workers there are now.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol

from biotune.errors import RunFolderError
from biotune.evolution.asynchronous import AsynchronousSearch, Proposal
from biotune.evolution.generation import Generation
from biotune.evolution.trials import AsynchronousTrials
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


class Driver(AsynchronousTrials):
    """Leads a search over an executor's stream of trials."""

    def __init__(self, search: AsynchronousSearch, fitness: ScheduleFitness, executor: Streaming, journal: Journal) -> None:
        """Prepare; nothing is asked yet.

        Args:
            search: The search, before its first proposal.
            fitness: Makes trials and evaluations.
            executor: Runs the trials.
            journal: Holds and receives the order of proposals and of results taken in.
        """
        super().__init__(search, fitness)
        self._executor, self._journal = executor, journal

    def generations(self) -> Iterator[Generation]:
        """Run the search, at first as the journal says.

        Yields:
            Each generation when it is closed.

        Raises:
            RunFolderError: The journal tells of other proposals than the search makes.
        """
        yield from self._replay()
        for trial, result in self._executor.stream(self.next_trial):
            yield from self._closed_generations()  # by schedules that needed no trial
            self.take_in(trial, result)
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

    def _note_asked(self, proposal: Proposal) -> None:
        self._journal.append(_record_of(proposal))

    def _note_told(self, proposal: Proposal) -> None:
        self._journal.append({"kind": TOLD, "individual": proposal.number})

    def _closed_generations(self) -> Iterator[Generation]:
        while self.closed:
            yield self.closed.popleft()


def _record_of(proposal: Proposal) -> dict[str, Any]:
    """The journal's record of a proposal: enough to tell whether a resumed search makes the same."""
    return {
        "kind": ASKED,
        "individual": proposal.number,
        "fold": proposal.fold,
        "schedule": proposal.schedule.key,
    }
