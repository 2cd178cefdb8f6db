"""Plots and the report page of a run; its folder is the only input. Imports no torch."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from biotune.store.files import PLOTS, REPORT, write_text
from biotune.store.folders import make_folder

if TYPE_CHECKING:
    from biotune.report.read import Run
    from biotune.report.style import Drawing


def write_report(run: Run, page: Path | None = None) -> Path:
    """Write a run's plots into its `plots/` and its page.

    Args:
        run: The run, as `read_run` returns it.
        page: The path of the page; by default `report.html` in the run's folder.

    Returns:
        The page's path.

    Raises:
        RunFolderError: A file cannot be written.
    """
    # matplotlib and jinja2 take a second to import: a run needs them at its end, not before its first trial
    from biotune.report.classes import worst
    from biotune.report.run_page import render_run

    drawings = draw(run)
    plots = run.folder / PLOTS
    make_folder(plots)
    for drawing in drawings.values():
        if drawing.png:
            drawing.save(plots)
    page = page or run.folder / REPORT
    write_text(page, render_run(run, drawings, worst(run)))
    return page


def draw(run: Run) -> dict[str, Drawing]:
    """Draw all plots of a run; returns them by name."""
    from biotune.report.classes import draw_confusion
    from biotune.report.curves import draw_curves
    from biotune.report.front import draw_fronts
    from biotune.report.plots import draw_confirmation, draw_cost, draw_fitness, draw_importance, draw_scores
    from biotune.report.reliability import draw_reliability
    from biotune.report.side_by_side import draw_side_by_side
    from biotune.report.strip import Strip, draw_strips
    from biotune.report.style import NARROW, WIDE, biotune_style

    strip = [Strip("", run.schedule, run.parameters)]
    with biotune_style():
        drawings: list[Drawing | None] = [
            draw_strips(strip, WIDE, "schedule"),
            draw_strips(strip, NARROW, "schedule-narrow", with_png=False),
            draw_scores(run),
            draw_confusion(run),
            draw_reliability(run),
            *draw_curves(run),
            draw_side_by_side(run),
        ]
        if run.search:
            drawings += [
                draw_fitness(run.search),
                draw_importance(run.schedule.names, run.search),
                draw_cost(run.trainable_share, run.search),
                draw_confirmation(run, run.search),
                *draw_fronts(run.front),
            ]
    return {drawing.name: drawing for drawing in drawings if drawing}
