"""The regression on functions that are known."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from landscape import drawn, noisy, schedule, truth

from biotune.evolution.surrogate import (
    FEWEST,
    LARGEST,
    Observation,
    Surrogate,
    fitness_by_schedule,
    inputs,
    most_promising,
    subset,
)


def test_features_tell_frozen_from_slow() -> None:
    found = inputs([schedule(0.0, 1.0, 10.0), schedule(0.1, 0.0, 1.0)])
    assert found.tolist() == [[0, 1, 1, 0, 0, 1, 0, 0, 0], [1, 0, 1, -1, 0, 0, 0, 0, 0]]


def test_features_tell_the_orders_apart_each_as_far_as_the_others() -> None:
    orders = ("together", "last_to_first", "first_to_last")
    found = inputs([replace(schedule(1.0, 1.0, 1.0), unfreezing=order) for order in orders])
    assert found[:, -3:-1].tolist() == [[0, 0], [1, 0], [0, 1]]


def test_features_tell_a_head_from_the_probe_as_far_from_a_fresh_one_as_one_order_from_another() -> None:
    fresh = schedule(1.0, 1.0, 1.0)
    found = inputs([fresh, replace(fresh, head_start="probe"), replace(fresh, unfreezing="last_to_first")])
    assert np.abs(found[0] - found[1]).sum() == np.abs(found[0] - found[2]).sum() == 1
    assert found[:, -1].tolist() == [0, 1, 0]


def test_it_learns_which_order_is_the_better_one() -> None:
    rng = np.random.default_rng(0)
    orders = ("together", "last_to_first")
    tried = [replace(schedule(*rng.uniform(0.1, 10, 3)), unfreezing=orders[place % 2]) for place in range(40)]
    seen = [Observation(one, 0, (0.3 if one.unfreezing == "together" else 0.2) + rng.normal(0, 0.03)) for one in tried]
    both = [replace(schedule(1.0, 2.0, 3.0), unfreezing=order) for order in orders]
    worse, better = Surrogate(seen).predict(both)
    assert worse - better == pytest.approx(0.1, abs=0.05)


def test_its_guess_is_nearer_to_the_truth_than_single_evaluations() -> None:
    schedules = drawn(80, 1)
    observations = noisy(schedules)
    mean = Surrogate(observations).predict(schedules)
    right = np.array([truth(one) for one in schedules])
    measured = np.array([one.fitness for one in observations])
    assert np.sqrt(np.mean((mean - right) ** 2)) < 0.6 * np.sqrt(np.mean((measured - right) ** 2))


def test_a_harder_fold_makes_no_schedule_worse() -> None:
    schedules = drawn(80, 2)
    even = Surrogate(noisy(schedules)).predict(schedules)
    odd = Surrogate(noisy(schedules, kindness=(0.2, -0.2))).predict(schedules)
    assert np.corrcoef(even, odd)[0, 1] > 0.98


def test_a_fold_that_saw_better_schedules_is_no_easier_one() -> None:
    """Later generations are better ones: were a fold's mean taken for its kindness, its schedules would seem worse."""
    ranked = sorted(drawn(60, seed=3), key=truth)
    rng = np.random.default_rng(0)
    kindness = (0.1, 0.0)  # the first fold is the harder one by 0.1
    seen = [
        Observation(one, fold, truth(one) + kindness[fold] + 0.01 * rng.standard_normal())
        for fold, own in ((0, ranked[20:]), (1, ranked[:40]))  # twenty on both
        for one in own
    ]
    best, worst = ranked[:10], ranked[-10:]
    guesses = Surrogate(seen).predict([*best, *worst])
    gap = float(guesses[10:].mean() - guesses[:10].mean())
    assert gap == pytest.approx(np.mean([truth(one) for one in worst]) - np.mean([truth(one) for one in best]), abs=0.03)
    middle = np.mean([truth(one) for one in ranked]) + 0.05  # averaged over the folds
    assert Surrogate(seen).predict(ranked).mean() == pytest.approx(middle, abs=0.02)


def test_the_same_evaluations_give_the_same_guess_to_the_bit() -> None:
    schedules = drawn(40, 3)
    first, second = (Surrogate(noisy(schedules)).predict(schedules) for _ in range(2))
    assert first.tobytes() == second.tobytes()


def test_evaluations_that_are_all_alike_are_no_error() -> None:
    surrogate = Surrogate([Observation(one, 0, 0.5) for one in drawn(FEWEST, 4)])
    assert surrogate.predict(drawn(3, 5)) == pytest.approx([0.5] * 3)
    assert sorted(surrogate.most_promising(drawn(3, 5), 3, 2.0)) == [0, 1, 2]


