"""Tests of the keys that a command has no use for."""

from __future__ import annotations

from typing import Any

import pytest

from biotune.config.key import keys_of
from biotune.config.schema import BlocksConfig, CompareConfig, EvaluateConfig, RunConfig, SuggestConfig, TrainConfig
from biotune.config.search import SuggestionConfig
from biotune.config.sections import FeaturesConfig, StrategyConfig, TrainingConfig
from biotune.config.unused import UNUSED, unused_keys
from biotune.schedule.block import Block
from biotune.strategies.registry import STRATEGIES, plans

BLOCKS = [Block(name, (name,)) for name in ("stem", "body", "head")]


def unused(config: Any) -> set[str]:
    """All keys of a config that its command does not use."""
    return {path for path, _ in unused_keys(config, [item.path for item in keys_of(type(config))])}


def test_an_evaluation_uses_of_the_search_only_its_splits() -> None:
    evolution = {item.path for item in keys_of(EvaluateConfig) if item.path.startswith("evolution.")}
    splits = {"evolution.folds", "evolution.resplit"}
    assert splits < evolution
    assert unused(EvaluateConfig()) == (evolution - splits) | {"seed", "training.lr_grid"}
    assert "seed" not in unused(EvaluateConfig(features=FeaturesConfig(views=4)))


def test_a_suggestion_uses_of_the_training_what_a_trial_needs_and_without_one_what_a_gradient_needs() -> None:
    gradient = {"training.lr", "training.batch_size", "training.class_weights", "executor.threads", "seed", "suggest.runs"}
    trial = {"training.epochs", "training.patience", "training.optimizer", "training.seeds"}
    never = {"features.max_gb", "executor.workers", "training.lr_grid", "training.head_start"}
    tried = unused(SuggestConfig())
    assert not tried & (gradient | trial) and never <= tried
    untried = unused(SuggestConfig(suggest=SuggestionConfig(max_seconds=0)))
    assert not untried & gradient and trial | never <= untried


def test_what_a_training_run_uses_follows_from_what_it_has_to_choose() -> None:
    full, auto = StrategyConfig(name="full"), TrainingConfig(lr="auto")
    assert unused(TrainConfig(strategy=full)) == {"seed", "training.lr_grid", "training.seeds"}
    assert unused(TrainConfig(strategy=full, training=auto)) == {"seed"}
    assert unused(TrainConfig(strategy=full, features=FeaturesConfig(views=4))) == {"training.lr_grid", "training.seeds"}
    assert unused(TrainConfig(strategy=StrategyConfig(name="surgical"))) == {"seed", "training.lr_grid"}


@pytest.mark.parametrize("name", STRATEGIES)
def test_training_seeds_are_used_where_a_strategy_has_several_schedules(name: str) -> None:
    settings = StrategyConfig(name=name)
    has_a_choice = len(plans(settings, BLOCKS, True)) > 1
    assert ("training.seeds" not in unused(TrainConfig(strategy=settings))) == has_a_choice


def test_counting_blocks_needs_neither_weights_nor_a_head() -> None:
    assert unused(BlocksConfig()) == {"backbone.weights", "backbone.head"}


def test_commands_that_search_use_every_key() -> None:
    assert unused(RunConfig()) == unused(CompareConfig()) == set()


def test_only_keys_that_were_asked_about_are_named() -> None:
    assert dict(unused_keys(EvaluateConfig(), ["evolution.generations", "evolution.folds", "evolution", "no.such"])) == {
        "evolution.generations": "makes no search"
    }


def test_every_row_of_the_table_covers_a_key() -> None:
    for schema, rows in UNUSED.items():
        paths = {item.path for item in keys_of(schema)}
        for row in rows:
            assert set(row.but) <= paths
            for key in row.keys:
                assert any(path == key or path.startswith(key) for path in paths), key
