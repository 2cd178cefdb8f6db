"""Plots from a folder that holds nothing but tables."""

from __future__ import annotations

import re
import shutil
import warnings
import xml.etree.ElementTree as ElementTree
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from made_up import change_json, make_run
from matplotlib.figure import Figure
from PIL import Image

from biotune.report.plots import chosen_schedule, draw_cost, draw_fitness, search_score
from biotune.report.read import Run, read_run
from biotune.report.run import draw, write_report
from biotune.report.strip import colour_of, widths

pytestmark = pytest.mark.usefixtures("drawn")

ALL = {"schedule", "scores", "confusion", "reliability", "fitness", "importance", "cost", "confirmation"}


def drawn(folder: Path) -> dict[str, bytes]:
    write_report(read_run(folder))
    return {path.name: path.read_bytes() for path in (folder / "plots").iterdir()}


@pytest.mark.parametrize(
    "size",
    [
        {},
        {"generations": 0, "candidates": 1, "blocks": 1, "folds": 1, "seeds": 1, "confirmed": 1, "classes": ["a", "b"]},
        {"generations": 12, "blocks": 40, "classes": [f"class {number}" for number in range(60)], "tests": 300},
    ],
)
def test_images_of_every_size_of_run_are_drawn_and_not_blank(size: dict[str, object], tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # matplotlib warns of missing glyphs, empty ranges and texts that do not fit
        images = drawn(make_run(tmp_path / "run", **size))  # type: ignore[arg-type]
    assert set(images) == {f"{name}.{ending}" for name in ALL for ending in ("png", "svg")}
    for name in ALL:
        with Image.open(tmp_path / "run/plots" / f"{name}.png") as image:
            pixels = np.asarray(image.convert("L"))
        assert min(pixels.shape) > 150, name
        assert (pixels < 128).mean() > 0.002, name
        assert ElementTree.fromstring(images[f"{name}.svg"]).tag.endswith("svg")


@pytest.mark.slow
def test_drawing_twice_leaves_the_same_bytes_in_place_and_elsewhere(tmp_path: Path) -> None:
    here = make_run(tmp_path / "here")
    first = drawn(here)
    page = (here / "report.html").read_bytes()
    assert drawn(here) == first
    elsewhere = Path(shutil.copytree(here, tmp_path / "elsewhere"))
    shutil.rmtree(elsewhere / "plots")
    assert drawn(elsewhere) == first
    assert (elsewhere / "report.html").read_bytes() == page


def test_what_the_tables_hold_is_what_is_drawn(a_run: Path, tmp_path: Path) -> None:
    one, other = draw(read_run(a_run)), draw(read_run(make_run(tmp_path / "other", seed=1, tests=50)))
    assert not [name for name in one if one[name].png and one[name].png == other[name].png]


def test_without_confirmation_that_plot_alone_is_left_out(a_run: Path, tmp_path: Path) -> None:
    assert set(draw(read_run(a_run))) - set(draw(read_run(make_run(tmp_path / "run", confirmed=0)))) == {"confirmation"}


def test_unknown_block_sizes_are_drawn_equally_wide(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found: list[tuple[float, ...]] = []
    monkeypatch.setattr("biotune.report.strip.widths", lambda *given: (found.append(widths(*given)), found[-1])[1])
    folder = make_run(tmp_path / "run", blocks=3)
    change_json(folder / "result.json", schedule={"blocks": {f"layer{at}": {} for at in range(3)}})
    run = read_run(folder)
    assert run.parameters is None
    assert "schedule" in draw(run)
    assert found and all(len(row) == 3 and len(set(row)) == 1 for row in found)


def test_widths_are_shares_but_never_below_the_least() -> None:
    assert widths([1, 3], 8, 1) == (2, 6)
    assert widths([0, 1, 9], 10, 1) == pytest.approx((1, 1, 8))
    assert widths([5, 5], 2, 1) == (1, 1)
    assert sum(widths([2**at for at in range(14)], 9, 0.25)) == pytest.approx(9)


def test_a_faster_rate_is_darker_also_in_grey() -> None:
    rates = np.geomspace(0.1, 10, 30)
    grey = [float(np.dot(colour_of(rate)[:3], (0.299, 0.587, 0.114))) for rate in rates]
    assert all(later < earlier for earlier, later in zip(grey, grey[1:], strict=False))
    assert colour_of(100) == colour_of(10)


def test_the_search_score_is_the_mean_over_the_folds_it_was_measured_on(a_run: Path) -> None:
    run = read_run(a_run)
    assert run.search is not None
    table = run.search.generations
    table.loc[table["individual"] == 23, "val_accuracy"] = 0.8
    again = table[table["individual"] == 23].assign(fold=0, val_accuracy=0.9)
    table.loc[len(table)] = again.iloc[0]
    assert search_score(run.search, "23") == pytest.approx(0.85)
    assert chosen_schedule(run, run.search) == "23"


def test_names_that_the_font_lacks_leave_no_warning(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run", blocks=["$x^2$", "块", "كتلة", "b" * 90], classes=["鸟", "$", "</svg>"])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        drawings = draw(read_run(folder))
    assert set(drawings) >= ALL


def test_a_image_inside_a_page_has_ids_of_its_own_and_no_fixed_ink(a_run: Path) -> None:
    run: Run = read_run(a_run)
    text = draw(run)["fitness"].inline()
    assert 'id="fitness-' in text
    assert "var(--ink)" in text
    assert 'width="' not in text[: text.index(">")]
    assert "<!--" not in text
    assert "<?xml" not in text


def test_schedules_that_differ_in_the_order_alone_are_told_apart(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run")
    run = read_run(folder)
    assert run.search is not None
    chosen = chosen_schedule(run, run.search)
    assert chosen is not None
    before = search_score(run.search, chosen)
    table = run.search.generations
    twin = table[table["individual"] == int(chosen)].assign(individual=0, val_accuracy=0.99, unfreezing="last_to_first")
    both = replace(run.search, generations=pd.concat([twin, table[table["individual"] > 0]], ignore_index=True))
    assert search_score(both, chosen) == pytest.approx(before)
    assert search_score(both, "0") == pytest.approx(0.99)
    same_scores = pd.concat(
        [run.search.confirm[run.search.confirm["schedule"] == chosen].assign(schedule="0"), run.search.confirm]
    )
    assert chosen_schedule(run, replace(both, confirm=same_scores)) == chosen


def test_a_search_by_another_metric_shows_that_metric_and_confirms_accuracy(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run")
    config = folder / ".hydra/config.yaml"
    config.write_text(config.read_text() + "fitness: {metric: loss}\n")
    run = read_run(folder)
    assert run.search is not None and run.search.metric == "loss"
    plots = {name: drawing.inline() for name, drawing in draw(run).items()}
    assert "generation, geometric mean of the true classes" in plots["fitness"]
    # what is held against a confirmed accuracy is one, too
    run.search.generations["fitness"] = 0.5
    chosen = chosen_schedule(run, run.search)
    assert chosen is not None and search_score(run.search, chosen) != pytest.approx(0.5)


@pytest.mark.parametrize("whose", ["returned", "best"])
def test_the_marked_share_is_the_one_that_is_told(a_run: Path, whose: str, monkeypatch: pytest.MonkeyPatch) -> None:
    search = read_run(a_run).search
    assert search is not None
    figures: list[Figure] = []
    monkeypatch.setattr("biotune.report.plots.finish", lambda figure, *rest: figures.append(figure))
    draw_cost(0.37, search, whose)
    (axes, _) = figures[0].axes
    assert [text.get_text() for text in axes.texts] == [whose]
    (line,) = axes.lines
    assert list(line.get_xdata()) == [0.37, 0.37]


def test_a_run_marks_the_share_of_what_it_returns(a_run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[tuple[float, str]] = []

    def note(share: float, search: object, whose: str = "returned") -> None:
        told.append((share, whose))

    monkeypatch.setattr("biotune.report.plots.draw_cost", note)
    run = read_run(a_run)
    draw(run)
    assert told == [(run.trainable_share, "returned")]


def test_spread_candidates_are_drawn_without_markers_of_folds(a_run: Path) -> None:
    search = read_run(a_run).search
    assert search is not None
    of_one_fold = replace(search, summary=search.summary.assign(fold=0))
    # the ids of an SVG are drawn anew each time
    spread, plain, one = (
        re.sub("fitness-[mp][0-9a-f]{10}", "", draw_fitness(own).inline())
        for own in (replace(search, spread=True), search, of_one_fold)
    )
    assert spread == one != plain
