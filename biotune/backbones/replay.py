"""A forward pass that begins behind frozen blocks in networks that are no chain of their blocks.

The network's own forward runs, but the modules of the frozen blocks return what they returned before instead of computing it.
Of these outputs only those are kept that the rest of the network reads; the others are zeros of the same shape. What the
network computes between its modules (adding positions, flattening) it computes again. Pooling in front of the first trained
module counts as frozen too, because little is left to keep behind it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from biotune.backbones.chain import is_plain
from biotune.backbones.state import copy_state, restore
from biotune.schedule.block import Block
from biotune.schedule.block_parameters import part_at
from biotune.schedule.freezing import freeze

Context = Callable[[], AbstractContextManager[Any]]
_FULL, _LOW = 1e-5, 2e-2  # tolerances, as shares of the largest logit: in full precision, and with autocast


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
        size: Number of images of that pass if its first dimension counts them, else 0.
    """

    call: Call
    leaf: int
    shape: tuple[int, ...]
    dtype: torch.dtype
    size: int

    def shape_for(self, images: int) -> tuple[int, ...]:
        """Its shape in a pass of `images` images."""
        return (images, *self.shape[1:]) if self.size else self.shape


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
        """(N, …) the needed tensors as one: itself if it is the only one, else side by side, flattened."""
        if len(self.needed) == 1:
            return found[self.needed[0]]
        return torch.cat([found[one].flatten(1) for one in self.needed], dim=1)

    def unpack(self, x: Tensor) -> dict[Output, Tensor]:
        """The inverse of `pack`."""
        if len(self.needed) == 1:
            return {self.needed[0]: x}
        sizes = [torch.Size(one.shape[1:]).numel() for one in self.needed]
        parts = x.split(sizes, dim=1)
        return {one: part.reshape(one.shape_for(len(x))) for one, part in zip(self.needed, parts, strict=True)}


class _Reached(BaseException):
    """All outputs that are wanted have been computed: no error, but the end of a pass, whatever errors a network catches."""


@dataclass(frozen=True)
class Replay:
    """A network whose forward pass can begin or end behind its frozen blocks.

    Attributes:
        module: The network.
        cuts: The cut in front of each block that the pass can begin or end at, by the block's index.
        image: (3, H, W) shape of one image.
    """

    module: nn.Module
    cuts: Mapping[int, Cut]
    image: tuple[int, ...]

    @property
    def stops(self) -> tuple[tuple[int, int], ...]:
        """See `Passage`; a cut is named by its block."""
        return tuple((block, block) for block in sorted(self.cuts))

    def forward(self, x: Tensor, begin: int = 0, end: int | None = None) -> Any:
        """See `Passage`."""
        with ExitStack() as stack:
            if begin:
                cut = self.cuts[begin]
                stack.enter_context(_replaying(self.module, cut, cut.unpack(x), len(x), x.device))
                x = _zeros((len(x), *self.image), torch.float32, x.device)
            if end is None:
                return self.module(x)
            found: dict[Output, Tensor] = {}
            stack.enter_context(_capturing(self.module, self.cuts[end].needed, found))
            with suppress(_Reached):
                self.module(x)
            return self.cuts[end].pack(found)


