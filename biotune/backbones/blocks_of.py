"""Cuts any network into blocks: torchvision's and timm's own stages where they are known, otherwise by the tree of modules."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import pairwise
from typing import Any

import torch
from torch import nn
from torch.nn.parameter import is_lazy

from biotune.backbones import timm, torchvision
from biotune.backbones.partition import check_partition, finer
from biotune.errors import BackboneError, one_line, shown
from biotune.schedule.block import Block
from biotune.schedule.block_parameters import block_parameters, part_at, unwrapped
from biotune.schedule.freezing import is_normalisation

GRANULARITIES = ("block", "layer")
_MOST_UNITS = 12  # blocks that a plain sequence of units, such as a transformer's layers, is cut into
_FEWEST = 4  # blocks; while there are no more, sequences are opened
_FEWEST_PLAIN = 3  # parts of a network without sequences; while there are fewer, the largest one is opened
_SEQUENCES = (nn.Sequential, nn.ModuleList, nn.ModuleDict)
Paths = list[str]
Part = nn.Module | nn.Parameter


def blocks_of(model: nn.Module, granularity: str = "block", head: str | None = None, example: Any = None) -> tuple[Block, ...]:
    """Cut a network into blocks that cover every parameter once, in forward order, the head last.

    Networks of torchvision and timm are cut into their own stages, as in `biotune run`. Others are cut by their tree of
    modules, level by level, until there are five blocks or more: the stages of a ResNet, or the layers of a transformer, which
    are put together into at most twelve. Bare layers at the beginning make one block; a normalisation layer joins what is
    before it.

    A model that is compiled or wrapped for parallel training is cut as the model inside, with names that have no prefix.

    Args:
        model: Any network with parameters. A parameter that several modules share must lie within one block.
        granularity: block, or layer for finer ones: one a unit.
        head: Path of the module that is the last block, such as `classifier`; by default the part that comes last.
        example: One input, for networks whose modules are not registered in the order of execution: it is passed through the
            network once, in eval mode and without gradients. A tuple or a mapping gives several arguments.

    Returns:
        The blocks, at least two, with their numbers of parameters. Their names are paths of modules, or those of `biotune run`.

    Raises:
        BackboneError: The network has no parameters, lazy ones, or shared ones in two blocks; it is a single block; or there is
            no such head.
    """
    network = unwrapped(model)
    if granularity not in GRANULARITIES:
        raise BackboneError(f"granularity={shown(granularity)}: must be one of {', '.join(GRANULARITIES)}.")
    _check(network, head)
    blocks = _known_stages(network, head)
    if blocks is not None:
        blocks = finer(network, blocks) if granularity == "layer" else blocks
    else:
        order = _order_of_execution(network, example)
        blocks = _named(_stages(network, head, order, granularity == "layer"))
    if len(blocks) < 2:
        raise BackboneError("blocks_of: the network is a single block, so there is nothing to search. Name its blocks by hand.")
    parameters = block_parameters(network, blocks)
    return tuple(replace(one, parameters=sum(part.numel() for _, part in parameters[one.name])) for one in blocks)


def _check(network: nn.Module, head: str | None) -> None:
    names: dict[int, str] = {}
    for name, parameter in network.named_parameters(remove_duplicate=False):
        if is_lazy(parameter):
            raise BackboneError(f"blocks_of: parameter {name} is lazy and has no shape yet. Call the network once before.")
        names.setdefault(id(parameter), name)
    if not names:
        raise BackboneError("blocks_of: the network has no parameters.")
    if head is None:
        return
    try:
        found = part_at(network, head) if head else None
    except BackboneError:
        found = None
    if not isinstance(found, nn.Module):
        last = next(reversed(names.values())).rpartition(".")[0]
        raise BackboneError(f"blocks_of: head={shown(head)} is no module of the network. The last one is {last!r}.")
    if not _has_parameters(found):
        raise BackboneError(f"blocks_of: head={head!r} has no parameters.")


def _known_stages(network: nn.Module, head: str | None) -> tuple[Block, ...] | None:
    """The stages that torchvision's table or timm states, if they are this network's."""
    home = type(network).__module__
    if home.startswith("torchvision.models."):
        candidates = torchvision.stages_of(network)
    elif home.startswith("timm.models."):
        candidates = timm.stages_of(network)
    else:
        return None
    for blocks, own_head in candidates:
        try:
            check_partition(network, blocks, own_head)
        except BackboneError:
            continue  # changed by the user, or another network of the same file
        if head is None or head in blocks[-1].modules:
            return blocks
    return None


def _order_of_execution(network: nn.Module, example: Any) -> Mapping[str, int]:
    """By path, when each module is first called with the example; empty without one."""
    order: dict[str, int] = {}
    if example is None:
        return order

    def note(path: str, module: nn.Module, inputs: object) -> None:
        order.setdefault(path, len(order))

    hooks = [module.register_forward_pre_hook(partial(note, path)) for path, module in network.named_modules() if path]
    modes = [(module, module.training) for module in network.modules()]
    try:
        network.eval()
        with torch.no_grad():
            if isinstance(example, Mapping):
                network(**example)
            elif isinstance(example, tuple):
                network(*example)
            else:
                network(example)
    except Exception as error:
        raise BackboneError(
            f"blocks_of: the network cannot take the example ({type(error).__name__}: {one_line(error)})."
        ) from error
    finally:
        for hook in hooks:
            hook.remove()
        for module, mode in modes:
            module.training = mode
    return order


def _stages(network: nn.Module, head: str | None, order: Mapping[str, int], finest: bool) -> list[Paths]:
    """The blocks as paths of modules, in forward order, the head last; none for a network that is a single layer."""
    own_head = head or _last(network, order)
    parts: list[Paths] = [[path] for path in _children(network, "")]
    while head and (above := [path for (path,) in parts if head.startswith(f"{path}.")]):
        parts = _opened(network, parts, above)
    while inner := [path for path in _single(parts) if _sequences(network, path)]:
        if len(_joined(network, _by_execution(parts, order))) > _FEWEST:
            break
        parts = _opened(network, parts, inner, grouped=not finest)
    for path in _single(parts) if finest else ():
        while parts != (opened := _opened(network, parts, _sequences(network, path)[:1])):
            parts = opened
    while len(parts) < _FEWEST_PLAIN and (large := _largest(network, parts, own_head)):
        parts = _opened(network, parts, [large])
    parts = _by_execution(parts, order)
    last = next((part for part in parts if any(_holds(path, own_head) for path in part)), None)
    return [] if last is None else [*_joined(network, [part for part in parts if part is not last]), last]


def _last(network: nn.Module, order: Mapping[str, int]) -> str:
    """The module with parameters of its own that is called last, or registered last."""
    own = {name.rpartition(".")[0]: None for name, _ in network.named_parameters()}
    called = [path for path in own if path in order]
    return max(called, key=order.__getitem__) if called else list(own)[-1]


def _children(module: nn.Module, path: str) -> Paths:
    """The paths of the parameters of a module itself, and of its children that hold some."""
    own = [name for name, _ in module.named_parameters(recurse=False)]
    own += [name for name, child in module.named_children() if _has_parameters(child)]
    return [f"{path}.{name}" if path else name for name in own]


def _single(parts: Sequence[Paths]) -> Paths:
    """The paths of the parts that are one module or parameter."""
    return [paths[0] for paths in parts if len(paths) == 1]


def _sequences(network: nn.Module, path: str) -> Paths:
    """The paths of the sequences of units in a part, itself included; outer ones before those that they hold."""
    part = part_at(network, path)
    inside = [] if isinstance(part, nn.Parameter) else list(part.named_modules(prefix=path))
    return [name for name, one in inside if isinstance(one, _SEQUENCES) and sum(map(_is_unit, one.children())) > 1]


def _is_unit(module: nn.Module) -> bool:
    """Whether a module is more than one layer."""
    own = [child for child in module.children() if _has_parameters(child)]
    return len(own) > 1 or any(_is_unit(child) for child in own)


def _opened(network: nn.Module, parts: Sequence[Paths], wanted: Sequence[str], grouped: bool = False) -> list[Paths]:
    """The parts with the children of some of them in their place.

    Args:
        network: The network.
        parts: The parts.
        wanted: The paths of those to open.
        grouped: Whether to put the units of a long sequence together.
    """
    opened: list[Paths] = []
    for paths in parts:
        if len(paths) > 1 or paths[0] not in wanted:
            opened.append(paths)
            continue
        module = network.get_submodule(paths[0])
        inside = _children(module, paths[0])
        groups = min(len(inside), _MOST_UNITS) if grouped and isinstance(module, _SEQUENCES) else len(inside)
        bounds = [number * len(inside) // groups for number in range(groups + 1)]
        opened += [inside[begin:end] for begin, end in pairwise(bounds)]
    return opened


def _largest(network: nn.Module, parts: Sequence[Paths], head: str) -> str | None:
    """The path of the largest part that has several layers, the head's only if it is the only part; None if there is none."""
    sizes = {}
    for path in _single(parts):
        part = part_at(network, path)
        if isinstance(part, nn.Module) and (len(parts) == 1 or not _holds(path, head)) and any(True for _ in part.children()):
            sizes[path] = sum(one.numel() for one in part.parameters())
    return max(sizes, key=sizes.__getitem__, default=None)


