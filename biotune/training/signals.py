"""Relative gradient norms of the blocks of a pre-trained network on new data, before anything is trained.

Source: Lee et al., *Surgical fine-tuning improves adaptation to distribution shifts*, ICLR 2023, whose Auto-RGN takes the norm
of a tensor's gradient over that of its weights for how much the tensor has to move. Here a block is one tensor, and the head
starts from the linear probe, so that the gradients are those that a fitted head leaves to the body.
"""

from __future__ import annotations

from itertools import islice

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from biotune.schedule.block_parameters import block_parameters
from biotune.schedule.freezing import is_normalisation
from biotune.training.finetune import batch_rows, class_weights
from biotune.training.probe import probe_of
from biotune.training.workspace import Workspace


def relative_gradients(workspace: Workspace, batches: int, seed: int) -> NDArray[np.float64]:
    """Measure the relative gradient norm of every block; the network keeps its initial weights.

    Args:
        workspace: The network with its initial weights, and its data.
        batches: The most mini-batches of training images, of `training.batch_size` each.
        seed: Seed of the mini-batches, and of a new head where no probe is fitted.

    Returns:
        (mini-batches, blocks) norms of the gradient over norms of the weights, both without normalisation layers; 0 for a
        block that has no other parameters.

    Raises:
        TrialError: The head's input is not one vector per image.
    """
    network, data, training = workspace.network, workspace.data, workspace.training
    torch.manual_seed(seed)
    workspace.reset()
    model = network.module
    rows = data.part(None).train
    weights = class_weights(data, rows, training, workspace.device)
    if network.fresh_head:
        probe = probe_of(workspace, None, weights)
        with torch.no_grad():
            for name, parameter in model.get_submodule(network.head).named_parameters():
                parameter.copy_(getattr(probe, name))
    norms = {
        id(parameter)
        for module in model.modules()
        if is_normalisation(module)
        for parameter in module.parameters(recurse=False)
    }
    blocks = [
        [parameter for _, parameter in own if id(parameter) not in norms]
        for own in block_parameters(model, network.blocks).values()
    ]
    every = [parameter for own in blocks for parameter in own]
    for parameter in every:
        parameter.requires_grad_(True)
    model.eval()  # neither dropout nor the statistics of a small mini-batch
    loss_function = nn.CrossEntropyLoss(weight=weights)
    order = np.random.default_rng(seed).permutation(rows)
    found = []
    for batch in islice(batch_rows(order, training.batch_size), batches):
        loss = loss_function(model(workspace.images(batch)), workspace.labels(batch))
        gradients = dict(zip(map(id, every), torch.autograd.grad(loss, every, allow_unused=True), strict=True))
        found.append([_relative(own, [gradients[id(parameter)] for parameter in own]) for own in blocks])
    workspace.reset()
    return np.array(found, dtype=np.float64)


def _relative(parameters: list[nn.Parameter], gradients: list[torch.Tensor | None]) -> float:
    """‖g‖ / ‖w‖ of the tensors of a block together."""
    size = sum(float(parameter.detach().double().square().sum()) for parameter in parameters)
    pull = sum(float(gradient.double().square().sum()) for gradient in gradients if gradient is not None)
    return float((pull / size) ** 0.5) if size > 0 else 0.0
