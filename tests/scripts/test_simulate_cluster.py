"""The simulated cluster on durations that can be added up by hand."""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from simulate_cluster import Cluster, Outcome, Setting, seconds_per_proposal, settings_for, share_of_full, simulate, table
from tabulated_task import Noise, Task

from biotune.schedule.block import Block
from biotune.schedule.schedule import Schedule
from biotune.trial import Trial, TrialResult

BLOCKS = tuple(Block(f"b{index}", (f"b{index}",)) for index in range(6))


def trial(frozen: int, seed: int = 1) -> Trial:
    return Trial(Schedule(BLOCKS, (0.0,) * frozen + (1.0,) * (6 - frozen)), 0, seed, 1, 1e-3)


FULL, HEAD = trial(0), trial(5)


class Answers:
    def run(self, trials: Sequence[Trial]) -> list[TrialResult]:
        return [TrialResult("ok", (0.5,), 0.0) for _ in trials]


class Chances:
    """A generator whose draws are given: no trial is slow and none dies, unless they say so."""

    def __init__(self, *uniform: float) -> None:
        self.uniform = list(uniform)

    def random(self) -> float:
        return self.uniform.pop(0) if self.uniform else 0.999

    def normal(self, mean: float, sd: float) -> float:
        return 0.0


def cluster(workers: int, *uniform: float) -> Cluster:
    return Cluster(Answers(), workers, 100.0, 1.0, Chances(*uniform))  # type: ignore[arg-type]


@pytest.mark.parametrize(("frozen", "share"), [(0, 1.0), (1, 0.965), (2, 0.93), (3, 0.605), (4, 0.28), (5, 0.025)])
def test_what_a_schedule_freezes_makes_it_quicker(frozen: int, share: float) -> None:
    assert share_of_full(trial(frozen).schedule) == pytest.approx(share)


def test_a_batch_ends_with_its_slowest_trial() -> None:
    """The driver takes 1 s; two workers take the long ones, 1 to 101, and then the short ones, to 103.5."""
    own = cluster(2)
    assert len(own.run([HEAD, FULL, FULL, HEAD])) == 4
    assert own.clock == 103.5
    assert own.spans == [(1, 101), (1, 101), (101, 103.5), (101, 103.5)]
    assert own.busy(103.5) == pytest.approx(205 / 207)
    own.run([HEAD])
    assert own.clock == 103.5 + 1 + 2.5


def test_a_stream_gives_a_free_worker_the_next_trial() -> None:
    """1 s each of the driver: 1 to 3.5 and 2 to 102; at 3.5 the third, 4.5 to 104.5; at 102 the last, 103 to 105.5."""
    own, left = cluster(2), iter([HEAD, FULL, trial(0, 2), trial(5, 2)])
    ended = [one for one, _ in own.stream(lambda: next(left, None))]
    assert ended == [HEAD, FULL, trial(0, 2), trial(5, 2)]
    assert own.spans == [(1, 3.5), (2, 102), (4.5, 104.5), (103, 105.5)]
    assert own.clock == 105.5
    # until the last trial is handed out: 2.5 + 100 + 98.5 of 2 · 103 seconds
    assert own.busy(103) == pytest.approx(201 / 206)


def test_an_attempt_that_dies_is_repeated_and_was_no_work() -> None:
    """The first attempt dies half-way, at 1 + 50; after 30 s the second one is on a slow machine: 5 · 100 s."""
    own = cluster(1, 0.999, 0.0, 0.5, 0.0, 0.999)
    own.run([FULL])
    assert own.spans == [(81, 581)]
    assert own.busy(581) == pytest.approx(500 / 581)


def toy() -> Task:
    def scores(points: np.ndarray) -> np.ndarray:
        return np.asarray(0.6 + 0.04 * points[:, :6].sum(axis=1))

    noise = Noise((0.5, 0.9), (0.01, 0.01), 0.0)
    return Task("toy", BLOCKS, {"all": scores, "test": scores}, {"all": noise}, {"all": 1.0})


def test_an_asynchronous_search_spends_as_many_trials_in_less_time() -> None:
    given = argparse.Namespace(full_seconds=600.0, driver_seconds=0.1)
    size = Setting(4, 8, 4, 4, 1)
    by_generations, asynchronous = (simulate(toy(), size, mating, given, 0) for mating in ("brood", "asynchronous"))
    assert by_generations.trials == asynchronous.trials == 8 + 4 * 4
    assert asynchronous.busy > 0.97 > by_generations.busy
    assert asynchronous.hours < by_generations.hours
    assert 0.6 < asynchronous.quality <= 0.84


def test_both_searches_have_the_same_sizes() -> None:
    size = Setting(1000, 2000, 1000, 4, 1)
    one, other = settings_for(size, "brood"), settings_for(size, "asynchronous")
    assert (one.population_size, one.elites, one.generations) == (other.population_size, other.elites, other.generations)
    assert (one.screen, other.screen) == (2, 80)  # 1,000 of 2,000 at once, or one of 80 at a time


def test_a_row_tells_how_busy_and_how_good() -> None:
    own: list[Any] = [Outcome(0.5, 0.4, 2.0, 0.8, 24), Outcome(0.7, 0.6, 4.0, 0.9, 24)]
    line = table({(Setting(8, 8, 4, 4, 2), "brood"): own})[-1]
    error = math.sqrt(0.005) / math.sqrt(2)  # the variance of 0.8 and 0.9 is 0.005
    assert line == f"| 8 | generations | 24 | 2 | 60.0% | 50.0% | 3.00 | 0.8500 ± {error:.4f} |"


def test_the_time_of_a_proposal_is_measured() -> None:
    median, largest = seconds_per_proposal(20, 4, proposals=3)
    assert 0 < median <= largest < 60
