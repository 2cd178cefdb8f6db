"""Auto-RGN and Auto-SNR: every tensor's learning rate follows its gradients, which are measured before each epoch.

Source: Lee et al., *Surgical fine-tuning improves adaptation to distribution shifts*, ICLR 2023.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from biotune.schedule.freezing import is_normalisation
from biotune.strategies.hooks import Groups, Hooks, TrainingContext

_STABLE = 1e-8  # prevents a division by a variance of 0


def hooks(context: TrainingContext) -> Hooks:
    """Groups of one parameter tensor each, normalisation parameters frozen; learning rates λ_0 × ratio, the largest ratio 1."""
    parameters = without_normalisation(context.model)
    batches = int(context.method["batches"])
    groups: Groups = [{"params": [parameter], "lr": context.lr, "name": name} for name, parameter in parameters.items()]

    def before_epoch(epoch: int, optimizer: torch.optim.Optimizer) -> None:
        gradients = measured(context, list(parameters.values()), epoch, batches)
        if context.method.name == "auto_rgn":
            ratios = relative_norms(list(parameters.values()), gradients)
        else:
            ratios = signal_to_noise(gradients, context.method["floor"])
        for group, ratio in zip(optimizer.param_groups, ratios, strict=True):
            group["lr"] = group["lr"] * ratio

    return Hooks(groups, before_epoch)


def without_normalisation(model: nn.Module) -> dict[str, nn.Parameter]:
    """The trainable parameters by name; those of normalisation layers are frozen and left out."""
    for module in model.modules():
        if is_normalisation(module):
            for parameter in module.parameters(recurse=False):
                parameter.requires_grad_(False)
    return {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}


def measured(context: TrainingContext, parameters: Sequence[nn.Parameter], epoch: int, batches: int) -> list[list[Tensor]]:
    """Measure the gradient of each parameter for each mini-batch; running statistics do not change.

    Args:
        context: The training run.
        parameters: (P,) tensors whose gradients are wanted.
        epoch: The epoch whose mini-batches are drawn.
        batches: Largest number of mini-batches.

    Returns:
        gradients[batch][parameter], each in its parameter's shape; zeros for a parameter that the loss does not depend on.
    """
    buffers = {name: buffer.clone() for name, buffer in context.model.named_buffers()}
    gradients = []
    for loss in context.losses(epoch, batches):
        own = torch.autograd.grad(loss, parameters, allow_unused=True)
        gradients.append([torch.zeros_like(p) if g is None else g for p, g in zip(parameters, own, strict=True)])
    for name, buffer in context.model.named_buffers():
        buffer.copy_(buffers[name])
    return gradients


def relative_norms(parameters: Sequence[Tensor], gradients: Sequence[Sequence[Tensor]]) -> list[float]:
    """‖g‖ / ‖w‖ per tensor, averaged over the mini-batches, divided by the largest.

    A tensor of zeros, such as a new bias, has no relative norm: it gets the full learning rate.

    Args:
        parameters: (P,) tensors w.
        gradients: gradients[batch][parameter], as `measured` returns them.

    Returns:
        (P,) factors in [0, 1] of the learning rate.
    """
    norms = torch.stack([torch.linalg.vector_norm(parameter.detach()) for parameter in parameters])
    sizes = torch.stack([torch.stack([torch.linalg.vector_norm(g) for g in batch]) for batch in gradients]).mean(0)
    ratios = torch.where(norms > 0, sizes / norms, 0.0)
    largest = ratios.max()
    shares = ratios / largest if largest > 0 else ratios
    return [float(share) for share in torch.where(norms > 0, shares, 1.0).tolist()]


def signal_to_noise(gradients: Sequence[Sequence[Tensor]], floor: float) -> list[float]:
    """Mean over a tensor of ḡ² / (var g + 1e-8), ḡ and var over the batches, divided by the largest.

    Tensors below `floor` before that division get factor 0, except the one with the largest value.

    Args:
        gradients: gradients[batch][parameter], as `measured` returns them.
        floor: The smallest signal-to-noise ratio at which a tensor moves.

    Returns:
        (P,) factors in [0, 1] of the learning rate.
    """
    values = torch.stack([_one_snr(torch.stack(batches)) for batches in zip(*gradients, strict=True)])
    largest = values.max()
    if not largest > 0:
        return [0.0] * len(values)
    moves = (values >= floor) | (values == largest)
    return [float(share) for share in torch.where(moves, values / largest, 0.0).tolist()]


def _one_snr(gradients: Tensor) -> Tensor:
    """Of one tensor's gradients (batches, …)."""
    variance = gradients.var(0, correction=0)
    return (gradients.mean(0).square() / (variance + _STABLE)).mean()
