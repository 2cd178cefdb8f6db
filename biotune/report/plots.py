"""The plots of one run: test scores, fitness, importance, confirmation, cost against accuracy. Drawn from a `Run` alone."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator, PercentFormatter

from biotune.fitness.fitness import METRICS
from biotune.report.read import SCORE, Run, Score, Search
from biotune.report.style import (
    BLUE,
    INK,
    MUTED,
    NARROW,
    PAPER,
    RATES,
    SERIES,
    VERMILION,
    Drawing,
    figure_with_axes,
    finish,
    label,
)
from biotune.report.verdict import method_name

_MARGINS = {"left": 0.62, "right": 0.12, "bottom": 0.5, "top": 0.42}
_SOUND = ("ok", "cached")


def draw_scores(run: Run) -> Drawing:
    """Macro accuracy on the test set by method: one dot per training seed, and mean ± sd."""
    scores = [(method, score) for method in run.scores if (score := run.score(method))]
    figure, axes = figure_with_axes(NARROW, 0.8 + 0.5 * len(scores), _MARGINS | {"left": 1.32, "top": 0.1, "right": 0.2})
    for place, (_, score) in enumerate(scores):
        draw_score(axes, place, score, BLUE if place == 0 else MUTED)
    axes.set_yticks(range(len(scores)), [label(run.name_of(method), 18, "strategy") for method, _ in scores])
    axes.tick_params(axis="y", length=0)
    axes.set_ylim(len(scores) - 0.5, -0.5)
    axes.set_xlabel("macro accuracy on the test set (%)")
    in_percent(axes, "x")
    said = ", ".join(f"{run.name_of(method)} {100 * score.mean:.1f} ± {100 * score.sd:.1f} %" for method, score in scores)
    return finish(figure, "scores", f"Macro accuracy on the test set: {said}")


def draw_score(axes: Axes, place: float, score: Score, colour: str) -> None:
    """One score along x: values above, mean ± sd below."""
    axes.plot(
        score.values, [place - 0.16] * len(score.values), "o", color=colour, alpha=0.55, markersize=4.5, markeredgewidth=0
    )
    axes.errorbar(
        [score.mean], [place + 0.12], xerr=[score.sd], fmt="D", color=colour, markersize=5.5, capsize=3, elinewidth=1.4
    )


def draw_fitness(search: Search) -> Drawing:
    """Best, mean and worst survivor by generation, one marker per fold where a generation has one, and the confirmed score."""
    figure, axes = figure_with_axes(NARROW, 3.3, _MARGINS | {"top": 0.62})
    summary = search.summary
    generation = summary["generation"]
    best, mean, worst = (1 - summary[f"{name}_fitness"] for name in ("best", "mean", "worst"))
    axes.fill_between(generation, worst, best, color=SERIES[5], alpha=0.22, linewidth=0, label="worst to best")
    axes.plot(generation, mean, "--", color=VERMILION, linewidth=1.3, label="mean")
    axes.plot(generation, best, "-", color=BLUE, linewidth=1.3, label="best")
    shared = summary["fold"] * (not search.spread)  # spread candidates have no fold in common
    folds = sorted(shared.unique())
    for fold, marker in zip(folds, "os^DvP*X" * len(folds), strict=False):
        at = shared == fold
        name = f"on fold {fold}" if len(folds) > 1 else None
        axes.plot(generation[at], mean[at], marker, color=VERMILION, markersize=4)
        axes.plot(generation[at], best[at], marker, color=BLUE, markersize=5)
        if name:
            axes.plot([], [], marker, color=MUTED, markersize=5, label=name)
    if search.confirmed and search.metric == "acc":  # confirmed scores are accuracies
        axes.axhline(search.confirmed.mean, color=INK, linewidth=1, linestyle=(0, (1, 1.5)), label="chosen, confirmed")
    axes.set_xlabel("generation")
    measure = SCORE if search.metric == SCORE else METRICS[search.metric]
    axes.set_ylabel(f"{measure},\nvalidation (%)" if search.metric not in ("acc", SCORE) else _validation(search))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.margins(x=0.03)
    axes.grid(axis="y")
    _leave_out_the_worst(axes, best, mean)
    values = [f"{value:.4g}" if search.metric == SCORE else f"{100 * value:.1f} %" for value in best]
    if search.metric != SCORE:
        in_percent(axes, "y")
    legend_above(axes)
    said = f"Best survivor by generation, {measure}: {', '.join(values)}"
    return finish(figure, "fitness", said)


def draw_importance(names: Sequence[str], search: Search) -> Drawing:
    """Mean importance of each block among the survivors, hatched where half of them freeze it; the threshold below."""
    kept = _survivors(search.generations)
    means = kept.groupby("generation").mean(numeric_only=True)
    frozen = kept[[f"lr_weight_{name}" for name in names]].eq(0).groupby(kept["generation"]).mean()
    step = 0.24 if len(names) <= 30 else 0.13
    labels = [label(name, 20, f"block {at}") for at, name in enumerate(names, 1)]
    left, right, bottom, below, gap = max(0.75, 0.2 + 0.075 * max(map(len, labels))), 0.75, 0.5, 0.62, 0.14
    tall = max(step * len(names), 1.2)  # inches that the label of the key needs
    height = bottom + below + gap + tall + 0.12
    figure = Figure(figsize=(NARROW, height))
    box = (left / NARROW, (bottom + below + gap) / height, (NARROW - left - right) / NARROW, tall / height)
    axes = figure.add_axes(box)
    lower = figure.add_axes((box[0], bottom / height, box[2], below / height), sharex=axes)
    generations = means.index.to_numpy()
    values = means[[f"importance_{name}" for name in names]].to_numpy().T
    # edges, not centres: pcolormesh could not guess them from a single generation
    across, down = np.append(generations - 0.5, generations[-1] + 0.5), np.arange(len(names) + 1) - 0.5
    mesh = axes.pcolormesh(across, down, values, cmap=RATES, vmin=0, vmax=1, edgecolors=PAPER, linewidth=0.6)
    for row, column in zip(*np.nonzero(frozen.to_numpy().T >= 0.5), strict=True):
        corner = (generations[column] - 0.5, row - 0.5)
        axes.add_patch(Rectangle(corner, 1, 1, facecolor="none", edgecolor="#8b929c", hatch="////", linewidth=0))
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.set_yticks(range(len(names)), labels, fontsize=8 if step > 0.2 else 6)
    axes.tick_params(length=0, labelbottom=False)
    axes.spines[:].set_visible(False)
    _draw_threshold(lower, kept)
    key = figure.add_axes(((NARROW - right + 0.1) / NARROW, box[1], 0.12 / NARROW, box[3]))
    figure.colorbar(mesh, cax=key, label="mean importance", ticks=[0, 0.2, 0.4, 0.6, 0.8, 1]).outline.set_visible(False)
    said = f"Importance of {len(names)} blocks over {len(generations)} generations, with the freezing threshold"
    return finish(figure, "importance", said)


def draw_confirmation(run: Run, search: Search) -> Drawing | None:
    """The search score of each finalist against its mean over all confirming trials; a baseline has none in the search."""
    failed = search.confirm.loc[search.confirm["macro_accuracy"].isna(), "schedule"]
    confirmed = search.confirm[~search.confirm["schedule"].isin(failed)].groupby("schedule")["macro_accuracy"]
    if not len(confirmed):
        return None
    table = pd.DataFrame({"mean": confirmed.mean(), "sd": confirmed.std(ddof=1).fillna(0.0)})
    table = table[confirmed.count() == confirmed.count().max()]  # some were far behind after half of the trials
    table["search"] = [search_score(search, number) for number in table.index]
    table = table.sort_values(["mean", "search"], ascending=False, kind="stable")
    figure, axes = figure_with_axes(NARROW, 1.15 + 0.34 * len(table), _MARGINS | {"left": 1.7, "right": 0.2})
    chosen = chosen_schedule(run, search)
    for place, (number, row) in enumerate(table.iterrows()):
        colour = BLUE if number == chosen else MUTED
        axes.errorbar([row["mean"]], [place], xerr=[row["sd"]], fmt="D", color=colour, markersize=5.5, capsize=3)
        if np.isfinite(row["search"]):
            axes.plot([row["search"]], [place], "o", markerfacecolor=PAPER, markeredgecolor=colour, markersize=6)
    axes.plot([], [], "o", markerfacecolor=PAPER, markeredgecolor=MUTED, label="in the search")
    axes.errorbar([], [], xerr=[], fmt="D", color=MUTED, label="confirmed, mean ± sd")
    labels = [label(_finalist(name, name == chosen), 22, "schedule") for name in table.index]
    axes.set_yticks(range(len(table)), labels)
    axes.set_ylim(len(table) - 0.4, -0.6)
    axes.set_xlabel("validation macro accuracy (%)")
    axes.grid(axis="x")
    in_percent(axes, "x")
    legend_above(axes)
    said = "; ".join(
        f"{_finalist(str(at), at == chosen)}: {row['search']:.3f} in the search, {row['mean']:.3f} confirmed"
        if np.isfinite(row["search"])
        else f"{_finalist(str(at), at == chosen)}: {row['mean']:.3f} confirmed"
        for at, row in table.iterrows()
    )
    return finish(figure, "confirmation", f"Search score against confirmed score: {said}")


def _finalist(name: str, chosen: bool) -> str:
    """The name of an evolved schedule, which is a number, or of a baseline."""
    own = f"schedule {name}" if name.isdigit() else method_name(name)
    return f"chosen: {own}" if chosen else own


def draw_cost(share: float, search: Search, whose: str = "returned") -> Drawing:
    """Validation score against the trained share of the parameters, one dot per candidate, coloured by generation.

    Args:
        share: The share that is marked: of a run's returned schedule, which may be a baseline's, or of a search's best.
        search: The search.
        whose: The word at the mark.
    """
    sound = search.generations[search.generations["status"].isin(_SOUND)].dropna(subset="val_accuracy")
    figure, axes = figure_with_axes(NARROW, 3.3, _MARGINS | {"right": 0.85, "top": 0.28})
    last = max(int(search.generations["generation"].max()), 1)
    dots = axes.scatter(
        sound["trainable_share"],
        sound["val_accuracy"],
        c=sound["generation"],
        cmap=RATES,
        vmin=0,
        vmax=last,
        s=20,
        linewidths=0.6,
        edgecolors=MUTED,
    )
    axes.axvline(share, color=INK, linewidth=1, linestyle=(0, (1, 1.5)))
    axes.annotate(
        whose,
        (share, 1),
        xycoords=("data", "axes fraction"),
        xytext=(0, 3),
        textcoords="offset points",
        ha="center",
        fontsize=8,
    )
    axes.set_xlim(-0.03, 1.03)
    axes.set_xlabel("trained share of the parameters (%)")
    axes.set_ylabel(_validation(search))
    axes.grid()
    in_percent(axes, "x")
    if search.metric != SCORE:
        in_percent(axes, "y")
    key = figure.add_axes(((NARROW - 0.72) / NARROW, 0.5 / 3.3, 0.12 / NARROW, 2.52 / 3.3))
    bar = figure.colorbar(dots, cax=key, label="generation", ticks=MaxNLocator(nbins=6, integer=True))
    bar.outline.set_visible(False)
    return finish(figure, "cost", f"Trained share against validation accuracy of {len(sound)} candidates")


def search_score(search: Search, label: str) -> float:
    """A schedule's validation accuracy in the search: the mean over the folds on which it was evaluated; NaN for a baseline."""
    table = search.generations
    # not every table has the columns of the order and of the head
    what = [name for name in table.columns if name.startswith("lr_weight_") or name in ("unfreezing", "head_start")]
    own = table.loc[table["individual"].astype(str) == label, what]
    if own.empty:
        return float("nan")
    rows = []
    for _, schedule in own.drop_duplicates().iterrows():  # a probe may have replaced the genes of an elite
        same = table[(table[what] == schedule).all(axis=1) & table["status"].isin(_SOUND)]
        rows.append(same.groupby("fold")["val_accuracy"].last().mean())
    return float(max(rows))


