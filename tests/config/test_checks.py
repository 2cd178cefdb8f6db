"""Tests of what a configuration may hold: every bound, every pair of keys that must agree, and what the messages say."""

import copy
import math
from typing import Any

import pytest

from biotune.config.checks import check
from biotune.config.key import MISSING, show
from biotune.config.schema import EvaluateConfig, RunConfig, TrainConfig, value_at
from biotune.config.search import EvolutionConfig
from biotune.config.sections import BackboneConfig, DatasetConfig, ExecutorConfig, StrategyConfig
from biotune.errors import ConfigError

SHARED: dict[str, Any] = {
    "dataset": DatasetConfig(loader="digits", name="digits"),
    "backbone": BackboneConfig(library="biotune", name="glyphnet"),
    "executor": ExecutorConfig(name="in_process"),
}
GOOD: dict[str, Any] = {
    "run": RunConfig(**SHARED, evolution=EvolutionConfig(algorithm="biotune")),
    "train": TrainConfig(**SHARED, strategy=StrategyConfig(name="full")),
    "evaluate": EvaluateConfig(**SHARED, genotypes="genes.csv", evolution=EvolutionConfig(algorithm="biotune")),
}


def changed(command: str = "run", **changes: Any) -> Any:
    """A config that is in order but for these keys; `__` stands for the dot of a path."""
    config = copy.deepcopy(GOOD[command])
    for name, value in changes.items():
        *groups, leaf = name.split("__")
        setattr(value_at(config, ".".join(groups)) if groups else config, leaf, value)
    return config


def complaints(config: Any) -> list[str]:
    try:
        check(config)
    except ConfigError as error:
        return str(error).split("\n")
    return []


@pytest.mark.parametrize("command", GOOD)
def test_defaults_lie_within_their_own_bounds(command: str) -> None:
    assert complaints(GOOD[command]) == []


