"""The learning curves of the final training runs: validation accuracy, and the losses of training and validation."""

from __future__ import annotations

import math
from collections.abc import Iterator

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from biotune.report.plots import in_percent
from biotune.report.read import Run
from biotune.report.style import BLUE, MUTED, NARROW, SERIES, Drawing, figure_with_axes, finish, label

_MOST_POINTS = 10_000  # beyond it the curves are an image inside the drawing, which keeps the page small
_KEY_ROW = 0.18  # inches
_DASHED = (0, (3, 1.5))


def curves_of(run: Run) -> dict[str, pd.DataFrame]:
    """The learning curves by method as in `test.csv`, the run's own first; empty in folders of earlier versions."""
    if run.curves is None or run.curves.empty:
        return {}
    found = {str(name): table for name, table in run.curves.groupby("strategy", sort=False)}
    if run.returned != run.method:
        found.pop(run.returned, None)  # where a baseline is returned, its training runs have rows as biotune's, too
    return {name: found[name] for name in sorted(found, key=lambda name: name != run.method)}


def draw_curves(run: Run) -> list[Drawing]:
    """Draw the curves of every method and seed, the returned one's in blue; none in folders of earlier versions."""
    curves = curves_of(run)
    drawn = [_draw_accuracy(run, curves)] if curves else []
    if any(table["train_loss"].notna().any() for table in curves.values()):
        drawn.append(_draw_loss(run, curves))
    return drawn


def _draw_accuracy(run: Run, curves: dict[str, pd.DataFrame]) -> Drawing:
    key = [Line2D([], [], color=_colour(at), label=_name(run, method)) for at, method in enumerate(curves)]
    key.append(Line2D([], [], color=MUTED, marker="o", linestyle="", markersize=4, label="epoch that is kept"))
    figure, axes = _axes(key)
    for at, one in _single(curves):
        _draw(axes, one, "val_macro_accuracy", at)
        best = one.iloc[int(one["val_macro_accuracy"].argmax())]
        axes.plot([best["epoch"]], [best["val_macro_accuracy"]], "o", color=_colour(at), markersize=4, markeredgewidth=0)
    _leave_out_early_epochs(axes, curves)
    axes.set_ylabel("validation macro accuracy (%)")
    in_percent(axes, "y")
    said = "; ".join(
        f"{_name(run, method)}: {', '.join(f'{100 * best:.1f} %' for best in _best(table))}" for method, table in curves.items()
    )
    return _finished(figure, axes, curves, "curves", f"Validation accuracy by epoch; the best of each training seed of {said}")


def _draw_loss(run: Run, curves: dict[str, pd.DataFrame]) -> Drawing:
    key = [Line2D([], [], color=_colour(at), label=_name(run, method)) for at, method in enumerate(curves)]
    key += [Line2D([], [], color=MUTED, label="training")]
    key += [Line2D([], [], color=MUTED, linestyle=_DASHED, label="validation")]
    figure, axes = _axes(key)
    for at, one in _single(curves):
        _draw(axes, one, "train_loss", at)
        _draw(axes, one, "val_loss", at, _DASHED)
    axes.set_ylim(bottom=0)
    axes.set_ylabel("loss")
    return _finished(
        figure, axes, curves, "losses", f"Losses of training and validation by epoch, of {len(curves)} ways of training"
    )


def _finished(figure: Figure, axes: Axes, curves: dict[str, pd.DataFrame], name: str, says: str) -> Drawing:
    if sum(map(len, curves.values())) > _MOST_POINTS:
        for line in axes.lines:
            line.set_rasterized(True)
    return finish(figure, name, says)


def _axes(key: list[Line2D]) -> tuple[Figure, Axes]:
    rows = math.ceil(len(key) / 2)
    top = 0.14 + rows * _KEY_ROW
    figure, axes = figure_with_axes(NARROW, 2.9 + top, {"left": 0.62, "right": 0.12, "bottom": 0.5, "top": top})
    axes.legend(
        handles=key,
        loc="lower left",
        bbox_to_anchor=(-0.14, 1.0),
        ncols=2,
        handlelength=1.6,
        columnspacing=1.2,
        borderaxespad=0.2,
    )
    axes.set_xlabel("epoch")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.grid(axis="y")
    return figure, axes


def _single(curves: dict[str, pd.DataFrame]) -> Iterator[tuple[int, pd.DataFrame]]:
    """The number of its method and the rows of each training run, the returned ones last, above the others."""
    for at, table in reversed(list(enumerate(curves.values()))):
        for _, one in table.groupby("seed", sort=False):
            yield at, one


def _draw(axes: Axes, one: pd.DataFrame, column: str, at: int, style: str | tuple[int, tuple[float, float]] = "-") -> None:
    axes.plot(
        one["epoch"],
        one[column],
        color=_colour(at),
        linestyle=style,
        linewidth=1.4 if at == 0 else 0.8,
        alpha=1.0 if at == 0 else 0.7,
        marker="." if len(one) == 1 else "",
    )


def _leave_out_early_epochs(axes: Axes, curves: dict[str, pd.DataFrame]) -> None:
    """Cut off the rise from chance level, which would compress the rest: half of every curve stays in the plot."""
    runs = [one["val_macro_accuracy"] for _, one in _single(curves)]
    lowest, highest = min(run.median() for run in runs), max(run.max() for run in runs)
    low, high = axes.get_ylim()
    room = highest - lowest
    axes.set_ylim(max(low, lowest - 0.4 * room) if room > 0 else low, min(high, 1.005))  # no accuracy exceeds 1


def _best(table: pd.DataFrame) -> list[float]:
    return table.groupby("seed", sort=False)["val_macro_accuracy"].max().tolist()


def _colour(at: int) -> str:
    return BLUE if at == 0 else SERIES[1:][(at - 1) % len(SERIES[1:])]


def _name(run: Run, method: str) -> str:
    name = f"schedule {method.removeprefix('schedule_')}" if method.startswith("schedule_") else run.name_of(method)
    return label(name, 30, "strategy")
