"""Tests of the rows of a run's tables, from a small search."""

import json
import math
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from biotune.config.search import EvolutionConfig
from biotune.evolution.generation import Generation
from biotune.evolution.loop import evolve
from biotune.evolution.rows import evaluation_columns, generation_rows, genotype_columns, summary_row, trained_parameters
from biotune.recipes import tables
from biotune.schedule.block import Block
from biotune.schedule.genotype import decode
from biotune.schedule.schedule import Schedule
from biotune.trial import Evaluation, Trial, TrialResult

LR = 3e-3  # the base learning rate of trials

BLOCKS = (Block("stem", ("a",)), Block("body", ("b",)), Block("head", ("c",)))
PARAMETERS = {"stem": 10, "body": 70, "head": 20}
SCHEDULE = decode([0.75, 0.2, 0.5, 0.3], BLOCKS)


def evaluate(schedules: Sequence[Schedule], folds: Sequence[int]) -> list[Evaluation]:
    return [
        Evaluation(1.0, "empty") if schedule.is_empty else Evaluation(0.3, "ok", (0.6, 0.8), 1.5, 2, 8)
        for schedule in schedules
    ]


@pytest.fixture
def generations() -> list[Generation]:
    settings = EvolutionConfig(algorithm="biotune", population_size=4, elites=1, generations=2)
    return list(evolve(settings, BLOCKS, evaluate, seed=0))


def test_trained_parameters_are_those_of_the_unfrozen_blocks() -> None:
    assert trained_parameters(SCHEDULE, PARAMETERS) == 30
    assert trained_parameters(Schedule(BLOCKS, (0.0, 0.0, 0.0)), PARAMETERS) == 0


def test_generation_has_a_row_a_candidate_with_the_promised_columns(generations: list[Generation]) -> None:
    rows = list(generation_rows(generations[1], PARAMETERS))
    assert list(rows[0]) == [
        *("generation", "fold", "individual", "origin", "status", "kept", "fitness", "val_accuracy", "val_accuracy_sd"),
        *("trainable_params", "trainable_share", "seconds", "threshold"),
        *("importance_stem", "importance_body", "importance_head"),
        *("lr_weight_stem", "lr_weight_body", "lr_weight_head", "unfreezing"),
    ]
    assert [row["origin"] for row in rows] == ["elite", "probe", "probe", "child", "child", "child"]
    assert sum(row["kept"] for row in rows) == 4
    assert {(row["generation"], row["fold"]) for row in rows} == {(1, 1)}


def test_row_tells_accuracy_in_shares_and_its_sample_sd() -> None:
    row = evaluation_columns(Evaluation(0.3, "ok", (0.6, 0.8), 1.5, 2, 8), SCHEDULE, PARAMETERS)
    assert row["fitness"] == 0.3
    assert row["val_accuracy"] == pytest.approx(0.7)
    assert row["val_accuracy_sd"] == pytest.approx(0.02**0.5)
    assert (row["trainable_params"], row["trainable_share"], row["seconds"]) == (30, 0.3, 1.5)


def test_row_of_an_untrained_candidate_has_no_accuracy() -> None:
    row = evaluation_columns(Evaluation(1.0, "empty"), SCHEDULE, PARAMETERS)
    assert math.isnan(row["val_accuracy"]) and math.isnan(row["val_accuracy_sd"])


def test_genotype_columns_show_a_frozen_block_as_weight_nought() -> None:
    row = genotype_columns([0.75, 0.2, 0.5, 0.3], SCHEDULE)
    assert row == {
        "threshold": 0.3,
        "importance_stem": 0.75,
        "importance_body": 0.2,
        "importance_head": 0.5,
        "lr_weight_stem": pytest.approx(10**0.5),
        "lr_weight_body": 0.0,
        "lr_weight_head": 1.0,
        "unfreezing": "together",
    }


