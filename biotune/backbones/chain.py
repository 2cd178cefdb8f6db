"""A network as a chain of its blocks: the same forward pass, block after block, so that it can begin or end between two.

Networks that are no such chain work too; they only cannot share what their frozen beginning computes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from biotune.schedule import Block

Steps = Mapping[str, str]


def _class_token(module: Any, x: Tensor) -> Tensor:
    """Torchvision's ViT up to its first layer: patches, class token, positions."""
    x = module._process_input(x)
    x = torch.cat([module.class_token.expand(x.shape[0], -1, -1), x], dim=1)
    embedded: Tensor = module.encoder.dropout(x + module.encoder.pos_embedding)
    return embedded


def _transform_input(module: Any, x: Tensor) -> Tensor:
    """Inception's change from ImageNet's normalisation to its own."""
    transformed: Tensor = module._transform_input(x)
    return transformed


FUNCTIONS: dict[str, Callable[[nn.Module, Tensor], Tensor]] = {
    "@class_token": _class_token,
    "@first_token": lambda module, x: x[:, 0],
    "@flatten": lambda module, x: torch.flatten(x, 1),
    "@mean": lambda module, x: x.mean((2, 3)),
    "@pool": lambda module, x: nn.functional.adaptive_avg_pool2d(x, 1),
    "@relu": lambda module, x: torch.relu(x),
    "@transform_input": _transform_input,
}


def forward_block(module: nn.Module, block: Block, steps: Steps, x: Tensor) -> Tensor:
    """Apply one block.

    Args:
        module: The network.
        block: One of its blocks.
        steps: For blocks that are more than their modules one after another, the steps in order, separated by spaces:
            paths of modules, and functions beginning with @.
        x: The output of the block before, or normalised pictures (N, 3, H, W) for the first.

    Returns:
        What the next block takes; the logits (N, classes) for the last.
    """
    for step in steps[block.name].split() if block.name in steps else block.modules:
        x = FUNCTIONS[step](module, x) if step in FUNCTIONS else module.get_submodule(step)(x)
    return x
