"""Tests of the way from schedules to fitness, with an executor that keeps count; and of what pruning and racing spare."""

import dataclasses
import hashlib
import math
import pickle
import random
import statistics
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from biotune.config.key import keys_of
from biotune.config.schema import EvaluateConfig, RunConfig
from biotune.config.search import EvolutionConfig
from biotune.errors import SearchError
from biotune.evolution.loop import evolve
from biotune.executors.recorded import Recorded
from biotune.fitness.fitness import Economy, ScheduleFitness, fitness_by, stop_if_too_many_failed
from biotune.schedule.block import Block
from biotune.schedule.schedule import Schedule
from biotune.store.files import JOURNAL
from biotune.store.journal import Journal
from biotune.trial import Evaluation, Executor, Trial, TrialResult, sample_sd

LR = 3e-3  # the base learning rate of trials

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
    return ScheduleFitness(executor, seeds, 5, LR, "data")


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
    assert executor.batches == [[Trial(schedule, 1, seed, 5, LR) for schedule in (ONE, OTHER) for seed in (3, 1)]]
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
        Trial(ONE, 0, 1, 5, LR),
        Trial(OTHER, 0, 1, 5, LR),
        Trial(ONE, 1, 1, 5, LR),
        Trial(ONE, None, 1, 5, LR),
        Trial(ONE, 0, 2, 5, LR),
        Trial(ONE, 0, 1, 6, LR),
        Trial(ONE, 0, 1, 5, LR, test=True),
    ]
    assert len({trial.key for trial in trials}) == len(trials)


def test_trial_survives_the_way_to_a_worker() -> None:
    trial = Trial(ONE, 0, 1, 5, LR)
    assert pickle.loads(pickle.dumps(trial)).key == trial.key


# scores by seed, 1 and 2; the first three are those whose residuals test_racing.py has by hand
SCORES: dict[str, tuple[float, float]] = {
    "a": (0.10, 0.20),
    "b": (0.20, 0.40),
    "c": (0.30, 0.30),
    "d": (0.50, 0.70),
    "e": (0.47, 0.43),
    "f": (0.46, 0.90),
    "g": (0.40, 0.90),
}
CANDIDATES = {name: Schedule(BLOCKS, (1.0 + index, 2.0)) for index, name in enumerate(SCORES)}
NAMES = {schedule.key: name for name, schedule in CANDIDATES.items()}


def named(names: str) -> list[Schedule]:
    return [CANDIDATES[name] for name in names]


def by_table(trial: Trial) -> TrialResult:
    score = SCORES[NAMES[trial.schedule.key]][trial.seed - 1]
    return TrialResult("ok", (score / 2, score), 1.0)


def instead(other: Mapping[str, TrialResult]) -> Callable[[Trial], TrialResult]:
    """By the table, but for some candidates' trainings with some seed, such as d1."""
    return lambda trial: other.get(f"{NAMES[trial.schedule.key]}{trial.seed}") or by_table(trial)


def asked(executor: Counting) -> list[list[str]]:
    return [[f"{NAMES[trial.schedule.key]}{trial.seed}" for trial in batch] for batch in executor.batches]


PREDICTED = Economy("predicted", True, 3, 3, 400)


def thrifty(executor: Counting, places: int = 1, prune: str = "none", racing: bool = True) -> ScheduleFitness:
    return ScheduleFitness(executor, (1, 2), 5, LR, "data", Economy(prune, racing, places))


