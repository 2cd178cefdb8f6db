"""Where a forward pass can be cut: the outermost calls of its frozen modules, found by watching the network compute."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from biotune.backbones.chain import is_plain
from biotune.schedule.block import Block
from biotune.schedule.block_parameters import part_at


class Call(NamedTuple):
    """One call of a module in a forward pass: the path of the module, and how many of its calls came before."""

    path: str
    number: int


@dataclass(frozen=True)
class Output:
    """One tensor that a call returned.

    Attributes:
        call: The call.
        leaf: Its place among the tensors that the call returned.
        shape: Its shape in the pass that was watched.
        dtype: Its type.
        rows: Rows of its first dimension for each image; 0 if the first dimension does not count images.
        channels_last: Whether it lies in memory with its channels last, which decides, too, where dropout draws what.
    """

    call: Call
    leaf: int
    shape: tuple[int, ...]
    dtype: torch.dtype
    rows: int
    channels_last: bool

    def shape_for(self, images: int) -> tuple[int, ...]:
        """Its shape in a pass of `images` images."""
        return (images * self.rows, *self.shape[1:]) if self.rows else self.shape

    def flatten(self, value: Tensor) -> Tensor:
        """(N, …) a value of it, in the order of memory, with a row an image."""
        return (value.permute(0, 2, 3, 1) if self.channels_last else value).reshape(len(value) // self.rows, -1)

    def unflatten(self, flat: Tensor) -> Tensor:
        """The inverse of `flatten`."""
        shape = self.shape_for(len(flat))
        if not self.channels_last:
            return flat.reshape(shape)
        rows, channels, height, width = shape
        return flat.reshape(rows, height, width, channels).permute(0, 3, 1, 2)


@dataclass(frozen=True)
class Cut:
    """The outermost calls of the frozen modules of a forward pass.

    Attributes:
        calls: The calls in order, each with the structure of what it returned and the values in it that are no tensors.
        outputs: The tensors that they returned, in order.
        needed: Those of the tensors that the rest of the network reads.
    """

    calls: Mapping[Call, tuple[pytree.TreeSpec, tuple[Any, ...]]]
    outputs: tuple[Output, ...]
    needed: tuple[Output, ...] = ()

    def pack(self, found: Mapping[Output, Tensor]) -> Tensor:
        """(N, …) the needed tensors as one: the only one itself if it has a row an image, else side by side, flattened."""
        if self._single:
            return found[self.needed[0]]
        return torch.cat([one.flatten(found[one]) for one in self.needed], dim=1)

    def unpack(self, x: Tensor) -> dict[Output, Tensor]:
        """The inverse of `pack`."""
        if self._single:
            return {self.needed[0]: x}
        sizes = [torch.Size(one.shape_for(1)).numel() for one in self.needed]
        return {one: one.unflatten(part) for one, part in zip(self.needed, x.split(sizes, dim=1), strict=True)}

    @property
    def _single(self) -> bool:
        return [one.rows for one in self.needed] == [1]


@dataclass(frozen=True)
class Trace:
    """The calls of a forward pass.

    Attributes:
        parents: For each call, in the order in which they began, the call that it was made in; None for the network's own.
        returned: What each returned, copied.
        size: Number of images of the pass.
        output: What the network returned.
    """

    parents: Mapping[Call, Call | None]
    returned: Mapping[Call, Any]
    size: int
    output: Any

    @staticmethod
    def of(module: nn.Module, images: Tensor) -> Trace:
        """Watch a forward pass."""
        parents: dict[Call, Call | None] = {}
        returned: dict[Call, Any] = {}
        counts: Counter[str] = Counter()
        open_calls: list[Call] = []

        def before(path: str, *_: Any) -> None:
            call = Call(path, counts[path])
            counts[path] += 1
            parents[call] = open_calls[-1] if open_calls else None
            open_calls.append(call)

        def after(_: nn.Module, __: Any, output: Any) -> None:
            # a copy, because the network may change it in place afterwards
            returned[open_calls.pop()] = pytree.tree_map_only(Tensor, torch.clone, output)

        handles = []
        for path, part in module.named_modules():
            if path:
                handles.append(part.register_forward_pre_hook(partial(before, path), prepend=True))
                handles.append(part.register_forward_hook(after))
        try:
            output = module(images)
        finally:
            for handle in handles:
                handle.remove()
        return Trace(parents, returned, len(images), output)


def cuts_behind(module: nn.Module, frozen: Sequence[Block], trace: Trace, other: Trace) -> Iterator[Cut]:
    """The outermost calls of frozen modules, first with the pooling behind them, which leaves less to keep, then without.

    Which of their outputs are needed is not known yet.

    Args:
        module: The network.
        frozen: Its frozen blocks.
        trace: A pass of it.
        other: A pass of another number of images, which tells what counts images.
    """
    parts = [part_at(module, path) for block in frozen for path in block.modules]
    held = {id(inner) for part in parts if isinstance(part, nn.Module) for inner in part.modules()}
    parameters = {id(one) for part in parts for one in ([part] if isinstance(part, nn.Parameter) else part.parameters())}

    def is_frozen(part: nn.Module) -> bool:
        own = [id(one) for one in part.parameters()]
        return id(part) in held or (bool(own) and all(one in parameters for one in own))

    frozen_calls = {call for call in trace.parents if is_frozen(module.get_submodule(call.path))}
    plain_calls: set[Call] = set()
    for call in trace.parents:
        part = module.get_submodule(call.path)
        if any(id(one) not in parameters for one in part.parameters(recurse=False)):
            break  # the first trained module
        if is_plain(part):
            plain_calls.add(call)
    if plain_calls - frozen_calls:
        yield _outermost(trace, other, frozen_calls | plain_calls)
    yield _outermost(trace, other, frozen_calls)


def _outermost(trace: Trace, other: Trace, chosen: Set[Call]) -> Cut:
    """The cut of some calls, less those that are made within another one of them."""
    inside: dict[Call, bool] = {}
    calls: dict[Call, tuple[pytree.TreeSpec, tuple[Any, ...]]] = {}
    outputs: list[Output] = []
    for call, parent in trace.parents.items():
        within = parent is not None and inside[parent]
        inside[call] = within or call in chosen
        if within or not inside[call]:
            continue
        leaves, structure = pytree.tree_flatten(trace.returned[call])
        calls[call] = structure, tuple(None if isinstance(leaf, Tensor) else leaf for leaf in leaves)
        elsewhere = pytree.tree_flatten(other.returned[call])[0]
        for place, leaf in enumerate(leaves):
            if isinstance(leaf, Tensor):
                shapes = tuple(leaf.shape), tuple(elsewhere[place].shape)
                rows = shapes[0][0] // trace.size if shapes[0] else 0
                counts = shapes[0][:1] == (rows * trace.size,) and shapes[1][:1] == (rows * other.size,)
                outputs.append(Output(call, place, shapes[0], leaf.dtype, rows if counts else 0, is_channels_last(leaf)))
    return Cut(calls, tuple(outputs))


def is_channels_last(x: Tensor) -> bool:
    """Whether a tensor of two images or more lies in memory with its channels last, and in that order only."""
    return x.dim() == 4 and x.is_contiguous(memory_format=torch.channels_last) and not x.is_contiguous()
