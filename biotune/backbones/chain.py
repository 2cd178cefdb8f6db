"""A network as a chain of its blocks: the same forward pass, block by block, so that it can begin or end between two blocks.

Of networks that are not such a chain, `replay` does the same.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from biotune.schedule.block import Block

Steps = Mapping[str, str]
Call = Callable[[Tensor], Tensor]


class Passage(Protocol):
    """A forward pass that can begin or end in front of a block.

    Attributes:
        stops: Where it can: for each such block but the first, its index and the position that `forward` takes, ascending.
    """

    @property
    def stops(self) -> Sequence[tuple[int, int]]: ...  # noqa: D102

    def forward(self, x: Tensor, begin: int = 0, end: int | None = None) -> Any:
        """Compute from one position to another.

        Args:
            x: What was computed up to `begin`: normalised images (N, 3, H, W) for 0.
            begin: A position; 0 is the start of the network.
            end: A position; None is the end of the network.

        Returns:
            (N, …) what the network passes on at `end`; after its last block its output, see `main_output`.
        """
        ...


def _class_token(module: Any, x: Tensor) -> Tensor:
    """Torchvision's ViT up to its first layer: patches, class token, positions."""
    x = module._process_input(x)
    x = torch.cat([module.class_token.expand(x.shape[0], -1, -1), x], dim=1)
    embedded: Tensor = module.encoder.dropout(x + module.encoder.pos_embedding)
    return embedded


def _transform_input(module: Any, x: Tensor) -> Tensor:
    """Inception's change from ImageNet's normalisation to its own."""
    transformed: Tensor = module._transform_input(x)
    return transformed


FUNCTIONS: dict[str, Callable[[nn.Module, Tensor], Tensor]] = {
    "@class_token": _class_token,
    "@first_token": lambda module, x: x[:, 0],
    "@flatten": lambda module, x: torch.flatten(x, 1),
    "@mean": lambda module, x: x.mean((2, 3)),
    "@pool": lambda module, x: nn.functional.adaptive_avg_pool2d(x, 1),
    "@relu": lambda module, x: torch.relu(x),
    "@transform_input": _transform_input,
}
_WITH_PARAMETERS = ("@class_token",)
# modules without parameters and random numbers, by the modules that define them: pooling, reshaping, activation functions
_PLAIN_PLACES = ("torch.nn.modules.pooling", "torch.nn.modules.flatten", "timm.layers.adaptive_avgmax_pool")
_PLAIN_NAMES = ("Identity", "Permute", "ReLU")


@dataclass(frozen=True)
class Chain:
    """A forward pass as a sequence of calls.

    Attributes:
        calls: The calls; applied in order they compute the network.
        entries: For each block, the number of calls before it. Calls before a block's first parameter, such as the pooling
            before a linear head, belong before it: they give the same output however the block is trained.
    """

    calls: tuple[Call, ...]
    entries: tuple[int, ...]

    @property
    def stops(self) -> tuple[tuple[int, int], ...]:
        """See `Passage`; a position is a number of calls."""
        return tuple(enumerate(self.entries))[1:]

    def forward(self, x: Tensor, begin: int = 0, end: int | None = None) -> Tensor:
        """Apply the calls from `begin` up to `end`.

        Args:
            x: The input of call `begin`: normalised images (N, 3, H, W) for 0.
            begin: The first call.
            end: The first call that is not applied; None applies all.

        Returns:
            The input of call `end`; the logits (N, classes) after the last call.
        """
        for call in self.calls[begin:end]:
            x = call(x)
        return x


def link(module: nn.Module, blocks: Sequence[Block], steps: Steps) -> Chain:
    """Make a chain of a network's blocks.

    Args:
        module: The network.
        blocks: Its blocks in forward order.
        steps: For blocks that are not simply a sequence of their modules, their steps in order, separated by spaces: paths of
            modules, and functions beginning with @.
    """
    calls: list[Call] = []
    entries = []
    for index, block in enumerate(blocks):
        names = steps[block.name].split() if block.name in steps else list(block.modules)
        own = [_call(module, name) for name in names]
        before = len(list(takewhile(lambda name: _is_plain_step(module, name), names))) if index else 0
        entries.append(len(calls) + before)
        calls += own
    return Chain(tuple(calls), tuple(entries))


def _call(module: nn.Module, name: str) -> Call:
    if name in FUNCTIONS:
        function = FUNCTIONS[name]
        return lambda x: function(module, x)
    return module.get_submodule(name)


def is_plain(part: nn.Module) -> bool:
    """Whether a module has neither parameters nor state nor random numbers: pooling, reshaping, activation functions."""
    kinds = {type(inner) for inner in part.modules()}
    return all(kind.__module__ in _PLAIN_PLACES or kind.__name__ in _PLAIN_NAMES for kind in kinds)


def _is_plain_step(module: nn.Module, name: str) -> bool:
    return name not in _WITH_PARAMETERS if name in FUNCTIONS else is_plain(module.get_submodule(name))
