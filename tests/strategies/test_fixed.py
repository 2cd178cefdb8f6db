"""Strategies that are a schedule."""

import pytest

from biotune.errors import ConfigError
from biotune.schedule import Block
from biotune.strategies import FIXED, fixed_schedule

BLOCKS = tuple(Block(name, (name,)) for name in ("stem", "layer1", "head"))


def test_full_trains_every_block_at_the_base_rate() -> None:
    assert fixed_schedule("full", BLOCKS).lr_weights == (1.0, 1.0, 1.0)


def test_linear_probe_trains_the_head_alone_at_the_base_rate() -> None:
    assert fixed_schedule("linear_probe", BLOCKS).lr_weights == (0.0, 0.0, 1.0)
    assert fixed_schedule("linear_probe", BLOCKS[-1:]).lr_weights == (1.0,)


@pytest.mark.parametrize("name", FIXED)
def test_a_schedule_keeps_the_blocks_in_order(name: str) -> None:
    assert fixed_schedule(name, list(BLOCKS)).blocks == BLOCKS


def test_an_unknown_strategy_is_refused_with_the_nearest_and_all_names() -> None:
    with pytest.raises(ConfigError, match=r"^strategy\.name=linear-probe: .*Did you mean linear_probe\?.*full, linear_probe"):
        fixed_schedule("linear-probe", BLOCKS)
