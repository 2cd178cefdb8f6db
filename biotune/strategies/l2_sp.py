"""L2-SP and L1-SP: a penalty on the distance of pre-trained weights from their initial values.

Source: Li, Grandvalet and Davoine, *Explicit inductive bias for transfer learning with convolutional networks*, ICML 2018.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from biotune.strategies.hooks import Hooks, TrainingContext, weights_of

CONVOLUTIONS_AND_LINEAR = (nn.modules.conv._ConvNd, nn.Linear)


def hooks(context: TrainingContext) -> Hooks:
    """α/2 Σ(w−w⁰)² (l2_sp) or α Σ|w−w⁰| (l1_sp) over pre-trained convolution and linear weights, β/2 Σ w² over a new head's."""
    alpha, beta = context.method["alpha"], context.method["beta"]
    weights = weights_of(context.model, CONVOLUTIONS_AND_LINEAR)
    new = {f"{context.head}.weight"} if context.fresh_head else set()
    pulled = [(weight, weight.detach().clone()) for name, weight in weights.items() if name not in new and weight.requires_grad]
    head = [weight for name, weight in weights.items() if name in new and weight.requires_grad]
    distance = squared if context.method.name == "l2_sp" else absolute

    def penalty() -> Tensor:
        start = torch.zeros((), device=next(context.model.parameters()).device)
        away = sum((distance(weight - origin) for weight, origin in pulled), start)
        size = sum((squared(weight) for weight in head), start)
        return alpha * away + beta * size

    return Hooks(context.groups, penalty=penalty)


def squared(difference: Tensor) -> Tensor:
    """½ Σ d²."""
    return difference.square().sum() / 2


def absolute(difference: Tensor) -> Tensor:
    """Σ |d|."""
    return difference.abs().sum()
