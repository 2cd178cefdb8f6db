"""The plot of a layer schedule: blocks in network order; colour: learning rate, grey hatching: frozen, width: parameters."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from biotune.report.style import FROZEN, FROZEN_LINE, INK, MUTED, PAPER, RATES, Colour, Drawing, finish, ink_on, label
from biotune.schedule.schedule import Schedule

_EDGE, _KEY, _BAR = 0.08, 0.52, 0.5  # inches: the margin, the height of the key, the height of a strip
_LEAST = 0.25  # inches: the width that a vertical label needs
_LETTER = 0.078  # inches: the largest width of a letter of the labels
_LONGEST = 16


@dataclass(frozen=True)
class Strip:
    """One schedule to draw.

    Attributes:
        title: The title above the strip; may be empty.
        schedule: The schedule.
        parameters: Number of parameters of each block; None draws all blocks equally wide.
    """

    title: str
    schedule: Schedule
    parameters: dict[str, int] | None


@dataclass(frozen=True)
class _Row:
    title: str
    names: tuple[str, ...]
    weights: tuple[float, ...]
    widths: tuple[float, ...]

    @property
    def upright(self) -> tuple[bool, ...]:
        """Whether each label must be vertical."""
        return tuple(len(name) * _LETTER > width for name, width in zip(self.names, self.widths, strict=True))

    @property
    def label_height(self) -> float:
        standing = [len(name) for name, upright in zip(self.names, self.upright, strict=True) if upright]
        return max([0.2, *(length * _LETTER + 0.08 for length in standing)])

    @property
    def height(self) -> float:
        return (0.24 if self.title else 0.0) + self.label_height + _BAR + 0.12


def draw_strips(strips: Sequence[Strip], width: float, name: str, with_png: bool = True) -> Drawing:
    """Draw schedules below each other, to one scale.

    Args:
        strips: The schedules, at least one.
        width: Width of the figure in inches.
        name: Name of its files.
        with_png: Whether to draw a PNG as well.
    """
    rows = [row for strip in strips for row in _rows(strip, width - 2 * _EDGE)]
    height = sum(row.height for row in rows) + _KEY + _EDGE
    figure = Figure(figsize=(width, height))
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, width), ylim=(0, height))  # so that all below is in inches
    axes.axis("off")
    top = height - _EDGE
    for row in rows:
        _draw_row(axes, row, top)
        top -= row.height
    _draw_key(axes, min(width, 5.2))
    return finish(figure, name, "; ".join(map(_says, strips)), with_png)


def widths(shares: Sequence[float], room: float, least: float) -> tuple[float, ...]:
    """Widths in proportion to shares, each at least `least`, with a given sum.

    Args:
        shares: Non-negative numbers.
        room: The sum of the widths, if that many times `least` fits.
        least: The smallest width.
    """
    small: set[int] = set()
    while True:
        rest = sum(share for index, share in enumerate(shares) if index not in small)
        left = room - least * len(small)
        scale = left / rest if rest > 0 else 0.0
        below = {index for index, share in enumerate(shares) if index not in small and share * scale < least}
        if not below:
            return tuple(least if index in small else share * scale for index, share in enumerate(shares))
        small |= below


def colour_of(weight: float) -> Colour:
    """The colour of a learning rate: 0.1 to 10 times the base learning rate, logarithmic."""
    red, green, blue, alpha = RATES(min(max((math.log10(weight) + 1) / 2, 0.0), 1.0))
    return red, green, blue, alpha


def _rows(strip: Strip, room: float) -> list[_Row]:
    """Split a strip into rows; a network with many blocks takes several."""
    schedule = strip.schedule
    count = len(schedule.blocks)
    num_rows = math.ceil(count * _LEAST / room)
    cuts = [round(index * count / num_rows) for index in range(num_rows + 1)]
    rows: list[_Row] = []
    for first, last in pairwise(cuts):
        names = tuple(label(schedule.names[at], _LONGEST, f"block {at + 1}") for at in range(first, last))
        sizes = strip.parameters or dict.fromkeys(schedule.names, 1)
        shares = [float(sizes[schedule.names[at]]) for at in range(first, last)]
        fitting = widths(shares, room if num_rows == 1 else room * (last - first) / (cuts[1] - cuts[0]), _LEAST)
        rows.append(_Row("" if rows else strip.title, names, schedule.lr_weights[first:last], fitting))
    return rows


def _draw_row(axes: Axes, row: _Row, top: float) -> None:
    if row.title:
        axes.text(_EDGE, top - 0.02, row.title, va="top", fontsize=9, fontweight="bold")
        top -= 0.24
    base = top - row.label_height
    left = _EDGE
    for name, weight, width, upright in zip(row.names, row.weights, row.widths, row.upright, strict=True):
        middle = left + width / 2
        axes.text(
            middle,
            base + 0.05,
            name,
            rotation=90 if upright else 0,
            ha="center",
            va="bottom",
            fontsize=8,
            color=INK if weight else MUTED,
        )
        colour = colour_of(weight) if weight else FROZEN
        box = Rectangle((left, base - _BAR), width, _BAR, facecolor=colour, edgecolor=PAPER, linewidth=1.5)
        axes.add_patch(box)
        if weight:
            across = width < 0.42
            axes.text(
                middle,
                base - _BAR / 2,
                f"{weight:.2f}" if weight < 1 else f"{weight:.1f}",
                rotation=90 if across else 0,
                ha="center",
                va="center",
                fontsize=8,
                color=ink_on(colour_of(weight)),
            )
        else:
            _hatch(axes, left, base - _BAR, width)
        left += width


def _hatch(axes: Axes, left: float, bottom: float, width: float) -> None:
    inset = 0.015
    axes.add_patch(
        Rectangle(
            (left + inset, bottom + inset),
            width - 2 * inset,
            _BAR - 2 * inset,
            facecolor="none",
            edgecolor=FROZEN_LINE,
            hatch="////",
            linewidth=0.7,
        )
    )


def _draw_key(axes: Axes, room: float) -> None:
    """Draw the colour scale of learning rates as patches, and the meaning of the hatching."""
    steps, left, bottom = 24, _EDGE + 0.78, 0.2
    across = room - left - _EDGE - 0.25
    axes.add_patch(Rectangle((_EDGE, bottom), 0.24, 0.12, facecolor=FROZEN, edgecolor=FROZEN_LINE, hatch="////", linewidth=0.7))
    axes.text(_EDGE, bottom - 0.04, "frozen", ha="left", va="top", fontsize=7.5, color=MUTED)
    for step in range(steps):
        colour = RATES((step + 0.5) / steps)
        start = left + across * step / steps
        axes.add_patch(Rectangle((start, bottom), across / steps, 0.12, facecolor=colour, edgecolor=colour, linewidth=0.3))
    for weight in (0.1, 0.3, 1, 3, 10):
        place = left + across * (math.log10(weight) + 1) / 2
        text = "1 × base rate" if weight == 1 else f"{weight:g}"
        axes.plot([place, place], [bottom - 0.03, bottom], color=MUTED, linewidth=0.7)
        axes.text(place, bottom - 0.04, text, ha="center", va="top", fontsize=7.5, color=MUTED)


def _says(strip: Strip) -> str:
    states = (
        f"{name} frozen" if weight == 0 else f"{name} at {weight:.2f} times the base rate"
        for name, weight in zip(strip.schedule.names, strip.schedule.lr_weights, strict=True)
    )
    return f"{strip.title or 'Layer schedule'}: {', '.join(states)}"
