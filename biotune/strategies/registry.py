"""The methods BioTune is compared with: each a layer schedule, a choice of several, or hooks on the one training loop."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from biotune.config.sections import StrategyConfig
from biotune.errors import ConfigError, did_you_mean
from biotune.schedule.block import Block
from biotune.schedule.plan import Method, Plan
from biotune.schedule.schedule import Schedule
from biotune.strategies import fixed

if TYPE_CHECKING:
    from biotune.strategies.hooks import Hooks, TrainingContext


Schedules = Callable[[Sequence[Block], StrategyConfig, bool], list[Schedule]]


@dataclass(frozen=True)
class Strategy:
    """A way of fine-tuning that needs no search.

    Attributes:
        schedules: Maps the blocks, the settings and whether the head is new to the schedules to choose from.
        hooks: Makes its hooks of the training loop; None if it has none.
        settings: Its own keys of `StrategyConfig`.
        probing: Whether it is linear probing or begins with it, for which a fitted probe is the start.
    """

    schedules: Schedules
    hooks: Callable[[TrainingContext], Hooks] | None = None
    settings: tuple[str, ...] = ()
    probing: bool = False


def _one(make: Callable[[Sequence[Block]], Schedule]) -> Schedules:
    return lambda blocks, settings, fresh_head: [make(blocks)]


# imported on first use: this module must import without torch
def _lp_ft(context: TrainingContext) -> Hooks:
    from biotune.strategies import lp_ft

    return lp_ft.hooks(context)


def _l2_sp(context: TrainingContext) -> Hooks:
    from biotune.strategies import l2_sp

    return l2_sp.hooks(context)


def _auto_rgn(context: TrainingContext) -> Hooks:
    from biotune.strategies import auto_rgn

    return auto_rgn.hooks(context)


def _lora(context: TrainingContext) -> Hooks:
    from biotune.strategies import lora

    return lora.hooks(context)


STRATEGIES: dict[str, Strategy] = {
    "full": Strategy(_one(fixed.full)),
    "linear_probe": Strategy(_one(fixed.linear_probe), probing=True),
    "lp_ft": Strategy(_one(fixed.full), _lp_ft, probing=True),
    "gradual_last_to_first": Strategy(_one(fixed.gradual_last_to_first)),
    "gradual_first_to_last": Strategy(_one(fixed.gradual_first_to_last)),
    "l2_sp": Strategy(_one(fixed.full), _l2_sp, ("alpha", "beta")),
    "l1_sp": Strategy(_one(fixed.full), _l2_sp, ("alpha", "beta")),
    "auto_rgn": Strategy(_one(fixed.full), _auto_rgn, ("batches",)),
    "auto_snr": Strategy(_one(fixed.full), _auto_rgn, ("batches", "floor")),
    "surgical": Strategy(lambda blocks, settings, fresh_head: fixed.surgical(blocks, fresh_head)),
    "lora": Strategy(_one(fixed.full), _lora, ("rank", "scale")),
    "layer_decay": Strategy(lambda blocks, settings, fresh_head: [fixed.layer_decay(blocks, settings.decay)], None, ("decay",)),
    "discriminative": Strategy(
        lambda blocks, settings, fresh_head: [fixed.discriminative(blocks, settings.spread)], None, ("spread",)
    ),
}


def register_strategy(name: str, make: Callable[[Sequence[Block]], Schedule]) -> None:
    """Make a user's strategy available as `strategy.name=NAME`.

    Args:
        name: Its name.
        make: Maps the blocks in forward order to the schedule to train with.

    Raises:
        ConfigError: The name is taken.
    """
    if name in STRATEGIES and _OWN.get(name) is not make:
        raise ConfigError(f"strategy {name}: is registered already.")
    _OWN[name] = make
    STRATEGIES[name] = Strategy(_one(make))


_OWN: dict[str, Callable[[Sequence[Block]], Schedule]] = {}


def plans(settings: StrategyConfig, blocks: Sequence[Block], fresh_head: bool) -> list[Plan]:
    """The plans of a strategy, among which validation scores choose; most strategies have one.

    Args:
        settings: The strategy's name and settings.
        blocks: The network's blocks in forward order.
        fresh_head: Whether the head starts from random weights.

    Raises:
        ConfigError: No such strategy.
    """
    strategy = _find(settings.name)
    method = None
    if strategy.hooks is not None:
        method = Method(settings.name, tuple((name, float(getattr(settings, name))) for name in strategy.settings))
    return [Plan(schedule, method) for schedule in strategy.schedules(blocks, settings, fresh_head)]


def fixed_schedule(name: str, blocks: Sequence[Block]) -> Schedule:
    """The schedule of a strategy that is a single schedule without settings.

    Raises:
        ConfigError: No such strategy.
    """
    (plan,) = plans(StrategyConfig(name), blocks, True)
    return plan.schedule


def hooks_of(context: TrainingContext) -> Hooks:
    """The hooks of a training run's strategy; without hooks of its own, the groups of its schedule."""
    from biotune.strategies.hooks import Hooks

    make = _find(context.method.name).hooks or (lambda context: Hooks(context.groups))
    return make(context)


def _find(name: str) -> Strategy:
    if name not in STRATEGIES:
        known = ", ".join(STRATEGIES)
        raise ConfigError(f"strategy.name={name}: no such strategy.{did_you_mean(name, STRATEGIES)} Known: {known}.")
    return STRATEGIES[name]
