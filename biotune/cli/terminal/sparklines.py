"""One-line renderings of schedules, of series of numbers and of durations: bars for learning rates, dots for frozen blocks."""

from __future__ import annotations

import math
from collections.abc import Sequence

from rich.text import Text

from biotune.schedule.schedule import Schedule

_BARS = "▁▂▃▄▅▆▇█"
_FROZEN = "·"
# viridis, from low to high learning rates: distinguishable with colour blindness and in grey
_COLOURS = ("#440154", "#46327e", "#365c8d", "#277f8e", "#1fa187", "#4ac16d", "#a0da39", "#fde725")


def strip(schedule: Schedule) -> str:
    """Return one character per block in forward order: a higher bar for a larger learning rate, a dot for a frozen block."""
    return "".join(_FROZEN if weight <= 0 else _BARS[level(weight)] for weight in schedule.lr_weights)


def coloured_strip(schedule: Schedule) -> Text:
    """Return `strip` in colour: the height and the colour of each bar show the block's learning rate."""
    text = Text()
    for weight in schedule.lr_weights:
        if weight <= 0:
            text.append(_FROZEN, style="dim")
        else:
            text.append(_BARS[level(weight)], style=_COLOURS[level(weight)])
    return text


def level(weight: float) -> int:
    """Return the level of a positive weight on a logarithmic scale from 0.1 (level 0) to 10 (level 7), clipped."""
    share = (math.log10(weight) + 1) / 2
    return min(max(round(share * (len(_BARS) - 1)), 0), len(_BARS) - 1)


def sparkline(values: Sequence[float]) -> str:
    """Return one bar per value, scaled from the lowest to the highest value; equal values give the lowest bar."""
    low, high = min(values), max(values)
    span = high - low
    return "".join(_BARS[0 if span == 0 else round((value - low) / span * (len(_BARS) - 1))] for value in values)


def duration(seconds: float) -> str:
    """Return a duration as text in seconds, minutes or hours, such as `1 h 05 min`."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02d} min"
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"