class TestRacing:
    def test_without_it_all_seeds_of_all_candidates_are_one_batch(self) -> None:
        executor = Counting(by_table)
        fitness = fitness_of(executor)
        fitness(named("abc"), 0)
        fitness(named("defg"), 0)
        assert asked(executor) == [["a1", "a2", "b1", "b2", "c1", "c2"], ["d1", "d2", "e1", "e2", "f1", "f2", "g1", "g2"]]
        assert not any(trial.floor for batch in executor.batches for trial in batch)

    def test_too_few_complete_candidates_have_everything_trained_in_one_batch(self) -> None:
        executor = Counting(by_table)
        fitness = thrifty(executor)
        for batch in ("ab", "c", "d"):
            fitness(named(batch), 0)
        # three are complete only when d comes
        assert asked(executor) == [["a1", "a2", "b1", "b2"], ["c1", "c2"], ["d1"], ["d2"]]

    def test_candidates_that_are_complete_on_different_folds_are_too_few(self) -> None:
        executor = Counting(by_table)
        fitness = thrifty(executor)
        fitness(named("ab"), 0)
        fitness(named("cd"), 1)
        fitness(named("e"), 1)
        assert asked(executor)[-1] == ["e1", "e2"]

    def test_further_seeds_come_one_by_one_and_only_for_contenders(self) -> None:
        executor = Counting(by_table)
        fitness = thrifty(executor)
        fitness(named("abc"), 0)
        fitness(named("gfed"), 0)
        # the spread is 0.0707, so that after the first of two seeds 0.5 * 0.0707 are allowed: 0.4646 is the bound
        assert asked(executor)[1:] == [["g1", "f1", "e1", "d1"], ["e2", "d2"]]

    def test_one_let_go_has_the_scores_it_has_and_what_its_mean_should_become(self) -> None:
        executor = Counting(by_table)
        fitness = thrifty(executor)
        fitness(named("abc"), 0)
        d, e, f, g = fitness(named("defg"), 0)
        assert [one.status for one in (d, e, f, g)] == ["ok", "ok", "pruned", "pruned"]
        # in a, b, c, d and e the mean lies 0.05, 0.1, 0, 0.1 and -0.02 above the first seed: 0.046
        assert f.fitness == pytest.approx(1 - 0.506)
        assert g.fitness == pytest.approx(1 - 0.446)
        assert (f.scores, f.val_accuracy, f.trainings, f.epochs, f.seconds) == ((0.46,), 0.46, 1, 2, 1.0)
        assert (d.scores, d.fitness, d.trainings) == ((0.5, 0.7), pytest.approx(0.4), 2)
        assert fitness.trainings == 6 + 4 + 2

    def test_rivals_that_are_complete_take_the_place(self) -> None:
        executor = Counting(by_table)
        fitness = thrifty(executor)
        fitness(named("abcd"), 0)
        (g,) = fitness(named("g"), 0)
        assert asked(executor)[1:] == [["g1"]]
        assert g.status == "pruned"

    def test_a_failed_candidate_gets_no_more_seeds(self) -> None:
        executor = Counting(instead({"d1": TrialResult("failed", (), 3.0, error="boom")}))
        fitness = thrifty(executor)
        fitness(named("abc"), 0)
        d, e = fitness(named("de"), 0)
        assert asked(executor)[1:] == [["d1", "e1"], ["e2"]]
        assert (d.fitness, d.status, d.error, d.scores, d.trainings) == (1.0, "failed", "boom", (), 1)
        assert e.status == "ok"

    def test_a_candidate_whose_training_was_given_up_gets_no_more_seeds(self) -> None:
        executor = Counting(instead({"d1": TrialResult("pruned", (0.9,), 1.0)}))
        fitness = thrifty(executor)
        fitness(named("abc"), 0)
        d, e = fitness(named("de"), 0)
        assert asked(executor)[1:] == [["d1", "e1"], ["e2"]]
        assert (d.status, d.scores, e.status) == ("pruned", (0.9,), "ok")

    def test_one_let_go_is_answered_again_at_no_cost(self) -> None:
        executor = Counting(by_table)
        fitness = thrifty(executor)
        fitness(named("abc"), 0)
        *_, before = fitness(named("def"), 0)
        batches = len(executor.batches)
        (after,) = fitness(named("f"), 0)
        assert len(executor.batches) == batches
        assert after == dataclasses.replace(before, seconds=0, trainings=0, epochs=0)

    def test_one_let_go_gets_its_missing_seeds_once_it_can_matter(self) -> None:
        executor = Counting(by_table)
        fitness = thrifty(executor)
        fitness(named("abc"), 0)
        fitness(named("def"), 0)
        fitness.economy = Economy(racing=True, places=3)
        (after,) = fitness(named("f"), 0)
        assert asked(executor)[-1] == ["f2"]
        assert (after.status, after.scores, after.trainings) == ("ok", (0.46, 0.9), 1)
        assert after.fitness == pytest.approx(1 - 0.68)

    def test_duplicates_and_empty_ones_change_nothing(self) -> None:
        executor = Counting(by_table)
        fitness = thrifty(executor)
        fitness(named("abc"), 0)
        evaluations = fitness([EMPTY, *named("dfdf")], 0)
        assert asked(executor)[1:] == [["d1", "f1"], ["d2"]]
        assert [one.status for one in evaluations] == ["empty", "ok", "pruned", "cached", "pruned"]
        assert [one.trainings for one in evaluations] == [0, 2, 1, 0, 0]
        assert evaluations[2].fitness == evaluations[4].fitness

    def test_the_order_in_which_trainings_end_does_not_matter(self, tmp_path: Path) -> None:
        def searched(seed: int) -> tuple[list[Evaluation], set[str]]:
            folder = tmp_path / str(seed)
            folder.mkdir()
            journal = Journal(folder)
            fitness = thrifty(Recorded(AnyOrder(seed), journal), 2, "median")  # type: ignore[arg-type]
            found = []
            for batch in ("abc", "gfed", "ga"):
                found += fitness(named(batch), 0)
                fitness.close_generation()
            keys = {record["key"] for record in journal.records("trial")}
            journal.close()
            return found, keys

        assert searched(0) == searched(1) == searched(2)