@pytest.mark.parametrize("start", ["fresh", "probe"])
def test_the_start_of_the_head_is_told_only_where_not_all_are_fresh(start: str) -> None:
    settings = EvolutionConfig(algorithm="biotune", population_size=4, elites=1, generations=0)
    (generation,) = evolve(settings, BLOCKS, evaluate, seed=0, head_start=start)
    trained = [not candidate.schedule.is_empty for candidate in generation.candidates]
    words = [start if one else "fresh" for one in trained]
    for setting in {start, "evolved"} - {"fresh"}:
        assert [row["head_start"] for row in generation_rows(generation, PARAMETERS, setting)] == words
    assert any(trained) and all("head_start" not in row for row in generation_rows(generation, PARAMETERS))
    journalled = [one.get("head_start", "fresh") for one in tables.journal_record(generation)["candidates"]]
    assert journalled == words
    best = generation.hall[0].schedule
    entry = tables.schedule_entry(best, 1e-3, PARAMETERS)
    assert entry.get("head_start", "fresh") == start and ("head_start" in entry) == (start == "probe")


def test_summary_has_the_promised_columns(generations: list[Generation]) -> None:
    row = summary_row(generations[2])
    assert ", ".join(row) == (
        "generation, fold, best_fitness, mean_fitness, worst_fitness, sd_fitness, diversity, evaluations, trainings, "
        "cache_hits, pruned, failures, seconds"
    )
    assert (row["generation"], row["fold"], row["best_fitness"]) == (2, 0, 0.3)


def test_confirmation_row_of_a_failure_has_no_accuracy() -> None:
    trial = Trial(SCHEDULE, 1, 71, 30, LR)
    good = tables.confirm_row("4", "biotune", trial, TrialResult("ok", (0.2, 0.9, 0.5), 2.0, unbiased=0.8))
    assert list(good)[:5] == ["schedule", "strategy", "fold", "seed", "macro_accuracy"]
    assert (good["schedule"], good["fold"], good["seed"], good["macro_accuracy"], good["epochs"]) == ("4", 1, 71, 0.9, 3)
    assert good["unbiased_macro_accuracy"] == 0.8
    bad = tables.confirm_row("4", "biotune", trial, TrialResult("failed", (), 2.0, error="boom"))
    assert math.isnan(bad["macro_accuracy"]) and bad["status"] == "failed"


def test_test_row_holds_every_score_and_the_validation_score_beside_them() -> None:
    result = TrialResult("ok", (0.2, 0.9), 2.0, {"macro_accuracy": 0.8, "kappa": 0.7})
    row = tables.final_row("full", Trial(SCHEDULE, None, 3, 30, LR, test=True), result)
    assert row == {
        "strategy": "full",
        "seed": 3,
        "macro_accuracy": 0.8,
        "kappa": 0.7,
        "val_macro_accuracy": 0.9,
        "epochs": 2,
        "seconds": 2.0,
    }


def test_spread_is_mean_sample_sd_and_values() -> None:
    assert tables.spread([0.5, 0.7, 0.9]) == {"mean": pytest.approx(0.7), "sd": pytest.approx(0.2), "values": [0.5, 0.7, 0.9]}
    assert tables.spread([0.5]) == {"mean": 0.5, "sd": 0.0, "values": [0.5]}


def test_spreads_go_through_every_score() -> None:
    results = [TrialResult("ok", (0.5,), 0.0, {"f1": f1, "kappa": 0.5}) for f1 in (0.2, 0.4)]
    spreads = tables.spreads(results)
    assert spreads["f1"]["mean"] == pytest.approx(0.3)
    assert spreads["kappa"] == {"mean": 0.5, "sd": 0.0, "values": [0.5, 0.5]}


def test_schedule_entry_multiplies_the_base_rate() -> None:
    entry = tables.schedule_entry(SCHEDULE, 0.01, {name: 10 for name in SCHEDULE.names})
    assert entry["threshold"] == 0.3
    assert entry["blocks"]["stem"] == {
        "frozen": False,
        "importance": 0.75,
        "lr_weight": pytest.approx(10**0.5),
        "lr": pytest.approx(0.01 * 10**0.5),
        "parameters": 10,
    }
    assert entry["blocks"]["body"] == {"frozen": True, "importance": 0.2, "lr_weight": 0.0, "lr": 0.0, "parameters": 10}


def test_journal_record_survives_json_exactly(generations: list[Generation]) -> None:
    for generation in generations:
        record = tables.journal_record(generation)
        assert json.loads(json.dumps(record)) == record
        assert record["random_state"]["bit_generator"] == "PCG64"
        assert [tuple(one["genes"]) for one in record["candidates"]] == [one.genes for one in generation.candidates]
        assert len(record["survivors"]) == 4


