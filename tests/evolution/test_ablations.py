"""What ablations make of genes, worked out by hand."""

import numpy as np
import pytest

from biotune.config.search import EvolutionConfig
from biotune.evolution.ablations import constrain, express
from biotune.schedule.block import Block

BLOCKS = [Block(name, (name,)) for name in ("stem", "layer", "head")]
GENES = np.array([1.0, 0.5, 0.0, 0.6])  # the stem at 10, the rest frozen


def weights(**settings) -> tuple[float, ...]:
    config = EvolutionConfig("biotune", **settings)
    return express(config, constrain(config, GENES), BLOCKS).lr_weights


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, (10.0, 0.0, 0.0)),
        ({"freezing": False}, (10.0, 1.0, 0.1)),
        ({"rates": False}, (1.0, 0.0, 0.0)),
        ({"fixed_threshold": 0.4}, (10.0, 1.0, 0.0)),
        ({"always_head": True}, (10.0, 0.0, 0.1)),
        ({"always_head": True, "rates": False}, (1.0, 0.0, 1.0)),
        ({"freezing": False, "rates": False}, (1.0, 1.0, 1.0)),
    ],
)
def test_schedules_of_ablations(settings: dict, expected: tuple[float, ...]) -> None:
    assert weights(**settings) == pytest.approx(expected)


def test_what_no_genotype_decodes_to_tells_of_no_importances() -> None:
    config = EvolutionConfig("biotune", rates=False)
    assert express(config, GENES, BLOCKS).importances is None
    assert express(EvolutionConfig("biotune"), GENES, BLOCKS).importances == (1.0, 0.5, 0.0)


def test_genes_are_not_changed_in_place() -> None:
    constrain(EvolutionConfig("biotune", freezing=False), GENES)
    assert GENES[-1] == 0.6
