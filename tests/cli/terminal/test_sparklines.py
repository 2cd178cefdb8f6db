"""Schedules and courses in a line of text."""

from __future__ import annotations

import pytest

from biotune.cli.terminal.sparklines import coloured_strip, duration, level, sparkline, strip
from biotune.schedule.block import Block
from biotune.schedule.schedule import Schedule


def schedule(*weights: float) -> Schedule:
    return Schedule(tuple(Block(f"b{at}", (f"b{at}",)) for at in range(len(weights))), weights)


def test_a_frozen_block_is_a_dot_and_a_faster_one_a_higher_bar() -> None:
    assert strip(schedule(0, 0.1, 1, 10)) == "·▁▅█"


@pytest.mark.parametrize(
    ("weight", "expected"),
    # eight steps over two decades: a step is a factor of 100^(1/7) = 1.93
    [(0.1, 0), (0.13, 0), (0.15, 1), (10, 7), (7.5, 7), (7.1, 6), (1e-12, 0), (1e12, 7)],
)
def test_levels_are_logarithmic_and_clipped(weight: float, expected: int) -> None:
    assert level(weight) == expected


def test_the_coloured_strip_has_the_same_letters_and_a_colour_a_level() -> None:
    text = coloured_strip(schedule(0, 0.1, 10, 0.1))
    assert text.plain == "·▁█▁"
    frozen, slow, fast, slow_again = (str(span.style) for span in text.spans)
    assert frozen == "dim"
    assert slow == slow_again != fast
    assert slow.startswith("#") and fast.startswith("#")


@pytest.mark.parametrize(
    ("values", "line"),
    [([0, 7], "▁█"), (range(8), "▁▂▃▄▅▆▇█"), ([3, 1, 3], "█▁█"), ([0.5, 0.5], "▁▁"), ([-1.0], "▁")],
)
def test_a_sparkline_runs_from_the_lowest_to_the_highest(values: list[float], line: str) -> None:
    assert sparkline(values) == line


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "0 s"),
        (0.4, "0 s"),
        (59.4, "59 s"),
        (59.6, "1 min 00 s"),
        (61, "1 min 01 s"),
        (3599.4, "59 min 59 s"),
        (3599.6, "1 h 00 min"),
        (3600 * 100 + 61, "100 h 01 min"),
    ],
)
def test_durations_are_rounded_before_they_are_split(seconds: float, words: str) -> None:
    assert duration(seconds) == words
