"""Tells a trial that takes far longer than trials usually do: its worker may stand still, which nothing else would say."""

from __future__ import annotations

from bisect import insort
from statistics import median

from biotune.trial import Trial, TrialResult

TIMES = 10  # the usual duration, after which a worker is reported
FLOOR_SECONDS = 60.0  # no worker is reported earlier: short trials vary by more than ten times
UNKNOWN_SECONDS = 3600.0  # while too few trials have ended
FEWEST = 5  # trials whose median is the usual duration


class Durations:
    """The durations of a pool's trials so far."""

    def __init__(self) -> None:
        self._per_epoch: list[float] = []

    def add(self, trial: Trial, result: TrialResult, seconds: float) -> None:
        """Count a trial that has ended; those that failed or were pruned are shorter than usual and do not count.

        Args:
            trial: The trial.
            result: Its result.
            seconds: Wall-clock time from when a worker got it until its answer.
        """
        if result.status == "ok":
            insort(self._per_epoch, seconds / trial.epochs)

    def usual(self, trial: Trial) -> float | None:
        """The median duration of trials, for a trial's number of epochs, in seconds; None while too few have ended."""
        return trial.epochs * median(self._per_epoch) if len(self._per_epoch) >= FEWEST else None

    def patience(self, trial: Trial) -> float:
        """Seconds after which a trial's worker is to be reported."""
        usual = self.usual(trial)
        return UNKNOWN_SECONDS if usual is None else max(FLOOR_SECONDS, TIMES * usual)

    def report(self, trial: Trial, process: int | None, where: str, seconds: float) -> str:
        """What to say of a worker that has not answered, in one line.

        Args:
            trial: Its trial.
            process: The process id.
            where: Where it runs, as in "on 10.0.0.2"; empty on this machine.
            seconds: How long it has had the trial.
        """
        usual = self.usual(trial)
        compared = "" if usual is None else f", and a training run usually takes {_words(usual)}"
        place = f" {where}" if where else ""
        return (
            f"worker process {process}{place} has not answered for {_words(seconds)}{compared}. If it stands still, "
            f"'kill -9 {process}'{place} gives its training run to another worker; executor.trial_timeout=SECONDS does so by "
            "itself."
        )


def _words(seconds: float) -> str:
    if seconds < 1:
        return "less than a second"
    return f"{seconds:.0f} seconds" if seconds < 120 else f"{seconds / 60:.0f} minutes"
