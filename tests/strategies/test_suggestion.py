"""Tests of the rule behind `biotune suggest`, against values calculated by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from biotune.schedule.block import Block
from biotune.schedule.schedule import FRESH, LAST_TO_FIRST, PROBE, Schedule
from biotune.strategies.suggestion import Earlier, Tried, or_probe, probe_schedule, suggested

BLOCKS = tuple(Block(name, (name,)) for name in ("stem", "middle", "late", "head"))
GRADIENTS = np.array([[0.3, 0.1, 0.004, 9.0], [0.1, 0.1, 0.004, 9.0]])  # ratios 1, 1/2, 0.02; the head's counts for nothing


def schedule(*weights: float, **more: str) -> Schedule:
    return Schedule(BLOCKS, weights, **more)


# ratios 1, 1/2 and 1/50 have the geometric mean 0.01 ** (1/3); three times the root of what each is of it
BY_GRADIENTS = (3 * 10 ** (1 / 3), 3 * (1 / 2) ** 0.5 * 10 ** (1 / 3), 3 * (1 / 50) ** 0.5 * 10 ** (1 / 3), 3.0)


def test_with_enough_images_learning_rates_follow_the_gradients() -> None:
    found = suggested(BLOCKS, GRADIENTS, images=200, classes=10)
    assert found.schedule.lr_weights == pytest.approx(BY_GRADIENTS, rel=5e-3)  # three digits
    assert math.prod(found.schedule.lr_weights[:-1]) == pytest.approx(27, rel=0.02)
    assert (found.schedule.head_start, found.tried) == (FRESH, None)
    assert "no earlier search" in found.certainty
    # sd over mean of the two mini-batches: 0.1/0.2, 0, 0, 0, on average 12.5 %
    assert "12%" in found.certainty
    assert [one.reason for one in found.advice][1] == "gradient 0.50 of the largest"


def test_with_few_images_the_head_alone_from_the_probe() -> None:
    fewest = suggested(BLOCKS, GRADIENTS, images=40, classes=10)
    assert fewest.schedule.lr_weights == pytest.approx((0.0, 0.0, 0.0, 1.0))
    assert fewest.schedule.head_start == PROBE
    assert fewest.schedule.key == probe_schedule(BLOCKS).key
    assert fewest.advice[2].reason.endswith("4 images a class: the head alone")


def test_the_probe_is_suggested_where_it_validates_as_well() -> None:
    votes = suggested(BLOCKS, GRADIENTS, 200, 10)
    better = or_probe(votes, Tried(0.7, 0.6))
    assert better.schedule == votes.schedule and better.advice == votes.advice
    assert better.certainty.endswith(
        "Tried: trained once with it, validation macro accuracy is 0.700; that of the linear probe 0.600."
    )
    for tried in (Tried(0.6, 0.7), Tried(0.6, 0.6), Tried(0.55, 0.5499999999999999)):
        worse = or_probe(votes, tried)
        assert worse.schedule.key == probe_schedule(BLOCKS).key
        assert [one.weight for one in worse.advice] == [0.0, 0.0, 0.0, 1.0]
        assert worse.advice[1].reason == "gradient 0.50 of the largest; the linear probe is as good"
        assert "The linear probe is suggested instead" in worse.certainty and worse.tried == tried


def test_learning_rates_keep_to_their_bounds() -> None:
    apart = suggested(BLOCKS, np.array([[1.0, 1e-9, 1e-9, 1.0]]), 200, 10)  # the smallest counts as a thousandth
    assert apart.schedule.lr_weights == pytest.approx((10.0, 3 * 0.1**0.5, 3 * 0.1**0.5, 3.0), rel=5e-3)


def test_earlier_schedules_count_by_network_and_size() -> None:
    one = Earlier(schedule(1.0, 1.0, 1.0, 1.0), same_network=True, images=100)
    assert one.weight(100) == 1.0
    assert one.weight(400) == one.weight(25) == 0.25
    assert Earlier(one.schedule, False, 100).weight(100) == 0.5
    assert Earlier(one.schedule, True, None).weight(100) == 0.5


def test_votes_decide_what_is_trained_and_learning_rates_are_geometric_means() -> None:
    earlier = [
        Earlier(schedule(0.0, 4.0, 0.0, 4.0), True, 200),
        Earlier(schedule(0.0, 1.0, 0.0, 1.0), True, 200),
    ]
    found = suggested(BLOCKS, GRADIENTS, 200, 10, earlier)
    # weights 0.5 for the gradients and 1 for each of the two: the stem has 0.5 of 2.5 votes
    own = BY_GRADIENTS[1]
    assert [one.share for one in found.advice] == pytest.approx([0.2, 1.0, 0.2, 1.0])
    middle = math.exp((0.5 * math.log(own) + math.log(4.0)) / 2.5)
    head = math.exp((0.5 * math.log(3.0) + math.log(4.0)) / 2.5)
    assert found.schedule.lr_weights == pytest.approx((0.0, middle, 0.0, head), rel=5e-3)  # three digits
    logs, weights = np.log([own, 4.0, 1.0]), np.array([0.5, 1.0, 1.0])
    sd = math.sqrt(np.average((logs - np.average(logs, weights=weights)) ** 2, weights=weights))
    assert found.advice[1].factor == pytest.approx(math.exp(sd))
    assert found.advice[1].reason.startswith("trained by 2 of 2 earlier schedules")
    assert found.certainty.startswith("From 2 earlier schedules")
    assert "divided on 0 of 4 blocks" in found.certainty


def test_order_and_start_are_those_of_the_schedule_that_counts_most() -> None:
    near = Earlier(schedule(1.0, 1.0, 1.0, 1.0, unfreezing=LAST_TO_FIRST), True, 200)
    far = Earlier(schedule(1.0, 1.0, 1.0, 1.0, head_start=PROBE), True, 10)
    found = suggested(BLOCKS, GRADIENTS, 200, 10, [far, near]).schedule
    assert (found.unfreezing, found.head_start) == (LAST_TO_FIRST, FRESH)
    kept = suggested(BLOCKS, GRADIENTS, 200, 10, [], fresh_head=False).schedule
    assert kept.head_start == FRESH


def test_a_head_that_no_earlier_schedule_trained_is_trained_by_the_gradients_vote() -> None:
    found = suggested(BLOCKS, GRADIENTS, 200, 10, [Earlier(schedule(1.0, 0.0, 0.0, 0.0), True, 200)])
    assert found.schedule.lr_weights[-1] == pytest.approx(3.0)


def test_a_network_of_a_head_alone_and_gradients_of_zero() -> None:
    alone = suggested(BLOCKS[-1:], np.array([[0.1]]), 200, 10)
    assert alone.schedule.lr_weights == (1.0,)
    still = suggested(BLOCKS, np.zeros((2, 4)), 200, 10)
    assert still.schedule.lr_weights == pytest.approx((3.0, 3.0, 3.0, 3.0))
