"""The number of parameters that a strategy trains."""

from __future__ import annotations

import copy

import torch

from biotune.backbones.network import Network
from biotune.config.key import Sides, height_and_width
from biotune.schedule.param_groups import param_groups
from biotune.schedule.plan import Plan
from biotune.strategies.hooks import TrainingContext
from biotune.strategies.registry import hooks_of


def trainable_parameters(plan: Plan, network: Network, sides: Sides) -> int:
    """Count the parameters that are trained in any epoch, adapters included.

    Args:
        plan: The strategy's plan.
        network: The network; it is not changed.
        sides: Side of the square images in pixels, or their height and width.
    """
    model = copy.deepcopy(network.module)
    groups = param_groups(model, plan.schedule.blocks, plan.schedule.lr_weights, 1.0)
    if plan.method is not None:
        context = TrainingContext(
            model=model,
            blocks=network.blocks,
            head=network.head,
            fresh_head=network.fresh_head,
            groups=groups,
            lr=1.0,
            epochs=1,
            method=plan.method,
            frozen_norm="eval",
            losses=lambda epoch, batches: iter(()),
            example=lambda: torch.zeros(2, 3, *height_and_width(sides), device=next(model.parameters()).device),
        )
        with torch.random.fork_rng(devices=[]):
            groups = hooks_of(context).groups
    return sum(parameter.numel() for group in groups for parameter in group["params"])
