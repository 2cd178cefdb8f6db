"""The page of a search that a program asked and told: the best schedule and how it was found; its folder is the only input."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from markupsafe import Markup

from biotune.errors import BiotuneError, RunFolderError
from biotune.evolution.rows import costs_of
from biotune.report.checked import checked_json, checked_table, checked_yaml
from biotune.report.front import draw_fronts, front_section
from biotune.report.plots import draw_cost, draw_fitness, draw_importance
from biotune.report.read import SCORE, Search, search_tables
from biotune.report.run_page import duration, percent, template
from biotune.report.strip import Strip, draw_strips
from biotune.report.style import NARROW, WIDE, Drawing, biotune_style
from biotune.schedule.schedule import Schedule
from biotune.schedule.schedule_file import load_schedule
from biotune.store.files import FRONT, PLOTS, REPORT, SCHEDULE, SEARCH, STATUS, SUMMARY, write_text
from biotune.store.folders import make_folder
from biotune.store.status import state_and_error


@dataclass(frozen=True)
class AskedSearch:
    """A search, finished or not, read from its folder.

    Attributes:
        folder: The folder.
        status: The content of `status.json`.
        state: finished, running or interrupted.
        settings: The settings of the search by name.
        schedule: The best schedule.
        parameters: Number of parameters of each block; None where the blocks do not state it.
        search: Its tables.
        front: The members of the front with their costs, None in a search for the score alone; see `front.draw_fronts`.
    """

    folder: Path
    status: Mapping[str, Any]
    state: str
    settings: Mapping[str, Any]
    schedule: Schedule
    parameters: Mapping[str, int] | None
    search: Search
    front: Mapping[str, Any] | None = None

    @property
    def share(self) -> float | None:
        """The share of the parameters that the best schedule trains; None where it is not known."""
        if self.parameters is None:
            return None
        trained = zip(self.schedule.names, self.schedule.selected, strict=True)
        return sum(self.parameters[name] for name, selected in trained if selected) / sum(self.parameters.values())


def read_asked_search(folder: Path) -> AskedSearch:
    """Read the folder of a search, which need not be over.

    Raises:
        RunFolderError: No generation is complete yet, or a file is missing or damaged.
    """
    status = checked_json(folder / STATUS)
    if not (folder / SUMMARY).is_file() or not (folder / SCHEDULE).is_file():
        raise RunFolderError(f"{folder}: this search has no complete generation with a score yet; tell it more trials.")
    known = checked_yaml(folder / SEARCH, dict)
    try:
        schedule = load_schedule(folder / SCHEDULE)
    except BiotuneError as error:
        raise RunFolderError(str(error).removeprefix("schedule=")) from error
    settings, sizes = known.get("settings"), known.get("parameters")
    if not isinstance(settings, dict) or not isinstance(sizes, dict) or not {*sizes} <= {*schedule.names}:
        raise RunFolderError(f"{folder / SEARCH}: is damaged (its settings or parameters are missing).")
    summary, generations = search_tables(folder, schedule, sized=bool(sizes))
    costs = {name: float(summary[name].sum()) for name in ("evaluations", "trainings", "pruned", "failures", "seconds")}
    spread = bool(settings.get("spread")) and settings.get("folds") != 1
    search = Search(summary, generations, generations.iloc[:0], None, costs, SCORE, spread)
    state = str(state_and_error(folder)[0])
    return AskedSearch(folder, status, state, settings, schedule, sizes or None, search, _read_front(folder))


def _read_front(folder: Path) -> dict[str, Any] | None:
    """The front as it stood after the last complete generation."""
    if not (folder / FRONT).is_file():
        return None
    table = checked_table(folder / FRONT, {"number", "accuracy"}, {"knee"})
    costs = costs_of(list(table.columns))
    rows = checked_table(folder / FRONT, {"number", "accuracy", *costs}, {"knee"}).to_dict("records")
    names = ("number", "accuracy", *costs, "knee")
    unconfirmed = {"confirmed_accuracy": None, "confirmed_se": None, "confirmed_trials": 0}
    return {"costs": costs, "members": [{name: row[name] for name in names} | unconfirmed for row in rows]}


def write_asked_search(found: AskedSearch, page: Path | None = None) -> Path:
    """Write the plots of a search into its `plots/`, and its page.

    Args:
        found: The search.
        page: The path of the page; by default `report.html` in the folder.

    Returns:
        The page's path.

    Raises:
        RunFolderError: A file cannot be written.
    """
    drawings = _draw(found)
    make_folder(found.folder / PLOTS)
    for drawing in drawings.values():
        if drawing.png:
            drawing.save(found.folder / PLOTS)
    page = page or found.folder / REPORT
    text = template("search.html").render(
        title=f"A search over {len(found.schedule.blocks)} blocks",
        found=found,
        lead=_lead(found),
        tiles=_tiles(found),
        images={name: Markup(drawing.inline()) for name, drawing in drawings.items()},
        blocks=_blocks(found),
        front=front_section(found.front, "{:.4g}".format),
        settings={name: value for name, value in found.settings.items() if value is not None},
    )
    write_text(page, text)
    return page


def _draw(found: AskedSearch) -> dict[str, Drawing]:
    strip = [Strip("", found.schedule, None if found.parameters is None else dict(found.parameters))]
    with biotune_style():
        drawings = [
            draw_strips(strip, WIDE, "schedule"),
            draw_strips(strip, NARROW, "schedule-narrow", with_png=False),
            draw_fitness(found.search),
            draw_importance(found.schedule.names, found.search),
            *([] if found.share is None else [draw_cost(found.share, found.search, "best")]),
            *draw_fronts(found.front, told=True),
        ]
    return {drawing.name: drawing for drawing in drawings}


def _lead(found: AskedSearch) -> str:
    """How far the search is, and the scores that its trials reached."""
    scores = found.search.generations.loc[found.search.generations["status"].isin(("ok", "cached")), "val_accuracy"]
    far = "is over" if found.state == "finished" else f"is not over ({found.state})"
    reached = f"; the scores of trials that were trained to the end go from {scores.min():.4g} to {scores.max():.4g}"
    return f"The search {far}{'' if scores.empty else reached}."


def _tiles(found: AskedSearch) -> list[tuple[str, str]]:
    costs = found.search.costs
    tiles = [(f"{sum(found.schedule.selected)} of {len(found.schedule.blocks)}", "blocks trained")]
    if found.share is not None:
        tiles.append((percent(found.share), "of the parameters trained"))
    tiles.append((f"{int(costs['trainings']):,}", f"trials in {duration(costs['seconds'])}"))
    return tiles + [(f"{int(costs[name]):,}", words) for name, words in (("pruned", "stopped early"), ("failures", "failed"))]


def _blocks(found: AskedSearch) -> list[dict[str, str]]:
    schedule, sizes = found.schedule, found.parameters
    importances = schedule.importances or [None] * len(schedule.blocks)
    return [
        {
            "name": block.name,
            "modules": " ".join(block.modules),
            "importance": "–" if importance is None else f"{importance:.3f}",
            "weight": f"{weight:.2f}" if weight else "frozen",
            "parameters": "–" if sizes is None else f"{sizes[block.name]:,}",
        }
        for block, weight, importance in zip(schedule.blocks, schedule.lr_weights, importances, strict=True)
    ]
