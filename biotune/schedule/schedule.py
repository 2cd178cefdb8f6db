"""Layer schedules: which blocks learn, at which learning rates, in which order, from which head. Owns the canonical key.

Imports neither torch nor DEAP; `Schedule.apply` imports `param_groups`, which needs torch, when it is called.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from biotune.errors import ScheduleError, shown
from biotune.schedule.block import Block

if TYPE_CHECKING:
    import torch

TOGETHER, LAST_TO_FIRST, FIRST_TO_LAST = UNFREEZING = ("together", "last_to_first", "first_to_last")
FRESH, PROBE = HEAD_STARTS = ("fresh", "probe")


_IN_WORDS = {
    TOGETHER: "all in the first epoch",
    LAST_TO_FIRST: "one more every epoch, from the last one up",
    FIRST_TO_LAST: "one more every epoch, from the first one down",
}


@dataclass(frozen=True)
class Schedule:
    """Which blocks of a network are trained, at which multiple of the base learning rate, when, and from which head. Immutable.

    Attributes:
        blocks: The network's blocks in forward order.
        lr_weights: (B,) one multiple of the base learning rate per block; 0 means frozen.
        importances: (B,) the genes of the blocks, where it was decoded from a genotype.
        threshold: The freezing threshold, where it was decoded from a genotype.
        header: Origin of the schedule (backbone, weights, dataset, base_lr); ignored in comparisons.
        unfreezing: together: all trained blocks from the first epoch on; last_to_first: one more every epoch, from the last of
            them to the first; first_to_last: the reverse order. Source: Howard and Ruder, *Universal language model
            fine-tuning for text classification*, ACL 2018.
        head_start: fresh: a new head starts from random weights; probe: from the linear probe, the logistic regression on the
            features of the pre-trained network. Source: Kumar et al., *Fine-tuning can distort pretrained features and
            underperform out-of-distribution*, ICLR 2022.
    """

    blocks: tuple[Block, ...]
    lr_weights: tuple[float, ...]
    importances: tuple[float, ...] | None = field(default=None, compare=False)
    threshold: float | None = field(default=None, compare=False)
    header: Mapping[str, Any] = field(default_factory=dict, compare=False, hash=False)
    unfreezing: str = TOGETHER
    head_start: str = FRESH

    def __post_init__(self) -> None:
        if self.unfreezing not in UNFREEZING:
            raise ScheduleError(f"unfreezing is {shown(self.unfreezing)}: must be one of {', '.join(UNFREEZING)}.")
        if self.head_start not in HEAD_STARTS:
            raise ScheduleError(f"head_start is {shown(self.head_start)}: must be one of {', '.join(HEAD_STARTS)}.")
        if len(self.blocks) != len(self.lr_weights):
            raise ScheduleError(f"a schedule of {len(self.blocks)} blocks needs as many weights, not {len(self.lr_weights)}.")
        for block, weight in zip(self.blocks, self.lr_weights, strict=True):
            if not (math.isfinite(weight) and weight >= 0):
                raise ScheduleError(f"lr_weight of block {block.name} is {weight}: must be a finite number, 0 or more.")
        if sum(self.selected) < 2:  # one block has no order, and equal training runs must have equal keys
            object.__setattr__(self, "unfreezing", TOGETHER)
        if self.is_empty:
            object.__setattr__(self, "head_start", FRESH)

    @property
    def selected(self) -> tuple[bool, ...]:
        """(B,) the selection mask S."""
        return tuple(weight > 0 for weight in self.lr_weights)

    @property
    def is_empty(self) -> bool:
        """Whether no block is trained."""
        return not any(self.selected)

    @property
    def first_trained(self) -> int:
        """Index of the first trained block, or the number of blocks; the blocks before it never change."""
        return next((index for index, selected in enumerate(self.selected) if selected), len(self.blocks))

    @property
    def key(self) -> str:
        """The canonical key: equal if and only if the blocks trained, their rates, their order and the head's start are."""
        words = ["|".join(repr(weight) if weight > 0 else "-" for weight in self.lr_weights)]
        words += [] if self.unfreezing == TOGETHER else [self.unfreezing]
        words += [] if self.head_start == FRESH else [self.head_start]
        return " ".join(words)

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the blocks in forward order."""
        return tuple(block.name for block in self.blocks)

    @property
    def order(self) -> str:
        """The order in which the trained blocks join, in words."""
        return _IN_WORDS[self.unfreezing]

    @property
    def remark(self) -> str:
        """What follows the order where the head does not start fresh, in words."""
        return "; the head starts from the linear probe" if self.head_start == PROBE else ""

    def trained_in(self, epoch: int, epochs: int) -> tuple[bool, ...]:
        """Return the blocks trained in an epoch: all selected ones, or those unfrozen so far.

        With fewer epochs than blocks several join at once, so that all are trained in the last epoch.

        Args:
            epoch: Counted from 0.
            epochs: Largest number of epochs of the training run.

        Returns:
            (B,) whether each block is trained.
        """
        if self.unfreezing == TOGETHER or self.is_empty:
            return self.selected
        own = [index for index, selected in enumerate(self.selected) if selected]
        count = min(len(own), math.ceil((epoch + 1) * len(own) / min(len(own), epochs)))
        joined = own[-count:] if self.unfreezing == LAST_TO_FIRST else own[:count]
        return tuple(index in joined for index in range(len(self.blocks)))

    def complete_from(self, epochs: int) -> int:
        """Return the first epoch, counted from 0, in which all selected blocks are trained.

        Args:
            epochs: Largest number of epochs of the training run.
        """
        return next(epoch for epoch in range(len(self.blocks) + 1) if self.trained_in(epoch, epochs) == self.selected)

    def unfreeze(self, model: torch.nn.Module, epoch: int, epochs: int) -> None:
        """Unfreeze the blocks trained in an epoch and freeze the others; call it before each epoch.

        Needed only where `unfreezing` is not together. The optimizer keeps the groups of `apply`: frozen parameters have no
        gradients and are not updated.

        Args:
            model: The network that `apply` was called with.
            epoch: Counted from 0.
            epochs: Largest number of epochs of the training run.

        Raises:
            ScheduleError: The blocks do not fit the model.
        """
        from biotune.schedule.freezing import freeze

        freeze(model, self.blocks, self.trained_in(epoch, epochs))

    def apply(self, model: torch.nn.Module, base_lr: float | None = None) -> list[dict[str, Any]]:
        """Freeze and group a model's parameters according to this schedule.

        Frozen blocks lose their gradients and stay in eval mode through every later `model.train()`.

        Args:
            model: A network with the modules of the schedule's blocks.
            base_lr: λ_0, the base learning rate that the weights multiply; by default the one in the schedule's file.

        Returns:
            One optimizer parameter group per trained block: `{"params", "lr", "name"}`.

        Raises:
            ScheduleError: A block names no module of the model, or parameters belong to no block or to two.
        """
        rate = self.header.get("base_lr") if base_lr is None else base_lr
        if rate is None:
            raise ScheduleError("apply() needs base_lr: this schedule was not read from a file that states one.")
        if not (math.isfinite(rate) and rate > 0):
            raise ScheduleError(f"base_lr={rate}: must be a positive number.")
        from biotune.schedule.param_groups import param_groups

        return param_groups(model, self.blocks, self.lr_weights, float(rate))