@pytest.mark.parametrize(
    ("path", "value", "rule"),
    [
        ("seed", -1, "at least 0"),
        ("seed", 2**63, f"at most {2**63 - 1}"),
        ("evolution.population_size", 3, "at least 4"),
        ("evolution.population_size", 10_001, "at most 10000"),
        ("evolution.generations", -1, "at least 0"),
        ("evolution.elites", -1, "at least 0"),
        ("evolution.folds", 0, "at least 1"),
        ("evolution.max_hours", 0.0, "greater than 0"),
        ("evolution.max_hours", math.inf, "a finite number"),
        ("evolution.exploitation_radius", 0.0, "greater than 0"),
        ("evolution.exploitation_radius", 1.5, "at most 1"),
        ("evolution.mating", "harem", "one of brood, sequential, asynchronous"),
        ("evolution.algorithm", "pso", "one of biotune, random, genetic, cma_es, optuna"),
        ("evolution.sampler", "nsga", "one of tpe, gp, cmaes"),
        ("training.lr", 0.0, "greater than 0"),
        ("training.lr", math.nan, "a finite number"),
        ("training.lr", math.inf, "a finite number"),
        ("training.lr", "fast", "a number or auto"),
        ("training.lr_grid", [0.1, 0.0], "greater than 0"),
        ("training.epochs", 0, "at least 1"),
        ("training.patience", 0, "at least 1"),
        ("training.batch_size", 1, "at least 2"),
        ("training.eval_batch_size", 0, "at least 1"),
        ("training.weight_decay", -0.1, "at least 0"),
        ("training.weight_decay", math.inf, "a finite number"),
        ("training.momentum", 1.0, "less than 1"),
        ("training.warmup_epochs", -1, "at least 0"),
        ("training.cosine_epochs", 0, "at least 1"),
        ("training.step_epochs", 0, "at least 1"),
        ("training.step_factor", 0.0, "greater than 0"),
        ("training.optimizer", "lion", "one of adam, adamw, sgd"),
        ("training.scheduler", "linear", "one of cosine, step, constant, one_cycle"),
        ("training.class_weights", "yes", "one of none, balanced"),
        ("training.frozen_norm", "off", "one of eval, train"),
        ("training.seeds", [], "name at least one"),
        ("training.seeds", [1, 2, 1], "not repeat 1"),
        ("training.seeds", [1, -2], "at least 0"),
        ("confirm.seeds", [], "name at least one"),
        ("confirm.seeds", [5, 5], "not repeat 5"),
        ("confirm.top_k", -1, "at least 0"),
        ("test.seeds", [], "name at least one"),
        ("test.seeds", [3, 3], "not repeat 3"),
        ("dataset.image_size", 7, "at least 8"),
        ("dataset.image_size", 4097, "at most 4096"),
        ("dataset.image_size", "wide", "an integer or [HEIGHT,WIDTH] such as [96,160] or null"),
        ("dataset.image_size", "[96,160,3]", "an integer or [HEIGHT,WIDTH] such as [96,160] or null"),
        ("dataset.image_size", "[96,7]", "at least 8"),
        ("dataset.image_size", "[5000,96]", "at most 4096"),
        ("dataset.train_fraction", 0.0, "greater than 0"),
        ("dataset.train_fraction", 1.1, "at most 1"),
        ("dataset.val_fraction", 1.0, "less than 1"),
        ("dataset.test_fraction", 0.0, "greater than 0"),
        ("dataset.max_classes", 1, "at least 2"),
        ("dataset.max_per_class", 0, "at least 1"),
        ("dataset.max_eval_per_class", 0, "at least 1"),
        ("dataset.split_seed", -1, "at least 0"),
        ("dataset.shift", "fog", "one of none, noise, blur, invert, low_contrast"),
        ("dataset.partition", 0, "at least 1"),
        ("dataset.partition", 11, "at most 10"),
        ("dataset.annotation", "maker", "one of variant, family, manufacturer"),
        ("dataset.source_size", 30, "one of 28, 64, 128, 224"),
        ("backbone.head", "old", "one of new, keep"),
        ("training.augment", "mixup", "one of none, standard, randaugment, trivialaugment, augmix"),
        ("training.cosine_epochs", "all", "an integer or auto"),
        ("training.label_smoothing", 1.0, "less than 1"),
        ("training.label_smoothing", -0.1, "at least 0"),
        ("training.clip_grad", -1.0, "at least 0"),
        ("training.mixup", -1.0, "at least 0"),
        ("training.cutmix", math.inf, "a finite number"),
        ("training.ema", 1.0, "less than 1"),
        ("training.ema", -0.1, "at least 0"),
        ("training.drop_path", 1.0, "less than 1"),
        ("test.training.epochs", 0, "at least 1"),
        ("test.training.augment", "flip", "one of none, standard, randaugment, trivialaugment, augmix"),
        ("test.training.ema", 1.0, "less than 1"),
        ("backbone.granularity", "pixel", "one of block, layer"),
        ("fitness.max_failed_share", 0.0, "greater than 0"),
        ("fitness.max_failed_share", 1.1, "at most 1"),
        ("executor.threads", 0, "at least 1"),
    ],
)
def test_value_out_of_bounds_is_refused_with_key_value_and_rule(path: str, value: Any, rule: str) -> None:
    (line,) = complaints(changed(**{path.replace(".", "__"): value}))
    assert line == f"{path}={show(value)}: must {'' if rule.startswith(('name', 'not')) else 'be '}{rule}."


@pytest.mark.parametrize(
    "changes",
    [
        {"evolution__population_size": 4},
        {"evolution__elites": 0},
        {"evolution__elites": 9},
        {"evolution__generations": 0},
        {"evolution__folds": 1},
        {"training__epochs": 1},
        {"training__seeds": [0]},
        {"dataset__train_fraction": 1.0},
        {"fitness__max_failed_share": 1.0},
        {"confirm__top_k": 0},
    ],
    ids=str,
)
def test_value_on_the_bound_is_accepted(changes: dict[str, Any]) -> None:
    assert complaints(changed(**changes)) == []


