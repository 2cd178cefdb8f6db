"""Check and prepare a run's inputs before the first training run: device, data, network, weights, schedules, genotypes.

The run receives the inputs that the check has prepared, so that nothing is found, built or decoded twice.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import torch

from biotune.backbones.network import Network
from biotune.backbones.registry import build_network, find_architecture
from biotune.config.key import height_and_width, show
from biotune.config.plugins import load_plugins
from biotune.config.schema import (
    CompareConfig,
    EvaluateConfig,
    RunConfig,
    SuggestConfig,
    TrainConfig,
    TrialsConfig,
    final_training,
    sets_drop_path,
)
from biotune.config.sections import AUTO, EVOLVED, StrategyConfig
from biotune.datasets.data import Data, find_dataset, load_dataset
from biotune.datasets.splits import AS_GIVEN, Resampling
from biotune.errors import ConfigError, ScheduleError, did_you_mean, one_line, shown
from biotune.evolution.optuna_searcher import OPTUNA
from biotune.evolution.optuna_searcher import check_installed as check_sampler
from biotune.evolution.sources import read_sources
from biotune.executors.registry import check_installed
from biotune.recipes.progress import Progress
from biotune.recipes.sharing import check_strategy_for_views, check_views, remarks_on_sharing
from biotune.recipes.trackers.registry import check_installed as check_trackers
from biotune.schedule.genotype_file import read_genotypes
from biotune.schedule.plan import Plan
from biotune.schedule.schedule import PROBE, Schedule
from biotune.schedule.schedule_file import load_schedule
from biotune.strategies.registry import STRATEGIES, plans
from biotune.training.device import resolve_device

OnDecoded = Callable[[int, int], None]


@dataclass(frozen=True)
class Inputs:
    """The inputs of a command.

    Attributes:
        device: The device on which networks are trained.
        network: The backbone on the CPU, with its initial weights.
        data: The decoded dataset with its splits.
    """

    device: torch.device
    network: Network
    data: Data


class Prepared:
    """The inputs that were checked and prepared before a run; one object per command line."""

    def __init__(self) -> None:
        self._checked: tuple[TrialsConfig, Inputs] | None = None
        self._decoded: tuple[str, Data] | None = None

    def check(self, config: TrialsConfig, on_decoded: OnDecoded) -> None:
        """Check all inputs before anything is written, and keep those prepared.

        Args:
            config: The command's config.
            on_decoded: Called with the numbers of decoded images and of all images.

        Raises:
            BiotuneError: An input is missing or invalid.
        """
        if isinstance(config, CompareConfig):
            config = settings_of(config, config.test.seeds[0])
        inputs = self._prepare(config, on_decoded)
        network = inputs.network
        if isinstance(config, TrainConfig):
            to_train = plans_to_train(config, network)
            _check_soup(config, network, to_train)
            check_strategy_for_views(config, to_train)
        if isinstance(config, CompareConfig):
            plans_to_compare(config, network)
        if isinstance(config, RunConfig | CompareConfig):
            for name in config.confirm.baselines:
                if name not in STRATEGIES:
                    meant = did_you_mean(name, STRATEGIES)
                    raise ConfigError(f"confirm.baselines: {name} is no strategy.{meant} Known: {', '.join(STRATEGIES)}.")
                plans(StrategyConfig(name), network.blocks, network.fresh_head)
            read_sources(config.evolution.warm_start, network.blocks)
        if isinstance(config, SuggestConfig):
            read_sources(config.suggest.runs, network.blocks, "suggest.runs")
        if isinstance(config, EvaluateConfig):
            read_genotypes(config.genotypes, network.blocks)
        self._checked = config, inputs

    def take(self, config: TrialsConfig, on_decoded: OnDecoded) -> Inputs:
        """Return the inputs prepared for a config, or prepare them now; a network is returned only once, because it is trained.

        Args:
            config: The command's config.
            on_decoded: Called with the numbers of decoded images and of all images.

        Raises:
            BiotuneError: An input is missing or invalid.
        """
        checked, self._checked = self._checked, None
        if checked is not None and checked[0] == config:
            return checked[1]
        return self._prepare(config, on_decoded)

    def _prepare(self, config: TrialsConfig, on_decoded: OnDecoded) -> Inputs:
        load_plugins(config.plugins)
        check_installed(config.executor.name)
        check_trackers(config.tracker.chosen)
        if isinstance(config, RunConfig | CompareConfig) and config.evolution.algorithm == OPTUNA:
            check_sampler(config.evolution.sampler)
        device = resolve_device(config.device)
        find_architecture(config.backbone)
        resampling = resampling_of(config)
        found = find_dataset(config.dataset, resampling, on_decoded)
        network = build_network(config.backbone, len(found.classes), sets_drop_path(config.training, final_training(config)))
        check_size(network, config)
        network.remarks += remarks_on_sharing(network, config)
        key = repr((config.dataset, network.preprocessing, resampling, found.source.fingerprint))
        if self._decoded is None or self._decoded[0] != key:
            self._decoded = None  # two datasets at once may not fit into memory
            self._decoded = key, load_dataset(found, network.preprocessing, on_decoded)
        check_views(network, config, self._decoded[1], device)
        return Inputs(device, network, self._decoded[1])


def check_size(network: Network, config: TrialsConfig) -> None:
    """Try a network on an image of the size that `dataset.image_size` sets; not needed for the size that it expects.

    Raises:
        ConfigError: The network does not take it.
    """
    sides = config.dataset.sides
    if sides is None or sides == network.preprocessing.crop:
        return
    height, width = height_and_width(sides)
    before = network.module.training
    try:
        # not inference mode: a network may keep what it computes once for a size
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            network.module.eval()(torch.zeros(2, 3, height, width))
    except Exception as error:  # networks refuse by assertions and errors of any type
        raise ConfigError(
            f"dataset.image_size={show(config.dataset.image_size)}: {config.backbone.name} does not take images of {height} × "
            f"{width} pixels ({one_line(error)}). Leave the key out, or choose a network that takes any size, such as resnet18."
        ) from error
    finally:
        network.module.train(before)


def plans_to_compare(config: CompareConfig, network: Network) -> dict[str, list[Plan]]:
    """The plans to choose from, for each strategy except a search.

    Raises:
        BiotuneError: A strategy is unknown or lacks a library, or the schedule does not fit.
    """
    found = {}
    for name in config.strategies:
        if name == "schedule":
            found[name] = started(config, [_plan_of_file(config, network)], network)
        elif name != "biotune":
            found[name] = started(config, plans(StrategyConfig(name), network.blocks, network.fresh_head), network, name)
    return found


def plans_to_train(config: TrainConfig, network: Network) -> list[Plan]:
    """The plans that a strategy chooses from, or the schedule of a file.

    Raises:
        BiotuneError: The strategy is unknown or lacks a library, or the schedule does not fit.
    """
    if config.strategy.name != "schedule":
        return started(config, plans(config.strategy, network.blocks, network.fresh_head), network, config.strategy.name)
    return started(config, [_plan_of_file(config, network)], network)


def _check_soup(config: TrainConfig, network: Network, plans: Sequence[Plan]) -> None:
    if config.final.model == "soup" and network.fresh_head and any(plan.schedule.head_start != PROBE for plan in plans):
        raise ConfigError(
            "final.model=soup: averages weights of training runs that start from one head, but by "
            f"schedule={config.schedule} each seed draws its own; give training.head_start=probe, or final.model=ensemble."
        )


def started(config: TrialsConfig, plans: Sequence[Plan], network: Network, strategy: str | None = None) -> list[Plan]:
    """The plans with the start of the head that `training.head_start` sets for all.

    Where it is evolved, the search finds it for its candidates. Of the others those that begin with linear probing start from
    the fitted probe: with few images the training loop does not reach it within the epochs.

    Args:
        config: The settings.
        plans: The plans of a strategy, or of a file.
        network: The network.
        strategy: The strategy; None for a file, which states its start.
    """
    start = config.training.head_start
    probing = strategy is not None and STRATEGIES[strategy].probing and network.fresh_head
    if start != PROBE and not (start == EVOLVED and probing):
        return list(plans)
    return [replace(plan, schedule=replace(plan.schedule, head_start=PROBE)) for plan in plans]


def say_remarks(progress: Progress, network: Network) -> None:
    """Tell the user how the weights were found in their file, below the header of a command."""
    for remark in network.remarks:
        progress.line(remark)


def remarks_on(config: TrainConfig | CompareConfig, plans: Sequence[Plan]) -> list[str]:
    """Remarks on differences from the run that found a schedule, which may be intended: network or base learning rate.

    Args:
        config: The settings of the new training run.
        plans: The plans to train; only those from a schedule file can differ from another run.
    """
    now: dict[str, Any] = {"backbone": config.backbone.name, "weights": config.backbone.weights, "base_lr": config.training.lr}
    keys = {"backbone": "backbone.name", "weights": "backbone.weights", "base_lr": "training.lr"}
    return [
        f"remark: schedule={config.schedule} was found with {keys[name]}={plan.schedule.header[name]} and is used with {value}."
        for plan in plans
        for name, value in now.items()
        if name in plan.schedule.header and plan.schedule.header[name] != value
    ]


def _plan_of_file(config: TrainConfig | CompareConfig, network: Network) -> Plan:
    """The schedule of a file, with the hooks of the strategy that the file names, if it names one."""
    schedule = _schedule_of_file(config, network)
    strategy = schedule.header.get("strategy")
    if strategy is None:
        return Plan(schedule)
    if not isinstance(strategy, str) or strategy not in STRATEGIES:
        raise ScheduleError(f"schedule={config.schedule}: strategy is {shown(strategy)}, which is none of biotune's.")
    (plan, *_) = plans(StrategyConfig(strategy), network.blocks, network.fresh_head)
    return Plan(schedule, plan.method)


def _schedule_of_file(config: TrainConfig | CompareConfig, network: Network) -> Schedule:
    """Read the schedule of a file, and check that it fits this network."""
    if config.schedule is None:
        raise ConfigError("strategy=schedule: needs schedule=FILE.")
    schedule = load_schedule(config.schedule)
    if schedule.blocks != network.blocks:
        own = {block.name: block.modules for block in network.blocks}
        theirs = {block.name: block.modules for block in schedule.blocks}
        odd = [name for name in [*theirs, *own] if theirs.get(name) != own.get(name)] or list(theirs)
        raise ScheduleError(
            f"schedule={config.schedule}: does not fit {config.backbone.name} with "
            f"backbone.granularity={config.backbone.granularity}: the blocks {', '.join(dict.fromkeys(odd))} differ."
        )
    if schedule.is_empty:
        raise ScheduleError(f"schedule={config.schedule}: freezes every block; nothing would be trained.")
    if schedule.head_start == PROBE and not network.fresh_head:
        raise ScheduleError(f"schedule={config.schedule}: says head_start: probe, which needs backbone.head=new.")
    return schedule


def settings_of(config: CompareConfig, seed: int) -> CompareConfig:
    """A comparison's settings for one of its seeds, which becomes the seed of the splits and of the search."""
    return replace(config, seed=seed, dataset=replace(config.dataset, split_seed=seed))


def resampling_of(config: TrialsConfig) -> Resampling:
    """The method by which a command draws training and validation images for its trials."""
    if not isinstance(config, RunConfig | CompareConfig | EvaluateConfig):
        return AS_GIVEN
    folds = None if config.evolution.folds == AUTO else config.evolution.num_folds
    if isinstance(config, EvaluateConfig) or config.confirm.top_k == 0:
        return Resampling(folds, config.evolution.resplit)
    if config.confirm.splits != AUTO:
        return Resampling(folds, config.evolution.resplit, config.confirm.num_splits)
    return Resampling(folds, config.evolution.resplit, None if config.evolution.resplit else 0)


Searching = TypeVar("Searching", RunConfig, CompareConfig, EvaluateConfig)


def settled(config: Searching, resampling: Resampling) -> Searching:
    """The settings with the numbers of splits that were computed from the data, where they say auto.

    Args:
        config: A command's settings.
        resampling: How the data's folds were drawn.
    """
    searching, confirming = resampling.counts
    config = replace(config, evolution=replace(config.evolution, folds=searching))
    if isinstance(config, EvaluateConfig):
        return config
    return replace(config, confirm=replace(config.confirm, splits=confirming))
