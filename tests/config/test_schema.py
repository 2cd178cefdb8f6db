"""Tests of the configuration schema: what is said of its keys, and their defaults."""

import re
from dataclasses import replace
from typing import Any

import pytest

from biotune.cli.registry import SCHEMAS
from biotune.config.key import MISSING, keys_of, near_keys, show
from biotune.config.schema import EvaluateConfig, RunConfig, final_training
from biotune.config.search import EvolutionConfig
from biotune.config.sections import FinalTrainingConfig, TrainingConfig
from biotune.errors import ConfigError


@pytest.mark.parametrize("command", SCHEMAS)
def test_every_key_has_a_sentence_of_its_own_and_a_default_that_it_allows(command: str) -> None:
    keys = list(keys_of(SCHEMAS[command]))
    for key in keys:
        assert re.fullmatch(r"\S.+\.", key.metadata["meaning"]), key.path
        choices = key.metadata["choices"]
        assert not choices or key.default in (*choices, MISSING, None), key.path
        assert not key.is_no_word(key.default), key.path
    meanings = [key.metadata["meaning"] for key in keys]
    assert len(set(meanings)) == len(meanings)


@pytest.mark.parametrize(
    ("path", "must_be"),
    [
        ("seed", "an integer"),
        ("dataset.image_size", "an integer or [HEIGHT,WIDTH] such as [96,160] or null"),
        ("training.lr", "a number or auto"),
        ("evolution.max_hours", "a number or null"),
        ("dataset.download", "true or false"),
        ("device", "a text"),
        ("training.seeds", "a list of integers like [1,2,3]"),
        ("training.lr_grid", "a list of numbers like [0.1,1,10]"),
        ("plugins", "a list of names like [one,two]"),
    ],
)
def test_what_a_value_must_be_is_said_in_words(path: str, must_be: str) -> None:
    [key] = [key for key in keys_of(RunConfig) if key.path == path]
    assert key.must_be == must_be


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("lr", " Did you mean training.lr?"),
        ("evolution.lr", " Did you mean training.lr?"),
        ("trainig.epoch", " Did you mean training.epochs or training.lr?"),
        ("evolutio", " Did you mean evolution?"),
        ("qqqq", ""),
    ],
)
def test_near_keys_end_alike_or_are_spelt_alike(name: str, sentence: str) -> None:
    assert near_keys(name, ["training.lr", "training.epochs", "seed"], ["evolution"]) == sentence


def test_keys_are_listed_with_their_dotted_paths_in_declared_order() -> None:
    keys = [key.path for key in keys_of(RunConfig)]
    assert keys[:2] == ["seed", "device"]
    assert len(keys) == len(set(keys))
    # the names that users type most
    assert set(keys) >= {
        *(f"dataset.{name}" for name in ("root", "download", "image_size", "train_fraction", "max_per_class")),
        *(f"dataset.{name}" for name in ("val_fraction", "split_seed")),
        *(f"backbone.{name}" for name in ("name", "weights", "granularity")),
        *(f"evolution.{name}" for name in ("population_size", "generations", "elites", "folds", "max_hours", "mating")),
        *(f"evolution.{name}" for name in ("momentum", "adoption", "exploitation", "reevaluate_elites", "mutate_first_brood")),
        *(f"training.{name}" for name in ("lr", "epochs", "patience", "batch_size", "seeds", "optimizer", "weight_decay")),
        *(f"training.{name}" for name in ("scheduler", "warmup_epochs", "class_weights", "frozen_norm")),
        *("fitness.max_failed_share", "executor.threads", "confirm.top_k", "confirm.seeds", "test.seeds"),
    }


def test_final_training_runs_have_the_settings_of_the_search_but_for_those_set_for_them() -> None:
    config = RunConfig()
    assert final_training(config) == config.training
    config.test.training = FinalTrainingConfig(epochs=40, augment="standard", decay_norm=False)
    assert final_training(config) == replace(config.training, epochs=40, augment="standard", decay_norm=False)
    assert config.training == TrainingConfig()
    assert final_training(EvaluateConfig()) == TrainingConfig()  # a command without such runs


def test_the_keys_of_final_training_runs_have_the_bounds_of_those_they_stand_for() -> None:
    by_path = {item.path: item for item in keys_of(RunConfig)}
    own = [path for path in by_path if path.startswith("test.training.")]
    assert len(own) > 10
    for path in own:
        inner = by_path[path.removeprefix("test.")]
        assert by_path[path].default is None
        assert {**by_path[path].metadata, "meaning": ""} == {**inner.metadata, "meaning": ""}


def test_defaults_are_the_papers_setting() -> None:
    config = RunConfig(evolution=EvolutionConfig(algorithm="biotune"))
    assert (config.evolution.population_size, config.evolution.generations, config.evolution.elites) == (10, 10, 3)
    assert config.evolution.folds == 2
    assert (config.training.epochs, config.training.patience, config.training.lr) == (30, 3, 1e-3)
    assert config.training.seeds == [684, 559, 629]
    assert (config.training.batch_size, config.training.cosine_epochs) == (96, 100)
    assert (config.training.optimizer, config.training.weight_decay, config.training.scheduler) == ("adam", 0.0, "cosine")


@pytest.mark.parametrize(
    ("value", "text"), [(None, "null"), (True, "true"), (False, "false"), ([1, 2], "[1,2]"), (1e-3, "0.001"), ("a", "a")]
)
def test_values_are_shown_as_one_would_type_them(value: Any, text: str) -> None:
    assert show(value) == text


def test_a_base_rate_is_a_number_or_has_yet_to_be_found() -> None:
    assert [TrainingConfig(lr=rate).base_lr for rate in (1, 0.25)] == [1.0, 0.25]
    with pytest.raises(ConfigError, match="give a number"):
        _ = TrainingConfig(lr="auto").base_lr