def replay_of(
    module: nn.Module,
    blocks: Sequence[Block],
    batches: Sequence[Tensor],
    autocast: Context,
    deepest: int,
    frozen_norm: str = "eval",
    shallowest: int = 1,
) -> Replay | None:
    """Find the cuts of a network, and prove each.

    The logits are those of the whole pass, as in training and in evaluation, and nothing that is kept depends on a trained
    parameter.

    Args:
        module: The network with its initial weights.
        blocks: Its blocks in forward order.
        batches: Two mini-batches (N, 3, H, W) of normalised images, best of different N ≥ 2: one for either proof.
        autocast: The context in which the network computes.
        deepest: Index of the last block in front of which to cut.
        frozen_norm: See `freeze`.
        shallowest: Index of the first block in front of which to cut.

    Returns:
        The network with the cuts that were proved, its weights, buffers and mode as before; None if there are none.
    """
    state, mode = copy_state(module), module.training
    cuts: dict[int, Cut] = {}
    try:
        with torch.random.fork_rng(_devices(batches[0])), torch.no_grad(), autocast():
            module.eval()
            trace = _Trace.of(module, batches[0])
            whole = _logits(module(batches[1]))
            for block in range(shallowest, min(deepest, len(blocks) - 1) + 1):
                freeze(module, blocks, [index >= block for index in range(len(blocks))], frozen_norm)
                for found in _cuts(module, trace, blocks[:block]):
                    module.eval()
                    cut = _needed(module, found, trace, batches[0])
                    if cut is None:
                        continue
                    own = Replay(module, {block: cut}, tuple(batches[0].shape[1:]))
                    proved = _same_in_evaluation(own, block, batches[1], whole) and _same_in_training(own, block, batches[0])
                    restore(module, state)  # training moves running statistics
                    if proved:
                        cuts[block] = cut
                        break
    except Exception:  # whatever a network does with its modules, it can be trained without shared activations
        cuts = {}
    finally:
        freeze(module, blocks, [True] * len(blocks))
        restore(module, state)
        module.train(mode)
    return Replay(module, cuts, tuple(batches[0].shape[1:])) if cuts else None


@dataclass(frozen=True)
class _Trace:
    """The calls of a forward pass.

    Attributes:
        parents: For each call, in the order in which they began, the call that it was made in; None for the network's own.
        returned: What each returned, perhaps changed in place by the network afterwards.
        size: Number of images of the pass.
    """

    parents: Mapping[Call, Call | None]
    returned: Mapping[Call, Any]
    size: int

    @staticmethod
    def of(module: nn.Module, images: Tensor) -> _Trace:
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
            returned[open_calls.pop()] = output

        handles = []
        for path, part in module.named_modules():
            if path:
                handles.append(part.register_forward_pre_hook(partial(before, path), prepend=True))
                handles.append(part.register_forward_hook(after))
        try:
            module(images)
        finally:
            for handle in handles:
                handle.remove()
        return _Trace(parents, returned, len(images))


def _cuts(module: nn.Module, trace: _Trace, frozen: Sequence[Block]) -> Iterator[Cut]:
    """The outermost calls of frozen modules, first with the pooling behind them, which leaves less to keep, then without.

    Which of their outputs are needed is not known yet.
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
        yield _outermost(trace, frozen_calls | plain_calls)
    yield _outermost(trace, frozen_calls)


def _outermost(trace: _Trace, chosen: Set[Call]) -> Cut:
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
        for place, leaf in enumerate(leaves):
            if isinstance(leaf, Tensor):
                size = trace.size if leaf.dim() and leaf.shape[0] == trace.size else 0
                outputs.append(Output(call, place, tuple(leaf.shape), leaf.dtype, size))
    return Cut(calls, tuple(outputs))


def _needed(module: nn.Module, cut: Cut, trace: _Trace, images: Tensor) -> Cut | None:
    """The cut with the outputs that the rest of the network reads: where they are NaN, logits are.

    Returns:
        None if they cannot be kept as one tensor.
    """
    true = {one: pytree.tree_flatten(trace.returned[one.call])[0][one.leaf] for one in cut.outputs}
    nothing = torch.full_like(images, float("nan"))

    def reads(hidden: Sequence[Output]) -> bool:
        given = {one: torch.full_like(value, float("nan")) if one in hidden else value.clone() for one, value in true.items()}
        with _replaying(module, replace(cut, needed=cut.outputs), given, len(images), images.device):
            leaves = pytree.tree_flatten(module(nothing))[0]
        return any(bool(leaf.isnan().any()) for leaf in leaves if isinstance(leaf, Tensor))

    floating = [one for one in cut.outputs if one.dtype.is_floating_point]
    if not floating or len(floating) < len(cut.outputs):
        return None
    needed = floating[-1:]
    if reads(floating[:-1]):  # more than the last one
        needed = [one for one in floating if reads([one])]
    same = len({one.dtype for one in needed}) == 1 and all(one.size for one in needed)
    return replace(cut, needed=tuple(needed)) if needed and same else None


def _same_in_evaluation(found: Replay, block: int, images: Tensor, whole: Tensor) -> bool:
    """Whether evaluating from the cut gives the logits of the whole pass."""
    return _equal(_logits(found.forward(found.forward(images, 0, block), block)), whole)


def _same_in_training(found: Replay, block: int, images: Tensor) -> bool:
    """Whether training from the cut gives the logits of the whole pass, with blocks frozen and random numbers as there."""
    torch.clear_autocast_cache()  # which holds weights as seen without gradients
    with torch.enable_grad():
        kept = found.forward(images, 0, block)
    if kept.requires_grad:
        return False  # it would have to be computed anew after every step
    torch.clear_autocast_cache()
    found.module.train()
    torch.manual_seed(0)
    whole = _logits(found.module(images))
    torch.manual_seed(0)
    return _equal(_logits(found.forward(kept, block)), whole)


def _logits(output: Any) -> Tensor:
    """The first tensor of a network's output."""
    first: Tensor = pytree.tree_flatten(output)[0][0]
    return first