class AnyOrder:
    """Tells of its trainings in an order of its own, and answers in the order of the trials."""

    def __init__(self, seed: int, answer: Callable[[Trial], TrialResult] = by_table) -> None:
        self.random = random.Random(seed)
        self.answer = answer
        self.ran = 0

    def run(self, trials: Sequence[Trial], on_result: Callable[[Trial, TrialResult], None]) -> list[TrialResult]:
        self.ran += len(trials)
        for trial in self.random.sample(list(trials), len(trials)):
            on_result(trial, self.answer(trial))
        return [self.answer(trial) for trial in trials]

    def close(self) -> None:
        pass


class TestFloors:
    def floors(self, executor: Counting) -> dict[str, tuple[float, ...]]:
        return {f"{NAMES[trial.schedule.key]}{trial.seed}": trial.floor for trial in executor.batches[-1]}

    def test_they_come_from_earlier_generations_on_the_same_fold_with_the_same_seed(self) -> None:
        executor = Counting(by_table)
        fitness = thrifty(executor, prune="median", racing=False)
        fitness(named("abcde"), 0)
        fitness(named("f"), 0)
        assert self.floors(executor) == {"f1": (), "f2": ()}, "of the same generation"
        fitness.close_generation()
        fitness(named("g"), 0)
        # 0.1 0.2 0.3 0.46 0.47 0.5 with seed 1, 0.2 0.3 0.4 0.43 0.7 0.9 with seed 2
        assert self.floors(executor) == {
            "g1": (0.0, 0.0, *[pytest.approx(0.38)] * 3),
            "g2": (0.0, 0.0, *[pytest.approx(0.415)] * 3),
        }
        fitness(named("g"), 1)
        assert self.floors(executor) == {"g1": (), "g2": ()}, "on another fold"

    def test_too_few_earlier_trainings_and_those_that_failed_set_none(self) -> None:
        executor = Counting(instead({"e1": TrialResult("failed", (), 0.0, error="boom")}))
        fitness = thrifty(executor, prune="median", racing=False)
        fitness(named("abcde"), 0)
        fitness.close_generation()
        fitness(named("g"), 0)
        assert self.floors(executor) == {"g1": (), "g2": (0.0, 0.0, 0.4, 0.4, 0.4)}

    def test_without_pruning_there_are_none(self) -> None:
        executor = Counting(by_table)
        fitness = thrifty(executor, racing=False)
        fitness(named("abcdef"), 0)
        fitness.close_generation()
        fitness(named("g"), 0)
        assert self.floors(executor) == {"g1": (), "g2": ()}

    def test_a_generation_that_is_closed_twice_counts_once(self) -> None:
        executor = Counting(by_table)
        fitness = thrifty(executor, prune="median", racing=False)
        fitness(named("abc"), 0)
        fitness.close_generation()
        fitness.close_generation()
        fitness(named("g"), 0)
        assert self.floors(executor) == {"g1": (), "g2": ()}

    def test_a_given_up_training_makes_its_candidate_pruned_with_an_estimate(self) -> None:
        executor = Counting(instead({"g1": TrialResult("pruned", (0.1, 0.2, 0.2), 1.0)}))
        fitness = thrifty(executor, prune="median", racing=False)
        fitness(named("abc"), 0)
        (g,) = fitness(named("g"), 0)
        # both seeds are there: nothing to correct
        assert (g.status, g.scores, g.trainings, g.epochs) == ("pruned", (0.2, 0.9), 2, 5)
        assert g.fitness == pytest.approx(1 - 0.55)


