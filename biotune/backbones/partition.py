"""Cutting a network that has no declared blocks: by its own structure, or by groups of its parameters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import nn

from biotune.schedule import Block

# modules that hold the stages of a network and are no stage themselves, by the names the field gives them
_CONTAINERS = ("features", "encoder", "layers", "blocks", "stages", "trunk_output")
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
        if isinstance(part, nn.Module) and any(True for _ in part.children()):
            stages += [bare] if bare else []
            bare = []
            stages.append([path])
        elif isinstance(part, _POOLING) and bare:
            stages.append(bare)
            bare = []
        elif isinstance(part, nn.Parameter) or any(True for _ in part.parameters()):
            bare.append(path)
    stages += [bare] if bare else []
    position = next(index for index, stage in enumerate(stages) if any(_holds(path, head) for path in stage))
    first_of_head = position
    while first_of_head > 1 and all(_is_norm(module, path) for path in stages[first_of_head - 1]):
        first_of_head -= 1
    return _named([*stages[:first_of_head], [path for stage in stages[first_of_head:] for path in stage]])


def by_parameters(module: nn.Module, group_of: Mapping[str, int]) -> tuple[Block, ...]:
    """Cut a network by a grouping of its parameters, each block given by as few modules as possible.

    Args:
        module: The network.
        group_of: The group of each named parameter; groups are ordered by their numbers.
    """
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


def _is_norm(module: nn.Module, path: str) -> bool:
    parent, _, leaf = path.rpartition(".")
    return "Norm" in type(getattr(module.get_submodule(parent), leaf)).__name__


def _named(stages: Sequence[Sequence[str]]) -> tuple[Block, ...]:
    names = ["stem", *(f"block{index}" for index in range(1, len(stages) - 1)), "head"]
    return tuple(Block(name, tuple(paths)) for name, paths in zip(names, stages, strict=True))
