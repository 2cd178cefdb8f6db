"""A soup: the average of the weights of several models of one network."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm

from biotune.training.finetune import batch_rows
from biotune.training.placement import Rows
from biotune.training.workspace import Workspace


def average_weights(states: Sequence[Mapping[str, Tensor]]) -> OrderedDict[str, Tensor]:
    """The uniform soup of several state dicts of one network: the mean of each parameter and of each floating-point buffer.

    Averaging needs training runs from one starting point, heads included: others end in basins of their own, and the average
    lies between them. Counters are those of the first.

    Source: Wortsman et al., *Model soups: averaging weights of multiple fine-tuned models improves accuracy without increasing
    inference time*, ICML 2022, section 2.
    """
    soup = OrderedDict()
    for name, first in states[0].items():
        if first.is_floating_point():
            soup[name] = torch.stack([state[name].double() for state in states]).mean(0).to(first.dtype)
        else:
            soup[name] = first.clone()
    return soup


def renew_statistics(workspace: Workspace, states: Sequence[Mapping[str, Tensor]], rows: Rows) -> None:
    """Measure the running statistics anew that batch normalisation has learnt in training, under the network's present weights.

    Averaged statistics belong to none of the activations that averaged weights lead to; so stochastic weight averaging takes
    the mean over one pass through the training images (Izmailov et al., *Averaging weights leads to wider optima and better
    generalization*, UAI 2018, section 3.2). Layers whose statistics are the same in all models were frozen and keep them.

    Args:
        workspace: The network with its averaged weights, and its data.
        states: The state dicts that were averaged.
        rows: (N,) rows of the training images.
    """
    module = workspace.network.module
    layers = [
        layer
        for name, layer in module.named_modules()
        if isinstance(layer, _BatchNorm) and _moved(states, f"{name}.running_mean")
    ]
    if not layers:
        return
    momenta = [layer.momentum for layer in layers]
    module.eval()
    for layer in layers:
        layer.reset_running_stats()
        layer.momentum = None  # the plain mean over all mini-batches
        layer.train()
    order = np.random.default_rng(0).permutation(rows)  # mini-batches of one class would have too small a variance
    with torch.no_grad(), workspace.autocast():
        entry = workspace.whole()
        for inputs in entry.inputs(list(batch_rows(order, workspace.training.batch_size))):
            entry.forward(inputs)
    for layer, momentum in zip(layers, momenta, strict=True):
        layer.momentum = momentum
    module.eval()


def _moved(states: Sequence[Mapping[str, Tensor]], name: str) -> bool:
    return name in states[0] and any(not torch.equal(states[0][name], state[name]) for state in states[1:])
