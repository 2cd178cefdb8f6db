"""Strategies that are a schedule."""

import pytest

from biotune.config.sections import StrategyConfig
from biotune.errors import ConfigError
from biotune.schedule.block import Block
from biotune.strategies.registry import STRATEGIES, fixed_schedule, plans

BLOCKS = tuple(Block(name, (name,)) for name in ("stem", "layer1", "head"))


def test_full_trains_every_block_at_the_base_rate() -> None:
    assert fixed_schedule("full", BLOCKS).lr_weights == (1.0, 1.0, 1.0)


def test_linear_probe_trains_the_head_alone_at_the_base_rate() -> None:
    assert fixed_schedule("linear_probe", BLOCKS).lr_weights == (0.0, 0.0, 1.0)
    assert fixed_schedule("linear_probe", BLOCKS[-1:]).lr_weights == (1.0,)


@pytest.mark.parametrize("name", [name for name in STRATEGIES if name != "surgical"])
def test_a_schedule_keeps_the_blocks_in_order(name: str) -> None:
    assert fixed_schedule(name, list(BLOCKS)).blocks == BLOCKS


@pytest.mark.parametrize("order", ["last_to_first", "first_to_last"])
def test_gradual_unfreezing_trains_every_block_at_the_base_rate_in_its_order(order: str) -> None:
    (plan,) = plans(StrategyConfig(f"gradual_{order}"), BLOCKS, True)
    assert (plan.schedule.lr_weights, plan.schedule.unfreezing, plan.method) == ((1.0, 1.0, 1.0), order, None)


def test_an_unknown_strategy_is_refused_with_the_nearest_and_all_names() -> None:
    with pytest.raises(ConfigError, match=r"^strategy\.name=linear-probe: .*Did you mean linear_probe\?.*full, linear_probe"):
        fixed_schedule("linear-probe", BLOCKS)


def test_layer_decay_multiplies_by_the_decay_from_block_to_block() -> None:
    (plan,) = plans(StrategyConfig("layer_decay", decay=0.5), BLOCKS, True)
    assert plan.schedule.lr_weights == (0.25, 0.5, 1.0)
    assert plan.method is None


def test_discriminative_rates_rise_geometrically_from_a_hundredth_to_the_base_rate() -> None:
    assert fixed_schedule("discriminative", BLOCKS).lr_weights == pytest.approx((0.01, 0.1, 1.0))
    assert fixed_schedule("discriminative", BLOCKS[-1:]).lr_weights == (1.0,)


def test_surgical_offers_a_schedule_a_block_and_a_new_head_learns_in_each() -> None:
    kept = [plan.schedule.lr_weights for plan in plans(StrategyConfig("surgical"), BLOCKS, False)]
    assert kept == [(1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)]
    fresh = [plan.schedule.lr_weights for plan in plans(StrategyConfig("surgical"), BLOCKS, True)]
    assert fresh == [(1.0, 0.0, 1.0), (0.0, 1.0, 1.0), (0.0, 0.0, 1.0)]
