"""The page of comparisons: strategies on one or several datasets, accuracy against cost, average ranks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from markupsafe import Markup
from matplotlib.ticker import LogLocator, NullLocator

from biotune.errors import RunFolderError
from biotune.report.read import read_rows, read_state
from biotune.report.runs_page import apart
from biotune.report.statistics import COLUMNS, notes, seeds_text, summarise, table_rows
from biotune.report.style import BLUE, MUTED, WIDE, Drawing, biotune_style, figure_with_axes, finish, label
from biotune.report.templating import template
from biotune.report.verdict import final_settings
from biotune.store.files import write_text
from biotune.store.folders import make_folder

_APART = 0.045  # smallest distance of two labels, as a fraction of the axis' height


@dataclass(frozen=True)
class Compared:
    """The results of strategies on one dataset.

    Attributes:
        folder: The folder they were read from.
        dataset: The dataset's name.
        backbone: The backbone's name.
        result: The output of `summarise` for its rows.
        seeds: Number of seeds, including those on which some failed.
        final_settings: The settings that only the final training runs had, as a sentence; empty for none.
    """

    folder: Path
    dataset: str
    backbone: str
    result: Mapping[str, Any]
    seeds: int
    final_settings: str = ""

    @property
    def means(self) -> dict[str, float]:
        """Mean test macro accuracy by strategy over the seeds that all have; those without a mean are left out."""
        entries = self.result["strategies"].items()
        return {name: score["mean"] for name, entry in entries if (score := entry["test"].get("macro_accuracy"))}


def read_compared(folder: Path) -> Compared:
    """Read a comparison's folder, or a run's folder, whose schedule and baselines are taken as its strategies.

    Raises:
        RunFolderError: The folder is neither, is not finished, or is damaged.
    """
    command, config = read_state(folder)
    rows = read_rows(folder, command)
    seeds = len({row["seed"] for row in rows})
    names = config["dataset"]["name"], config["backbone"]["name"]
    return Compared(folder, *names, summarise(rows), seeds, final_settings(config))


def average_ranks(compared: Sequence[Compared]) -> dict[str, float]:
    """Mean rank by macro accuracy over the datasets, 1 for the best, of strategies present in all of them; ties share ranks."""
    common = [name for name in compared[0].means if all(name in entry.means for entry in compared)]
    ranks: dict[str, list[float]] = {name: [] for name in common}
    for entry in compared:
        for name in common:
            own = entry.means[name]
            better = sum(entry.means[other] > own for other in common)
            equal = sum(entry.means[other] == own for other in common)
            ranks[name].append(better + (equal + 1) / 2)
    return dict(sorted(((name, fmean(own)) for name, own in ranks.items()), key=lambda pair: pair[1]))


def write_strategies(compared: Sequence[Compared], page: Path, plots: Path | None = None) -> Path:
    """Write the page.

    Args:
        compared: One entry per dataset, at least one.
        page: The path of the page.
        plots: A folder to which the plots are written as well; None writes none.

    Returns:
        The page's path.

    Raises:
        RunFolderError: A file cannot be written.
    """
    with biotune_style():
        drawings = [draw_cost_accuracy(entry, f"cost-{number}") for number, entry in enumerate(compared)]
    if plots is not None:
        make_folder(plots)
        for drawing in drawings:
            drawing.save(plots)
    text = template("comparison.html").render(
        title="Strategies compared" if len(compared) == 1 else f"Strategies compared on {len(compared)} datasets",
        compared=compared,
        columns=COLUMNS,
        rows=[list(table_rows(entry.result, in_percent=True)) for entry in compared],
        seeds=[seeds_text(entry.result, entry.seeds) for entry in compared],
        notes=[[*notes(entry.result), *([entry.final_settings] if entry.final_settings else [])] for entry in compared],
        images=[Markup(drawing.inline()) for drawing in drawings],
        ranks=average_ranks(compared) if len(compared) > 1 else {},
    )
    write_text(page, text)
    return page


def draw_cost_accuracy(compared: Compared, name: str) -> Drawing:
    """Test macro accuracy (mean ± sd) against a strategy's epochs, including the choice of its learning rate."""
    figure, axes = figure_with_axes(WIDE, 4.6, {"left": 0.62, "right": 1.9, "bottom": 0.5, "top": 0.14})
    points = []
    for strategy, entry in compared.result["strategies"].items():
        score = entry["test"].get("macro_accuracy")
        if score is None:
            continue
        colour = BLUE if strategy == "biotune" else MUTED
        cost = max(entry["epochs"], 1)
        axes.errorbar([cost], [score["mean"]], yerr=[score["sd"]], fmt="o", color=colour, markersize=5, capsize=2, elinewidth=1)
        points.append((score["mean"], cost, strategy, colour))
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xlabel("epochs trained for one seed, including the choice of the learning rate and any search")
    axes.set_ylabel("macro accuracy on the test set (%)")
    axes.yaxis.set_major_formatter(lambda value, _: f"{100 * value:g}")
    axes.grid(axis="y")
    low, high = axes.get_ylim()
    places = apart([mean for mean, *_ in sorted(points)], _APART * (high - low), high)
    for place, (mean, cost, strategy, colour) in zip(places, sorted(points), strict=True):
        axes.annotate(
            label(strategy, 26, "strategy"),
            (cost, mean),
            (1.02, (place - low) / (high - low)),
            textcoords="axes fraction",
            fontsize=8,
            color=colour,
            va="center",
            arrowprops={"arrowstyle": "-", "color": colour, "linewidth": 0.4, "alpha": 0.5},
        )
    axes.set_ylim(low, high)
    said = ", ".join(f"{strategy} {100 * mean:.1f} % for {cost:.0f} epochs" for mean, cost, strategy, _ in points)
    return finish(figure, name, f"Accuracy against cost on {compared.dataset}: {said}")


def check_comparable(compared: Sequence[Compared]) -> None:
    """Check that the datasets have a strategy in common.

    Raises:
        RunFolderError: They have none.
    """
    if len(compared) > 1 and not average_ranks(compared):
        names = ", ".join(str(entry.folder) for entry in compared)
        raise RunFolderError(f"{names}: have no strategy in common that was trained on all; report them one by one.")
