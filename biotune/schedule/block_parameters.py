"""The modules and parameters that blocks name in a model, with a proof that each parameter belongs to exactly one block."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from biotune.errors import BackboneError
from biotune.schedule.block import Block


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