class TestPredictedFloors:
    """With seed 1 the candidates a to g end at 0.1 0.2 0.3 0.5 0.47 0.46 0.4, as they begin."""

    def pruned(self, executor: Counting, metric: str = "acc") -> ScheduleFitness:
        return ScheduleFitness(executor, (1,), 5, LR, "data", Economy("predicted", finalists=2, trainings=7), metric)

    def test_the_first_batch_is_cut_and_its_second_chunk_has_floors_from_the_first(self) -> None:
        executor = Counting(by_table)
        fitness = self.pruned(executor)
        fitness(named("abcdefg"), 0)
        assert asked(executor) == [["a1", "b1", "c1", "d1", "e1"], ["f1", "g1"]]
        assert {trial.floor for trial in executor.batches[0]} == {()}
        # 5 of 7 trainings are 2 of 2 places; the second best has 0.47
        assert [trial.floor[-1] for trial in executor.batches[1]] == pytest.approx([0.47, 0.47])
        assert fitness.trainings == 7

    def test_chunks_are_as_large_as_all_runs_before_them(self) -> None:
        executor = Counting(by_table)
        fitness = self.pruned(executor)
        for fold in range(4):
            fitness(named("abcdefg"), fold)
        assert [len(batch) for batch in executor.batches] == [5, 2, 7, 7, 7]

    def test_a_given_up_run_counts_with_what_was_predicted_then(self) -> None:
        executor = Counting(instead({"f1": TrialResult("pruned", (0.25,), 1.0)}))
        fitness = self.pruned(executor)
        *_, f, _ = fitness(named("abcdefg"), 0)
        assert (f.status, f.scores, f.epochs) == ("pruned", (0.25,), 1)
        # the others end at 0.3283 in the mean and have half of that after an epoch; f is ahead by 0.25 - 0.1642
        assert f.fitness == pytest.approx(1 - (1.97 / 6 + 0.25 - 1.97 / 12))
        again = fitness(named("f"), 0)[0]
        assert (again.status, again.trainings, again.fitness) == ("pruned", 0, f.fitness)

    def test_in_the_metric_of_the_loss_it_is_the_loss_that_is_predicted(self) -> None:
        def lossy(trial: Trial) -> TrialResult:
            level = NAMES[trial.schedule.key] in "ab"
            if NAMES[trial.schedule.key] == "f":
                return TrialResult("pruned", (0.2,), 1.0, losses=(math.log(4),))
            return TrialResult("ok", (0.2, 0.4), 1.0, losses=(math.log(4), math.log(2 if level else 2.5)))

        executor = Counting(lossy)
        *_, f = self.pruned(executor, "loss")(named("abcdef"), 0)
        assert f.fitness == pytest.approx(1 - (2 / 2 + 3 / 2.5) / 5)


def by_chance(trial: Trial) -> TrialResult:
    """A quality of the schedule on the fold, a kindness of the seed and a little luck, reached in three epochs, or given up."""

    def uniform(text: str) -> float:
        return int.from_bytes(hashlib.sha256(text.encode()).digest()[:6], "big") / 2**48

    quality = uniform(f"{trial.schedule.key}/{trial.fold}")
    score = 0.1 + 0.6 * quality + 0.1 * uniform(f"seed {trial.seed}") + 0.05 * uniform(trial.key)
    curve = (score / 3, score / 2, score, score - 0.1, score - 0.2)
    for epoch in range(len(trial.floor)):
        if max(curve[: epoch + 1]) < trial.floor[epoch]:
            return TrialResult("pruned", curve[: epoch + 1], 1.0)
    return TrialResult("ok", curve, 1.0)


