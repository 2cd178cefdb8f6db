"""Cutting a network into blocks: by its structure, by groups of its parameters, or finer; the proof that blocks cover it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise

from torch import nn

from biotune.errors import BackboneError
from biotune.schedule.block import Block
from biotune.schedule.block_parameters import block_parameters, part_at
from biotune.schedule.freezing import is_normalisation


def check_partition(module: nn.Module, blocks: Sequence[Block], head: str) -> None:
    """Check that a partition covers every parameter once, in forward order, with the head last.

    Raises:
        BackboneError: With the block or parameter at fault.
    """
    names = [block.name for block in blocks]
    if len(set(names)) != len(names):
        raise BackboneError(f"block names repeat: {', '.join(names)}.")
    parameters = block_parameters(module, blocks)
    position = {name: index for index, (name, _) in enumerate(module.named_parameters())}
    spans = [[position[name] for name, _ in parameters[block.name]] for block in blocks]
    for name, span in zip(names, spans, strict=True):
        if not span:
            raise BackboneError(f"block {name} holds no parameter.")
    for (earlier, before), (later, after) in pairwise(zip(names, spans, strict=True)):
        if max(before) > min(after):
            raise BackboneError(f"blocks {earlier} and {later} are not in forward order.")
    if not any(name.startswith(head + ".") for name, _ in parameters[blocks[-1].name]):
        raise BackboneError(f"the last block, {names[-1]}, does not hold the head {head}.")


def finer(module: nn.Module, blocks: Sequence[Block]) -> tuple[Block, ...]:
    """Cut blocks into layers: one per residual, dense, MBConv or transformer unit, or per convolution if there is no unit.

    The stem and the head stay whole. A bare normalisation layer joins the unit before it.
    """
    first, *middle, last = blocks
    layers = [first]
    for block in middle:
        units: list[tuple[str, ...]] = []
        for unit in (unit for whole in block.modules for unit in _units(module, whole)):
            if units and len(unit) == 1 and _follows_on(part_at(module, unit[0])):
                units[-1] = (*units[-1], *unit)
            else:
                units.append(unit)
        if len(units) == 1:
            layers.append(block)
        else:
            layers += [Block(f"{block.name}.{index}", unit) for index, unit in enumerate(units)]
    return (*layers, last)


def finer_steps(module: nn.Module, blocks: Sequence[Block], steps: Mapping[str, str] | None) -> Mapping[str, str] | None:
    """The steps of the blocks that `finer` makes, or None if its units are not a plain sequence.

    Args:
        module: The network.
        blocks: The blocks that were cut finer.
        steps: Their steps.
    """
    middle = blocks[1:-1]
    if steps is None or any(block.name in steps for block in middle):
        return None
    cut = [path for block in middle for path in block.modules if _units(module, path) != [(path,)]]
    containers = [module.get_submodule(path) for path in cut]
    return steps if all(_applies_only_units(container) for container in containers) else None


def _applies_only_units(container: nn.Module) -> bool:
    """Whether a container only applies its units in sequence, all of them with parameters."""
    return isinstance(container, nn.Sequential) and all(any(True for _ in child.parameters()) for child in container.children())


def _units(module: nn.Module, path: str) -> list[tuple[str, ...]]:
    """The parts of a container of units, or of a stage that holds one beside layers before and after it, such as downsampling.

    Those layers join the first and the last unit. A container of bare layers, such as a transition, is itself a unit.
    """
    found = module.get_submodule(path)
    if isinstance(found, _LISTS):
        return _children(found, path) or [(path,)]
    parts = [(name, child) for name, child in found.named_children() if any(True for _ in child.parameters())]
    own = [parameter for parameter, _ in found.named_parameters(recurse=False)]
    lists = [index for index, (name, child) in enumerate(parts) if name in _CONTAINERS and isinstance(child, _LISTS)]
    if len(lists) != 1 or own:
        return [(path,)]
    (at,) = lists
    before, after = ([f"{path}.{name}" for name, _ in side] for side in (parts[:at], parts[at + 1 :]))
    units = _children(parts[at][1], f"{path}.{parts[at][0]}")
    if len(units) < 2:
        return [(path,)]
    units[0] = (*before, *units[0])
    units[-1] = (*units[-1], *after)
    return units


def _children(found: nn.Module, path: str) -> list[tuple[str, ...]]:
    """The paths of the children that have parameters; none if all of them are bare layers."""
    parts = [(name, child) for name, child in found.named_children() if any(True for _ in child.parameters())]
    return [(f"{path}.{name}",) for name, _ in parts] if any(True for _, child in parts for _ in child.children()) else []


# modules that hold the stages of a network and are no stage themselves, by the names the field gives them
_CONTAINERS = ("features", "encoder", "layers", "blocks", "stages", "trunk_output")


_LISTS = (nn.Sequential, nn.ModuleList, nn.ModuleDict)
_POOLING = (nn.MaxPool2d, nn.AvgPool2d)


def by_structure(module: nn.Module, head: str) -> tuple[Block, ...]:
    """Cut a network into its stages.

    Children of the network, and of containers such as `features` or `encoder`, are stages. Bare layers and parameters
    that follow one another make one block, which a pooling layer ends; a normalisation after the last stage joins the head.

    Args:
        module: The network.
        head: Path of the final linear layer.

    Returns:
        Blocks in the order of registration, named stem, block1, … and head.
    """
    stages: list[list[str]] = []
    bare: list[str] = []
    for path, part in _walk(module, ""):
        if isinstance(part, nn.Parameter):
            bare.append(path)
        elif isinstance(part, _POOLING) and bare:
            stages.append(bare)
            bare = []
        elif not any(True for _ in part.parameters()):
            continue  # dropout, or a pooling module with parts of its own
        elif any(True for _ in part.children()):
            stages += [bare] if bare else []
            bare = []
            stages.append([path])
        else:
            bare.append(path)
    stages += [bare] if bare else []
    position = next(index for index, stage in enumerate(stages) if any(_holds(path, head) for path in stage))
    first_of_head = position
    while first_of_head > 1 and all(_follows_on(part_at(module, path)) for path in stages[first_of_head - 1]):
        first_of_head -= 1
    return _named([*stages[:first_of_head], [path for stage in stages[first_of_head:] for path in stage]])


def by_parameters(module: nn.Module, group_of: Mapping[str, int]) -> tuple[Block, ...]:
    """Cut a network by a grouping of its parameters, each block given by as few modules as possible.

    Args:
        module: The network.
        group_of: The group of each named parameter; groups are ordered by their numbers.

    Raises:
        BackboneError: Modules share a parameter, so that it has several names, of which one is in a group.
    """
    for name, _ in module.named_parameters(remove_duplicate=False):
        if name not in group_of:
            raise BackboneError(f"parameter {name} is shared by several modules, or in no group.")
    paths: dict[int, list[str]] = {group: [] for group in sorted(set(group_of.values()))}

    def descend(part: nn.Module, prefix: str) -> None:
        for name, _ in part.named_parameters(recurse=False):
            paths[group_of[prefix + name]].append(prefix + name)
        for name, child in part.named_children():
            groups = {group_of[f"{prefix}{name}.{inner}"] for inner, _ in child.named_parameters()}
            if len(groups) == 1:
                paths[groups.pop()].append(prefix + name)
            elif groups:
                descend(child, f"{prefix}{name}.")

    descend(module, "")
    return _named(list(paths.values()))


def _walk(module: nn.Module, prefix: str) -> list[tuple[str, nn.Module | nn.Parameter]]:
    """Direct parameters and children in order, with containers replaced by what they hold."""
    found: list[tuple[str, nn.Module | nn.Parameter]] = [
        (prefix + name, parameter) for name, parameter in module.named_parameters(recurse=False)
    ]
    for name, child in module.named_children():
        if name in _CONTAINERS:
            found += _walk(child, f"{prefix}{name}.")
        else:
            found.append((prefix + name, child))
    return found


def _holds(path: str, head: str) -> bool:
    return head == path or head.startswith(path + ".")


def _follows_on(part: nn.Module | nn.Parameter) -> bool:
    """Whether a part is no unit of its own: a normalisation layer, or a small unit named for one (Conv2dNormActivation).

    Schedules on disk name the blocks that this rule makes; it must not change.
    """
    return isinstance(part, nn.Module) and (is_normalisation(part) or "Norm" in type(part).__name__)


def _named(stages: Sequence[Sequence[str]]) -> tuple[Block, ...]:
    names = ["stem", *(f"block{index}" for index in range(1, len(stages) - 1)), "head"]
    return tuple(Block(name, tuple(paths)) for name, paths in zip(names, stages, strict=True))
