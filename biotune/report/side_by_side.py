"""The found schedule beside the baselines of the confirmation: learning rates block by block, score and cost of each."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import pandas as pd
from matplotlib.cm import ScalarMappable
from matplotlib.colorbar import Colorbar
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import NullLocator

from biotune.report.read import Run, Score
from biotune.report.style import FROZEN, FROZEN_LINE, MUTED, NARROW, RATES, Drawing, finish, ink_on, label
from biotune.report.verdict import EVOLVED, method_name
from biotune.schedule.schedule import FRESH, TOGETHER

_MOST_ROOMY = 30  # blocks, beyond which rows are flat and have no numbers
_LETTER = 0.075  # inches: the largest width of a letter of the labels


@dataclass(frozen=True)
class Beside:
    """One finalist of the confirmation.

    Attributes:
        name: Its name for readers.
        lrs: The learning rate of each block in network order; 0 where it is frozen.
        trained: Number of parameters that it trains.
        score: Validation macro accuracy over the confirming trials; None if it was ruled out before the last of them.
        trials: Number of its confirming trials.
        epochs: Their mean number of epochs.
        seconds: Their mean wall-clock time.
        returned: Whether its schedule is what the run returns.
        remark: The order in which its blocks join and the start of its head, where these are not the usual ones.
    """

    name: str
    lrs: tuple[float, ...]
    trained: int
    score: Score | None
    trials: int
    epochs: float
    seconds: float
    returned: bool
    remark: str


def side_by_side(run: Run) -> list[Beside]:
    """The evolved schedule, then the baselines, as the confirmation trained them; empty where nothing tells, as in old folders.

    Of the evolved schedules it is the one that is returned, or the best by its confirming trials.
    """
    schedules: Mapping[str, Any] = run.confirmed.get("schedules", {})
    if not schedules or run.search is None:
        return []
    finalists = {one["schedule"]: one for one in run.confirmed["finalists"]}
    returned = str((run.among_models or {"schedule": run.confirmed["chosen"]})["schedule"])
    evolved = [name for name in schedules if name.isdigit()]
    ranked = sorted(evolved, key=lambda name: (name != returned, -_mean(finalists.get(name))))
    shown = [*ranked[:1], *(name for name in schedules if not name.isdigit())]
    trials = run.search.confirm
    return [
        _one(run, name, schedules[name], finalists.get(name), trials[trials["schedule"] == name], name == returned)
        for name in shown
    ]


def _one(
    run: Run, name: str, entry: Mapping[str, Any], finalist: Mapping[str, Any] | None, rows: pd.DataFrame, returned: bool
) -> Beside:
    spread = None if finalist is None else finalist["macro_accuracy"]
    return Beside(
        name=method_name(EVOLVED if name.isdigit() else name),
        lrs=tuple(float(entry["lr"][block]) for block in run.schedule.names),
        trained=int(entry["trainable_params"]),
        score=None if spread is None else Score(spread["mean"], spread["sd"], tuple(spread["values"])),
        trials=len(rows),
        epochs=float(rows["epochs"].mean()),
        seconds=float(rows["seconds"].mean()),
        returned=returned,
        remark=_remark(entry),
    )


def _remark(entry: Mapping[str, Any]) -> str:
    unusual = {"unfreezing": (entry["unfreezing"], TOGETHER), "head_start": (entry.get("head_start", FRESH), FRESH)}
    return ", ".join(f"{key}: {value}" for key, (value, usual) in unusual.items() if value != usual)


def _mean(finalist: Mapping[str, Any] | None) -> float:
    return -1.0 if finalist is None else float(finalist["macro_accuracy"]["mean"])


def draw_side_by_side(run: Run) -> Drawing | None:
    """One column per finalist, one row per block: the learning rate on one scale, grey hatching where it is frozen."""
    columns = side_by_side(run)
    rates = [lr for one in columns for lr in one.lrs if lr > 0]
    if not rates:
        return None
    blocks = [label(name, 20, f"block {at}") for at, name in enumerate(run.schedule.names, 1)]
    roomy = len(blocks) <= _MOST_ROOMY
    titles = [label(one.name, 31, "strategy") for one in columns]
    left = max(0.6, 0.15 + _LETTER * max(map(len, blocks)))
    top = 0.12 + _LETTER * max(map(len, titles))
    tall = max((0.26 if roomy else 0.13) * len(blocks), 0.5)
    bottom, right = 0.72, 0.1
    height = top + tall + bottom
    figure = Figure(figsize=(NARROW, height))
    axes = figure.add_axes((left / NARROW, bottom / height, (NARROW - left - right) / NARROW, tall / height))
    low, high = _ends(rates)
    scale = LogNorm(low, high)
    for across, one in enumerate(columns):
        for down, count, lr in _cells(one.lrs, apart=roomy):
            corner, size = (across + 0.02, down + 0.02), (0.96, count - 0.04)
            if not lr:
                box = Rectangle(corner, *size, facecolor=FROZEN, edgecolor=FROZEN_LINE, hatch="////", linewidth=0)
                axes.add_patch(box)
                continue
            colour = RATES(float(scale(lr)))
            axes.add_patch(Rectangle(corner, *size, facecolor=colour, linewidth=0))
            if roomy:
                axes.text(across + 0.5, down + 0.5, shown_lr(lr), ha="center", va="center", fontsize=6.5, color=ink_on(colour))
    axes.set(xlim=(0, len(columns)), ylim=(len(blocks), 0))
    axes.set_yticks([at + 0.5 for at in range(len(blocks))], blocks, fontsize=8 if roomy else 6)
    axes.xaxis.tick_top()
    axes.set_xticks([at + 0.5 for at in range(len(columns))], titles, rotation=90, fontsize=8)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    for tick, one in zip(axes.get_xticklabels(), columns, strict=True):
        tick.set_fontweight("bold" if one.returned else "normal")
    key = figure.add_axes((left / NARROW, 0.42 / height, (NARROW - left - right) / NARROW, 0.12 / height))
    _draw_key(figure, key, scale, (low, math.sqrt(low * high), high))
    said = "; ".join(f"{one.name}: {', '.join(_says(*pair) for pair in zip(blocks, one.lrs, strict=True))}" for one in columns)
    return finish(figure, "side-by-side", f"Learning rates block by block. {said}")


def _cells(lrs: Sequence[float], apart: bool) -> Iterator[tuple[int, int, float]]:
    """First block, number of blocks and learning rate of each box; equal neighbours share one unless they stand apart."""
    at = 0
    for lr, equal in groupby(lrs):
        count = len(list(equal))
        yield from ((at + one, 1, lr) for one in range(count)) if apart else [(at, count, lr)]
        at += count


def shown_lr(lr: float) -> str:
    """A learning rate in at most five characters, such as 0.003, .0012 or 3e-05."""
    if lr < 1e-3:
        mantissa, exponent = f"{lr:.0e}".split("e")
        return f"{mantissa}e{int(exponent)}"
    return f"{lr:.2g}".removeprefix("0") if lr < 1 else f"{lr:.3g}"


def _ends(rates: list[float]) -> tuple[float, float]:
    low, high = min(rates), max(rates)
    return (low, high) if high > low else (low / math.sqrt(10), high * math.sqrt(10))


def _draw_key(figure: Figure, axes: Any, scale: LogNorm, ticks: Sequence[float]) -> None:
    bar: Colorbar = figure.colorbar(ScalarMappable(scale, RATES), cax=axes, orientation="horizontal")
    bar.set_label("learning rate (logarithmic)", fontsize=8)
    bar.set_ticks(ticks, labels=[shown_lr(tick) for tick in ticks])
    for tick, side in zip(axes.get_xticklabels(), ("left", "center", "right"), strict=True):
        tick.set_horizontalalignment(side)  # centred, the outer ones would be cut off
    axes.xaxis.set_minor_locator(NullLocator())
    axes.tick_params(labelsize=7.5, color=MUTED)
    bar.outline.set_visible(False)


def _says(block: str, lr: float) -> str:
    return f"{block} at {lr:.3g}" if lr else f"{block} frozen"
