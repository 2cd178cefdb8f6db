"""Strategies that freeze by the epoch: gradual unfreezing in both directions, and linear probing then fine-tuning."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch

from biotune.param_groups import freeze, hold_in_eval
from biotune.strategies._base import NORMALISATION, Hooks, Scene


def gradual(scene: Scene) -> Hooks:
    """One block more every epoch, from the head down (gradual_last_to_first) or from the first block up (…first_to_last).

    With fewer epochs than blocks several are added at once, so that all are trained in the last epoch.

    Source: Howard and Ruder, *Universal language model fine-tuning for text classification*, ACL 2018; and its mirror image.
    """
    count = len(scene.blocks)
    downwards = scene.method.name == "gradual_last_to_first"

    def before_epoch(epoch: int, optimizer: torch.optim.Optimizer) -> None:
        trained = unfrozen(epoch, count, scene.epochs)
        selected = [index >= count - trained if downwards else index < trained for index in range(count)]
        freeze(scene.model, scene.blocks, selected, scene.frozen_norm)

    whole = next(epoch for epoch in range(count) if unfrozen(epoch, count, scene.epochs) == count)
    return Hooks(scene.groups, before_epoch, settled=whole)


def unfrozen(epoch: int, count: int, epochs: int) -> int:
    """How many of `count` blocks are trained in an epoch, counted from 0, of so many."""
    return min(count, math.ceil((epoch + 1) * count / min(count, epochs)))


def lp_ft(scene: Scene) -> Hooks:
    """The first half of the epochs the head alone, then everything from there, with normalisation layers in eval mode.

    Source: Kumar et al., *Fine-tuning can distort pretrained features and underperform out-of-distribution*, ICLR 2022.
    """
    half = scene.epochs // 2
    only_head = [False] * (len(scene.blocks) - 1) + [True]

    def before_epoch(epoch: int, optimizer: torch.optim.Optimizer) -> None:
        if epoch < half:
            freeze(scene.model, scene.blocks, only_head, scene.frozen_norm)
        elif epoch == half:
            freeze(scene.model, scene.blocks, [True] * len(scene.blocks), scene.frozen_norm)
            for module in scene.model.modules():
                if isinstance(module, NORMALISATION):
                    hold_in_eval(module)

    return Hooks(scene.groups, before_epoch, settled=half)


HOOKS: dict[str, Callable[[Scene], Hooks]] = {
    "gradual_last_to_first": gradual,
    "gradual_first_to_last": gradual,
    "lp_ft": lp_ft,
}


def hooks(scene: Scene) -> Hooks:
    """The hooks of the strategy that the scene names."""
    return HOOKS[scene.method.name](scene)
