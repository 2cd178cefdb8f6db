"""What the user sees on the terminal: header, progress, tables. Live bars on a terminal only; elsewhere plain lines, whole."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from biotune.evolution import Generation
from biotune.schedule import Schedule

if TYPE_CHECKING:
    import pandas as pd

_WIDE = 10_000  # piped output is never cut to a width


class View:
    """One run's voice. Use as a context manager: leaving it takes the live bar off the screen."""

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console(highlight=False, soft_wrap=False)
        if not self.console.is_terminal:
            self.console = Console(file=self.console.file, width=_WIDE, highlight=False, no_color=True)
        self._progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn("{task.fields[note]}", markup=False),
            TimeElapsedColumn(),
            console=self.console,
            transient=True,
            disable=not self.console.is_terminal,
        )
        self._task: TaskID | None = None
        self._best = ""
        self._begun = time.monotonic()
        self._done = self._total = 0

    def __enter__(self) -> View:
        self._progress.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._progress.stop()

    def line(self, text: str, style: str = "") -> None:
        """One line of plain text."""
        self._progress.console.print(Text(text, style=style))

    def header(self, title: str, facts: Iterable[tuple[str, str]]) -> None:
        """What will run, on what, and how much of it at most."""
        self.line(title, "bold")
        for name, value in facts:
            self.line(f"  {name:<10} {value}")

    def begin(self, what: str, at_most: int) -> None:
        """A phase of so many trainings at most begins."""
        self.end()
        self._begun, self._done, self._total, self._best = time.monotonic(), 0, at_most, ""
        self._task = self._progress.add_task(what, total=at_most, note="")
        if not self.console.is_terminal:
            self.line(f"{what}: at most {at_most} trainings")

    def advance(self) -> None:
        """One more training is done."""
        self._done += 1
        if self._task is not None:
            self._progress.update(self._task, completed=self._done, note=self._note())

    def describe(self, what: str) -> None:
        """Change what the live bar says is going on."""
        if self._task is not None:
            self._progress.update(self._task, description=what)

    def decoding(self, done: int, total: int) -> None:
        """So many of so many pictures are decoded."""
        if self._task is None or self._total != total:
            self._task, self._total = self._progress.add_task("decoding pictures", total=total, note=""), total
        self._progress.update(self._task, completed=done)
        if done == total:
            self.end()

    def end(self) -> None:
        """The phase is over; its bar disappears."""
        if self._task is not None:
            self._progress.remove_task(self._task)
            self._task = None

    def generation(self, generation: Generation, of: int, trainings: int, at_most: int) -> None:
        """One plain line a generation: how far, how good, how long."""
        record, best = generation.record, generation.hall[0] if generation.hall else None
        self._best = f"best {1 - best.score:.4f}" if best else "no candidate yet"
        left = f"~{_duration(self._seconds_left(at_most, trainings))} left" if generation.number < of else "done"
        failed = f", {record['failures']} failed" if record["failures"] else ""
        self.line(
            f"generation {generation.number:>2}/{of}  best {1 - record['best_fitness']:.4f}  "
            f"mean {1 - record['mean_fitness']:.4f}  {strip(best.schedule) if best else ''}  "
            f"{trainings}/{at_most} trained, {record['cache_hits']} cached{failed}  {left}"
        )

    def table(self, title: str, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
        """A table; columns of numbers are right-aligned."""
        cells = [list(row) for row in rows]
        self.line(title, "bold")  # not the table's own title, which is broken at the table's width
        table = Table(box=SIMPLE_HEAD, pad_edge=False)
        for index, column in enumerate(columns):
            numeric = all(not row[index] or row[index][0] in "+-0123456789" for row in cells)
            table.add_column(Text(column), justify="right" if numeric else "left", overflow="fold")
        for row in cells:
            table.add_row(*(Text(cell) for cell in row))
        self._progress.console.print(table)

    def summary(self, generations: pd.DataFrame) -> None:
        """The per-generation table, from `summary.csv`."""
        self.table(
            "Generations (fitness = 1 − macro accuracy on the fold's validation data)",
            ["generation", "fold", "best", "mean", "worst", "sd", "diversity", "evaluations", "trainings", "cached"],
            (
                [
                    str(row.generation),
                    str(row.fold),
                    *(f"{getattr(row, f'{name}_fitness'):.4f}" for name in ("best", "mean", "worst", "sd")),
                    f"{row.diversity:.3f}",
                    str(row.evaluations),
                    str(row.trainings),
                    str(row.cache_hits),
                ]
                for row in generations.itertuples()
            ),
        )

    def schedule(self, schedule: Schedule, parameters: Mapping[str, int], base_lr: float) -> None:
        """A layer schedule, a block a line."""
        importances: Sequence[float | None] = schedule.importances or [None] * len(schedule.blocks)
        self.table(
            "Layer schedule",
            ["block", "modules", "parameters", "importance", "rate"],
            (
                [
                    block.name,
                    " ".join(block.modules),
                    f"{parameters[block.name]:,}",
                    "" if importance is None else f"{importance:.3f}",
                    f"{weight * base_lr:.2e}" if weight > 0 else "frozen",
                ]
                for block, weight, importance in zip(schedule.blocks, schedule.lr_weights, importances, strict=True)
            ),
        )

    def scores(self, methods: Mapping[str, Mapping[str, Any]]) -> None:
        """Test scores, a method a line; each score is {mean, sd, values}."""
        first = next(iter(methods.values()))
        self.table(
            f"Test split (mean ± sd over {len(first['accuracy']['values'])} training seeds)",
            ["method", *(name.replace("_", " ") for name in first)],
            ([method, *(mean_sd(scores[name]) for name in first)] for method, scores in methods.items()),
        )

    def _note(self) -> str:
        return f"{self._best}  ~{_duration(self._seconds_left(self._total, self._done))} left".strip()

    def _seconds_left(self, at_most: int, done: int) -> float:
        spent = time.monotonic() - self._begun
        return spent / max(done, 1) * max(at_most - done, 0)


def strip(schedule: Schedule) -> str:
    """A schedule in one line: a bar a block in forward order, higher for a faster rate, a dot for a frozen one."""
    bars = "▁▂▃▄▅▆▇█"
    marks = []
    for weight in schedule.lr_weights:
        if weight <= 0:
            marks.append("·")
            continue
        level = round((len(bars) - 1) * _log_position(weight))
        marks.append(bars[min(max(level, 0), len(bars) - 1)])
    return "".join(marks)


def _log_position(weight: float) -> float:
    """Where a weight lies between 0.1 and 10 on a logarithmic scale, 0 to 1."""
    return (math.log10(weight) + 1) / 2


def mean_sd(score: dict[str, float]) -> str:
    """A {mean, sd, values} score as text."""
    return f"{score['mean']:.4f} ± {score['sd']:.4f}"


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02d} min"
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"
