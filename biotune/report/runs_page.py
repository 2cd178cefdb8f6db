"""The page of several runs: their curves in one plot, their schedules below each other, one table of scores and costs."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import pandas as pd
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from biotune.report.plots import draw_score, in_percent, legend_above
from biotune.report.read import METHODS, Run, Score
from biotune.report.run_page import command
from biotune.report.strip import Strip, draw_strips
from biotune.report.style import (
    BLUE,
    MUTED,
    NARROW,
    PAPER,
    SERIES,
    WIDE,
    Drawing,
    biotune_style,
    figure_with_axes,
    finish,
    label,
)
from biotune.report.templating import score_text, template
from biotune.report.verdict import EVOLVED, failures_text, method_name
from biotune.store.files import write_text

_STYLES = ("-", (0, (5, 1.5)), (0, (1, 1.2)))


@dataclass(frozen=True)
class Named:
    """A run among others: its number, its name, and its overrides that not all runs share."""

    number: int
    name: str
    differs: str
    run: Run

    @property
    def short(self) -> str:
        """The run's label in plots."""
        of_sweep = self.differs and self.run.folder.name.isdigit()
        return f"{self.number}  {label(self.differs if of_sweep else self.name, 22, '')}".strip()


def write_comparison(runs: Sequence[Run], page: Path) -> Path:
    """Write one page over several runs.

    Args:
        runs: The runs, at least one.
        page: The path of the page.

    Returns:
        The page's path.

    Raises:
        RunFolderError: The page cannot be written.
    """
    named = _named(runs)
    strips = [Strip(entry.short, entry.run.schedule, entry.run.parameters) for entry in named]
    with biotune_style():
        drawings = [
            _draw_scores(named),
            draw_strips(strips, WIDE, "schedules", with_png=False),
            draw_strips(strips, NARROW, "schedules-narrow", with_png=False),
        ]
        if any(entry.run.search for entry in named):
            drawings.append(_draw_curves(named))
    methods = list(dict.fromkeys(method for run in runs for method in run.scores))
    text = template("runs.html").render(
        title=f"{len(runs)} runs side by side" if len(runs) > 1 else "One run",
        lead=_lead(runs),
        named=named,
        methods=sorted(methods, key=lambda method: METHODS.index(method) if method in METHODS else -1),
        method_name=method_name,
        costs={entry.number: _costs(entry.run) for entry in named},
        images={drawing.name: Markup(drawing.inline()) for drawing in drawings},
        command=command,
        failures=failures_text,
    )
    write_text(page, text)
    return page


def _named(runs: Sequence[Run]) -> list[Named]:
    """Names that tell runs apart: the shortest ends of their paths that all differ."""
    paths = [run.folder.resolve().parts for run in runs]
    length = 1
    while length < max(map(len, paths)) and len({parts[-length:] for parts in paths}) < len(paths):
        length += 1
    common = set.intersection(*(set(run.overrides) for run in runs))
    return [
        Named(number, _shown(parts[-length:]), " ".join(word for word in run.overrides if word not in common), run)
        for number, (parts, run) in enumerate(zip(paths, runs, strict=True), 1)
    ]


def _shown(parts: Sequence[str]) -> str:
    """A folder's name; the jobs of a sweep, named by bare numbers, get the prefix "job"."""
    return f"job {parts[0]}" if len(parts) == 1 and parts[0].isdigit() else os.sep.join(parts)


def _lead(runs: Sequence[Run]) -> str | None:
    """The result over all runs in one sentence; None if the runs are not comparable."""
    alike = {(run.config["dataset"]["name"], run.config["backbone"]["name"], run.method) for run in runs}
    if len(alike) > 1 or len(runs) < 2 or runs[0].method != EVOLVED:
        return None
    # means over other runs would be means over easier ones where a baseline fails on the hard ones
    complete = [run for run in runs if all(run.score(method) for method in METHODS)]
    if len(complete) < 2:
        return None
    means = {method: _over(complete, method) for method in METHODS}
    others = [f"{score_text(means[name])} for {method_name(name)}" for name in means if name != EVOLVED]
    dataset, backbone, _ = alike.pop()
    counted = f"{len(runs)} runs" if len(complete) == len(runs) else f"the {len(complete)} of {len(runs)} runs with all methods"
    return (
        f"Over {counted} on {dataset} with {backbone}, the evolved schedules reach {score_text(means[EVOLVED])} "
        f"macro accuracy on the test set, against {' and '.join(others)}."
    )


def _over(runs: Sequence[Run], method: str) -> Score | None:
    values = [score.mean for run in runs if (score := run.score(method))]
    return Score(fmean(values), stdev(values) if len(values) > 1 else 0.0, tuple(values)) if values else None


