"""Applies blocks to a model: frozen state, mode of normalisation layers, optimizer groups; checks that they cover it once."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from torch import nn

from biotune.errors import BackboneError, ScheduleError
from biotune.schedule.block import Block

NORMALISATION = (
    nn.modules.batchnorm._BatchNorm,
    nn.modules.instancenorm._InstanceNorm,
    nn.GroupNorm,
    nn.LayerNorm,
)


def is_normalisation(module: nn.Module) -> bool:
    """Return whether a module is a normalisation layer: one of torch's types, or a layer without children named `…Norm…`.

    Layers of torchvision, timm and users (FrozenBatchNorm2d, RmsNorm) are recognised by their names; a block that only
    contains one (Conv2dNormActivation), or has none (NormFreeBlock), is not a normalisation layer.
    """
    if isinstance(module, NORMALISATION):
        return True
    return "Norm" in type(module).__name__ and not any(True for _ in module.children())


def has_running_statistics(module: nn.Module) -> bool:
    """Return whether a module is a normalisation layer that updates running statistics in train mode."""
    return is_normalisation(module) and getattr(module, "running_mean", None) is not None


def part_at(module: nn.Module, path: str) -> nn.Module | nn.Parameter:
    """Return the submodule, or the single parameter, at a dotted path.

    Raises:
        BackboneError: The path names neither.
    """
    parent_path, _, leaf = path.rpartition(".")
    try:
        found = getattr(module.get_submodule(parent_path), leaf, None)
    except AttributeError:
        found = None
    if not isinstance(found, nn.Module | nn.Parameter):
        raise BackboneError(f"the network has no module {path!r}.")
    return found


def parameters_of(module: nn.Module, path: str) -> list[tuple[str, nn.Parameter]]:
    """Return the parameters of the submodule, or the single parameter, at a dotted path, with their dotted names.

    Raises:
        BackboneError: The path names neither.
    """
    found = part_at(module, path)
    if isinstance(found, nn.Parameter):
        return [(path, found)]
    return [(f"{path}.{name}", parameter) for name, parameter in found.named_parameters()]


def block_parameters(module: nn.Module, blocks: Sequence[Block]) -> dict[str, list[tuple[str, nn.Parameter]]]:
    """Return the parameters of each block, after checking that the blocks cover the network exactly once.

    Args:
        module: The network.
        blocks: Its blocks.

    Returns:
        Block's name → pairs of a parameter's dotted name and the parameter.

    Raises:
        BackboneError: A block's path names nothing, or a parameter belongs to no block or to two.
    """
    owner: dict[int, str] = {}
    parameters: dict[str, list[tuple[str, nn.Parameter]]] = {}
    for block in blocks:
        try:
            parameters[block.name] = [pair for path in block.modules for pair in parameters_of(module, path)]
        except BackboneError as error:
            raise BackboneError(f"block {block.name}: {error}") from None
        for name, parameter in parameters[block.name]:
            if id(parameter) in owner:
                raise BackboneError(f"parameter {name} belongs to both {owner[id(parameter)]} and {block.name}.")
            owner[id(parameter)] = block.name
    for name, parameter in module.named_parameters():
        if id(parameter) not in owner:
            raise BackboneError(f"parameter {name} belongs to no block.")
    return parameters


def param_groups(
    model: nn.Module, blocks: Sequence[Block], lr_weights: Sequence[float], base_lr: float, frozen_norm: str = "eval"
) -> list[dict[str, Any]]:
    """Freeze the blocks of weight 0 and group the others for an optimizer, in forward order.

    A frozen block has no gradients, and its modules (normalisation, dropout, stochastic depth) stay in eval mode
    through every later `model.train()`. A second call replaces the first.

    Args:
        model: A network in which each parameter belongs to exactly one of the blocks.
        blocks: (B,) the blocks in forward order.
        lr_weights: (B,) the weight W_b of each block's learning rate; 0 means frozen.
        base_lr: λ_0; a block's learning rate is λ_b = W_b · λ_0 (BioTune, section 1).
        frozen_norm: eval keeps the running statistics of frozen normalisation layers; train updates them, as published.

    Returns:
        One parameter group per trained block: `{"params", "lr", "name"}`.

    Raises:
        ScheduleError: The blocks do not fit the model.
    """
    freeze(model, blocks, [weight > 0 for weight in lr_weights], frozen_norm)
    parameters = block_parameters(model, blocks)
    return [
        {"params": own, "lr": weight * base_lr, "name": block.name}
        for block, weight in zip(blocks, lr_weights, strict=True)
        if weight > 0 and (own := [parameter for _, parameter in parameters[block.name]])
    ]


def freeze(model: nn.Module, blocks: Sequence[Block], selected: Sequence[bool], frozen_norm: str = "eval") -> None:
    """Make the selected blocks trainable and freeze the others, whatever their state was before.

    Args:
        model: A network in which each parameter belongs to exactly one of the blocks.
        blocks: (B,) the blocks in forward order.
        selected: (B,) whether each is trained.
        frozen_norm: See `param_groups`.

    Raises:
        ScheduleError: The blocks do not fit the model.
    """
    try:
        parameters = block_parameters(model, blocks)
    except BackboneError as error:
        names = ", ".join(block.name for block in blocks)
        raise ScheduleError(f"the schedule (blocks {names}) does not fit the network: {error}") from None
    for module in model.modules():
        _release(module)
    for block, trained in zip(blocks, selected, strict=True):
        for _, parameter in parameters[block.name]:
            parameter.requires_grad_(trained)
            # the optimizer would still apply momentum and weight decay to a frozen parameter with an old gradient
            parameter.grad = None
        if not trained:
            for module in _modules(model, block):
                hold_in_eval(module, frozen_norm)


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


def _modules(model: nn.Module, block: Block) -> list[nn.Module]:
    """The modules of a block, without its single parameters, which have no mode."""
    parts = [part_at(model, path) for path in block.modules]
    return [part for part in parts if isinstance(part, nn.Module)]


def hold_in_eval(module: nn.Module, frozen_norm: str = "eval") -> None:
    """Keep a module in eval mode through every later `train()`, until `freeze` or `param_groups` releases it.

    Args:
        module: The module; its attribute `train` is replaced.
        frozen_norm: See `param_groups`.
    """
    module.train = partial(_stay, module, frozen_norm)  # type: ignore[method-assign]
    module.train(module.training)


def _release(module: nn.Module) -> None:
    held = module.__dict__.get("train")
    if isinstance(held, partial) and held.func is _stay:
        del module.train


def _stay(module: nn.Module, frozen_norm: str, mode: bool = True) -> nn.Module:
    """Replaces `module.train` on frozen modules: ignores the requested mode and keeps eval mode."""
    type(module).train(module, False)
    if frozen_norm == "train" and mode:
        for inner in module.modules():
            if has_running_statistics(inner):
                type(inner).train(inner, True)
    return module
