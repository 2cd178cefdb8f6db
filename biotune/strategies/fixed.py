"""Strategies that are a fixed layer schedule, or a choice among several."""

from collections.abc import Sequence

from biotune.schedule.block import Block
from biotune.schedule.schedule import FIRST_TO_LAST, LAST_TO_FIRST, Schedule


def full(blocks: Sequence[Block]) -> Schedule:
    """Full fine-tuning: every block at the base learning rate."""
    return Schedule(tuple(blocks), (1.0,) * len(blocks))


def linear_probe(blocks: Sequence[Block]) -> Schedule:
    """Linear probing: the head at the base learning rate, everything else frozen."""
    return Schedule(tuple(blocks), (0.0,) * (len(blocks) - 1) + (1.0,))


def gradual_last_to_first(blocks: Sequence[Block]) -> Schedule:
    """Gradual unfreezing: every block at the base learning rate, one more per epoch, from the head down to the first.

    Source: Howard and Ruder, *Universal language model fine-tuning for text classification*, ACL 2018.
    """
    return Schedule(tuple(blocks), (1.0,) * len(blocks), unfreezing=LAST_TO_FIRST)


def gradual_first_to_last(blocks: Sequence[Block]) -> Schedule:
    """Gradual unfreezing in reverse order: from the first block to the head."""
    return Schedule(tuple(blocks), (1.0,) * len(blocks), unfreezing=FIRST_TO_LAST)


def layer_decay(blocks: Sequence[Block], decay: float) -> Schedule:
    """Layer-wise decay: W_b = decay^(B − b), the head at the base learning rate.

    Source: the definition of timm; Clark et al., *ELECTRA*, ICLR 2020; Bao et al., *BEiT*, ICLR 2022.
    """
    last = len(blocks) - 1
    return Schedule(tuple(blocks), tuple(decay ** (last - index) for index in range(len(blocks))))


def discriminative(blocks: Sequence[Block], spread: float) -> Schedule:
    """Discriminative learning rates: spread geometrically from λ_0 / spread at the first block to λ_0 at the head.

    Source: Howard and Ruder, *Universal language model fine-tuning*, ACL 2018; spread as in fastai's `slice`.
    """
    last = len(blocks) - 1
    return Schedule(tuple(blocks), tuple(spread ** ((index - last) / max(last, 1)) for index in range(len(blocks))))


def surgical(blocks: Sequence[Block], fresh_head: bool) -> list[Schedule]:
    """Surgical fine-tuning: one schedule per block, which trains only that block; validation scores choose among them.

    A head with random weights is trained in each of them; a kept head is a block like the others.

    Source: Lee et al., *Surgical fine-tuning improves adaptation to distribution shifts*, ICLR 2023.
    """
    last = len(blocks) - 1
    chosen = [{index, last} if fresh_head else {index} for index in range(len(blocks))]
    return [Schedule(tuple(blocks), tuple(float(index in own) for index in range(len(blocks)))) for own in chosen]