def _costs(run: Run) -> dict[str, Any]:
    seconds = float(run.test["seconds"].sum())
    if run.search is None:
        return {"trainings": len(run.test), "epochs": int(run.test["epochs"].sum()), "seconds": seconds}
    return {
        "trainings": int(run.search.costs["trainings"]),
        "epochs": int(run.search.costs["epochs"]),
        "seconds": run.search.costs["seconds"] + float(run.search.confirm["seconds"].sum()) + seconds,
    }


def _draw_scores(named: Sequence[Named]) -> Drawing:
    """Draw the test scores: one line per run, its own method with all seeds, its baselines as marks."""
    figure, axes = figure_with_axes(NARROW, 1.0 + 0.38 * len(named), {"left": 1.75, "right": 0.15, "bottom": 0.5, "top": 0.36})
    for place, entry in enumerate(named):
        for method, marker in (("full", "s"), ("linear_probe", "^")):
            score = entry.run.score(method)
            if score and method != entry.run.method:
                axes.plot([score.mean], [place], marker, color=MUTED, markersize=5.5, markerfacecolor=PAPER)
        own = entry.run.score(entry.run.method)
        if own:
            draw_score(axes, place, own, BLUE)
    axes.plot([], [], "D", color=BLUE, markersize=5, label="the run’s schedule")
    if any(len(entry.run.scores) > 1 for entry in named):
        axes.plot([], [], "s", color=MUTED, markerfacecolor=PAPER, label="full")
        axes.plot([], [], "^", color=MUTED, markerfacecolor=PAPER, label="linear probe")
    axes.set_yticks(range(len(named)), [entry.short for entry in named], fontsize=8)
    axes.tick_params(axis="y", length=0)
    axes.set_ylim(len(named) - 0.5, -0.5)
    axes.set_xlabel("macro accuracy on the test set (%)")
    axes.grid(axis="x")
    in_percent(axes, "x")
    legend_above(axes, left=-0.55)
    return finish(figure, "scores", f"Test scores of {len(named)} runs", with_png=False)


def _draw_curves(named: Sequence[Named]) -> Drawing:
    """Best survivor by generation; averaged over the folds, because runs may use them in another order."""
    figure, axes = figure_with_axes(NARROW, 3.4, {"left": 0.62, "right": 0.42, "bottom": 0.5, "top": 0.14})
    ends: list[tuple[float, str, str]] = []
    styles = cycle((style, colour) for style in _STYLES for colour in SERIES)
    for entry, (style, colour) in zip(named, styles, strict=False):
        if entry.run.search is None:
            continue
        summary = entry.run.search.summary
        best = best_over_folds(summary)
        axes.plot(summary["generation"], best, linestyle=style, color=colour, linewidth=1.5, marker="o", markersize=3)
        ends.append((best.iloc[-1], str(entry.number), colour))
    axes.set_xlabel("generation")
    metrics = {entry.run.search.metric for entry in named if entry.run.search is not None}
    axes.set_ylabel("validation macro accuracy (%)" if metrics <= {"acc"} else "1 − fitness (%)")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.grid(axis="y")
    axes.margins(x=0.03)
    in_percent(axes, "y")
    _label_ends(axes, ends)
    return finish(figure, "curves", f"Best survivor by generation of {len(ends)} runs", with_png=False)


def best_over_folds(summary: pd.DataFrame) -> pd.Series:
    """The best survivor's accuracy, averaged over the latest generation on each fold."""
    by_fold = (1 - summary["best_fitness"]).to_frame("best").assign(fold=summary["fold"], at=range(len(summary)))
    return by_fold.pivot(index="at", columns="fold", values="best").ffill().mean(axis=1).set_axis(summary.index)


def _label_ends(axes: Axes, ends: Sequence[tuple[float, str, str]]) -> None:
    """Label each curve's end with its run's number; labels that would overlap are moved apart."""
    low, high = axes.get_ylim()
    ranked = sorted(ends)
    places = apart([value for value, _, _ in ranked], (high - low) * 0.055, high)
    for place, (_, text, colour) in zip(places, ranked, strict=True):
        axes.text(axes.get_xlim()[1], place, text, fontsize=8, fontweight="bold", color=colour, va="center")


def apart(values: Sequence[float], least: float, high: float) -> list[float]:
    """Ascending values, moved as little as needed to lie `least` apart and not above `high`."""
    places: list[float] = []
    for value in values:
        places.append(max(value, places[-1] + least) if places else value)
    for at in range(len(places) - 1, -1, -1):
        places[at] = min(places[at], high if at == len(places) - 1 else places[at + 1] - least)
    return places