def _by_execution(parts: Sequence[Paths], order: Mapping[str, int]) -> list[Paths]:
    """The parts in the order of their first call; one that is not called, or is a parameter, stays behind the one before it.

    Without an order, that of registration stays.
    """
    at: list[int] = []
    for paths in parts:
        calls = [place for name, place in order.items() if any(_holds(path, name) for path in paths)]
        at.append(min(calls, default=at[-1] if at else -1))
    return [parts[place] for place in sorted(range(len(parts)), key=at.__getitem__)]


def _joined(network: nn.Module, parts: Sequence[Paths]) -> list[Paths]:
    """The parts, with bare layers before the first stage as one stem; normalisation and parameters join what is before them."""
    found = [[part_at(network, path) for path in paths] for paths in parts]
    bare = [all(isinstance(one, nn.Parameter) or not any(True for _ in one.children()) for one in own) for own in found]
    stem = bare.index(False) if False in bare else 0
    joined: list[Paths] = []
    for place, (paths, own) in enumerate(zip(parts, found, strict=True)):
        follows = place < stem or _is_slight(own)
        if joined and (follows or place == 1 and _is_slight(found[0])):
            joined[-1] = [*joined[-1], *paths]
        else:
            joined.append(list(paths))
    return joined


def _is_slight(parts: Sequence[Part]) -> bool:
    """Whether parts are no stage of their own: parameters and normalisation."""
    return all(isinstance(one, nn.Parameter) or is_normalisation(one) for one in parts)


def _named(stages: Sequence[Paths]) -> tuple[Block, ...]:
    """Blocks named by the path of their first module; a first one of several modules is the stem, the last one the head."""
    names = [f"{paths[0]}_" if paths[0] in ("stem", "head") else paths[0] for paths in stages[:-1]]
    if names and len(stages[0]) > 1:
        names[0] = "stem"
    return tuple(Block(name, tuple(paths)) for name, paths in zip([*names, *["head"][: len(stages)]], stages, strict=True))


def _holds(path: str, other: str) -> bool:
    return other == path or other.startswith(f"{path}.")


def _has_parameters(module: nn.Module) -> bool:
    return any(True for _ in module.parameters())