@pytest.mark.parametrize("economy", [Economy("median"), Economy(racing=True), Economy("median", True, 3), PREDICTED])
def test_a_candidate_let_go_is_in_no_hall_of_fame_but_counts_against_what_it_was_elsewhere(economy: Economy) -> None:
    fitness = ScheduleFitness(Counting(by_chance), (1, 2, 3), 5, LR, "data", economy)
    settings = EvolutionConfig("biotune", population_size=10, generations=8, elites=2, folds=2)
    blocks = tuple(Block(f"b{index}", (f"m{index}",)) for index in range(4))
    sound: dict[str, dict[int, float]] = {}
    pruned = 0
    for generation in evolve(settings, blocks, fitness, 3, 5):
        fitness.close_generation()
        for candidate in generation.candidates:
            if candidate.evaluation.status in ("ok", "cached"):
                sound.setdefault(candidate.schedule.key, {})[candidate.fold] = candidate.evaluation.fitness
            elif candidate.evaluation.status == "pruned" and candidate.schedule.key in sound:
                sound[candidate.schedule.key].setdefault(candidate.fold, candidate.evaluation.fitness)
        pruned += generation.record["pruned"]
        for entry in generation.hall:
            assert entry.score == pytest.approx(statistics.fmean(sound[entry.schedule.key].values()), abs=1e-12)
    assert pruned > 10


def test_economy_trains_less() -> None:
    settings = EvolutionConfig("biotune", population_size=10, generations=8, elites=2, folds=1)
    epochs = {}
    for name, economy in {
        "none": Economy(),
        "prune": Economy("predicted", finalists=3, trainings=400),
        "racing": Economy(racing=True),
    }.items():
        fitness = ScheduleFitness(Counting(by_chance), (1, 2, 3), 5, LR, "data", economy)
        epochs[name] = 0
        for generation in evolve(settings, BLOCKS, fitness, 3):
            fitness.close_generation()
            epochs[name] += sum(candidate.evaluation.epochs for candidate in generation.candidates)
    assert max(epochs["prune"], epochs["racing"]) < 0.9 * epochs["none"]


# three seeds. A, B and C alone leave residuals of 0 0 0, -1 -1, 1 1, 2 and -2 hundredths with 4 degrees of freedom, so the
# standard deviation is sqrt(0.0003); granted after one seed is half of sqrt(0.0003 * 2 * 2/3) = 0.02, after two half of 0.01
ROWS = {
    "A": (0.60, 0.60, 0.60),
    "B": (0.70, 0.70, 0.70),
    "C": (0.50, 0.53, 0.47),
    "D": (0.695, 0.685, 0.99),
    "E": (0.685, 0.71, 0.70),
    "F": (0.72, 0.70, 0.77),
    "H": (0.90, 0.90, 0.90),
}


def lettered(letters: str) -> list[Schedule]:
    return [Schedule(BLOCKS, (0.0, float(ord(letter)))) for letter in letters]


def letter_of(trial: Trial) -> str:
    return chr(int(trial.schedule.lr_weights[1]))


def by_rows(trial: Trial) -> TrialResult:
    """H fails with the second seed."""
    if letter_of(trial) == "H" and trial.seed == 2:
        return TrialResult("failed", (), 1.0, error="diverged")
    score = ROWS[letter_of(trial)][trial.seed - 1]
    return TrialResult("ok", (score / 2, score), 1.0)


def race(places: int, answer: Callable[[Trial], TrialResult] = by_rows) -> tuple[ScheduleFitness, Counting]:
    """A race with three seeds in which A, B and C are known already."""
    executor = Counting(answer)
    fitness = ScheduleFitness(executor, (1, 2, 3), 5, LR, "data", Economy(racing=True, places=places))
    fitness(lettered("ABC"), 0)
    return fitness, executor


def rounds(executor: Counting) -> list[str]:
    """The batches after the first one, as letters with their seeds."""
    return [" ".join(f"{letter_of(trial)}{trial.seed}" for trial in batch) for batch in executor.batches[1:]]


