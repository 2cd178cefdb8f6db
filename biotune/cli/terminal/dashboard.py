"""The live display of a run on a terminal: progress, best schedule and remaining time, in three lines. Without torch."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from rich.console import Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from biotune.cli.terminal.sparklines import coloured_strip, duration, sparkline
from biotune.schedule.schedule import Schedule

_BAR_WIDTH = 24
_MINUTE = 60.0  # seconds
_MOST_BARS = 24  # so that a long search still fits one line


@dataclass
class Dashboard:
    """The state of a run, rendered as three lines.

    Attributes:
        phase: Name of the current phase, such as `generation 3/10`; empty between phases.
        total: Largest number of training runs in this phase, or of images while images are decoded.
        done: Training runs that are finished or were found in the cache, or images decoded.
        unit: Training runs per candidate, used to count candidates; 0 in phases without candidates.
        candidates: Largest number of candidates in the current generation.
        best: The best score so far, as validation accuracy.
        schedule: The schedule with the best score.
        history: The best score of every generation so far.
        saved: Training runs that the cache made unnecessary.
        clock: Returns monotonic time in seconds.
        told: When a line last told how far the phase is, by the clock.
    """

    phase: str = ""
    total: int = 0
    done: int = 0
    unit: int = 0
    candidates: int = 0
    best: float | None = None
    schedule: Schedule | None = None
    history: list[float] = field(default_factory=list)
    saved: int = 0
    clock: Callable[[], float] = time.monotonic
    told: float = 0.0
    _begun: float = 0.0
    _done_before: int = 0

    def begin(self, phase: str, total: int) -> None:
        """Begin a phase.

        Args:
            phase: Its name.
            total: Largest number of training runs or images in it.
        """
        self.phase, self.total, self.done, self.unit = phase, total, 0, 0
        self._begun, self._done_before = self.clock(), 0
        self.told = self._begun

    def begin_generation(self, number: int, of: int, candidates: int, seeds: int) -> None:
        """Begin a generation.

        Args:
            number: Number of the generation; 0 is the initial one.
            of: Number of the last generation.
            candidates: Largest number of candidates in it.
            seeds: Training runs per candidate.
        """
        self.phase, self.candidates, self.unit = f"generation {number}/{of}", candidates, seeds
        self._done_before = self.done

    def decoding(self, done: int, total: int) -> None:
        """Show how many of the `total` images are decoded; the phase ends with the last one."""
        if self.phase != "decoding images":
            self.begin("decoding images", total)
        self.done = done
        if done == total:
            self.phase = ""

    def news(self) -> str:
        """A line on the phase for output that shows no live display, at most one a minute; empty where none is due."""
        if self.clock() - self.told < _MINUTE or not self.phase or self.done >= self.total:
            return ""
        self.told = self.clock()
        return f"  {self.phase}: {self.done}/{self.total} trained, ~{duration(self.seconds_left())} left of this phase"

    def ended(self) -> str:
        """A line on the phase that ends: its training runs and its wall-clock time."""
        runs = "1 training run" if self.done == 1 else f"{self.done} training runs"
        return f"{self.phase}: {runs} in {duration(self.clock() - self._begun)}"

    def seconds_left(self) -> float:
        """Estimate the remaining wall-clock time of the phase in seconds; an upper bound, because the cache may shorten it."""
        return (self.clock() - self._begun) / max(self.done, 1) * max(self.total - self.done, 0)

    def __rich__(self) -> RenderableType:
        """Render three lines of at most 80 columns: the phase with its bar, the best schedule, counts and scores so far."""
        if not self.phase:
            return Text()
        return Group(*(line for line in (self._progress(), self._best(), self._course()) if line is not None))

    def _progress(self) -> RenderableType:
        row = Table.grid(padding=(0, 2))
        candidate = ""
        if self.unit:
            at = min((self.done - self._done_before) // self.unit, self.candidates)
            candidate = f"candidate {at}/{self.candidates}"
        bar = ProgressBar(total=max(self.total, 1), completed=self.done, width=_BAR_WIDTH)
        left = f"~{duration(self.seconds_left())} left" if self.done else ""
        row.add_row(Text(self.phase, style="bold"), Text(candidate), bar, Text(left))
        return row

    def _best(self) -> RenderableType | None:
        if self.best is None or self.schedule is None:
            return None
        return Text.assemble("best ", (f"{self.best:.4f}", "bold"), "  ", coloured_strip(self.schedule))

    def _course(self) -> RenderableType:
        if self.phase == "decoding images":
            return Text(f"{self.done}/{self.total} images", style="dim")
        counts = f"{self.done}/{self.total} trained, {self.saved} saved by the cache"
        return Text(
            counts + (f"  best by generation {sparkline(self.history[-_MOST_BARS:])}" if self.history else ""), style="dim"
        )
