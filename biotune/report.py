"""Plots from a run's folder alone: what `store` wrote is read, nothing else. No torch."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from biotune.schedule import Schedule, load_schedule

_BEST, _MEAN = "#0072b2", "#d55e00"  # Okabe and Ito's blue and vermilion: apart for every kind of colour vision
_DPI = 150


def draw_plots(folder: Path) -> None:
    """Draw fitness over the generations and the layer schedule into `plots/`, as PNG."""
    plots = folder / "plots"
    plots.mkdir(exist_ok=True)
    figure = Figure(figsize=(7, 4), layout="constrained")
    _draw_fitness(figure.subplots(), pd.read_csv(folder / "summary.csv"))
    _save(figure, plots / "fitness.png")
    schedule = load_schedule(folder / "best_schedule.yaml")
    figure = Figure(figsize=(max(4.0, 1.1 * len(schedule.blocks)), 3.4), layout="constrained")
    _draw_schedule(figure.subplots(), schedule)
    _save(figure, plots / "schedule.png")


def _save(figure: Figure, path: Path) -> None:
    # without the date and the version that matplotlib adds, two equal runs leave equal pictures
    figure.savefig(path, dpi=_DPI, metadata={"Software": None})


def _draw_fitness(axes: Axes, summary: pd.DataFrame) -> None:
    generation = summary["generation"]
    best, mean, worst = (1 - summary[f"{name}_fitness"] for name in ("best", "mean", "worst"))
    axes.fill_between(generation, worst, best, color=_MEAN, alpha=0.15, linewidth=0, label="worst to best")
    axes.plot(generation, best, "o-", color=_BEST, label="best")
    axes.plot(generation, mean, "s--", color=_MEAN, label="mean")
    axes.set_xlabel("generation")
    axes.set_ylabel("validation macro accuracy")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(axis="y", alpha=0.3)
    axes.legend(frameon=False, loc="lower right")


def _draw_schedule(axes: Axes, schedule: Schedule) -> None:
    frozen = [name for name, selected in zip(schedule.names, schedule.selected, strict=True) if not selected]
    positions = range(len(schedule.blocks))
    axes.bar(positions, [max(weight, 0.0) for weight in schedule.lr_weights], color=_BEST, width=0.7)
    axes.set_yscale("log")
    axes.set_ylim(0.05, 20)
    for position, name in enumerate(schedule.names):
        if name in frozen:
            axes.axvspan(position - 0.35, position + 0.35, facecolor="0.9", edgecolor="0.6", hatch="///", linewidth=0)
            axes.text(position, 1.0, "frozen", rotation=90, ha="center", va="center")
    axes.axhline(1.0, color="0.4", linewidth=0.8, linestyle=":")
    axes.set_xticks(list(positions), schedule.names, rotation=30 if len(schedule.blocks) > 8 else 0)
    axes.set_ylabel("rate / base rate")