@pytest.mark.parametrize("elites", [10, 11])
def test_elites_must_leave_room_for_children(elites: int) -> None:
    (line,) = complaints(changed(evolution__elites=elites))
    assert line == (
        f"evolution.elites={elites}: must be smaller than evolution.population_size=10. Set evolution.elites too, such as 8, "
        "the share of the default search."
    )


def test_confirmation_must_not_reuse_a_training_seed() -> None:
    (line,) = complaints(changed(confirm__seeds=[71, 559]))
    assert line.startswith("confirm.seeds=[71,559]: must be fresh") and "559" in line and "training.seeds" in line


def test_confirmation_seeds_do_not_matter_where_nothing_is_confirmed() -> None:
    assert complaints(changed(confirm__seeds=[559], confirm__top_k=0)) == []


@pytest.mark.parametrize("device", ["auto", "cpu", "cuda", "cuda:0", "cuda:12", "mps"])
def test_known_device_is_accepted(device: str) -> None:
    assert complaints(changed(device=device)) == []


@pytest.mark.parametrize("device", ["gpu", "cuda:", "cuda:x", "cuda:-1", "cuda:²", "CUDA", "cpu:0", "cuda 1", "cuda:1 "])
def test_unknown_device_is_refused_with_the_choices(device: str) -> None:
    (line,) = complaints(changed(device=device))
    assert line == f"device={device}: must be auto, cpu, cuda, cuda:INDEX or mps."


def test_an_empty_text_is_refused_with_the_key() -> None:
    assert complaints(changed(device="")) == ["device=: must not be empty."]
    assert complaints(changed(dataset__root="")) == ["dataset.root=: must not be empty, give null for none."]


def test_only_digits_can_be_shifted() -> None:
    assert complaints(changed(dataset__shift="noise")) == []
    (line,) = complaints(changed(dataset__shift="noise", dataset__loader="cub"))
    assert line == "dataset.shift=noise: only dataset=digits can be shifted."


def test_one_cycle_warms_up_by_itself() -> None:
    assert complaints(changed(training__scheduler="one_cycle")) == []
    (line,) = complaints(changed(training__scheduler="one_cycle", training__warmup_epochs=2))
    assert (
        line
        == "training.warmup_epochs=2: training.scheduler=one_cycle has a warm-up of its own; give training.warmup_epochs=0."
    )
    (line,) = complaints(changed(training__warmup_epochs=2, test__training__scheduler="one_cycle"))
    assert line.startswith("training.warmup_epochs=2: test.training.scheduler=one_cycle")


def test_a_cosine_over_all_epochs_needs_epochs_after_the_warm_up() -> None:
    of_all = {"training__cosine_epochs": "auto", "training__epochs": 3}
    assert complaints(changed(**of_all, training__warmup_epochs=2)) == []
    (line,) = complaints(changed(**of_all, training__warmup_epochs=3))
    assert line.startswith("training.warmup_epochs=3: must be less than training.epochs=3 with training.cosine_epochs=auto")
    (line,) = complaints(changed(**of_all, training__warmup_epochs=2, test__training__epochs=2))
    assert line.startswith("training.warmup_epochs=2: must be less than test.training.epochs=2")
    assert complaints(changed(**of_all, training__warmup_epochs=3, training__scheduler="constant")) == []


def test_schedule_strategy_needs_a_schedule_and_no_other_takes_one() -> None:
    assert complaints(changed("train", strategy__name="schedule", schedule="found.yaml")) == []
    (line,) = complaints(changed("train", strategy__name="schedule"))
    assert "strategy=schedule: needs schedule=FILE" in line
    (line,) = complaints(changed("train", schedule="found.yaml"))
    assert line.startswith("schedule=found.yaml: does not go with strategy=full")


def test_missing_value_is_asked_for_with_its_meaning() -> None:
    (line,) = complaints(changed("evaluate", genotypes=MISSING))
    assert line.startswith("genotypes: must be given. CSV file")


