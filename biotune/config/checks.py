"""Checks a composed config: the bounds of every key, and the keys that must agree. One line per error."""

import math
import re
from collections.abc import Iterator
from dataclasses import fields
from typing import Any

from biotune.config.key import MISSING, Key, keys_of, numbers_of, show, sides_of
from biotune.config.schema import Section, final_training, value_at
from biotune.config.search import ConfirmConfig, EvolutionConfig, objectives_that_disagree
from biotune.config.sections import AUTO, EVOLVED, ONE_CYCLE, STRATEGY_KEYS, DatasetConfig, ExecutorConfig, StrategyConfig
from biotune.config.tracking import TRACKERS, TrackerConfig
from biotune.errors import ConfigError


def check(config: Section) -> None:
    """Check every bound, and all keys that must agree.

    Args:
        config: A composed config.

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
    if item.metadata["pair"] and value != AUTO and numbers_of(value) is None:
        yield f"{item.path}={value}: must be auto, or two ascending numbers LOW,HIGH such as 0,4095."
        return
    if item.metadata["sides"] and isinstance(value, str):
        if (sides := sides_of(value)) is None:
            yield f"{item.path}={value}: must be {item.must_be}."
            return
        value = list(sides)
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
        repeated = [] if item.metadata["sides"] else sorted({entry for entry in value if value.count(entry) > 1})
        if repeated:
            yield f"{item.path}={show(value)}: must not repeat {repeated[0]}."


_EXECUTORS_OF = {
    "workers": ("process_pool", "ray"),
    "trial_timeout": ("process_pool", "ray"),
    "workers_per_gpu": ("process_pool",),
    "address": ("ray",),
    "cpus": ("ray",),
    "gpus": ("ray",),
}


def _keys_of_one_executor(executor: ExecutorConfig, device: str) -> Iterator[str]:
    defaults = {item.name: item.default for item in fields(ExecutorConfig)}
    for name, fitting in _EXECUTORS_OF.items():
        value = getattr(executor, name)
        if value != defaults[name] and executor.name not in fitting:
            instead = " With executor=ray, executor.gpus gives a worker a share of a GPU." if name == "workers_per_gpu" else ""
            yield f"executor.{name}={show(value)}: needs executor={' or '.join(fitting)}.{instead}"
    host, colon, port = executor.address.rpartition(":")
    if executor.address not in ("local", AUTO) and not (
        host and colon and port.isascii() and port.isdigit() and "/" not in host
    ):
        yield f"executor.address={executor.address}: must be local, auto or HOST:PORT."
    if executor.name == "ray" and executor.gpus and device in ("cpu", "mps"):
        yield f"executor.gpus={show(executor.gpus)}: workers with a GPU train on it, but device={device}. Leave one out."


def _keys_of_one_tracker(tracker: TrackerConfig) -> Iterator[str]:
    if tracker.mlflow.uri is not None and re.search(r"://[^/@]*:[^/@]*@|password=", tracker.mlflow.uri):
        yield (  # without the value, which belongs on no terminal
            "tracker.mlflow.uri: holds a password, which would be written into the run's folder; set the environment variable "
            "MLFLOW_TRACKING_URI, or MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD."
        )
        return
    for name in TRACKERS:
        own = getattr(tracker, name)
        defaults = type(own)()
        for key, value in vars(own).items():
            if not own.enabled and value != getattr(defaults, key):
                yield f"tracker.{name}.{key}={show(value)}: needs tracker={name}."


def _disagreements(config: Section) -> Iterator[str]:
    executor = getattr(config, "executor", None)
    if executor is not None:
        yield from _keys_of_one_executor(executor, getattr(config, "device", AUTO))
        yield from _keys_of_one_tracker(config.tracker)
    evolution = getattr(config, "evolution", None)
    if evolution is not None and evolution.elites >= evolution.population_size:
        yield (
            f"evolution.elites={evolution.elites}: must be smaller than evolution.population_size={evolution.population_size}. "
            f"Set evolution.elites too, such as {4 * evolution.population_size // 5}, the share of the default search."
        )
    if evolution is not None:
        yield from _search_that_disagrees(evolution)
        yield from _stream_that_disagrees(evolution, config)
        yield from objectives_that_disagree(evolution, hasattr(config, "compare"))
    confirm = getattr(config, "confirm", None)
    if confirm is not None and confirm.top_k > 0:
        shared = sorted(set(confirm.seeds) & set(config.training.seeds))
        if shared:
            yield f"confirm.seeds={show(confirm.seeds)}: must be fresh, but {shared[0]} is also in training.seeds."
        yield from _confirmation_that_disagrees(confirm, config.evolution)
    training = getattr(config, "training", None)
    if training is not None and training.lr == AUTO and hasattr(config, "compare"):
        yield f"training.lr={AUTO}: 'biotune compare' chooses learning rates by compare.lr_factors; give a number."
    if training is not None and training.lr == AUTO and hasattr(config, "genotypes"):
        yield f"training.lr={AUTO}: 'biotune evaluate' needs a number, so that genotypes always mean the same learning rates."
    if training is not None and training.lr == AUTO and hasattr(config, "suggest"):
        yield f"training.lr={AUTO}: 'biotune suggest' trains nothing that could be compared; give a number."
    yield from _head_that_disagrees(config)
    yield from _final_model_that_disagrees(config)
    yield from _course_that_disagrees(config)
    yield from _views_that_disagree(config)
    dataset = getattr(config, "dataset", None)
    if dataset is not None and dataset.shift != "none" and dataset.loader != "digits":
        yield f"dataset.shift={dataset.shift}: only dataset=digits can be shifted."
    if dataset is not None:
        yield from _keys_of_one_dataset(dataset)
    backbone = getattr(config, "backbone", None)
    if backbone is not None and backbone.head == "keep" and backbone.weights == "none":
        yield "backbone.head=keep: needs pre-trained weights; with backbone.weights=none there is no head to keep."
    device = getattr(config, "device", "auto")
    index = device.removeprefix("cuda:")
    if device not in ("auto", "cpu", "cuda", "mps") and not (
        device.startswith("cuda:") and index.isascii() and index.isdigit()
    ):
        yield f"device={device}: must be auto, cpu, cuda, cuda:INDEX or mps."
    yield from _strategies_that_disagree(config)
    strategy = getattr(config, "strategy", None)
    if strategy is not None and strategy.name == "schedule" and config.schedule is None:
        yield "strategy=schedule: needs schedule=FILE, such as the best_schedule.yaml of a run."
    if strategy is not None and strategy.name not in ("schedule", MISSING) and config.schedule is not None:
        yield f"schedule={config.schedule}: does not go with strategy={strategy.name}; give one of the two."


def _search_that_disagrees(evolution: EvolutionConfig) -> Iterator[str]:
    if evolution.screen > 1 and evolution.surrogate == "none":
        yield f"evolution.screen={evolution.screen}: needs evolution.surrogate=gp, which selects the promising children."
    if evolution.screen > 1 and evolution.mating == "sequential":
        yield f"evolution.screen={evolution.screen}: needs evolution.mating=brood or asynchronous, not sequential."
    if evolution.surrogate != "none" and evolution.screen == 1:
        yield f"evolution.surrogate={evolution.surrogate}: has nothing to screen with evolution.screen=1; give 2 or more."
    if evolution.algorithm not in ("biotune", MISSING) and evolution.screen > 1:
        yield f"evolution.screen={evolution.screen}: needs evolution=biotune, not {evolution.algorithm}."
    if evolution.algorithm not in ("biotune", MISSING) and evolution.unfreezing == EVOLVED:
        yield f"evolution.unfreezing={EVOLVED}: needs evolution=biotune, not {evolution.algorithm}."
    if evolution.sampler != EvolutionConfig.sampler and evolution.algorithm != "optuna":
        yield f"evolution.sampler={evolution.sampler}: needs evolution=optuna."
    if evolution.spread:
        for name in ("exploitation", "reevaluate_elites"):
            if getattr(evolution, name):
                yield (
                    f"evolution.spread=true: does not go with evolution.{name}=true, which compares on one fold; give "
                    f"evolution.{name}=false."
                )
    if evolution.folds == AUTO and not evolution.resplit:
        yield (
            f"evolution.folds={AUTO}: needs evolution.resplit=true; disjoint folds of few images would be smaller yet. Give a "
            "number, or set evolution.resplit=true."
        )
    if not evolution.freezing and evolution.fixed_threshold is not None:
        yield (f"evolution.fixed_threshold={evolution.fixed_threshold}: has no effect with evolution.freezing=false; give one.")
    yield from _parts_that_disagree(evolution)


def _stream_that_disagrees(evolution: EvolutionConfig, config: Section) -> Iterator[str]:
    """Report what compares the candidates of a batch, where there are none."""
    if evolution.mating != "asynchronous":
        return
    said = "evolution.mating=asynchronous"
    if evolution.algorithm not in ("biotune", MISSING):
        yield f"{said}: needs evolution=biotune, not {evolution.algorithm}."
        return
    if evolution.exploitation:
        yield f"{said}: has no batch of probes to wait for; give evolution.exploitation=false."
    if evolution.folds != 1 and not evolution.spread:
        yield (
            f"{said}: generations overlap, so that none has a fold of its own; give evolution.spread=true (with "
            "evolution.reevaluate_elites=false) or evolution.folds=1."
        )
    fitness = getattr(config, "fitness", None)
    if getattr(fitness, "racing", False) and len(config.training.seeds) > 1:
        yield (
            f"{said}: does not go with fitness.racing=true and several training.seeds, which compares candidates seed by seed; "
            "give fitness.racing=false or one training seed."
        )


def _parts_that_disagree(evolution: EvolutionConfig) -> Iterator[str]:
    """Report parts of the default search without what they rest on, or with what they replace."""
    if evolution.algorithm not in ("biotune", MISSING):
        for name, usual in (("ranking", "fitness"), ("offspring", "biotune")):
            if getattr(evolution, name) != usual:
                yield f"evolution.{name}={getattr(evolution, name)}: needs evolution=biotune, not {evolution.algorithm}."
        return
    if evolution.ranking == "predicted" and evolution.surrogate == "none" and evolution.screen == 1:
        yield "evolution.ranking=predicted: needs evolution.surrogate=gp, which predicts; give evolution.ranking=fitness."
    if evolution.offspring == "schedules":
        for name in ("momentum", "adoption"):
            if getattr(evolution, name):
                yield f"evolution.{name}=true: does not go with evolution.offspring=schedules; give evolution.{name}=false."


def _confirmation_that_disagrees(confirm: ConfirmConfig, evolution: EvolutionConfig) -> Iterator[str]:
    if confirm.splits not in (0, AUTO) and not evolution.resplit:
        yield (
            f"confirm.splits={confirm.splits}: needs evolution.resplit=true, as disjoint folds leave no images for new splits. "
            "Set confirm.splits=0 or evolution.resplit=true."
        )
    for name in sorted({"biotune", "schedule"} & set(confirm.baselines)):
        yield f"confirm.baselines={show(confirm.baselines)}: {name} is no baseline of a search; name other strategies."


def _head_that_disagrees(config: Section) -> Iterator[str]:
    training = getattr(config, "training", None)
    if training is None or training.head_start == "fresh":
        return
    said = f"training.head_start={training.head_start}"
    if training.head_start != EVOLVED:
        if config.backbone.head == "keep":
            yield f"{said}: needs a new head, which backbone.head=keep excludes; give training.head_start=fresh."
        return
    evolution = getattr(config, "evolution", None)
    if hasattr(config, "genotypes") or evolution is None:
        command = "suggest" if hasattr(config, "suggest") else "train" if evolution is None else "evaluate"
        yield f"{said}: 'biotune {command}' makes no search that could find the start; give fresh or probe."
    elif evolution.algorithm not in ("biotune", MISSING):
        yield f"{said}: needs evolution=biotune, not {evolution.algorithm}; give fresh or probe."


def _final_model_that_disagrees(config: Section) -> Iterator[str]:
    final = getattr(config, "final", None)
    if final is None or final.model == "best":
        return
    said = f"final.model={final.model}"
    if len(config.test.seeds) < 2:
        yield (
            f"{said}: averages the models of several seeds, but test.seeds={show(config.test.seeds)} names one; give more, or "
            "final.model=best."
        )
    from_file = getattr(config, "schedule", None) is not None  # the file says where its head starts from
    fresh = config.training.head_start == "fresh" and config.backbone.head == "new" and not from_file
    if final.model == "soup" and fresh:
        yield (
            f"{said}: averages weights of training runs that start from one head, but with training.head_start=fresh each seed "
            "draws its own; give training.head_start=probe, or final.model=ensemble."
        )


def _course_that_disagrees(config: Section) -> Iterator[str]:
    """Report a course of the learning rates that leaves no epoch for itself, in the search or in final training runs."""
    training = getattr(config, "training", None)
    if training is None:
        return
    changed = config.test.training.changed if hasattr(config, "test") else {}
    regimes = [(training, dict[str, Any]())] + ([(final_training(config), changed)] if changed else [])
    for settings, own in regimes:
        at = {name: f"{'test.' if name in own else ''}training.{name}" for name in vars(settings)}
        warmup = f"{at['warmup_epochs']}={settings.warmup_epochs}"
        if settings.scheduler == ONE_CYCLE and settings.warmup_epochs:
            yield f"{warmup}: {at['scheduler']}={ONE_CYCLE} has a warm-up of its own; give {at['warmup_epochs']}=0."
            return
        of_all = settings.scheduler == "cosine" and settings.cosine_epochs == AUTO
        if of_all and settings.warmup_epochs >= settings.epochs:
            yield (
                f"{warmup}: must be less than {at['epochs']}={settings.epochs} with {at['cosine_epochs']}={AUTO}, which takes "
                "the epochs that remain."
            )
            return


def _views_that_disagree(config: Section) -> Iterator[str]:
    features = getattr(config, "features", None)
    if features is None or features.views is None:
        return
    said, training = f"features.views={features.views}", config.training
    if training.augment == "none":
        yield f"{said}: needs training.augment, by which the views are drawn; give training.augment=standard."
    for name in ("mixup", "cutmix"):
        if getattr(training, name):
            yield (
                f"{said}: does not go with training.{name}={show(getattr(training, name))}, which blends the images of each "
                "mini-batch anew; leave one out."
            )
            return
    if not features.max_gb:
        yield f"{said}: features.max_gb=0 leaves no room for the activations of views; leave one out."


def _strategies_that_disagree(config: Section) -> Iterator[str]:
    strategy = getattr(config, "strategy", None)
    if strategy is not None:
        if strategy.name == "biotune":
            yield "strategy=biotune: is a search; use 'biotune run', or 'biotune compare' to compare it with others."
        for name, value in vars(strategy).items():
            if name != "name" and value != getattr(StrategyConfig, name) and strategy.name not in STRATEGY_KEYS[name]:
                owners = " and ".join(STRATEGY_KEYS[name])
                yield f"strategy.{name}={show(value)}: does not go with strategy={strategy.name}; only {owners} have this key."
    names = getattr(config, "strategies", None)
    if names is None:
        return
    if "full" not in names:
        yield f"strategies={show(names)}: must hold full, the baseline of all others."
    if ("schedule" in names) != (config.schedule is not None):
        yield f"strategies={show(names)}: the strategy schedule and schedule=FILE go together; give both or neither."
    if shared := set(config.compare.tune_seeds) & set(config.test.seeds):
        yield f"compare.tune_seeds={show(config.compare.tune_seeds)}: must be fresh; {min(shared)} is in test.seeds too."


_LOADERS_OF = {
    "table": ("table",),
    "hub": ("hf",),
    "image_column": ("table", "hf"),
    "label_column": ("table", "hf"),
    "split_column": ("table",),
    "group_column": ("table", "hf"),
}


def _keys_of_one_dataset(dataset: DatasetConfig) -> Iterator[str]:
    """Report keys that belong to some datasets: missing there, or set for another."""
    published = {
        "partition": ("dtd", dataset.loader == "torchvision" and dataset.name == "dtd"),
        "annotation": ("fgvc_aircraft", dataset.loader == "torchvision" and dataset.name == "fgvc_aircraft"),
        "source_size": ("medmnist", dataset.loader == "medmnist"),
    }
    for name, (owner, is_owner) in published.items():
        if is_owner and getattr(dataset, name) is None:
            yield f"dataset.{name}=null: must be set for dataset={owner}; leave it out for the usual value."
    own = published | {name: (" or ".join(loaders), dataset.loader in loaders) for name, loaders in _LOADERS_OF.items()}
    for name, (owner, is_owner) in own.items():
        value = getattr(dataset, name)
        if not is_owner and value is not None:
            has = "have" if " or " in owner else "has"
            yield f"dataset.{name}={value}: only dataset={owner} {has} this key; leave it out for dataset.name={dataset.name}."
    if dataset.loader == "table" and dataset.table is None:
        yield "dataset.table: must be set for dataset=table: a CSV, TSV or Parquet file with a row an image."
    if dataset.loader == "hf" and (dataset.hub is None) == (dataset.root is None):
        given = "give one of the two" if dataset.root is not None else "one must be set for dataset=hf"
        yield f"dataset.root and dataset.hub: {given}: a folder with a local copy, or a name on the Hugging Face Hub."