class TestRaceOfThreeSeeds:
    def test_the_field_thins_out_seed_by_seed(self) -> None:
        fitness, executor = race(places=2)
        d, e, f = fitness(lettered("DEF"), 0)
        # F and B lead: after one seed 0.69 is enough, after two 0.695 where D has 0.69
        assert rounds(executor) == ["D1 E1 F1", "D2 F2", "F3"]
        assert [(one.status, one.scores, one.trainings, one.epochs, one.seconds) for one in (d, e, f)] == [
            ("pruned", (0.695, 0.685), 2, 4, 2.0),
            ("pruned", (0.685,), 1, 2, 1.0),
            ("ok", (0.72, 0.70, 0.77), 3, 6, 3.0),
        ]
        assert fitness.trainings == 9 + 6
        # the means of A, B, C and F lie 0, 0, 0 and 0.01 above the first seed, 0, 0, -0.015 and 0.02 above the first two
        assert e.fitness == pytest.approx(1 - (0.685 + 0.01 / 4))
        assert d.fitness == pytest.approx(1 - (0.69 + 0.005 / 4))
        assert f.fitness == pytest.approx(1 - 0.73)

    def test_a_candidate_that_fails_later_gets_no_further_seed_and_stands_in_nobodys_way_next_time(self) -> None:
        fitness, executor = race(places=1)
        h, f = fitness(lettered("HF"), 0)
        assert rounds(executor) == ["H1 F1", "H2"]
        assert (h.status, h.fitness, h.scores, h.trainings, h.error) == ("failed", 1.0, (), 2, "diverged")
        assert f.status == "pruned"
        # H's first seed is still known, and F lies behind it; alone F is measured against B
        assert fitness(lettered("HF"), 0)[1].status == "pruned"
        (f,) = fitness(lettered("F"), 0)
        assert rounds(executor)[2:] == ["F2", "F3"]
        assert (f.status, f.trainings) == ("ok", 2)

    def test_a_complete_candidate_that_comes_again_takes_one_place(self) -> None:
        fitness, executor = race(places=2)
        b, e = fitness(lettered("BE"), 0)
        assert rounds(executor) == ["E1", "E2", "E3"]
        assert (b.status, b.trainings, e.status) == ("cached", 0, "ok")

    def test_folds_race_apart_but_share_what_is_known_of_the_spread(self) -> None:
        fitness, executor = race(places=1)
        e, c = fitness(lettered("EC"), 1)
        # on fold 0 B is ahead of E; the spread found there lets C go here at once
        assert rounds(executor) == ["E1 C1", "E2", "E3"]
        assert {trial.fold for batch in executor.batches[1:] for trial in batch} == {1}
        assert (e.status, c.status) == ("ok", "pruned")
        # and only E corrects C's score here, by 0.6983 - 0.685
        assert c.fitness == pytest.approx(1 - (0.50 + (0.685 + 0.71 + 0.70) / 3 - 0.685))

    def test_a_single_seed_leaves_nothing_to_race_for(self) -> None:
        fitness = ScheduleFitness(Counting(by_rows), (1,), 5, LR, "data", Economy(racing=True))
        assert {one.status for letters in ("ABC", "DE") for one in fitness(lettered(letters), 0)} == {"ok"}

    @given(
        st.lists(st.tuples(*[st.integers(0, 20)] * 3), min_size=4, max_size=10),
        st.integers(1, 3),
        st.randoms(use_true_random=False),
    )
    @hypothesis_settings(max_examples=60)
    def test_whoever_is_complete_scores_as_without_a_race_in_whatever_order_they_come(
        self, rows: list[tuple[int, ...]], places: int, shuffler: random.Random
    ) -> None:
        table = {letter: tuple(score / 20 for score in row) for letter, row in zip("ABCDEFGHIJ", rows, strict=False)}

        def raced(order: Sequence[str]) -> dict[str, Evaluation]:
            fitness, executor = race(places, lambda one: TrialResult("ok", (table[letter_of(one)][one.seed - 1],), 1.0))
            found = dict(zip(order, fitness(lettered("".join(order)), 0), strict=True))
            assert sum(len(batch) for batch in executor.batches) == 9 + sum(len(one.scores) for one in found.values())
            return found

        order = sorted(table)[3:]
        found = raced(order)
        for letter, evaluation in found.items():
            assert evaluation.scores == table[letter][: len(evaluation.scores)]
            assert evaluation.status == ("ok" if len(evaluation.scores) == 3 else "pruned")
            assert 0 <= evaluation.fitness <= 1
            if evaluation.status == "ok":
                assert evaluation.fitness == pytest.approx(1 - sum(table[letter]) / 3)
        shuffler.shuffle(order)
        assert raced(order) == found


