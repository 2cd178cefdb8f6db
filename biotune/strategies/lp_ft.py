"""Linear probing, then fine-tuning: the head alone first, then everything from there."""

from __future__ import annotations

import torch

from biotune.schedule.freezing import freeze, hold_in_eval, is_normalisation
from biotune.strategies.hooks import Hooks, TrainingContext


def hooks(context: TrainingContext) -> Hooks:
    """The first half of the epochs the head alone, then everything from there, with normalisation layers in eval mode.

    Source: Kumar et al., *Fine-tuning can distort pretrained features and underperform out-of-distribution*, ICLR 2022.
    """
    half = context.epochs // 2
    only_head = [False] * (len(context.blocks) - 1) + [True]

    def before_epoch(epoch: int, optimizer: torch.optim.Optimizer) -> None:
        if epoch < half:
            freeze(context.model, context.blocks, only_head, context.frozen_norm)
        elif epoch == half:
            freeze(context.model, context.blocks, [True] * len(context.blocks), context.frozen_norm)
            for module in context.model.modules():
                if is_normalisation(module):
                    hold_in_eval(module)

    return Hooks(context.groups, before_epoch, stop_from=half)
