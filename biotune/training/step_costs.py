"""The costs of a training step, by the blocks that it trains: operations counted, wall-clock time and peak memory measured."""

from __future__ import annotations

import copy
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.utils.flop_counter import FlopCounterMode

from biotune.backbones.network import Network, main_output
from biotune.config.key import Sides, height_and_width
from biotune.config.sections import TrainingConfig
from biotune.schedule.freezing import freeze
from biotune.schedule.param_groups import param_groups
from biotune.training.device import autocast_type
from biotune.training.optimizer import build_optimizer, spare_norms

_BATCH = 2  # images of a counted step: normalisation layers need two
_TIMED = 3  # steps whose median counts, after one that warms up


def macs_by_block(network: Network, sides: Sides) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Count the multiply-accumulate operations of a training step for one image, from which those of any schedule follow.

    Convolutions, matrix products and attention count, as `torch.utils.flop_counter` knows them; two of its operations are one
    here. The sums are exact for networks whose blocks follow one another.

    Args:
        network: The network; it is not changed.
        sides: Side of the square images in pixels, or their height and width.

    Returns:
        (B,) those of a step that trains one block alone: the forward pass, and the backward pass down to the block; and (B,)
        what a block adds to a step that trains an earlier one too: the gradients of its weights. Of the first block that is 0.
    """
    count = len(network.blocks)
    try:
        model = copy.deepcopy(network.module).to("meta")
        alone = [_macs(model, network, {block}, sides) for block in range(count)]
    except (NotImplementedError, RuntimeError):  # networks that look at values cannot be computed without any
        model = copy.deepcopy(network.module)
        alone = [_macs(model, network, {block}, sides) for block in range(count)]
    onwards = [_macs(model, network, set(range(block, count)), sides) for block in range(count)]
    later = [whole - own for whole, own in zip(onwards, alone, strict=True)]  # the weights' gradients of all later blocks
    return tuple(alone), (0.0, *(before - after for before, after in zip(later, later[1:], strict=False)))


def _macs(model: nn.Module, network: Network, trained: set[int], sides: Sides) -> float:
    freeze(model, network.blocks, [block in trained for block in range(len(network.blocks))])
    device = next(model.parameters()).device
    images = torch.zeros(_BATCH, 3, *height_and_width(sides), device=device)
    with torch.random.fork_rng(devices=[]), FlopCounterMode(display=False) as counter:
        main_output(model.train()(images)).sum().backward()
    model.zero_grad()
    return counter.get_total_flops() / (2 * _BATCH)


class StepCost(NamedTuple):
    """What one training step costs.

    Attributes:
        seconds: Wall-clock time of the forward pass, the backward pass and the optimizer's step.
        memory: Peak memory in bytes. On CUDA what torch has allocated at most. Elsewhere the allocator tells nothing, and it is
            the sum of weights, gradients, optimizer state, the mini-batch and what the forward pass keeps for the backward
            pass, without the scratch memory of single operations.
    """

    seconds: float
    memory: float


def measure_step(
    network: Network, trained: Sequence[bool], training: TrainingConfig, device: torch.device, sides: Sides
) -> StepCost:
    """Measure a training step of a mini-batch through the whole network, on a copy of it.

    Args:
        network: The network; it is not changed.
        trained: (B,) whether each block is trained, at least one.
        training: Batch size, optimizer and precision.
        device: The device on which to train.
        sides: Side of the square images in pixels, or their height and width.
    """
    before = _allocated(device)
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        model = copy.deepcopy(network.module).to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        groups = param_groups(model, network.blocks, [float(own) for own in trained], 1e-6, training.frozen_norm)
        optimizer = build_optimizer(groups if training.decay_norm else spare_norms(groups, model), training, device)
        dtype = autocast_type(training.precision, device, model)
        images = torch.zeros(training.batch_size, 3, *height_and_width(sides), device=device)
        images = images.to(memory_format=torch.channels_last)
        labels = torch.zeros(training.batch_size, dtype=torch.int64, device=device)
        model.train()

        def step() -> float:
            _synchronise(device)
            started = time.perf_counter()
            optimizer.zero_grad()
            with torch.autocast(device.type, dtype or torch.bfloat16, enabled=dtype is not None):
                logits = main_output(model(images))
            nn.functional.cross_entropy(logits.float(), labels).backward()
            optimizer.step()
            _synchronise(device)
            return time.perf_counter() - started

        step()
        seconds = statistics.median(step() for _ in range(_TIMED))
        memory = _peak_of(step, before, device) if device.type == "cuda" else _held(step, model, optimizer, images)
    return StepCost(seconds, memory)


def _synchronise(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


def _allocated(device: torch.device) -> int:
    return torch.cuda.memory_allocated(device) if device.type == "cuda" else 0


def _peak_of(step: Callable[[], float], before: int, device: torch.device) -> float:
    torch.cuda.reset_peak_memory_stats(device)
    step()
    return float(torch.cuda.max_memory_allocated(device) - before)


def _held(step: Callable[[], float], model: nn.Module, optimizer: torch.optim.Optimizer, images: Tensor) -> float:
    """The bytes that a step holds at the end of its forward pass, and the gradients that it then makes."""
    weights = [*model.parameters(), *model.buffers()]
    with _saved(weights) as saved:
        step()
    state = [value for one in optimizer.state.values() for value in one.values() if isinstance(value, Tensor)]
    gradients = [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
    kept = {_place(images): images.nbytes, **saved}
    return float(sum(tensor.nbytes for tensor in (*weights, *state, *gradients)) + sum(kept.values()))


@contextmanager
def _saved(weights: Sequence[Tensor]) -> Iterator[dict[int, int]]:
    """Yield the bytes of each storage that is kept for the backward pass, the weights' own left out."""
    own = {_place(tensor) for tensor in weights}
    found: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        if _place(tensor) not in own:
            found[_place(tensor)] = tensor.untyped_storage().nbytes()
        return tensor

    with saved_tensors_hooks(keep, lambda tensor: tensor):
        yield found


def _place(tensor: Tensor) -> int:
    return tensor.untyped_storage().data_ptr()
