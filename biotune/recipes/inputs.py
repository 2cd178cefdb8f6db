"""Everything that can be wrong before the first training: device, data, network, weights, schedules, genotypes."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from biotune.backbones.network import Network
from biotune.backbones.registry import build_network, find_architecture
from biotune.cli.terminal.view import View
from biotune.config.plugins import load_plugins
from biotune.config.schema import CompareConfig, EvaluateConfig, RunConfig, StrategyConfig, TrainConfig, TrialsConfig
from biotune.datasets.data import Data, FoundDataset, find_dataset, load_dataset
from biotune.datasets.splits import Resampling
from biotune.errors import ConfigError, ScheduleError
from biotune.schedule.block import Block
from biotune.schedule.genotype_file import read_genotypes
from biotune.schedule.plan import Plan
from biotune.schedule.schedule import Schedule
from biotune.schedule.schedule_file import load_schedule
from biotune.strategies.registry import plans
from biotune.training.device import resolve_device


def check_inputs(config: TrialsConfig, view: View) -> None:
    """Find everything that is wrong before anything is written: device, data, network, weights, schedule, genotypes.

    Raises:
        BiotuneError: Something is.
    """
    _, network, _ = prepare(config, resampling_of(config), view.decoding)
    if isinstance(config, TrainConfig):
        plans_to_train(config, network)
    if isinstance(config, CompareConfig):
        plans_to_compare(config, network)
    if isinstance(config, EvaluateConfig):
        read_genotypes(config.genotypes, network.blocks)


def plans_to_compare(config: CompareConfig, network: Network) -> dict[str, list[Plan]]:
    """What each strategy but a search chooses from.

    Raises:
        BiotuneError: A strategy is unknown or lacks a library, or the schedule does not fit.
    """
    found = {}
    for name in config.strategies:
        if name == "schedule":
            found[name] = [Plan(_schedule_of_file(config, network.blocks))]
        elif name != "biotune":
            found[name] = plans(StrategyConfig(name), network.blocks, network.fresh_head)
    return found


def plans_to_train(config: TrainConfig, network: Network) -> list[Plan]:
    """What a strategy chooses from, or the schedule of a file."""
    if config.strategy.name != "schedule":
        return plans(config.strategy, network.blocks, network.fresh_head)
    return [Plan(_schedule_of_file(config, network.blocks))]


def _schedule_of_file(config: TrainConfig | CompareConfig, blocks: Sequence[Block]) -> Schedule:
    """The schedule of a file whose blocks are proved to be this network's."""
    if config.schedule is None:
        raise ConfigError("strategy=schedule: needs schedule=FILE.")
    schedule = load_schedule(config.schedule)
    if schedule.blocks != tuple(blocks):
        own = {block.name: block.modules for block in blocks}
        theirs = {block.name: block.modules for block in schedule.blocks}
        odd = [name for name in [*theirs, *own] if theirs.get(name) != own.get(name)] or list(theirs)
        raise ScheduleError(
            f"schedule={config.schedule}: does not fit {config.backbone.name} with "
            f"backbone.granularity={config.backbone.granularity}: the blocks {', '.join(dict.fromkeys(odd))} differ."
        )
    if schedule.is_empty:
        raise ScheduleError(f"schedule={config.schedule}: freezes every block; nothing would be trained.")
    return schedule


def resampling_of(config: TrialsConfig) -> Resampling:
    """How the command draws the folds that it works on."""
    if isinstance(config, RunConfig | CompareConfig | EvaluateConfig):
        return Resampling(config.evolution.folds, config.evolution.resplit)
    return Resampling()


OnDecoded = Callable[[int, int], None]


def prepare(
    config: TrialsConfig, resampling: Resampling, on_decoded: OnDecoded = lambda done, total: None
) -> tuple[torch.device, Network, Data]:
    """Everything that can be wrong before the first training: device, data, network, weights, images.

    Raises:
        BiotuneError: Something is.
    """
    load_plugins(config.plugins)
    device = resolve_device(config.device)
    find_architecture(config.backbone)
    plan = find_dataset(config.dataset, resampling)
    network = build_network(config.backbone, len(plan.classes))
    data = _load_once(repr((config.dataset, network.preprocessing, resampling)), plan, network, on_decoded)
    return device, network, data


_DECODED: dict[str, Data] = {}


def _load_once(key: str, plan: FoundDataset, network: Network, on_decoded: OnDecoded) -> Data:
    """Decode once a process: the check before a run and the run itself ask for the same data."""
    full_key = f"{key}/{plan.source.fingerprint}"
    if full_key not in _DECODED:
        _DECODED.clear()
        _DECODED[full_key] = load_dataset(plan, network.preprocessing, on_decoded)
    return _DECODED[full_key]
