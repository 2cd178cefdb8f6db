"""The hooks by which a strategy changes the training loop, and the context that it receives."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from biotune.schedule.block import Block
from biotune.schedule.plan import Method

Groups = list[dict[str, Any]]


@dataclass(frozen=True)
class TrainingContext:
    """The state of one training run before its first epoch, with the initial weights loaded.

    Attributes:
        model: The network; every block is trainable, or as the trial's schedule says.
        blocks: Its blocks in forward order.
        head: Path of the final linear layer.
        fresh_head: Whether that layer has random weights.
        groups: The schedule's parameter groups, one per trained block.
        lr: The base learning rate λ_0.
        epochs: The budget, the most epochs.
        method: The strategy's name and settings.
        frozen_norm: eval or train, see `param_groups`.
        losses: Maps an epoch and a number of mini-batches to their losses, with autograd graph; drawn independently of the
            mini-batches of training.
        example: Returns a small mini-batch of images (N, 3, H, W).
    """

    model: nn.Module
    blocks: Sequence[Block]
    head: str
    fresh_head: bool
    groups: Groups
    lr: float
    epochs: int
    method: Method
    frozen_norm: str
    losses: Callable[[int, int], Iterator[Tensor]]
    example: Callable[[], Tensor]


def _nothing() -> None:
    return None


def _no_preparation(epoch: int, optimizer: torch.optim.Optimizer) -> None:
    return None


@dataclass(frozen=True)
class Hooks:
    """The differences of a training run from that of a plain layer schedule.

    Attributes:
        groups: The parameter groups, `{"params", "lr", "name"}` each.
        before_epoch: Called with the epoch, from 0, and the optimizer, whose groups have this epoch's learning rates.
        penalty: Returns a term added to the loss of every mini-batch; None adds nothing.
        stop_from: First epoch, from 0, in which a training run may end early; earlier epochs still unfreeze blocks.
        fold_in: Called with the best weights loaded: restores the network's own modules so that they compute the same.
        undo: Called at the end, also after errors: restores the network's own modules, with arbitrary weights.
    """

    groups: Groups
    before_epoch: Callable[[int, torch.optim.Optimizer], None] = _no_preparation
    penalty: Callable[[], Tensor] | None = None
    stop_from: int = 0
    fold_in: Callable[[], None] = _nothing
    undo: Callable[[], None] = _nothing


def weights_of(model: nn.Module, kinds: type | tuple[type, ...]) -> dict[str, nn.Parameter]:
    """The parameters named `weight` of all modules of some kinds, by their dotted path."""
    found = {}
    for name, module in model.named_modules():
        weight = getattr(module, "weight", None)
        if isinstance(module, kinds) and isinstance(weight, nn.Parameter):
            found[f"{name}.weight" if name else "weight"] = weight
    return found