def chosen_schedule(run: Run, search: Search) -> str | None:
    """The label of the finalist that the confirmation chose: the number of a schedule, or the name of a baseline."""
    confirmed = search.confirmed
    if confirmed is None:
        return None
    if "chosen" in run.confirmed:
        return str(run.confirmed["chosen"])
    # folders of earlier versions do not state it
    means = search.confirm.groupby("schedule")["macro_accuracy"].mean()
    table = search.generations
    weights = np.array(run.schedule.lr_weights)
    columns = [f"lr_weight_{name}" for name in run.schedule.names]
    same = np.isclose(table[columns].to_numpy(), weights).all(axis=1)
    for name, value in (("unfreezing", run.schedule.unfreezing), ("head_start", run.schedule.head_start)):
        if name in table:
            same &= (table[name] == value).to_numpy()
    alike = table.loc[same, "individual"]
    numbers = set(alike.astype(str))
    fitting = [number for number in means.index if number in numbers and np.isclose(means[number], confirmed.mean)]
    return str(fitting[0]) if fitting else None


def _survivors(generations: pd.DataFrame) -> pd.DataFrame:
    kept = generations[generations["kept"].astype(str) == "True"]
    return kept if set(kept["generation"]) == set(generations["generation"]) else generations


def _leave_out_the_worst(axes: Axes, best: pd.Series, mean: pd.Series) -> None:
    """Cut off survivors near chance level, which would compress the other curves at the top of the plot."""
    low, high = axes.get_ylim()
    room = float(best.max() - mean.min())
    axes.set_ylim(max(low, mean.min() - 0.4 * room) if room > 0 else low, high)


