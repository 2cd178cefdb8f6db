"""Tests of the way from schedules to fitness, with an executor that keeps count."""

import math
import pickle
from collections.abc import Callable, Sequence

import numpy as np
import pytest

from biotune.errors import SearchError
from biotune.fitness import Evaluation, ScheduleFitness, Trial, TrialResult, sample_sd, stop_if_too_many_failed
from biotune.schedule import Block, Schedule

BLOCKS = (Block("stem", ("a",)), Block("head", ("b",)))
ONE, OTHER, EMPTY = (Schedule(BLOCKS, weights) for weights in ((1.0, 2.0), (0.0, 2.0), (0.0, 0.0)))


def curve_by_seed(trial: Trial) -> TrialResult:
    """Best epoch in the middle: 0.5 for seed 1, 0.75 for seed 2 …, and 0.05 less on fold 1."""
    best = 0.25 + 0.25 * trial.seed - 0.05 * (trial.fold or 0)
    return TrialResult("ok", (0.1, best, 0.2), 2.0)


class Counting:
    def __init__(self, answer: Callable[[Trial], TrialResult] = curve_by_seed) -> None:
        self.answer = answer
        self.batches: list[list[Trial]] = []

    def run(self, trials: Sequence[Trial]) -> list[TrialResult]:
        self.batches.append(list(trials))
        return [self.answer(trial) for trial in trials]

    def close(self) -> None:
        pass


def fitness_of(executor: Counting, seeds: tuple[int, ...] = (1, 2)) -> ScheduleFitness:
    return ScheduleFitness(executor, seeds, 5, "data")


def fails_with_head_only(trial: Trial) -> TrialResult:
    if trial.schedule == OTHER:
        return TrialResult("failed", (), 3.0, error=f"seed {trial.seed} diverged")
    return curve_by_seed(trial)


def test_fitness_is_what_the_best_epochs_lack_in_the_mean() -> None:
    (evaluation,) = fitness_of(Counting())([ONE], 0)
    assert evaluation.fitness == pytest.approx(1 - (0.5 + 0.75) / 2)
    assert evaluation.scores == (0.5, 0.75)
    assert evaluation.val_accuracy == pytest.approx(0.625)
    assert (evaluation.trainings, evaluation.epochs, evaluation.seconds, evaluation.status) == (2, 6, 4.0, "ok")


def test_every_candidate_is_trained_with_the_same_seeds_and_budget_and_without_the_test_split() -> None:
    executor = Counting()
    fitness_of(executor, (3, 1))([ONE, OTHER], 1)
    assert executor.batches == [[Trial(schedule, 1, seed, 5) for schedule in (ONE, OTHER) for seed in (3, 1)]]
    assert not any(trial.test or trial.keep for trial in executor.batches[0])


def test_duplicates_in_a_batch_are_trained_once_and_the_first_pays() -> None:
    executor = Counting()
    first, second = fitness_of(executor)([ONE, Schedule(BLOCKS, (1.0, 2.0), (0.5, 0.65), 0.1)], 0)
    assert len(executor.batches[0]) == 2
    assert (first.status, first.trainings) == ("ok", 2)
    assert (second.status, second.trainings, second.epochs, second.seconds) == ("cached", 0, 0, 0)
    assert first.fitness == second.fitness and first.scores == second.scores


def test_known_schedule_is_answered_from_the_cache_at_no_cost() -> None:
    executor = Counting()
    fitness = fitness_of(executor)
    (before,), (after,) = fitness([ONE], 0), fitness([ONE], 0)
    assert len(executor.batches) == 1
    assert (after.status, after.trainings, after.epochs, after.seconds) == ("cached", 0, 0, 0)
    assert after.fitness == before.fitness
    assert fitness.trainings == 2


def test_another_fold_is_trained_anew_and_scored_apart() -> None:
    executor = Counting()
    fitness = fitness_of(executor)
    (on_0,), (on_1,) = fitness([ONE], 0), fitness([ONE], 1)
    assert [trial.fold for batch in executor.batches for trial in batch] == [0, 0, 1, 1]
    assert on_1.fitness == pytest.approx(on_0.fitness + 0.05)
    assert on_1.status == "ok"