class TestFloorsOverGenerations:
    """By the table; with seed 1 the candidates a to g have 0.1 0.2 0.3 0.5 0.47 0.46 0.4."""

    def closed(self, executor: Counting, *generations: str, racing: bool = False) -> ScheduleFitness:
        fitness = thrifty(executor, 9, "median", racing)
        for generation in generations:
            fitness(named(generation), 0)
            fitness.close_generation()
        return fitness

    def test_what_the_cache_answers_counts_once(self) -> None:
        executor = Counting(by_table)
        self.closed(executor, "abcde", "ed", "d")(named("g"), 0)
        assert len(executor.batches) == 2
        assert executor.batches[-1][0].floor == (0.0, 0.0, 0.3, 0.3, 0.3)

    def test_every_generation_adds_its_own(self) -> None:
        executor = Counting(by_table)
        self.closed(executor, "abcde", "f")(named("g"), 0)
        # 0.1 0.2 0.3 0.46 0.47 0.5
        assert executor.batches[-1][0].floor == (0.0, 0.0, *[pytest.approx(0.38)] * 3)

    def test_a_given_up_training_counts_with_its_best(self) -> None:
        executor = Counting(instead({"d1": TrialResult("pruned", (0.15, 0.25, 0.05), 1.0)}))
        self.closed(executor, "abcde")(named("g"), 0)
        # 0.1 0.2 0.25 0.3 0.47
        assert executor.batches[-1][0].floor == (0.0, 0.0, 0.25, 0.25, 0.25)

    def test_in_a_race_every_seed_keeps_its_own(self) -> None:
        executor = Counting(by_table)
        self.closed(executor, "abcde", racing=True)(named("f"), 0)
        assert asked(executor)[1:] == [["f1"], ["f2"]]
        assert [batch[0].floor for batch in executor.batches[1:]] == [(0.0, 0.0, 0.3, 0.3, 0.3), (0.0, 0.0, 0.4, 0.4, 0.4)]


def test_a_floor_does_not_make_it_another_training() -> None:
    with_floor = Trial(ONE, 0, 1, 5, LR, floor=(0.0, 0.5))
    assert with_floor.key == Trial(ONE, 0, 1, 5, LR).key
    assert pickle.loads(pickle.dumps(with_floor)).floor == (0.0, 0.5)


def walk(executor: Executor, economy: Economy) -> list[Any]:
    """All that a small search leaves, generation by generation, and every evaluation it was given."""
    fitness = ScheduleFitness(executor, (1, 2, 3), 5, LR, "data", economy)
    evaluations: list[Evaluation] = []

    def evaluate(schedules: Sequence[Schedule], folds: Sequence[int]) -> list[Evaluation]:
        found = fitness(schedules, folds)
        evaluations.extend(found)
        return found

    seen = []
    settings = EvolutionConfig("biotune", population_size=8, generations=5, elites=2, folds=2)
    for generation in evolve(settings, tuple(Block(f"b{index}", (f"m{index}",)) for index in range(4)), evaluate, 0, 3):
        fitness.close_generation()
        hall = [(entry.schedule.key, entry.number, entry.by_fold, entry.score) for entry in generation.hall]
        seen.append((hall, dataclasses.replace(generation, hall=[])))
    assert fitness.trainings == sum(generation.record["trainings"] for _, generation in seen)
    return [seen, evaluations, fitness.trainings]


