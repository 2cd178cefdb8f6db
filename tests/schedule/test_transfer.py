"""Tests of carrying schedules over to other networks, against values calculated by hand."""

from __future__ import annotations

import pytest

from biotune.schedule.block import Block
from biotune.schedule.schedule import LAST_TO_FIRST, PROBE, Schedule
from biotune.schedule.transfer import transferred


def blocks(count: int) -> tuple[Block, ...]:
    return tuple(Block(f"b{place}", (f"b{place}",)) for place in range(count))


def carried(weights: list[float], count: int) -> tuple[float, ...]:
    return transferred(Schedule(blocks(len(weights)), tuple(weights)), blocks(count)).lr_weights


def test_between_equal_numbers_of_blocks_nothing_changes() -> None:
    assert carried([0.0, 0.3, 7.0], 3) == (0.0, 0.3, 7.0)


def test_learning_rates_lie_on_a_line_of_their_logarithms() -> None:
    # the bodies' depths are 0 and 1, and 0, 1/2 and 1: half-way from 0.1 to 10 lies 1
    assert carried([0.1, 10.0, 3.0], 4) == pytest.approx((0.1, 1.0, 10.0, 3.0))


def test_a_block_is_frozen_where_the_nearest_one_is() -> None:
    # depths 0, 1/3, 2/3, 1 of the new body beside 0 and 1: the first two are nearer to the frozen block
    assert carried([0.0, 2.0, 1.0], 5) == pytest.approx((0.0, 0.0, 2.0, 2.0, 1.0))
    assert carried([0.0, 0.0, 2.0, 4.0], 3) == pytest.approx((0.0, 2.0, 4.0))


def test_the_head_stays_a_head() -> None:
    assert carried([1.0, 1.0, 0.0], 6) == pytest.approx((1.0, 1.0, 1.0, 1.0, 1.0, 0.0))
    assert carried([0.0, 0.0, 5.0], 5) == (0.0, 0.0, 0.0, 0.0, 5.0)


def test_networks_of_one_and_two_blocks() -> None:
    assert carried([2.0], 3) == (2.0, 2.0, 2.0)
    assert carried([0.5, 2.0, 3.0], 1) == (3.0,)
    assert carried([0.5, 2.0, 3.0], 2) == (2.0, 3.0)  # the single block stands beside the head
    assert carried([0.5, 3.0], 4) == pytest.approx((0.5, 0.5, 0.5, 3.0))


def test_order_and_start_of_the_head_stay() -> None:
    found = transferred(Schedule(blocks(3), (1.0, 1.0, 1.0), unfreezing=LAST_TO_FIRST, head_start=PROBE), blocks(5))
    assert (found.unfreezing, found.head_start) == (LAST_TO_FIRST, PROBE)
