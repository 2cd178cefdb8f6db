"""The interface and helpers that executors share, and the definition of a trial's own failure."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

from biotune.errors import one_line
from biotune.trial import Trial, TrialResult

ATTEMPTS = 2  # a trial that fails through its own fault is tried once more
_LONGEST_REASON = 500

OnResult = Callable[[Trial, TrialResult], None]
NextTrial = Callable[[], Trial | None]  # None where there is no trial at present


class Runner(Protocol):
    """An executor that reports each result as soon as its trial ends."""

    def run(self, trials: Sequence[Trial], on_result: OnResult) -> list[TrialResult]:
        """Run trials.

        Args:
            trials: The trials.
            on_result: Called with each trial and its result, in the order in which trials end.

        Returns:
            One result per trial, in the order of the trials.
        """
        ...

    def stream(self, next_trial: NextTrial) -> Iterator[tuple[Trial, TrialResult]]:
        """Run trials that are drawn one by one, each when a slot is free for it.

        Args:
            next_trial: Called whenever a slot is free; returns the next trial, or None where there is none before another
                result is taken in.

        Yields:
            Each trial and its result, in the order in which trials end. The caller may draw on a result before it asks for the
            next one. The stream ends when there is no trial and none is running; a caller that leaves it earlier gives up
            those that are running.
        """
        ...

    def close(self) -> None:
        """Release what the executor holds."""
        ...


def reason_of(error: BaseException) -> str:
    """The reason of a failed training run, in one line of bounded length."""
    return shortened(f"{type(error).__name__}: {error}")


def shortened(reason: str) -> str:
    """Shorten a reason to one line of bounded length."""
    return one_line(reason)[:_LONGEST_REASON]


def failure(reason: str) -> TrialResult:
    """The result of a trial that failed for a reason."""
    return TrialResult("failed", (), 0.0, error=reason)
