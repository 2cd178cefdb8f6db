"""The style of all plots, and the export of a figure to files and into a page. Knows nothing about runs.

Each figure is drawn once, in the colours of a light page; inside an HTML page these become CSS variables, so that the same
drawing suits dark and light mode.
"""

from __future__ import annotations

import io
import re
import unicodedata
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, to_rgb
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, findfont, get_font

from biotune.store.files import write_whole

PAPER, INK, MUTED, GRID = "#fffffe", "#1d2127", "#5b6471", "#d9dde3"
BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY = "#0072b2", "#d55e00", "#009e73", "#b5609c", "#c98a00", "#3f9fd6"
FROZEN, FROZEN_LINE = "#e4e6ea", "#9aa2ad"
# Okabe and Ito's colours, darkened if faint on white: distinguishable with every kind of colour vision
SERIES = (BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY)
_AS_VARIABLE = {
    PAPER: "paper",
    INK: "ink",
    MUTED: "muted",
    GRID: "grid",
    BLUE: "blue",
    VERMILION: "vermilion",
    GREEN: "green",
    PURPLE: "purple",
    ORANGE: "orange",
    SKY: "sky",
    FROZEN: "frozen",
    FROZEN_LINE: "frozen-line",
}
# light to dark in even steps of lightness, so that the order survives printing in grey
RATES = LinearSegmentedColormap.from_list("rates", ["#fbe8a6", "#a8d5a2", "#4fb0b3", "#2f78b3", "#2b3f92"])
WIDE, NARROW = 9.6, 4.6  # inches: the width of a page, and of half a page or a phone
_DPI = 160
_RC: Any = {
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "axes.titlesize": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": MUTED,
    "axes.labelcolor": INK,
    "axes.linewidth": 0.7,
    "axes.axisbelow": True,
    "axes.facecolor": PAPER,
    "figure.facecolor": PAPER,
    "savefig.facecolor": PAPER,
    "grid.color": GRID,
    "grid.linewidth": 0.6,
    "text.color": INK,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "legend.frameon": False,
    "legend.fontsize": 8,
    "hatch.linewidth": 0.7,
    "svg.fonttype": "path",  # the reader may not have the font
    "svg.hashsalt": "biotune",  # fixed, so that equal drawings get equal ids
    "text.parse_math": False,  # a class may be called $10$
}


Colour = tuple[float, float, float, float]


@dataclass(frozen=True)
class Drawing:
    """A drawn figure.

    Attributes:
        name: The name of its files.
        says: A description for readers who cannot see it.
        svg: The content of the SVG file.
        png: The content of the PNG file; empty if only the page needs the drawing.
    """

    name: str
    says: str
    svg: str
    png: bytes = b""

    def inline(self) -> str:
        """The drawing as an `<svg>` element for a page: unique ids, the page's colours, no prologue."""
        text = self.svg[self.svg.index("<svg") :].strip()
        text = re.sub(r"<!--.*?-->\s*|<metadata>.*?</metadata>\s*|<style.*?</style>\s*", "", text, flags=re.S)
        text = re.sub(r'(\bid="|href="#|url\(#)', lambda found: f"{found[0]}{self.name}-", text)
        text = re.sub(r' (?:width|height)="[\d.]+pt"', "", text, count=2)
        for colour, variable in _AS_VARIABLE.items():
            text = text.replace(colour, f"var(--{variable})")
        label = self.says.replace("&", "&amp;").replace('"', "&quot;").replace("<", "&lt;")
        return text.replace("<svg ", f'<svg role="img" aria-label="{label}" ', 1)

    def save(self, folder: Path) -> None:
        """Write the PNG and the SVG file."""
        write_whole(folder / f"{self.name}.png", lambda file: file.write(self.png))
        write_whole(folder / f"{self.name}.svg", lambda file: file.write(self.svg.encode("utf-8")))


@contextmanager
def biotune_style() -> Iterator[None]:
    """Apply biotune's style to figures drawn in the context, independent of the user's matplotlibrc."""
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_RC)
        yield


def finish(figure: Figure, name: str, says: str, with_png: bool = True) -> Drawing:
    """Export a figure to its files' contents, without dates and versions, so that equal runs give equal files."""
    svg = io.StringIO()
    figure.savefig(svg, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    png = io.BytesIO()
    if with_png:
        figure.savefig(png, format="png", dpi=_DPI, metadata={"Software": None})
    return Drawing(name, says, svg.getvalue(), png.getvalue())


def figure_with_axes(width: float, height: float, margins: Mapping[str, float]) -> tuple[Figure, Axes]:
    """A figure with one pair of axes.

    Args:
        width: Width in inches.
        height: Height in inches.
        margins: left, right, bottom, top in inches; fixed ones are much faster than a layout engine.
    """
    figure = Figure(figsize=(width, height))
    box = (
        margins["left"] / width,
        margins["bottom"] / height,
        1 - (margins["left"] + margins["right"]) / width,
        1 - (margins["bottom"] + margins["top"]) / height,
    )
    return figure, figure.add_axes(box)


def ink_on(colour: Colour) -> str:
    """Black or white, whichever is easier to read on a colour."""
    red, green, blue = to_rgb(colour)
    return "#101418" if 0.299 * red + 0.587 * green + 0.114 * blue > 0.5 else "#fcfdff"


def drawable(text: str) -> bool:
    """Whether the plots' font can draw a text correctly: all glyphs, left to right, on one line."""
    return text.isprintable() and all(
        ord(letter) in _glyphs() and unicodedata.bidirectional(letter) not in ("R", "AL", "AN") for letter in text
    )


def label(text: str, longest: int, instead: str) -> str:
    """A name for a plot: shortened in its middle, or `instead` if the font cannot draw it."""
    if not drawable(text):
        return instead
    half = (longest - 1) // 2
    return text if len(text) <= longest else f"{text[:half]}…{text[len(text) - (longest - 1 - half) :]}"


@cache
def _glyphs() -> frozenset[int]:
    return frozenset(get_font(findfont(FontProperties(family="DejaVu Sans"))).get_charmap())
