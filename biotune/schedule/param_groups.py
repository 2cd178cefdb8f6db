"""Optimizer parameter groups of a schedule: each trained block with its own learning rate, proved to hold what is trainable."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from biotune.errors import ScheduleError
from biotune.schedule.block import Block
from biotune.schedule.block_parameters import block_parameters, unwrapped
from biotune.schedule.freezing import freeze


def param_groups(
    model: nn.Module, blocks: Sequence[Block], lr_weights: Sequence[float], base_lr: float, frozen_norm: str = "eval"
) -> list[dict[str, Any]]:
    """Freeze the blocks of weight 0 and group the others for an optimizer, in forward order.

    A frozen block has no gradients, and its modules (normalisation, dropout, stochastic depth) stay in eval mode
    through every later `model.train()`. A second call replaces the first.

    Args:
        model: A network in which each parameter belongs to exactly one of the blocks; it may be compiled, or wrapped for
            parallel training.
        blocks: (B,) the blocks in forward order.
        lr_weights: (B,) the weight W_b of each block's learning rate; 0 means frozen.
        base_lr: λ_0; a block's learning rate is λ_b = W_b · λ_0 (BioTune, section 1).
        frozen_norm: eval keeps the running statistics of frozen normalisation layers; train updates them, as published.

    Returns:
        One parameter group per trained block: `{"params", "lr", "name"}`.

    Raises:
        ScheduleError: The blocks do not fit the model.
    """
    model = unwrapped(model)
    freeze(model, blocks, [weight > 0 for weight in lr_weights], frozen_norm)
    parameters = block_parameters(model, blocks)
    return [
        {"params": own, "lr": weight * base_lr, "name": block.name}
        for block, weight in zip(blocks, lr_weights, strict=True)
        if weight > 0 and (own := [parameter for _, parameter in parameters[block.name]])
    ]


def prove_coverage(model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    """Check that the optimizer holds exactly the trainable parameters, each once.

    Raises:
        ScheduleError: A parameter is repeated, missing or frozen.
    """
    held = [id(parameter) for group in optimizer.param_groups for parameter in group["params"]]
    trainable = {id(parameter): name for name, parameter in model.named_parameters() if parameter.requires_grad}
    if len(held) != len(set(held)):
        raise ScheduleError("a parameter is in two optimizer groups.")
    if stray := trainable.keys() - set(held):
        raise ScheduleError(f"parameter {trainable[min(stray)]} is trainable but in no optimizer group.")
    if set(held) - trainable.keys():
        raise ScheduleError("the optimizer holds a frozen parameter.")
