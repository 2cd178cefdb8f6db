"""Schedules and courses in a line of text: bars for rates, a dot for a frozen block, a sparkline, a duration."""

from __future__ import annotations

import math
from collections.abc import Sequence

from rich.text import Text

from biotune.schedule.schedule import Schedule

_BARS = "▁▂▃▄▅▆▇█"
_FROZEN = "·"
# from slow to fast, apart for every kind of colour vision and in grey
_COLOURS = ("#440154", "#46327e", "#365c8d", "#277f8e", "#1fa187", "#4ac16d", "#a0da39", "#fde725")


def strip(schedule: Schedule) -> str:
    """A bar a block in forward order, higher for a faster rate, a dot for a frozen one."""
    return "".join(_FROZEN if weight <= 0 else _BARS[level(weight)] for weight in schedule.lr_weights)


def coloured_strip(schedule: Schedule) -> Text:
    """The same in colour: a cell a block, its bar's height and colour telling the rate."""
    text = Text()
    for weight in schedule.lr_weights:
        if weight <= 0:
            text.append(_FROZEN, style="dim")
        else:
            text.append(_BARS[level(weight)], style=_COLOURS[level(weight)])
    return text


def level(weight: float) -> int:
    """Where a positive weight lies between 0.1 (0) and 10 (7) on a logarithmic scale, clipped."""
    share = (math.log10(weight) + 1) / 2
    return min(max(round(share * (len(_BARS) - 1)), 0), len(_BARS) - 1)


def sparkline(values: Sequence[float]) -> str:
    """A bar a value, from the lowest to the highest of them; a flat course stays low."""
    low, high = min(values), max(values)
    span = high - low
    return "".join(_BARS[0 if span == 0 else round((value - low) / span * (len(_BARS) - 1))] for value in values)


def duration(seconds: float) -> str:
    """Seconds, minutes or hours in words."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02d} min"
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"
