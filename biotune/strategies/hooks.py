"""Where a strategy can reach into the training loop, and what it is given for it."""

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
    """One training as a strategy finds it, with the weights that it starts from in place.

    Attributes:
        model: The network; every block is trainable, or as the trial's schedule says.
        blocks: Its blocks in forward order.
        head: Path of the final linear layer.
        fresh_head: Whether that layer has random weights.
        groups: The schedule's parameter groups, one a trained block.
        lr: The base rate λ_0.
        epochs: The budget, the most epochs.
        method: The strategy's name and settings.
        frozen_norm: eval or train, see `param_groups`.
        losses: From an epoch and a number of batches to the loss of each of these batches, with its graph, drawn apart from
            the training's own batches.
        example: Makes a small batch of images.
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
    """How a training departs from that of a layer schedule.

    Attributes:
        groups: The parameter groups, `{"params", "lr", "name"}` each.
        before_epoch: Called with the epoch, from 0, and the optimizer, whose groups have this epoch's rates.
        penalty: Added to the loss of every batch; None where there is none.
        stop_from: From which epoch on, counted from 0, a training may end early: before it more is unfrozen by the epoch.
        fold_in: Called with the best weights in place: gives the network its own modules back, which compute the same.
        undo: Called at the end, after errors too: the network has its own modules again, with weights of any kind.
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
