"""The schema of every command: its keys, by config group.

With `search` and `sections` the only place for defaults that no YAML file sets. They import neither Hydra nor torch; `cli`
registers these classes.
"""

from dataclasses import dataclass, field, replace
from typing import Any

from biotune.config.key import MISSING, key
from biotune.config.search import ConfirmConfig, EvolutionConfig, FitnessConfig, SearchFitnessConfig, SuggestionConfig
from biotune.config.sections import (
    BackboneConfig,
    ComparisonConfig,
    DatasetConfig,
    ExecutorConfig,
    FeaturesConfig,
    FinalConfig,
    FinalModelConfig,
    StrategyConfig,
    TrainingConfig,
)
from biotune.config.tracking import TrackerConfig


def _plugins() -> Any:
    """The key `plugins`, which has another position in each schema."""
    return key([], "Modules to import, which register your own networks, datasets or strategies.")


@dataclass
class BlocksConfig:
    """Keys of `biotune blocks`."""

    backbone: BackboneConfig = field(default_factory=BackboneConfig)
    num_classes: int = key(1000, "Number of classes of the counted head.", ge=2)
    plugins: list[str] = _plugins()


@dataclass
class DataConfig:
    """Keys of `biotune data check`."""

    dataset: DatasetConfig = field(default_factory=DatasetConfig)
    page: str | None = key(
        "data_check.html",
        "HTML page to write, with what was found and a contact sheet of every class; null for none.",
        path="files",
    )
    plugins: list[str] = _plugins()


@dataclass
class TrialsConfig:
    """Keys shared by the commands that train."""

    seed: int = key(0, "Seed of the search.", ge=0, le=2**63 - 1)
    device: str = key("auto", "auto, cpu, cuda, cuda:INDEX or mps.", usual=("auto", "cpu", "cuda", "mps"))
    plugins: list[str] = _plugins()
    dataset: DatasetConfig = field(default_factory=DatasetConfig)
    backbone: BackboneConfig = field(default_factory=BackboneConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)
    features: FeaturesConfig = field(default_factory=FeaturesConfig)
    executor: ExecutorConfig = field(default_factory=ExecutorConfig)
    tracker: TrackerConfig = field(default_factory=TrackerConfig)


@dataclass
class RunConfig(TrialsConfig):
    """Keys of `biotune run`."""

    evolution: EvolutionConfig = field(default_factory=EvolutionConfig)
    fitness: SearchFitnessConfig = field(default_factory=SearchFitnessConfig)
    confirm: ConfirmConfig = field(default_factory=ConfirmConfig)
    test: FinalConfig = field(default_factory=FinalConfig)
    final: FinalModelConfig = field(default_factory=FinalModelConfig)


@dataclass
class TrainConfig(TrialsConfig):
    """Keys of `biotune train`."""

    strategy: StrategyConfig = field(default_factory=StrategyConfig)
    schedule: str | None = key(None, "Path of a schedule file to train with; goes with strategy=schedule.", path="files")
    test: FinalConfig = field(default_factory=FinalConfig)
    final: FinalModelConfig = field(default_factory=FinalModelConfig)


@dataclass
class EvaluateConfig(TrialsConfig):
    """Keys of `biotune evaluate`."""

    genotypes: str = key(MISSING, "CSV file of genotypes: one column per block, and threshold.", path="files")
    evolution: EvolutionConfig = field(default_factory=EvolutionConfig)
    fitness: FitnessConfig = field(default_factory=FitnessConfig)


@dataclass
class SuggestConfig(TrialsConfig):
    """Keys of `biotune suggest`."""

    suggest: SuggestionConfig = field(default_factory=SuggestionConfig)


@dataclass
class CompareConfig(TrialsConfig):
    """Keys of `biotune compare`."""

    strategies: list[str] = key(
        [
            "full",
            "linear_probe",
            "lp_ft",
            "gradual_last_to_first",
            "gradual_first_to_last",
            "l1_sp",
            "l2_sp",
            "auto_rgn",
            "auto_snr",
            "surgical",
            "lora",
            "layer_decay",
            "discriminative",
            "biotune",
        ],
        "Names of the strategies; biotune is a whole search, schedule stands for the file of schedule=FILE.",
    )
    schedule: str | None = key(None, "Path of a schedule file; goes with schedule among the strategies.", path="files")
    compare: ComparisonConfig = field(default_factory=ComparisonConfig)
    evolution: EvolutionConfig = field(default_factory=EvolutionConfig)
    fitness: SearchFitnessConfig = field(default_factory=SearchFitnessConfig)
    confirm: ConfirmConfig = field(default_factory=ConfirmConfig)
    test: FinalConfig = field(default_factory=FinalConfig)


Section = Any


def sets_drop_path(*settings: TrainingConfig | None) -> bool:
    """Whether any training settings of a command ask for rates of stochastic depth."""
    return any(one is not None and one.drop_path is not None for one in settings)


def value_at(config: Section, path: str) -> Any:
    """Return the value at a dotted path, such as `training.lr`, of a composed config."""
    for name in path.split("."):
        config = getattr(config, name)
    return config


def final_training(config: TrialsConfig) -> TrainingConfig:
    """The settings of the final training runs: those of `training`, with what `test.training` sets in their place."""
    test = getattr(config, "test", None)
    return replace(config.training, **test.training.changed) if test is not None else config.training