def test_the_journal_of_a_search_without_an_order_is_as_it_was_before_there_was_one(generations: list[Generation]) -> None:
    """Else a search that an earlier version began could not be gone on with."""
    names = ["individual", "origin", "status", "error", "fitness", "genes", "kept"]
    assert [list(one) for one in tables.journal_record(generations[0])["candidates"]] == [names] * 4
    settings = EvolutionConfig(algorithm="biotune", population_size=4, elites=1, generations=0, unfreezing="last_to_first")
    (generation,) = evolve(settings, BLOCKS, evaluate, seed=0)
    several = [sum(one.schedule.selected) > 1 for one in generation.candidates]
    orders = [one.get("unfreezing") for one in tables.journal_record(generation)["candidates"]]
    assert any(several) and orders == ["last_to_first" if many else None for many in several]


def final(name: str, seed: int, score: float) -> tuple[Trial, TrialResult]:
    schedule = Schedule((Block("head", ("head",)),), (1.0,))
    return Trial(schedule, None, seed, 1, 0.01, test=True), TrialResult("ok", (score,), 1.0, {"macro_accuracy": score})


def test_final_training_runs_are_set_side_by_side_over_the_seeds_that_all_have() -> None:
    own = [final("biotune", seed, score) for seed, score in ((1, 0.9), (2, 0.9), (3, 0.5))]
    finals = {"biotune": own, "full": [final("full", 1, 0.8), final("full", 2, 0.85)], "linear_probe": [final("p", 1, 0.7)]}
    beside = tables.side_by_side(finals)
    assert {name: [result.score for result in results] for name, results in beside.items()} == {
        "biotune": [0.9, 0.9],
        "full": [0.8, 0.85],
    }, "the hard third seed, on which full failed, counts for neither; the probe failed on most"


def test_the_own_final_training_runs_count_even_where_no_seed_is_shared() -> None:
    finals = {
        "biotune": [final("b", 1, 0.9), final("b", 2, 0.8)],
        "full": [final("f", 1, 0.7)],
        "linear_probe": [final("p", 2, 0.6)],
    }
    assert {name: len(results) for name, results in tables.side_by_side(finals).items()} == {"biotune": 2}
    alone = {"biotune": [final("b", 3, 0.9)], "full": [final("f", 1, 0.7), final("f", 2, 0.7)]}
    assert list(tables.side_by_side(alone)) == ["biotune"]


def test_a_learning_curve_has_a_row_an_epoch_and_gaps_where_an_old_journal_held_no_losses() -> None:
    trial = Trial(SCHEDULE, None, 7, 3, LR, test=True)
    whole = TrialResult("ok", (0.5, 0.6), 1.0, losses=(1.5, 1.25), train_losses=(2.0, 1.75))
    names = ["strategy", "seed", "epoch", "train_loss", "val_loss", "val_macro_accuracy"]
    rows = list(tables.curve_rows("full", trial, whole))
    assert [list(row) for row in rows] == [names] * 2
    assert [list(row.values()) for row in rows] == [["full", 7, 1, 2.0, 1.5, 0.5], ["full", 7, 2, 1.75, 1.25, 0.6]]
    old = list(tables.curve_rows("full", trial, TrialResult("ok", (0.5, 0.6), 1.0, losses=(1.5, 1.25))))
    assert all(math.isnan(row["train_loss"]) for row in old)
    assert [row["val_macro_accuracy"] for row in old] == [0.5, 0.6]
    assert list(tables.curve_rows("full", trial, TrialResult("failed", (), 1.0, error="no memory"))) == []


def test_what_is_returned_says_how_many_finalists_models_are_level_with_it() -> None:
    def finals(*scores: float) -> list[tuple[Any, Any]]:
        return [(SimpleNamespace(seed=seed), SimpleNamespace(score=score)) for seed, score in enumerate(scores, 1)]

    own = {"3": finals(0.7, 0.8), "lp_ft": finals(0.8 + 1e-12, 0.6), "full": finals(0.75), "failed": finals()}
    entry = tables.returned_entry("3", "biotune", own, "3")
    assert (entry["schedule"], entry["seed"], entry["val_macro_accuracy"]) == ("3", 2, 0.8)
    assert (entry["finalists"], entry["models"], entry["level"]) == (4, 5, 1)
    assert tables.returned_entry("full", "full", own, "full")["level"] == 0
    assert tables.top_score(own["3"]) == tables.top_score(own["lp_ft"]) > tables.top_score(own["full"]) > tables.top_score([])