def test_cache_holds_single_trainings() -> None:
    executor = Counting()
    fitness = fitness_of(executor)
    fitness([ONE], 0)
    fitness.seeds = (2, 3)
    (evaluation,) = fitness([ONE], 0)
    assert [trial.seed for trial in executor.batches[1]] == [3]
    assert evaluation.scores == (0.75, 1.0)
    assert (evaluation.status, evaluation.trainings) == ("ok", 1)


@pytest.mark.parametrize(("name", "value"), [("epochs", 6), ("fingerprint", "other data")])
def test_another_budget_or_other_data_is_trained_anew(name: str, value: int | str) -> None:
    executor = Counting()
    fitness = fitness_of(executor)
    fitness([ONE], 0)
    setattr(fitness, name, value)
    fitness([ONE], 0)
    assert [len(batch) for batch in executor.batches] == [2, 2]


def test_empty_schedule_is_not_trained() -> None:
    executor = Counting()
    (evaluation,) = fitness_of(executor)([EMPTY], 0)
    assert executor.batches == []
    assert (evaluation.fitness, evaluation.status, evaluation.trainings) == (1.0, "empty", 0)
    assert math.isnan(evaluation.val_accuracy) and math.isnan(evaluation.val_accuracy_sd)


def test_answers_come_in_the_order_of_the_schedules() -> None:
    evaluations = fitness_of(Counting(fails_with_head_only))([EMPTY, ONE, OTHER, ONE], 0)
    assert [evaluation.status for evaluation in evaluations] == ["empty", "ok", "failed", "cached"]


def test_one_failed_seed_fails_the_candidate() -> None:
    def second_seed_fails(trial: Trial) -> TrialResult:
        return TrialResult("failed", (), 1.0, error="boom") if trial.seed == 2 else curve_by_seed(trial)

    (evaluation,) = fitness_of(Counting(second_seed_fails))([ONE], 0)
    assert (evaluation.fitness, evaluation.status, evaluation.error) == (1.0, "failed", "boom")
    assert evaluation.scores == ()
    assert (evaluation.trainings, evaluation.epochs, evaluation.seconds) == (2, 3, 3.0)


def test_failed_training_is_not_tried_again() -> None:
    executor = Counting(fails_with_head_only)
    fitness = fitness_of(executor)
    fitness([OTHER], 0)
    (evaluation,) = fitness([OTHER], 0)
    assert len(executor.batches) == 1
    assert (evaluation.status, evaluation.trainings) == ("failed", 0)


def failed(reason: str) -> Evaluation:
    return Evaluation(1.0, "failed", error=reason)


def test_too_many_failures_in_a_generation_stop_the_search_with_the_commonest_reason() -> None:
    generation = [Evaluation(0.1, "ok", (0.9,)), failed("out of memory"), failed("diverged"), failed("out of memory")]
    with pytest.raises(SearchError, match=r"3 of 4 candidates failed.*max_failed_share=0\.5.*\(2×\): out of memory"):
        stop_if_too_many_failed(generation, 0.5)


def test_as_many_failures_as_allowed_do_not_stop_the_search() -> None:
    stop_if_too_many_failed([Evaluation(0.1, "ok", (0.9,)), failed("diverged")], 0.5)
    assert fitness_of(Counting(fails_with_head_only))([OTHER], 0)[0].status == "failed"


def test_sample_sd_is_numpys_with_one_degree_of_freedom_less() -> None:
    values = [0.2, 0.5, 0.9]
    assert sample_sd(values) == pytest.approx(np.std(values, ddof=1))
    assert sample_sd([0.3]) == 0.0


def test_evaluation_reports_the_sample_sd_of_its_scores() -> None:
    (evaluation,) = fitness_of(Counting())([ONE], 0)
    assert evaluation.val_accuracy_sd == pytest.approx(0.25 / math.sqrt(2))


def test_trials_that_differ_in_anything_have_keys_of_their_own() -> None:
    trials = [
        Trial(ONE, 0, 1, 5),
        Trial(OTHER, 0, 1, 5),
        Trial(ONE, 1, 1, 5),
        Trial(ONE, None, 1, 5),
        Trial(ONE, 0, 2, 5),
        Trial(ONE, 0, 1, 6),
        Trial(ONE, 0, 1, 5, test=True),
    ]
    assert len({trial.key for trial in trials}) == len(trials)


def test_trial_survives_the_way_to_a_worker() -> None:
    trial = Trial(ONE, 0, 1, 5)
    assert pickle.loads(pickle.dumps(trial)).key == trial.key
