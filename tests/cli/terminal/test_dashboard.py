"""The live display: its three lines, and the sparklines and durations in them."""

import io

import pytest
from rich.console import Console

from biotune.cli.terminal.dashboard import Dashboard
from biotune.cli.terminal.sparklines import coloured_strip, duration, level, sparkline, strip
from biotune.schedule.block import Block
from biotune.schedule.genotype import decode

BLOCKS = tuple(Block(name, (name,)) for name in ("stem", "layer1", "head"))
SCHEDULE = decode([0.0, 1.0, 0.5, 0.2], BLOCKS)


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


def image(dashboard, width=80):
    console = Console(file=io.StringIO(), width=width, force_terminal=True, color_system=None)
    console.print(dashboard)
    return console.file.getvalue()


def test_bars_stand_for_rates_and_dots_for_frozen_blocks():
    # the stem's importance is below the threshold; rates of 10 and 1 lie at the top and in the middle of eight levels
    assert strip(SCHEDULE) == "·█▅"
    assert coloured_strip(SCHEDULE).plain == "·█▅"
    assert [level(weight) for weight in (0.1, 1.0, 10.0, 0.001, 1000.0)] == [0, 4, 7, 0, 7]


def test_a_sparkline_runs_from_the_lowest_to_the_highest_value():
    assert sparkline([0.0, 0.5, 1.0]) == "▁▅█"
    assert sparkline([0.7, 0.7]) == "▁▁"


@pytest.mark.parametrize(("seconds", "words"), [(0, "0 s"), (59.6, "1 min 00 s"), (3599, "59 min 59 s"), (7260, "2 h 01 min")])
def test_durations_are_read_as_people_say_them(seconds, words):
    assert duration(seconds) == words


def test_the_time_left_follows_the_pace_so_far(clock):
    dashboard = Dashboard(clock=clock)
    dashboard.begin("searching", 40)
    dashboard.done, clock.now = 10, 30.0
    assert dashboard.seconds_left() == pytest.approx(90.0)


def test_at_most_one_line_a_minute_tells_how_far_a_phase_is_and_one_how_it_ended(clock):
    dashboard = Dashboard(clock=clock)
    dashboard.begin("confirming", 40)
    told = []
    for clock.now in (20.0, 59.0, 61.0, 80.0, 130.0, 200.0):
        dashboard.done += 1
        told.append(dashboard.news())
    assert [bool(line) for line in told] == [False, False, True, False, True, True]
    assert told[2] == "  confirming: 3/40 trained, ~12 min 32 s left of this phase"  # 37 at 61 / 3 s each
    assert dashboard.ended() == "confirming: 6 training runs in 3 min 20 s"
    dashboard.done, clock.now = 40, 400.0
    assert dashboard.news() == ""  # it ends with this one


def test_it_says_how_far_how_good_and_how_long_in_three_lines_of_eighty_columns(clock):
    dashboard = Dashboard(clock=clock)
    dashboard.begin("searching", 510)
    dashboard.done = 30
    dashboard.begin_generation(1, 10, 16, 3)
    dashboard.done, clock.now = 51, 60.0
    dashboard.best, dashboard.schedule, dashboard.saved = 0.9633, SCHEDULE, 12
    dashboard.history = [0.9, 0.95, 0.9633]
    lines = image(dashboard).rstrip("\n").splitlines()
    assert len(lines) == 3
    assert max(map(len, lines)) <= 80
    assert "generation 1/10" in lines[0]
    assert "candidate 7/16" in lines[0]  # 21 trainings of three seeds each
    assert "~9 min 00 s left" in lines[0]
    assert "best 0.9633" in lines[1]
    assert "·█▅" in lines[1]
    assert "51/510 trained, 12 saved by the cache" in lines[2]
    assert sparkline(dashboard.history) in lines[2]


def test_a_very_long_search_still_fits(clock):
    dashboard = Dashboard(clock=clock)
    dashboard.begin("searching", 100_000)
    dashboard.begin_generation(999, 1000, 160, 3)
    dashboard.done, dashboard.history = 99_999, [index / 1000 for index in range(1000)]
    assert max(map(len, image(dashboard).splitlines())) <= 80


def test_nothing_is_shown_between_phases():
    assert image(Dashboard()).strip() == ""


def test_images_are_counted_while_they_are_decoded(clock):
    dashboard = Dashboard(clock=clock)
    dashboard.decoding(3, 12)
    assert "decoding images" in image(dashboard)
    assert "3/12 images" in image(dashboard)
    dashboard.decoding(12, 12)
    assert image(dashboard).strip() == ""
