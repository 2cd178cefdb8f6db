"""Tests of the YAML files: every one composes, holds only known keys, and the presets say what they should."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
import yaml
from hydra import compose, initialize_config_module
from omegaconf import OmegaConf

from biotune.cli.launch.compose import register
from biotune.cli.registry import SCHEMAS
from biotune.config.checks import check
from biotune.config.key import keys_of
from biotune.config.schema import RunConfig
from biotune.config.sections import TrainingConfig
from biotune.errors import ConfigError
from biotune.evolution.generation import most_evaluations

ROOT = Path(str(files("biotune.configs")))
GROUPS = sorted(path.name for path in ROOT.iterdir() if path.is_dir() and not path.name.startswith("_"))
CHOICES = [(group, file.stem) for group in GROUPS for file in sorted((ROOT / group).glob("*.yaml"))]
PRIMARY = sorted(SCHEMAS)
# what must be given with a choice before its config is complete
NEEDS = {
    ("strategy", "schedule"): ["schedule=some.yaml"],
    ("dataset", "table"): ["dataset.table=labels.csv"],
    ("dataset", "hf"): ["dataset.hub=me/birds"],
    ("backbone", "timm"): ["backbone.name=resnet18"],
    ("backbone", "torchvision"): ["backbone.name=resnet18"],
}
ALWAYS = {"evaluate": ["genotypes=some.csv"]}


@pytest.fixture(scope="module", autouse=True)
def _hydra() -> Iterator[None]:
    register()
    with initialize_config_module("biotune.configs", version_base="1.3"):
        yield


def composed(command: str, *overrides: str) -> Any:
    return OmegaConf.to_object(compose(command, [*ALWAYS.get(command, []), *overrides]))


def groups_of(command: str) -> set[str]:
    entries = yaml.safe_load((ROOT / f"{command}.yaml").read_text())["defaults"]
    return {name for entry in entries if isinstance(entry, dict) for name in entry if not name.startswith("override")}


def test_every_command_has_its_primary_config() -> None:
    assert all((ROOT / f"{command}.yaml").is_file() for command in PRIMARY)


@pytest.mark.parametrize("command", PRIMARY)
def test_what_a_command_composes_by_default_keeps_every_bound(command: str) -> None:
    config = composed(command)
    assert type(config) is SCHEMAS[command]
    check(config)


def rows_of(command: str) -> Iterator[dict[str, str]]:
    """Choices to compose together, so that each choice of each group of a command comes once at least.

    An experiment sets keys of the search and of training, so it never meets other choices of these, nor of the groups that it
    chooses from itself.
    """
    own = groups_of(command)
    for together in (own - {"evolution", "training"}, own & {"evolution", "training"}):
        choices = {group: [choice for of, choice in CHOICES if of == group] for group in sorted(together)}
        for index in range(max(map(len, choices.values()), default=0)):
            row = {group: names[index] for group, names in choices.items() if index < len(names)}
            apart = chosen_by(row.get("experiment")) & row.keys()
            yield {group: choice for group, choice in row.items() if group not in apart}
            if apart:
                yield {group: row[group] for group in apart}


def chosen_by(experiment: str | None) -> set[str]:
    """The groups that an experiment chooses from, apart from the executor, which goes with all else."""
    if experiment is None:
        return set()
    entries = yaml.safe_load((ROOT / "experiment" / f"{experiment}.yaml").read_text()).get("defaults", [])
    return {name.removeprefix("override /") for entry in entries for name in entry} - {"executor"}


def test_every_choice_belongs_to_a_command() -> None:
    offered = {(group, choice) for command in PRIMARY for row in rows_of(command) for group, choice in row.items()}
    assert offered == set(CHOICES)


@pytest.mark.parametrize("command", PRIMARY)
def test_every_choice_composes_with_every_command_it_belongs_to(command: str) -> None:
    for row in rows_of(command):
        needs = [given for choice in row.items() for given in NEEDS.get(choice, [])]
        config = composed(command, *(f"{group}={choice}" for group, choice in row.items()), *needs)
        assert type(config) is SCHEMAS[command], row
        if row.get("strategy") == "biotune":  # there is no training without a search
            with pytest.raises(ConfigError, match="use 'biotune run', or 'biotune compare' to compare it"):
                check(config)
        else:
            check(config)


def paths(value: Any, prefix: str) -> Iterator[str]:
    """The dotted keys of a YAML's content."""
    if not isinstance(value, dict):
        yield prefix
        return
    for name, inner in value.items():
        yield from paths(inner, f"{prefix}.{name}" if prefix else name)


@pytest.mark.parametrize("group", GROUPS)
def test_every_key_of_every_file_is_in_the_schema(group: str) -> None:
    known = {item.path for schema in SCHEMAS.values() for item in keys_of(schema)}
    for file in sorted((ROOT / group).glob("*.yaml")):
        text = file.read_text(encoding="utf-8")
        content = yaml.safe_load(text) or {}
        content.pop("defaults", None)
        content.pop("hydra", None)
        assert set(paths(content, "" if text.startswith("# @package _global_\n") else group)) <= known, file.stem


@pytest.mark.parametrize("group", GROUPS)
def test_every_choice_says_what_it_is_in_a_sentence(group: str) -> None:
    for file in sorted((ROOT / group).glob("*.yaml")):
        lines = file.read_text(encoding="utf-8").splitlines()
        comments = [line for line in lines if line.startswith("# ") and not line.startswith("# @package")]
        assert comments, file.stem
        assert comments[0].endswith("."), comments[0]


