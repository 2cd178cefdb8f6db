"""The modules and parameters that blocks name in a model, with a proof that each parameter belongs to exactly one block."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from biotune.errors import BackboneError
from biotune.schedule.block import Block


def unwrapped(model: nn.Module) -> nn.Module:
    """The network inside what `torch.compile`, DataParallel and DistributedDataParallel put around it."""
    while True:
        compiled = model._modules.get("_orig_mod")
        inner = model.module if isinstance(model, nn.parallel.DataParallel | nn.parallel.DistributedDataParallel) else compiled
        if inner is None:
            return model
        model = inner


def part_at(module: nn.Module, path: str) -> nn.Module | nn.Parameter:
    """The submodule, or the single parameter, at a dotted path.

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
    """The named parameters of the submodule, or the single parameter, at a dotted path.

    Raises:
        BackboneError: The path names neither.
    """
    found = part_at(module, path)
    if isinstance(found, nn.Parameter):
        return [(path, found)]
    return [(f"{path}.{name}", parameter) for name, parameter in found.named_parameters()]


def block_parameters(module: nn.Module, blocks: Sequence[Block]) -> dict[str, list[tuple[str, nn.Parameter]]]:
    """The named parameters of each block, proved to cover the network exactly once.

    Args:
        module: The network.
        blocks: Its blocks.

    Raises:
        BackboneError: A block names nothing, or a parameter belongs to no block or to two.
    """
    owner: dict[int, tuple[str, str]] = {}
    parameters: dict[str, list[tuple[str, nn.Parameter]]] = {}
    for block in blocks:
        try:
            found = [pair for path in block.modules for pair in parameters_of(module, path)]
        except BackboneError as error:
            raise BackboneError(f"block {block.name}: {error}") from None
        parameters[block.name] = []
        for name, parameter in found:
            if id(parameter) not in owner:
                owner[id(parameter)] = block.name, name
                parameters[block.name].append((name, parameter))
                continue
            other, first = owner[id(parameter)]
            if first == name:
                raise BackboneError(f"parameter {name} belongs to both {other} and {block.name}.")
            if other != block.name:
                raise BackboneError(
                    f"parameters {first} and {name} are one tensor, which the blocks {other} and {block.name} share; it cannot "
                    "have two learning rates. Put both modules into one block."
                )
    for name, parameter in module.named_parameters():
        if id(parameter) not in owner:
            raise BackboneError(f"parameter {name} belongs to no block.")
    return parameters
