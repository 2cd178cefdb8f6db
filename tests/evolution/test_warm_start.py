"""What a seeded search begins with."""

import pytest

from biotune.evolution.warm_start import warm_starts
from biotune.schedule.block import Block
from biotune.schedule.genotype import decode


@pytest.mark.parametrize("blocks", [1, 2, 3, 6, 13])
def test_heuristics_are_distinct_schedules_that_train_something(blocks: int) -> None:
    own = [Block(f"b{index}", (f"b{index}",)) for index in range(blocks)]
    schedules = [decode(genes.tolist(), own) for genes in warm_starts(blocks)]
    assert not any(schedule.is_empty for schedule in schedules)
    assert len({schedule.key for schedule in schedules}) == len(schedules) >= 3


def test_they_hold_full_fine_tuning_at_three_rates_the_head_alone_and_rising_rates() -> None:
    own = [Block(f"b{index}", (f"b{index}",)) for index in range(6)]
    weights = [decode(genes.tolist(), own).lr_weights for genes in warm_starts(6)]
    constant = [row[0] for row in weights if len(set(row)) == 1]
    assert constant == pytest.approx([3.02, 1.0, 10.0], rel=1e-2)
    assert any(row[:5] == (0.0,) * 5 and row[5] > 0 for row in weights)
    assert any(all(one < other for one, other in zip(row, row[1:], strict=False)) and row[0] > 0 for row in weights)