def _equal(found: Tensor, expected: Tensor) -> bool:
    """Whether logits are equal, up to the rounding of their precision."""
    low = torch.is_autocast_enabled(expected.device.type) or expected.dtype not in (torch.float32, torch.float64)
    largest = expected.abs().max()
    return bool(largest.isfinite()) and bool((found - expected).abs().max() <= (_LOW if low else _FULL) * largest)


@contextmanager
def _replaying(
    module: nn.Module, cut: Cut, given: Mapping[Output, Tensor], images: int, device: torch.device
) -> Iterator[None]:
    """Let the calls of a cut return what is given, and zeros where nothing is."""
    answers: dict[str, list[Any]] = {}
    tensors: dict[Call, dict[int, Tensor]] = {call: {} for call in cut.calls}
    for one in cut.outputs:
        own = given.get(one)
        tensors[one.call][one.leaf] = _zeros(one.shape_for(images), one.dtype, device) if own is None else own
    for call, (structure, values) in cut.calls.items():
        leaves = [tensors[call].get(place, value) for place, value in enumerate(values)]
        answers.setdefault(call.path, []).append(pytree.tree_unflatten(leaves, structure))
    with ExitStack() as stack:
        for path, queue in answers.items():
            stack.enter_context(_in_place_of_forward(module.get_submodule(path), partial(_next, iter(queue))))
        yield


def _next(queue: Iterator[Any], *_: Any, **__: Any) -> Any:
    return next(queue)


@contextmanager
def _in_place_of_forward(part: nn.Module, forward: Callable[..., Any]) -> Iterator[None]:
    before = part.__dict__.get("forward")
    part.forward = forward
    try:
        yield
    finally:
        del part.forward
        if before is not None:
            part.forward = before


@contextmanager
def _capturing(module: nn.Module, wanted: Sequence[Output], found: dict[Output, Tensor]) -> Iterator[None]:
    """Copy the wanted outputs of a forward pass into `found`, and end the pass by `_Reached` once all are there."""
    counts: Counter[str] = Counter()

    def after(path: str, _: nn.Module, __: Any, output: Any) -> None:
        leaves = pytree.tree_flatten(output)[0]
        for one in wanted:
            if one.call == (path, counts[path]):
                found[one] = leaves[one.leaf].clone()
        counts[path] += 1
        if len(found) == len(wanted):
            raise _Reached

    paths = {one.call.path for one in wanted}
    handles = [module.get_submodule(path).register_forward_hook(partial(after, path)) for path in paths]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _zeros(shape: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    return torch.zeros(shape, dtype=dtype, device=device)


def _devices(images: Tensor) -> list[int]:
    return [images.device.index or 0] if images.device.type == "cuda" else []
