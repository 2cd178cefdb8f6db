"""Freezing blocks of a model: no gradients, and normalisation (BatchNorm), dropout and stochastic depth held in eval mode."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from torch import nn

from biotune.errors import BackboneError, ScheduleError
from biotune.schedule.block import Block
from biotune.schedule.block_parameters import block_parameters, part_at, unwrapped

NORMALISATION = (
    nn.modules.batchnorm._BatchNorm,
    nn.modules.instancenorm._InstanceNorm,
    nn.GroupNorm,
    nn.LayerNorm,
)


def is_normalisation(module: nn.Module) -> bool:
    """Whether a module is a normalisation layer: one of torch's types, or a layer without children that is called a Norm.

    Norms of torchvision's, timm's and a user's own (FrozenBatchNorm2d, RmsNorm) are told by their names; a block that merely
    holds one (Conv2dNormActivation), or does without (NormFreeBlock), is none.
    """
    if isinstance(module, NORMALISATION):
        return True
    return "Norm" in type(module).__name__ and not any(True for _ in module.children())


def has_running_statistics(module: nn.Module) -> bool:
    """Whether a module is a normalisation layer whose running statistics move in train mode."""
    return is_normalisation(module) and getattr(module, "running_mean", None) is not None


def freeze(model: nn.Module, blocks: Sequence[Block], selected: Sequence[bool], frozen_norm: str = "eval") -> None:
    """Make the selected blocks trainable and freeze the others, whatever was frozen before.

    Args:
        model: A network with the modules that the blocks name, each parameter in one block.
        blocks: (B,) the blocks in forward order.
        selected: (B,) whether each is trained.
        frozen_norm: See `param_groups`.

    Raises:
        ScheduleError: The blocks do not fit the model.
    """
    model = unwrapped(model)
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
            # a stale gradient of a frozen parameter would still meet momentum and weight decay
            parameter.grad = None
        if not trained:
            for module in _modules(model, block):
                hold_in_eval(module, frozen_norm)


def _modules(model: nn.Module, block: Block) -> list[nn.Module]:
    """The modules of a block; a bare parameter among its paths has no mode to hold."""
    parts = [part_at(model, path) for path in block.modules]
    return [part for part in parts if isinstance(part, nn.Module)]


def hold_in_eval(module: nn.Module, frozen_norm: str = "eval") -> None:
    """Keep a module in eval mode through every later `train()`, until `freeze` or `param_groups` releases it."""
    module.train = partial(_stay, module, frozen_norm)  # type: ignore[method-assign]
    module.train(module.training)


def _release(module: nn.Module) -> None:
    held = module.__dict__.get("train")
    if isinstance(held, partial) and held.func is _stay:
        del module.train


def _stay(module: nn.Module, frozen_norm: str, mode: bool = True) -> nn.Module:
    """Stands in for `module.train` on frozen modules: whatever the mode asked for, it stays in eval mode."""
    type(module).train(module, False)
    if frozen_norm == "train" and mode:
        for inner in module.modules():
            if has_running_statistics(inner):
                type(inner).train(inner, True)
    return module