@pytest.mark.parametrize("group", ["dataset", "backbone", "strategy", "executor"])
def test_a_choice_is_found_under_the_name_of_its_file(group: str) -> None:
    for file in sorted((ROOT / group).glob("*.yaml")):
        if file.stem in ("torchvision", "timm", "medmnist"):
            continue
        assert yaml.safe_load(file.read_text())["name"] == file.stem


def test_the_default_search_makes_at_most_sixty_training_runs_each_on_all_data() -> None:
    config: RunConfig = composed("run")
    evolution = config.evolution
    assert most_evaluations(evolution) * len(config.training.seeds) == 20 + 10 * 4 == 60
    assert (evolution.folds, evolution.resplit, evolution.spread, evolution.unfreezing) == ("auto", True, True, "evolved")
    assert config.training.seeds == [684]
    assert (config.dataset.name, config.backbone.name, config.executor.name) == ("digits", "glyphnet", "process_pool")


def test_the_default_search_ranks_by_the_surrogate_and_breeds_schedules() -> None:
    config: RunConfig = composed("run")
    evolution = config.evolution
    assert (evolution.ranking, evolution.offspring, evolution.surrogate, evolution.screen) == (
        "predicted",
        "schedules",
        "gp",
        80,
    )
    assert (evolution.exploitation, evolution.reevaluate_elites, evolution.momentum, evolution.adoption) == (False,) * 4
    assert (evolution.mutation, evolution.crossover, evolution.seeded, evolution.fixed_threshold) == (True, True, True, 0.3)
    assert (config.confirm.choose, config.confirm.splits, config.confirm.top_k) == ("simplest", "auto", 3)
    assert config.training.head_start == "evolved"
    assert evolution.max_hours is None
    assert config.training.frozen_norm == "eval"


def test_the_screened_search_has_the_papers_population_and_three_times_the_cost() -> None:
    config: RunConfig = composed("run", "evolution=screened")
    evolution = config.evolution
    assert (evolution.population_size, evolution.generations, evolution.elites) == (10, 10, 3)
    assert most_evaluations(evolution) == 10 + 10 * (2 * 3 + 7 + 3) == 170
    assert (evolution.ranking, evolution.offspring, evolution.exploration) == ("fitness", "biotune", 2.0)
    assert (evolution.adoption, evolution.surrogate, evolution.screen, evolution.seeded) == (False, "gp", 30, False)
    assert config.confirm.top_k == 3


PAPER_TRAINING = {
    "lr": 1e-3,
    "epochs": 30,
    "patience": 3,
    "batch_size": 96,
    "seeds": [684, 559, 629],
    "optimizer": "adam",
    "weight_decay": 0.0,
    "scheduler": "cosine",
    "cosine_epochs": 100,
    "warmup_epochs": 0,
    "class_weights": "none",
    "augment": "none",
}


def test_the_training_of_schema_and_preset_is_the_papers() -> None:
    for training in (TrainingConfig(), composed("run", "experiment=paper").training):
        assert {name: getattr(training, name) for name in PAPER_TRAINING} == PAPER_TRAINING


@pytest.mark.parametrize("name", ["random", "genetic", "cma_es", "optuna"])
def test_other_searchers_have_the_cost_of_the_default(name: str) -> None:
    default, other = composed("run"), composed("run", f"evolution={name}")
    assert other.evolution.algorithm == name
    assert other.training.seeds == default.training.seeds
    assert most_evaluations(other.evolution) == most_evaluations(default.evolution)
    assert other.evolution.folds == default.evolution.folds


def test_biotunes_own_search_keeps_the_papers_folds_and_seeds() -> None:
    config: RunConfig = composed("run", "evolution=plain")
    assert (config.evolution.folds, config.training.seeds) == (2, [684, 559, 629])


def test_typed_seeds_win_over_those_of_the_search() -> None:
    assert composed("run", "training.seeds=[1,2]", "evolution=cma_es").training.seeds == [1, 2]


def test_the_paper_preset_is_the_published_procedure() -> None:
    config: RunConfig = composed("run", "experiment=paper")
    evolution = config.evolution
    assert (evolution.population_size, evolution.generations, evolution.elites, evolution.folds) == (10, 10, 3, 2)
    assert evolution.mutate_first_brood is False
    assert evolution.reevaluate_elites is False
    assert evolution.mating == "sequential"
    assert config.confirm.top_k == 0
    assert (config.fitness.prune, config.fitness.racing) == ("none", False)
    assert (config.training.frozen_norm, config.training.eval_batch_size) == ("train", 64)
    assert (evolution.exploitation, evolution.crossover, evolution.momentum, evolution.mutation, evolution.adoption) == (
        True,
    ) * 5
    check(config)


def test_the_paper_preset_yields_to_what_is_typed() -> None:
    config: RunConfig = composed("run", "experiment=paper", "training.epochs=2", "dataset=cub", "backbone=resnet50")
    assert (config.training.epochs, config.dataset.name, config.backbone.name) == (2, "cub", "resnet50")
    assert composed("run", "experiment=paper", "training=sgd").training.optimizer == "sgd"


def test_the_smoke_preset_is_small_with_any_dataset() -> None:
    config: RunConfig = composed("run", "experiment=smoke", "dataset=cub", "backbone=resnet50")
    check(config)
    assert config.evolution.generations == 1
    assert config.training.epochs == 1
    assert config.dataset.max_per_class is not None
    assert config.dataset.root is not None
