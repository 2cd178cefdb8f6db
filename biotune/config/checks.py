"""What a composed configuration may hold: the bounds of every key, and which keys must agree. One line per error."""

import math
from collections.abc import Iterator
from typing import Any

from biotune.config.key import MISSING, Key, keys_of, show
from biotune.config.schema import (
    AUTO,
    EVOLVED,
    STRATEGY_KEYS,
    DatasetConfig,
    EvolutionConfig,
    Section,
    StrategyConfig,
    value_at,
)
from biotune.errors import ConfigError


def check(config: Section) -> None:
    """Check every bound and every pair of keys that must agree.

    Raises:
        ConfigError: With one line per error: the key, its value and the rule.
    """
    problems = [problem for item in keys_of(type(config)) for problem in _out_of_bounds(item, value_at(config, item.path))]
    if not problems:
        problems = list(_disagreements(config))
    if problems:
        raise ConfigError("\n".join(problems))


def _out_of_bounds(item: Key, value: Any) -> Iterator[str]:
    if value is None:
        return
    if value == "":
        yield f"{item.path}=: must not be empty" + (", give null for none." if item.default is None else ".")
        return
    rules = {
        "ge": ("at least", lambda number, bound: number >= bound),
        "gt": ("greater than", lambda number, bound: number > bound),
        "le": ("at most", lambda number, bound: number <= bound),
        "lt": ("less than", lambda number, bound: number < bound),
    }
    if item.is_no_word(value):
        yield f"{item.path}={value}: must be {item.must_be}."
        return
    for entry in value if isinstance(value, list) else [value]:
        if entry in item.metadata["words"]:
            return
        if isinstance(entry, float) and not math.isfinite(entry):
            yield f"{item.path}={show(value)}: must be a finite number."
            return
        for name, (words, holds) in rules.items():
            if name in item.metadata and not holds(entry, item.metadata[name]):
                yield f"{item.path}={show(value)}: must be {words} {item.metadata[name]}."
                return
    choices = item.metadata.get("choices")
    if choices and value not in choices:
        yield f"{item.path}={value}: must be one of {', '.join(map(str, choices))}."
    if value == MISSING:
        yield f"{item.path}: must be given. {item.metadata['meaning']}"
    if isinstance(value, list):
        if not value and item.default:
            yield f"{item.path}=[]: must name at least one."
        repeated = sorted({entry for entry in value if value.count(entry) > 1})
        if repeated:
            yield f"{item.path}={show(value)}: must not repeat {repeated[0]}."


def _disagreements(config: Section) -> Iterator[str]:
    executor = getattr(config, "executor", None)
    if executor is not None and executor.name == "in_process":
        for name in ("workers", "trial_timeout"):
            if getattr(executor, name) is not None:
                yield f"executor.{name}={show(getattr(executor, name))}: needs executor=process_pool."
    evolution = getattr(config, "evolution", None)
    if evolution is not None and evolution.elites >= evolution.population_size:
        yield (
            f"evolution.elites={evolution.elites}: must be smaller than evolution.population_size={evolution.population_size}."
        )
    if evolution is not None:
        yield from _search_that_disagrees(evolution)
    confirm = getattr(config, "confirm", None)
    if confirm is not None and confirm.top_k > 0:
        shared = sorted(set(confirm.seeds) & set(config.training.seeds))
        if shared:
            yield f"confirm.seeds={show(confirm.seeds)}: must be fresh, but {shared[0]} is also in training.seeds."
    training = getattr(config, "training", None)
    if training is not None and training.lr == AUTO and hasattr(config, "compare"):
        yield f"training.lr={AUTO}: 'biotune compare' chooses rates by compare.tune_lr and compare.lr_factors; give a number."
    if training is not None and training.lr == AUTO and hasattr(config, "genotypes"):
        yield f"training.lr={AUTO}: 'biotune evaluate' needs a number, so that genotypes mean the same rates each time."
    dataset = getattr(config, "dataset", None)
    if dataset is not None and dataset.shift != "none" and dataset.loader != "digits":
        yield f"dataset.shift={dataset.shift}: only dataset=digits can be shifted."
    if dataset is not None:
        yield from _keys_of_one_dataset(dataset)
    backbone = getattr(config, "backbone", None)
    if backbone is not None and backbone.head == "keep" and backbone.weights == "none":
        yield "backbone.head=keep: there is no head to keep with backbone.weights=none."
    device = getattr(config, "device", "auto")
    index = device.removeprefix("cuda:")
    if device not in ("auto", "cpu", "cuda", "mps") and not (
        device.startswith("cuda:") and index.isascii() and index.isdigit()
    ):
        yield f"device={device}: must be auto, cpu, cuda, cuda:INDEX or mps."
    yield from _strategies_that_disagree(config)
    strategy = getattr(config, "strategy", None)
    if strategy is not None and strategy.name == "schedule" and config.schedule is None:
        yield "strategy=schedule: needs schedule=FILE, for example the best_schedule.yaml of a run."
    if strategy is not None and strategy.name not in ("schedule", MISSING) and config.schedule is not None:
        yield f"schedule={config.schedule}: does not go with strategy={strategy.name}; give one of the two."


