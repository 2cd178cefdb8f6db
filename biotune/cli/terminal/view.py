"""Output of a command: header, progress and tables. A live display on a terminal; elsewhere plain lines that are never cut."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType, TracebackType
from typing import TYPE_CHECKING, Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from biotune.cli.terminal.dashboard import Dashboard
from biotune.cli.terminal.output_mode import OutputMode
from biotune.cli.terminal.sparklines import duration, strip
from biotune.evolution.generation import Generation
from biotune.fitness.fitness import METRICS
from biotune.report.verdict import failures_text
from biotune.schedule.schedule import Schedule

if TYPE_CHECKING:
    from biotune.trial import Trial, TrialResult

_WIDE = 10_000  # columns; piped output is never cut to a width


@dataclass(frozen=True)
class Cell:
    """A value of a table and the text shown for it; `--json` prints the value."""

    value: Any
    text: str


class View:
    """The output of one command. Use as a context manager: leaving it removes the live display, and prints the JSON object.

    Args:
        console: Where to print; by default stdout.
        mode: How much is printed, and in which form.
    """

    def __init__(self, console: Console | None = None, mode: OutputMode = OutputMode.NORMAL) -> None:
        self.mode = mode
        self._document: dict[str, Any] = {}
        self.console = console or Console(highlight=False, soft_wrap=False)
        if not self.console.is_terminal:
            self.console = Console(file=self.console.file, width=_WIDE, highlight=False, no_color=True)
        self._dashboard = Dashboard()
        shown = self.console.is_terminal and mode not in (OutputMode.QUIET, OutputMode.JSON)
        self._live = Live(self._dashboard, console=self.console, refresh_per_second=4, transient=True) if shown else None

    def __enter__(self) -> View:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._live is not None:
            self._live.stop()
        if self.mode is OutputMode.JSON and error is None:
            # not through rich, which would break long lines
            self.console.file.write(json.dumps(self._document, ensure_ascii=False, indent=2) + "\n")

    def line(self, text: str, style: str = "") -> None:
        """Print one line of text, unless the command is quiet."""
        if self.mode is not OutputMode.QUIET:
            self.final(text, style)

    def final(self, text: str, style: str = "") -> None:
        """Print one line of the result; quiet commands print it too, `--json` does not."""
        if self.mode is not OutputMode.JSON:
            self.console.print(Text(text, style=style))

    def warning(self, text: str) -> None:
        """Print a line that the user must see while the command runs; quiet commands and `--json` print it to stderr."""
        if self.mode in (OutputMode.QUIET, OutputMode.JSON):
            print(f"biotune: {text}", file=sys.stderr, flush=True)
        else:
            self.line(text, "yellow")

    def fact(self, name: str, value: Any) -> None:
        """Add a value to the JSON object; without `--json` it is part of a line or a title."""
        self._document[name] = value

    def header(self, title: str, facts: Iterable[tuple[str, str]]) -> None:
        """Print the header of a run.

        Args:
            title: The first line.
            facts: Pairs of a name and a value, such as the dataset or the largest number of training runs.
        """
        self.line(title, "bold")
        if self._live is None:
            for name, value in facts:
                self.line(f"  {name:<10} {value}")
            return
        grid = Table.grid(padding=(0, 1), pad_edge=False)  # so that a long value is broken within its own column
        for name, value in facts:
            grid.add_row(Text(""), Text(name), Text(value, overflow="fold"))
        self.console.print(grid)

    def begin_seed(self, seed: int, number: int, of: int) -> None:
        """Print a line that begins a comparison's part with one seed."""
        self.line(f"seed {seed}, {number} of {of}", "bold")

    def begin_strategy(self, name: str) -> None:
        """Print a line that begins a comparison's part with one strategy."""
        self.line(f"  {name}")

    def begin(self, what: str, at_most: int) -> None:
        """Begin a phase.

        Args:
            what: Name of the phase.
            at_most: Largest number of training runs in it.
        """
        self._dashboard.begin(what, at_most)
        if self._live is None:
            self.line(f"{what}: at most {at_most} training runs")

    def begin_generation(self, number: int, of: int, candidates: int, seeds: int) -> None:
        """Begin a generation.

        Args:
            number: Number of the generation; 0 is the initial one.
            of: Number of the last generation.
            candidates: Largest number of candidates in it.
            seeds: Training runs per candidate.
        """
        self._dashboard.begin_generation(number, of, candidates, seeds)

    def trained(self, trial: Trial, result: TrialResult) -> None:
        """Count a finished training run; verbose commands print one line about it."""
        if self.mode is OutputMode.VERBOSE:
            fold = "all data" if trial.fold is None else f"fold {trial.fold}"
            score = f"failed: {result.error}" if result.status == "failed" else f"score {result.score:.4f}"
            score += " (given up)" if result.status == "pruned" else ""
            self.line(
                f"  {strip(trial.schedule)}  {fold}  seed {trial.seed}  {score}  "
                f"{len(result.curve)} epochs  {result.seconds:.1f} s"
            )
        self._dashboard.done += 1
        if self._live is None and (news := self._dashboard.news()):
            self.line(news)

    def decoding(self, done: int, total: int) -> None:
        """Show how many of the `total` images are decoded."""
        if self._live is not None:
            self._dashboard.decoding(done, total)

    def end(self) -> None:
        """End the phase, of which a line remains unless generations told it; the display is empty until the next one begins."""
        if self._dashboard.phase and not self._dashboard.unit:
            self.line(self._dashboard.ended())
        self._dashboard.phase = ""

    def generation(self, generation: Generation, of: int, trainings: int, at_most: int) -> None:
        """Print one line per generation: progress, scores, training runs and remaining time.

        Args:
            generation: The generation that has finished.
            of: Number of the last generation.
            trainings: Training runs made so far.
            at_most: Largest number of training runs in the search.
        """
        record, best = generation.record, generation.hall[0] if generation.hall else None
        dashboard = self._dashboard
        dashboard.history.append(1 - record["best_fitness"])
        dashboard.saved += record["saved"]
        if best is not None:
            dashboard.best, dashboard.schedule = 1 - best.score, best.schedule
        left = f"  ~{duration(dashboard.seconds_left())} left" if generation.number < of else "  done"
        odd = "".join(
            f", {record[name]} {word}" for name, word in (("pruned", "pruned"), ("failures", "failed")) if record[name]
        )
        self.line(
            f"generation {generation.number:>2}/{of}  best {1 - record['best_fitness']:.4f}  "
            f"mean {1 - record['mean_fitness']:.4f}  {strip(best.schedule) if best else ''}  "
            f"{trainings}/{at_most} trained, {record['cache_hits']} cached{odd}{left if self._live is None else ''}"
        )

    def table(
        self,
        title: str,
        columns: Sequence[str],
        rows: Iterable[Sequence[Any]],
        name: str | None = None,
        headers: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        """A table; columns of numbers are right-aligned.

        Args:
            title: A line above the table.
            columns: Names of the columns, also the keys of the rows in the JSON object.
            rows: Values or `Cell`s, one per column; integers are grouped by thousands, None is left empty.
            name: Key of the rows in the JSON object, one dict per row; None leaves them out.
            headers: Column → the header printed for it, where that is not its name.
        """
        values = [list(row) for row in rows]
        if self.mode is OutputMode.JSON:
            if name is not None:
                keys = [column.replace(" ", "_") for column in columns]
                plain = [[cell.value if isinstance(cell, Cell) else cell for cell in row] for row in values]
                self._document[name] = [dict(zip(keys, row, strict=True)) for row in plain]
            return
        cells = [[_text(cell) for cell in row] for row in values]
        self.final(title, "bold")  # not as rich's title, which is wrapped at the width of the table
        table = Table(box=SIMPLE_HEAD, pad_edge=False)
        for index, column in enumerate(columns):
            numeric = all(not row[index] or row[index][0] in "+-0123456789" for row in cells)
            table.add_column(Text(headers.get(column, column)), justify="right" if numeric else "left", overflow="fold")
        for row in cells:
            table.add_row(*(Text(cell) for cell in row))
        self.console.print(table)

    def summary(self, generations: Sequence[Mapping[str, Any]], metric: str = "acc") -> None:
        """Print the table of generations.

        Args:
            generations: The rows of `summary.csv`.
            metric: The value of `fitness.metric`, which the title explains.
        """
        if self.mode is OutputMode.QUIET:
            return
        self.table(
            f"Generations (fitness = 1 − {METRICS[metric]} on the fold's validation data)",
            ["generation", "fold", "best fitness", "mean", "worst", "sd", "diversity", "evaluations", "trainings", "cached"],
            (
                [
                    str(row["generation"]),
                    str(row["fold"]),
                    *(f"{row[f'{name}_fitness']:.4f}" for name in ("best", "mean", "worst", "sd")),
                    f"{row['diversity']:.3f}",
                    str(row["evaluations"]),
                    str(row["trainings"]),
                    str(row["cache_hits"]),
                ]
                for row in generations
            ),
        )

    def schedule(self, schedule: Schedule, parameters: Mapping[str, int], base_lr: float) -> None:
        """Print a layer schedule, one line per block.

        Args:
            schedule: The schedule.
            parameters: Number of parameters of each block, by name.
            base_lr: λ_0, which the schedule's weights multiply.
        """
        if self.mode is OutputMode.QUIET:
            return
        importances: Sequence[float | None] = schedule.importances or [None] * len(schedule.blocks)
        self.table(
            f"Layer schedule (blocks join: {schedule.order}{schedule.remark})",
            ["block", "modules", "parameters", "importance", "learning rate"],
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

    def scores(self, methods: Mapping[str, Mapping[str, Any]], failed: Mapping[str, int] = MappingProxyType({})) -> None:
        """Print test scores, one line per method.

        Args:
            methods: Method → score's name → {mean, sd, values}.
            failed: Method → number of its final training runs that failed.
        """
        first = next(iter(methods.values()))
        self.table(
            f"Test set (mean ± sd over {len(first['accuracy']['values'])} training seeds)",
            ["method", *(name.replace("_", " ") for name in first)],
            ([method, *(mean_sd(scores[name]) for name in first)] for method, scores in methods.items()),
        )
        if said := failures_text(failed):
            self.final(said)

    def comparison(self, result: Mapping[str, Any], seeds: int) -> None:
        """Print the comparison of strategies, one line per strategy.

        Args:
            result: The content of the comparison's result file.
            seeds: Number of seeds that each strategy was trained with.
        """
        from biotune.report.statistics import COLUMNS, notes, seeds_text, table_rows

        self.table(
            f"Test set (mean ± sd over {seeds_text(result, seeds)}; costs per seed, including the choice of the base learning "
            "rate)",
            list(COLUMNS),
            table_rows(result),
        )
        for note in notes(result):
            self.line(note)


def mean_sd(score: dict[str, float]) -> str:
    """Return a {mean, sd, values} score as text, such as `0.9123 ± 0.0045`."""
    return f"{score['mean']:.4f} ± {score['sd']:.4f}"


def _text(value: Any) -> str:
    """The text shown for a value of a table."""
    if isinstance(value, Cell):
        return value.text
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    return "" if value is None else str(value)
