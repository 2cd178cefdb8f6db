"""What a seeded search begins with."""

import pytest

from biotune.evolution.warm_start import FACTORS, warm_starts
from biotune.schedule.block import Block
from biotune.schedule.genotype import decode
from biotune.schedule.schedule import LAST_TO_FIRST, TOGETHER
from biotune.strategies.fixed import full, layer_decay, linear_probe

ORDERS = (TOGETHER, LAST_TO_FIRST)


def blocks_of(count: int) -> list[Block]:
    return [Block(f"b{index}", (f"b{index}",)) for index in range(count)]


@pytest.mark.parametrize("orders", [(TOGETHER,), (LAST_TO_FIRST,), ORDERS], ids=["together", "gradual", "either"])
@pytest.mark.parametrize("blocks", [1, 2, 3, 6, 13])
def test_they_are_distinct_schedules_that_train_the_head(blocks: int, orders: tuple[str, ...]) -> None:
    own = blocks_of(blocks)
    found = warm_starts(blocks, orders)
    schedules = [(decode(one.genes.tolist(), own).lr_weights, one.unfreezing) for one in found]
    assert all(weights[-1] > 0 for weights, _ in schedules)
    assert {order for _, order in schedules} <= set(orders)
    assert len(set(schedules)) == len(schedules) >= len(FACTORS)


def test_they_are_the_baselines_at_four_learning_rates() -> None:
    own = blocks_of(6)
    found = {decode(one.genes.tolist(), own).lr_weights for one in warm_starts(6, ORDERS) if one.unfreezing == TOGETHER}
    for factor in (1.0, 3.0, 10.0):
        for method in (full(own), layer_decay(own, 0.75), linear_probe(own)):
            # a decayed learning rate may be too low for a genotype
            expected = [max(factor * weight, 0.4) if weight > 0 else 0.0 for weight in method.lr_weights]
            assert any(weights == pytest.approx(expected, rel=0.01) for weights in found)
    slow = [weights for weights in found if max(weights) < 0.41]
    assert len(slow) == 2  # full and layer-wise decay at 0.3 are both the lowest learning rate everywhere; linear probing


def test_gradual_unfreezing_is_full_fine_tuning_in_another_order() -> None:
    gradual = [one.genes.tolist() for one in warm_starts(6, ORDERS) if one.unfreezing == LAST_TO_FIRST]
    assert len(gradual) == 4
    assert gradual == [one.genes.tolist() for one in warm_starts(6) if len(set(one.genes[:-1].tolist())) == 1]
    assert all(one.unfreezing == TOGETHER for one in warm_starts(6))


def test_the_first_ones_differ_in_method() -> None:
    first = warm_starts(6, ORDERS)[:4]
    assert len({(one.genes.tobytes(), one.unfreezing) for one in first}) == 4
    assert len({max(one.genes[:-1]) for one in first}) == 1  # all at the same learning rate


@pytest.mark.parametrize("threshold", [0.0, 0.5, 0.7])
def test_they_train_the_same_blocks_whatever_the_threshold(threshold: float) -> None:
    own = blocks_of(6)
    selected = {decode(one.genes.tolist(), own).selected for one in warm_starts(6, ORDERS, threshold)}
    assert selected == {(True,) * 6, (False,) * 5 + (True,)}
    lowest = min(
        weight for one in warm_starts(6, ORDERS, threshold) for weight in decode(one.genes.tolist(), own).lr_weights if weight
    )
    assert lowest == pytest.approx(10 ** (2 * (threshold + 1e-3 - 0.5)), rel=0.01) or threshold == 0.0
