"""What executors share: what they are given, what they promise, and what counts as a trial's own failure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from biotune.errors import one_line
from biotune.trial import Trial, TrialResult

ATTEMPTS = 2  # a trial that fails by itself is tried once more
_LONGEST_REASON = 500

OnResult = Callable[[Trial, TrialResult], None]


class Runner(Protocol):
    """An executor that reports each result as it comes."""

    def run(self, trials: Sequence[Trial], on_result: OnResult) -> list[TrialResult]:
        """Run trials; results in the order of the trials, reports in the order of their ends."""
        ...

    def close(self) -> None:
        """Release what the executor holds."""
        ...


def reason_of(error: BaseException) -> str:
    """Why a training failed, in one line of bounded length."""
    return shortened(f"{type(error).__name__}: {error}")


def shortened(reason: str) -> str:
    """A reason in one line of bounded length."""
    return one_line(reason)[:_LONGEST_REASON]


def failure(reason: str) -> TrialResult:
    """The result of a trial that failed."""
    return TrialResult("failed", (), 0.0, error=reason)