def _search_that_disagrees(evolution: EvolutionConfig) -> Iterator[str]:
    if evolution.screen > 1 and evolution.surrogate == "none":
        yield f"evolution.screen={evolution.screen}: needs evolution.surrogate=gp, which says which children are promising."
    if evolution.screen > 1 and evolution.mating == "sequential":
        yield f"evolution.screen={evolution.screen}: needs evolution.mating=brood, children that are drawn together."
    if evolution.surrogate != "none" and evolution.screen == 1:
        yield f"evolution.surrogate={evolution.surrogate}: has nothing to screen with evolution.screen=1; give 2 or more."
    if evolution.algorithm not in ("biotune", MISSING) and evolution.screen > 1:
        yield f"evolution.screen={evolution.screen}: goes with evolution=biotune only, not with {evolution.algorithm}."
    if evolution.algorithm not in ("biotune", MISSING) and evolution.unfreezing == EVOLVED:
        yield f"evolution.unfreezing={EVOLVED}: goes with evolution=biotune only, not with {evolution.algorithm}."
    if not evolution.freezing and evolution.fixed_threshold is not None:
        yield (
            f"evolution.fixed_threshold={evolution.fixed_threshold}: has no meaning with evolution.freezing=false; give one."
        )


def _strategies_that_disagree(config: Section) -> Iterator[str]:
    strategy = getattr(config, "strategy", None)
    if strategy is not None:
        if strategy.name == "biotune":
            yield "strategy=biotune: is a whole search; 'biotune run' makes one, 'biotune compare' compares it with others."
        for name, value in vars(strategy).items():
            if name != "name" and value != getattr(StrategyConfig, name) and strategy.name not in STRATEGY_KEYS[name]:
                owners = " and ".join(STRATEGY_KEYS[name])
                yield f"strategy.{name}={show(value)}: does not go with strategy={strategy.name}; only {owners} have this key."
    names = getattr(config, "strategies", None)
    if names is None:
        return
    if "full" not in names:
        yield f"strategies={show(names)}: must hold full, which all others are measured against."
    if ("schedule" in names) != (config.schedule is not None):
        yield f"strategies={show(names)}: schedule among them and schedule=FILE go together; give both or neither."
    if shared := set(config.compare.tune_seeds) & set(config.test.seeds):
        yield f"compare.tune_seeds={show(config.compare.tune_seeds)}: must be fresh; {min(shared)} is in test.seeds too."


def _keys_of_one_dataset(dataset: DatasetConfig) -> Iterator[str]:
    """Keys that one dataset needs and all others have no use for."""
    owners = {
        "partition": ("dtd", dataset.loader == "torchvision" and dataset.name == "dtd"),
        "annotation": ("fgvc_aircraft", dataset.loader == "torchvision" and dataset.name == "fgvc_aircraft"),
        "source_size": ("medmnist", dataset.loader == "medmnist"),
    }
    for name, (owner, is_owner) in owners.items():
        value = getattr(dataset, name)
        if is_owner and value is None:
            yield f"dataset.{name}=null: must be set for dataset={owner}; leave it out for the usual value."
        if not is_owner and value is not None:
            yield f"dataset.{name}={value}: only dataset={owner} has this key; leave it out for dataset.name={dataset.name}."