@pytest.mark.parametrize(
    "economy",
    [Economy(), Economy("median"), Economy(racing=True, places=3), Economy("median", True, 3), PREDICTED],
    ids=["neither", "pruning", "racing", "both", "predicted"],
)
class TestSearch:
    def test_it_is_the_same_in_whatever_order_trainings_end(self, economy: Economy, tmp_path: Path) -> None:
        in_order = walk(Counting(by_chance), economy)
        journal = Journal(tmp_path)
        assert walk(Recorded(AnyOrder(1, by_chance), journal), economy) == in_order
        journal.close()

    def test_it_goes_on_from_half_a_journal_as_if_it_had_never_stopped(self, economy: Economy, tmp_path: Path) -> None:
        journal = Journal(tmp_path)
        whole = walk(Recorded(AnyOrder(1, by_chance), journal), economy)
        journal.close()
        lines = (tmp_path / JOURNAL).read_bytes().splitlines(keepends=True)
        for known in (29, len(lines) // 2, len(lines) - 1):
            folder = tmp_path / str(known)
            folder.mkdir()
            (folder / JOURNAL).write_bytes(b"".join(lines[: 1 + known]))  # the first line is the header
            rest, journal = AnyOrder(2, by_chance), Journal(folder)
            assert walk(Recorded(rest, journal), economy) == whole
            assert rest.ran == len(lines) - 1 - known
            journal.close()


def test_given_genotypes_are_never_spared() -> None:
    keys = {schema: {key.path for key in keys_of(schema)} for schema in (RunConfig, EvaluateConfig)}
    assert {"fitness.prune", "fitness.racing"} <= keys[RunConfig]
    assert {path for path in keys[EvaluateConfig] if path.startswith("fitness.")} == {
        "fitness.metric",
        "fitness.max_failed_share",
    }


def result_of(score: float, *losses: float) -> TrialResult:
    return TrialResult("ok", (score,), 1.0, losses=losses)


def test_what_fitness_can_be_made_of_by_hand() -> None:
    results = [result_of(0.5, math.log(2), 3.0), result_of(0.7, 5.0, math.log(4))]
    assert fitness_by("acc", results) == pytest.approx(0.4)
    assert fitness_by("acc+std", results) == pytest.approx(0.4 + math.sqrt(0.02))
    assert fitness_by("acc+std", [result_of(0.0), result_of(1.0)]) == 1.0
    assert fitness_by("loss", results) == pytest.approx(1 - (1 / 2 + 1 / 4) / 2)


@pytest.mark.parametrize(("first", "other"), [("together", "last_to_first"), ("last_to_first", "together")])
def test_a_training_is_measured_only_against_those_whose_blocks_joined_in_the_same_order(first: str, other: str) -> None:
    floors: list[tuple[str, tuple[float, ...]]] = []

    class Noting:
        def run(self, trials: Sequence[Trial]) -> list[TrialResult]:
            floors.extend((trial.schedule.unfreezing, trial.floor) for trial in trials)
            return [TrialResult("ok", (0.9, 0.9, 0.9), 1.0) for _ in trials]

        def close(self) -> None: ...

    blocks = tuple(Block(name, (name,)) for name in ("stem", "head"))
    fitness = ScheduleFitness(Noting(), (1,), 3, LR, "data", Economy(prune="median"))
    fitness([Schedule(blocks, (weight, 1.0), unfreezing=first) for weight in (1.0, 2.0, 3.0, 4.0, 5.0)], 0)
    fitness.close_generation()
    fitness([Schedule(blocks, (6.0, 1.0), unfreezing=order) for order in (first, other)], 0)
    assert floors[-2:] == [(first, (0.0, 0.0, 0.9)), (other, ())]
    fitness([Schedule(blocks, (7.0, 1.0), unfreezing=first, head_start=start) for start in ("fresh", "probe")], 0)
    assert floors[-2:] == [(first, (0.0, 0.0, 0.9)), (first, ())]  # nor against those with another head to begin with


def test_schedules_of_one_batch_may_have_folds_of_their_own() -> None:
    counting = Counting()
    found = fitness_of(counting, (1,))([ONE, OTHER, ONE, ONE, EMPTY], [0, 1, 1, 0, 1])
    assert [one.fitness for one in found] == pytest.approx([0.5, 0.55, 0.55, 0.5, 1.0])
    assert [one.trainings for one in found] == [1, 1, 1, 0, 0]
    assert [[(trial.schedule, trial.fold) for trial in batch] for batch in counting.batches] == [
        [(ONE, 0), (OTHER, 1), (ONE, 1)]
    ]
