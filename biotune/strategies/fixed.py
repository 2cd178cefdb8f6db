"""Strategies that are nothing but a fixed layer schedule."""

from collections.abc import Sequence

from biotune.schedule import Block, Schedule


def full(blocks: Sequence[Block]) -> Schedule:
    """Full fine-tuning: every block at the base rate."""
    return Schedule(tuple(blocks), (1.0,) * len(blocks))


def linear_probe(blocks: Sequence[Block]) -> Schedule:
    """Linear probing: the head at the base rate, everything else frozen."""
    return Schedule(tuple(blocks), (0.0,) * (len(blocks) - 1) + (1.0,))
