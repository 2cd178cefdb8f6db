"""Tests of the mean function that earlier searches give to the surrogate, on a function that is known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from landscape import drawn, noisy, truth

from biotune.evolution.believer import Believer
from biotune.evolution.prior import Prior, Source, prior_of
from biotune.evolution.surrogate import FEWEST, LARGEST, Observation, Surrogate

FEW, UNSEEN = drawn(10, 1), drawn(60, 2)
TRUE = np.array([truth(one) for one in UNSEEN])


def source(observations: list[Observation]) -> Source:
    return Source("earlier", "net", "data", 3, (), tuple(observations))


def earlier(sign: float = 1.0, scale: float = 1.0) -> list[Observation]:
    return [replace(one, fitness=0.3 + scale * sign * one.fitness) for one in noisy(drawn(60, 3), sd=0.01)]


def error(surrogate: Surrogate | Believer) -> float:
    return float(np.sqrt(np.mean((surrogate.predict(UNSEEN) - TRUE) ** 2)))


def test_an_earlier_search_of_the_same_shape_improves_the_guess() -> None:
    seen = noisy(FEW, sd=0.02)
    alone = error(Surrogate(seen))
    for scale in (1.0, 0.1):  # its scores are standardised
        surrogate = Surrogate(seen, LARGEST, Prior([source(earlier(scale=scale))]))
        assert surrogate.coefficient > 0
        assert error(surrogate) < 0.7 * alone


def test_a_misleading_search_is_left_out() -> None:
    seen = noisy(drawn(30, 1), sd=0.02)
    surrogate = Surrogate(seen, LARGEST, Prior([source(earlier(sign=-1.0))]))
    assert surrogate.coefficient == 0
    assert surrogate.predict(UNSEEN) == pytest.approx(Surrogate(seen).predict(UNSEEN))


def test_folds_of_two_searches_are_told_apart() -> None:
    both = [source(noisy(drawn(40, 5), sd=0.01, kindness=(0.3, -0.3))), source([replace(one) for one in earlier()])]
    mean = Prior(both).mean(UNSEEN)
    assert np.corrcoef(mean, TRUE)[0, 1] > 0.9


def test_a_search_that_saw_good_schedules_alone_does_not_make_them_look_average() -> None:
    order = np.argsort(TRUE)
    every = noisy(drawn(60, 3), sd=0.01)
    good = [one for one in sorted(every, key=lambda one: truth(one.schedule))[:15]]
    alone, both = Prior([source(every)]), Prior([source(every), source(good)])
    gap = [float(np.ptp(one.mean([UNSEEN[order[0]], UNSEEN[order[-1]]]))) for one in (alone, both)]
    assert gap[1] > 0.9 * gap[0]


def test_too_few_evaluations_and_files_give_no_prior() -> None:
    assert prior_of([]) is None
    assert prior_of([source([]), source(earlier()[: FEWEST - 1])]) is None
    assert prior_of([source(earlier()[:FEWEST])]) is not None


def test_the_believer_predicts_and_chooses_as_the_surrogate() -> None:
    seen, prior = noisy(FEW, sd=0.02), Prior([source(earlier())])
    surrogate, believer = Surrogate(seen, LARGEST, prior), Believer(seen, [], prior)
    assert surrogate.coefficient > 0
    assert believer.predict(UNSEEN) == pytest.approx(surrogate.predict(UNSEEN), abs=1e-5)
    assert believer.most_promising(UNSEEN, 3, 1.0) == surrogate.most_promising(UNSEEN, 3, 1.0)
    more = noisy(UNSEEN[:5], sd=0.01)
    for one in more:
        believer.propose(one.schedule)
    believer.learn(more)
    assert error(believer) <= error(surrogate)


def test_with_a_prior_the_choice_leans_on_it() -> None:
    seen = noisy(FEW, sd=0.02)
    alone = Surrogate(seen).most_promising(UNSEEN, 5, 0.0)
    led = Surrogate(seen, LARGEST, Prior([source(earlier())])).most_promising(UNSEEN, 5, 0.0)
    assert TRUE[led].mean() < TRUE[alone].mean()