def test_what_is_evaluated_together_is_not_all_alike() -> None:
    """Of two unknown neighbourhoods one is the better guess, and still the second choice is from the other."""
    known = [schedule(0.0, 10.0**log, 1.0) for log in np.linspace(-1, 1, 40)]
    surrogate = Surrogate(noisy(known, sd=0.01))
    fast = [schedule(0.0, 3.0 + step / 1000, 10.0) for step in range(10)]
    slow = [schedule(0.0, 3.0 + step / 1000, 0.15) for step in range(10)]
    first, second = surrogate.most_promising([*fast, *slow], 2, 2.0)
    assert (first < 10) != (second < 10)


def test_what_is_good_comes_before_what_is_bad_and_unknown_before_known() -> None:
    known = [schedule(0.0, 10.0**log, 1.0) for log in np.linspace(-1, 1, 40)]
    surrogate = Surrogate(noisy(known, sd=0.01))
    good, bad, unknown = schedule(0.0, 10.0**0.5, 1.0), schedule(0.0, 0.1, 1.0), schedule(0.0, 10.0**0.5, 0.1)
    assert surrogate.most_promising([bad, good], 2, 2.0) == [1, 0]
    assert surrogate.most_promising([good, unknown], 1, 2.0) == [1]


def test_the_most_promising_are_good_ones_none_twice_and_known_ones_last() -> None:
    surrogate = Surrogate(noisy(drawn(80, 6), sd=0.01))
    good, fair, bad, empty = schedule(0.0, 3.0, 1.0), schedule(0.0, 0.5, 1.0), schedule(1.0, 0.0, 1.0), schedule(0.0, 0.0, 0.0)
    candidates = [bad, good, empty, good, fair]
    assert most_promising(surrogate, candidates, set(), 2, 2.0) == [1, 4]
    assert most_promising(surrogate, candidates, {good.key}, 2, 2.0) == [4, 0]
    assert sorted(most_promising(surrogate, candidates, set(), 9, 2.0)) == [0, 1, 2, 3, 4]


def test_the_first_regression_of_a_process_leaves_the_global_generators_alone() -> None:
    # in a process of its own: importing scikit-learn, which draws, happens once
    code = """
import random, sys
from biotune.evolution.surrogate import Observation, Surrogate
from biotune.schedule.block import Block
from biotune.schedule.schedule import Schedule
random.seed(1)
before = random.getstate()
blocks = (Block("stem", ("stem",)), Block("head", ("head",)))
Surrogate([Observation(Schedule(blocks, (0.0, 1.0 + index)), 0, index / 10) for index in range(8)])
sys.exit(0 if "sklearn" in sys.modules and random.getstate() == before else 1)
"""
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_of_many_evaluations_the_later_half_is_fitted_and_earlier_ones_at_even_steps() -> None:
    many = [Observation(schedule(1.0, 1.0, 1.0), 0, float(number)) for number in range(10)]
    assert [one.fitness for one in subset(many, 4)] == [0, 4, 8, 9]
    assert [one.fitness for one in subset(many, 5)] == [0, 3, 7, 8, 9]
    assert subset(many, 10) == many and subset(many, 11) == many


def test_more_evaluations_than_are_fitted_still_teach_what_is_bad_and_what_is_good() -> None:
    """The latest are all alike, as at the end of a long search; the first ones alone tell that other schedules are worse."""
    first, late = drawn(150, 5), [schedule(0.0, float(10**log), 1.0) for log in np.linspace(0.4, 0.6, LARGEST)]
    surrogate = Surrogate(noisy(first + late, sd=0.01))
    bad, good = schedule(1.0, 0.0, 1.0), schedule(0.0, 10**0.5, 1.0)
    assert surrogate.predict([bad]) > surrogate.predict([good]) + 0.1


def test_the_fitness_of_a_schedule_is_its_mean_while_a_regression_has_too_few() -> None:
    first, second = drawn(2, 1)
    few = [Observation(first, 0, 0.4), Observation(second, 0, 0.5), Observation(first, 1, 0.2)]
    assert fitness_by_schedule(few) == {first.key: pytest.approx(0.3), second.key: 0.5}
    many = noisy(drawn(20, 1), sd=0.05)
    found = fitness_by_schedule([*many, many[0]])
    assert list(found) == [one.schedule.key for one in many]
    assert list(found.values()) == pytest.approx(Surrogate([*many, many[0]]).predict([one.schedule for one in many]).tolist())
