"""The warm start of a seeded search: common fine-tuning heuristics as genotypes."""

from __future__ import annotations

import numpy as np

from biotune.evolution.individual import Genes

_LOW, _CUT = 0.1, 0.3  # the importance of a frozen block, and the threshold above it
_BASE, _FAST, _FASTEST = 0.5, 0.74, 1.0  # importances of learning rates of 1, 3 and 10 times the base learning rate


def warm_starts(num_blocks: int) -> list[Genes]:
    """Return genotypes, the most promising first.

    Full fine-tuning at three learning rates, the last two blocks, rising learning rates, the head, the last half, falling
    learning rates, the first half with the head.


    Args:
        num_blocks: Number of blocks, the head included.

    Returns:
        Distinct genotypes of `num_blocks` + 1 genes, the threshold last.
    """
    place = np.linspace(0.0, 1.0, num_blocks)
    first_half = place < 0.5
    importances = [
        np.full(num_blocks, _FAST),
        np.full(num_blocks, _BASE),
        np.full(num_blocks, _FASTEST),
        _only(place >= place[max(num_blocks - 2, 0)], _FAST),
        0.4 + 0.5 * place,
        _only(place == 1.0, _FAST),
        _only(~first_half, _FAST),
        0.9 - 0.4 * place,
        _only(first_half | (place == 1.0), _FAST),
    ]
    found: dict[bytes, Genes] = {}
    for own in importances:
        genes = np.append(own, _CUT)
        if (own > _CUT).any():  # in a network of one block some select none
            found.setdefault(genes.tobytes(), genes)
    return list(found.values())


def _only(selected: np.ndarray, importance: float) -> Genes:
    return np.where(selected, importance, _LOW)
