"""Plots from a folder that holds nothing but tables."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from biotune.report import draw_plots
from biotune.tables import SUMMARY_COLUMNS


def fill(folder: Path, generations: int = 4, blocks: int = 6, frozen: int = 2) -> Path:
    """A run's folder by hand: the summary's columns and a schedule file."""
    folder.mkdir(exist_ok=True)
    rows = [f"{g},{g % 2},{0.3 - g / 50},{0.4 - g / 50},{0.6 - g / 50},0.1,0.2,10,30,0,0,0,1.5" for g in range(generations)]
    (folder / "summary.csv").write_text("\n".join([",".join(SUMMARY_COLUMNS), *rows]) + "\n")
    lines = ["format: 1", "base_lr: 0.001", "threshold: 0.4", "blocks:"]
    for index in range(blocks):
        weight = 0.0 if index < frozen else 10 ** (index / blocks - 0.5)
        state = "true" if index < frozen else "false"
        lines.append(f"  block{index}: {{modules: [m{index}], frozen: {state}, importance: 0.5, lr_weight: {weight}}}")
    (folder / "best_schedule.yaml").write_text("\n".join(lines) + "\n")
    return folder


def drawn(folder: Path) -> dict[str, bytes]:
    draw_plots(folder)
    return {path.name: path.read_bytes() for path in (folder / "plots").glob("*.png")}


@pytest.mark.parametrize(("generations", "blocks", "frozen"), [(4, 6, 2), (1, 1, 0), (1, 2, 1), (30, 40, 13)])
def test_pictures_of_every_size_of_run_are_drawn_and_not_blank(
    generations: int, blocks: int, frozen: int, tmp_path: Path
) -> None:
    pictures = drawn(fill(tmp_path, generations, blocks, frozen))
    assert {"fitness.png", "schedule.png"} <= set(pictures)
    for name in pictures:
        with Image.open(tmp_path / "plots" / name) as picture:
            picture.load()
            pixels = np.asarray(picture.convert("L"))
        assert min(pixels.shape) > 300
        assert (pixels < 128).mean() > 0.002, name


def test_drawing_twice_leaves_the_same_bytes_in_place_and_elsewhere(tmp_path: Path) -> None:
    here = fill(tmp_path / "here")
    first = drawn(here)
    assert drawn(here) == first
    assert drawn(fill(tmp_path / "elsewhere")) == first


def test_what_the_tables_hold_is_what_is_drawn(tmp_path: Path) -> None:
    one, other = drawn(fill(tmp_path / "one")), drawn(fill(tmp_path / "other", generations=5, frozen=3))
    assert one["fitness.png"] != other["fitness.png"]
    assert one["schedule.png"] != other["schedule.png"]
