"""The methods BioTune is compared with."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from biotune.errors import ConfigError, did_you_mean
from biotune.schedule import Block, Schedule
from biotune.strategies import fixed

__all__ = ["FIXED", "fixed_schedule", "register_strategy"]

FIXED: dict[str, Callable[[Sequence[Block]], Schedule]] = {"full": fixed.full, "linear_probe": fixed.linear_probe}


def register_strategy(name: str, make: Callable[[Sequence[Block]], Schedule]) -> None:
    """Make a strategy of the user's own available as `strategy.name=NAME`.

    Args:
        name: Its name.
        make: From the blocks in forward order to the schedule to train with.

    Raises:
        ConfigError: The name is taken.
    """
    if FIXED.get(name, make) is not make:
        raise ConfigError(f"strategy {name}: is registered already.")
    FIXED[name] = make


def fixed_schedule(name: str, blocks: Sequence[Block]) -> Schedule:
    """The schedule of a strategy that is one.

    Raises:
        ConfigError: No such strategy.
    """
    if name not in FIXED:
        raise ConfigError(f"strategy.name={name}: no such strategy.{did_you_mean(name, FIXED)} Known: {', '.join(FIXED)}.")
    return FIXED[name](blocks)