def test_null_switches_a_bound_off() -> None:
    assert complaints(changed(evolution__max_hours=None, dataset__image_size=None)) == []


def test_all_that_is_wrong_is_said_at_once() -> None:
    lines = complaints(changed(training__epochs=0, evolution__folds=0, training__optimizer="lion"))
    assert [line.split("=")[0] for line in lines] == ["training.epochs", "training.optimizer", "evolution.folds"]


STREAMED = {
    "evolution__mating": "asynchronous",
    "evolution__exploitation": False,
    "evolution__folds": 1,
    "fitness__racing": False,
}


def test_an_asynchronous_search_is_in_order_without_what_compares_a_batch() -> None:
    assert complaints(changed(**STREAMED)) == []
    spread = {"evolution__folds": 3, "evolution__spread": True, "evolution__reevaluate_elites": False}
    assert complaints(changed(**STREAMED | spread)) == []
    assert complaints(changed(**STREAMED | {"fitness__racing": True, "training__seeds": [1]})) == []


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"evolution__exploitation": True}, "give evolution.exploitation=false"),
        ({"evolution__folds": 2}, "give evolution.spread=true"),
        ({"fitness__racing": True, "training__seeds": [1, 2]}, "give fitness.racing=false or one training seed"),
        ({"evolution__algorithm": "genetic"}, "needs evolution=biotune, not genetic"),
    ],
)
def test_what_compares_the_candidates_of_a_batch_does_not_go_with_an_asynchronous_search(
    changes: dict[str, Any], words: str
) -> None:
    (line,) = complaints(changed(**STREAMED | changes))
    assert line.startswith("evolution.mating=asynchronous: ") and words in line


@pytest.mark.parametrize(
    ("name", "changes", "rule"),
    [
        ("in_process", {"workers": 2}, "executor.workers=2: needs executor=process_pool or ray."),
        ("in_process", {"gpus": 1.0}, "executor.gpus=1.0: needs executor=ray."),
        ("process_pool", {"cpus": 2.0}, "executor.cpus=2.0: needs executor=ray."),
        ("process_pool", {"address": "auto"}, "executor.address=auto: needs executor=ray."),
        (
            "ray",
            {"workers_per_gpu": 2},
            "executor.workers_per_gpu=2: needs executor=process_pool. With executor=ray, executor.gpus",
        ),
        ("ray", {"address": "ray://host:10001"}, "executor.address=ray://host:10001: must be local, auto or HOST:PORT."),
        ("ray", {"address": "host"}, "executor.address=host: must be local, auto or HOST:PORT."),
        ("ray", {"gpus": 0.5}, "executor.gpus=0.5: workers with a GPU train on it, but device=cpu. Leave one out."),
    ],
)
def test_a_key_of_another_executor_is_refused(name: str, changes: dict[str, Any], rule: str) -> None:
    (line,) = complaints(changed(executor=ExecutorConfig(name, **changes), device="cpu"))
    assert line.startswith(rule)


def test_the_address_of_a_cluster_is_taken() -> None:
    assert complaints(changed(executor=ExecutorConfig("ray", address="10.0.0.2:6379"))) == []


@pytest.mark.parametrize("uri", ["https://me:secret@host", "postgresql://me:secret@host/db", "mysql://host/db?password=secret"])
@pytest.mark.parametrize("enabled", [True, False])
def test_a_password_in_a_trackers_uri_is_refused_and_not_repeated(uri: str, enabled: bool) -> None:
    (complaint,) = complaints(changed(tracker__mlflow__uri=uri, tracker__mlflow__enabled=enabled))
    assert "MLFLOW_TRACKING_PASSWORD" in complaint and "secret" not in complaint


@pytest.mark.parametrize(
    "uri", ["https://host:5000", "sqlite:////a/mlflow.db", "postgresql://me@host/db", "databricks://profile"]
)
def test_other_uris_of_a_tracker_are_not(uri: str) -> None:
    assert complaints(changed(tracker__mlflow__uri=uri, tracker__mlflow__enabled=True)) == []
