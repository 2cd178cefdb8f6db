"""A forward pass that begins behind frozen blocks in networks that are no chain of their blocks.

The network's own forward runs, but the modules of the frozen blocks return what they returned before instead of computing it.
Of these outputs only those are kept that the rest of the network reads; the others are zeros of the same shape. What the
network computes between its modules (adding positions, flattening) it computes again. Pooling in front of the first trained
module counts as frozen too, because little is left to keep behind it.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from biotune.backbones.cut import Call, Cut, Output, Trace, cuts_behind
from biotune.backbones.state import copy_state, restore
from biotune.errors import one_line
from biotune.schedule.block import Block
from biotune.schedule.freezing import freeze

_log = logging.getLogger(__name__)
Context = Callable[[], AbstractContextManager[Any]]
_FULL, _LOW = 1e-5, 2e-2  # tolerances, as shares of the largest logit: in full precision, and with autocast


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
            trace, other = (Trace.of(module, batch) for batch in batches)
            for block in range(shallowest, min(deepest, len(blocks) - 1) + 1):
                freeze(module, blocks, [index >= block for index in range(len(blocks))], frozen_norm)
                for found in cuts_behind(module, blocks[:block], trace, other):
                    module.eval()
                    cut = _needed(module, found, trace, batches[0])
                    if cut is None:
                        continue
                    own = Replay(module, {block: cut}, tuple(batches[0].shape[1:]))
                    proved = _same_in_evaluation(own, block, batches[1], _logits(other.output)) and _same_in_training(
                        own, block, batches[0]
                    )
                    restore(module, state)  # training moves running statistics
                    if proved:
                        cuts[block] = cut
                        break
    except Exception as error:  # whatever a network does with its modules, it can be trained without shared activations
        _log.info(f"no activations of frozen blocks are shared: {type(error).__name__}: {one_line(error)}")
        cuts = {}
    finally:
        freeze(module, blocks, [True] * len(blocks))
        restore(module, state)
        module.train(mode)
    return Replay(module, cuts, tuple(batches[0].shape[1:])) if cuts else None


def _needed(module: nn.Module, cut: Cut, trace: Trace, images: Tensor) -> Cut | None:
    """The cut with the outputs that the rest of the network reads: where they are NaN, logits are.

    Returns:
        None if the rest reads the images too, or outputs that cannot be kept as one tensor.
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
    if reads(floating[:-1]):  # more than the last one, or the images, which are hidden in any case
        if reads([]):
            return None
        needed = [one for one in floating if reads([one])]
    same = len({one.dtype for one in needed}) == 1 and all(one.rows for one in needed)
    return replace(cut, needed=tuple(needed)) if needed and same else None


def _same_in_evaluation(found: Replay, block: int, images: Tensor, whole: Tensor) -> bool:
    """Whether evaluating from the cut gives the logits of the whole pass, for each image from what is kept of it."""
    return _equal(_logits(found.forward(found.forward(images, 0, block).flip(0), block)), whole.flip(0))


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
