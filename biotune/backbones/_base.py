"""What a backbone is to the rest of biotune: a network, its blocks in forward order, its head and its preprocessing."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import nn

from biotune.errors import BackboneError
from biotune.schedule import Block


@dataclass(frozen=True)
class Preprocessing:
    """How pictures are prepared for a network.

    Attributes:
        resize: The shorter side is resized to so many pixels.
        crop: Side of the centre crop in pixels.
        mean: Mean a channel, on the scale 0 to 1.
        std: Standard deviation a channel, on the scale 0 to 1.
        interpolation: PIL's name of the filter: bilinear or bicubic.
    """

    resize: int
    crop: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    interpolation: str = "bilinear"

    def scaled_to(self, image_size: int | None) -> Preprocessing:
        """The same for another picture size, with the ratio of resize to crop kept; None changes nothing."""
        if image_size is None:
            return self
        resize = round(self.resize * image_size / self.crop)
        return Preprocessing(resize, image_size, self.mean, self.std, self.interpolation)


@dataclass(frozen=True)
class Architecture:
    """A network that can be chosen, as a row of facts.

    Attributes:
        name: Name in its library.
        library: Where it is defined.
        build: Makes it with random weights and its original head.
        blocks: Its blocks in forward order, the head last.
        head: Path of the final linear layer, the one that is replaced.
        preprocessing: What weights of a given name expect; `none` and files count as `default`.
        pretrained: Fetches the state dict of weights by name; `default` is the best there is.
        prepare: Last changes, such as dropping an auxiliary head; weights of what it drops are left aside.
        layers: The finer blocks of `granularity=layer` where `finer` cannot find them by itself.
        source: Where the weights come from, in a few words.
        named_weights: Names of weights the library has beside `default`.
        steps: How the blocks follow one another, where the network is a chain of them (see `chain`).
    """

    name: str
    library: str
    build: Callable[[], nn.Module]
    blocks: tuple[Block, ...]
    head: str
    preprocessing: Callable[[str], Preprocessing]
    pretrained: Callable[[str], dict[str, torch.Tensor]]
    prepare: Callable[[nn.Module], None] | None = None
    layers: tuple[Block, ...] | None = None
    source: str = ""
    named_weights: tuple[str, ...] = ()
    steps: Mapping[str, str] | None = None


@dataclass
class Network:
    """A built backbone with a head for the classes at hand.

    Attributes:
        module: Takes (N, 3, H, W) normalised float pictures, returns (N, classes) logits.
        blocks: The blocks at the chosen granularity, in forward order.
        head: Path of the final linear layer.
        preprocessing: What the weights expect.
        parameters: Number of parameters a block.
        steps: How the blocks follow one another, or None where the network is no chain of them.
        fresh_head: Whether every trial begins with a new head; false where a pre-trained one is kept.
    """

    module: nn.Module
    blocks: tuple[Block, ...]
    head: str
    preprocessing: Preprocessing
    parameters: dict[str, int]
    fresh_head: bool = True
    steps: Mapping[str, str] | None = None


def skeleton(build: Callable[[], nn.Module]) -> nn.Module:
    """A network's structure without its memory where it can be built so; a few networks compute while they are built."""
    try:
        with torch.device("meta"):
            return build()
    except NotImplementedError:
        with torch.random.fork_rng(devices=[]):
            return build()


def parameters_of(module: nn.Module, path: str) -> list[tuple[str, nn.Parameter]]:
    """The named parameters of the submodule, or the single parameter, at a dotted path.

    Raises:
        BackboneError: The path names neither.
    """
    parent_path, _, leaf = path.rpartition(".")
    try:
        parent = module.get_submodule(parent_path)
    except AttributeError:
        raise BackboneError(f"the network has no module {path!r}.") from None
    found = getattr(parent, leaf, None)
    if isinstance(found, nn.Parameter):
        return [(path, found)]
    if isinstance(found, nn.Module):
        return [(f"{path}.{name}", parameter) for name, parameter in found.named_parameters()]
    raise BackboneError(f"the network has no module {path!r}.")


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


def check_partition(module: nn.Module, blocks: Sequence[Block], head: str) -> None:
    """Refuse a partition that does not cover every parameter once, in forward order, with the head last.

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
    """Cut blocks into layers: one gene a residual, dense, MBConv or transformer unit, or a convolution where there is none.

    The stem and the head stay whole: neither means anything in parts. A bare normalisation joins the unit before it.
    """
    first, *middle, last = blocks
    layers = [first]
    for block in middle:
        units: list[tuple[str, ...]] = []
        for path in (unit for whole in block.modules for unit in _units(module, whole)):
            if units and "Norm" in type(module.get_submodule(path)).__name__:
                units[-1] = (*units[-1], path)
            else:
                units.append((path,))
        if len(units) == 1:
            layers.append(block)
        else:
            layers += [Block(f"{block.name}.{index}", unit) for index, unit in enumerate(units)]
    return (*layers, last)


def finer_steps(module: nn.Module, blocks: Sequence[Block], steps: Mapping[str, str] | None) -> Mapping[str, str] | None:
    """The steps of the blocks that `finer` makes, or None where its units do not simply follow one another.

    Args:
        module: The network.
        blocks: The blocks that were cut finer.
        steps: Their steps.
    """
    middle = blocks[1:-1]
    if steps is None or any(block.name in steps for block in middle):
        return None
    cut = [path for block in middle for path in block.modules if _units(module, path) != [path]]
    containers = [module.get_submodule(path) for path in cut]
    return steps if all(_applies_only_units(container) for container in containers) else None


def _applies_only_units(container: nn.Module) -> bool:
    """Whether a container is nothing but its units one after another, none of them without parameters."""
    return isinstance(container, nn.Sequential) and all(any(True for _ in child.parameters()) for child in container.children())


def _units(module: nn.Module, path: str) -> list[str]:
    """The parts of a container of units; a container of bare layers, such as a transition, is itself a unit."""
    found = module.get_submodule(path)
    if not isinstance(found, nn.Sequential | nn.ModuleDict):
        return [path]
    parts = [(name, child) for name, child in found.named_children() if any(True for _ in child.parameters())]
    if not any(True for _, child in parts for _ in child.children()):
        return [path]
    return [f"{path}.{name}" for name, _ in parts]