def _draw_threshold(axes: Axes, kept: pd.DataFrame) -> None:
    by_generation = kept.groupby("generation")["threshold"]
    mean, low, high = by_generation.mean(), by_generation.min(), by_generation.max()
    axes.fill_between(mean.index, low, high, color=MUTED, alpha=0.2, linewidth=0)
    axes.plot(mean.index, mean, "o-", color=INK, markersize=3.5, linewidth=1.2)
    axes.set_ylim(0, 1)
    axes.set_yticks([0, 0.5, 1], ["0", "0.5", "1"], fontsize=8)
    axes.set_ylabel("threshold")
    axes.set_xlabel("generation")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.grid(axis="y")


def _validation(search: Search) -> str:
    """The label of an axis of validation scores."""
    return "score" if search.metric == SCORE else "validation macro accuracy (%)"


def in_percent(axes: Axes, which: str) -> None:
    """Format the fractions of an axis in percent; the axis' label names the unit."""
    axis = axes.xaxis if which == "x" else axes.yaxis
    axis.set_major_formatter(PercentFormatter(1, symbol=""))


def legend_above(axes: Axes, left: float = -0.02) -> None:
    """Place the legend above the axes, where it covers no data, starting at `left` (axes fraction)."""
    axes.legend(loc="lower left", bbox_to_anchor=(left, 1.0), ncols=3, handlelength=1.6, columnspacing=1.2, borderaxespad=0.2)
