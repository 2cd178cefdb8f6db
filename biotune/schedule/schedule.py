"""Layer schedules: which blocks learn, at which learning rates, in which order. Owns the canonical key.

Knows neither torch nor DEAP; `Schedule.apply` hands over to `param_groups` when a model is at hand.
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


_IN_WORDS = {
    TOGETHER: "all in the first epoch",
    LAST_TO_FIRST: "one more every epoch, from the last one up",
    FIRST_TO_LAST: "one more every epoch, from the first one down",
}


@dataclass(frozen=True)
class Schedule:
    """Which blocks of a network are trained, at which multiple of the base rate, and in which order they join. Immutable.

    Attributes:
        blocks: The network's blocks in forward order.
        lr_weights: A multiple of the base rate a block; 0 means frozen, a state and not a rate.
        importances: The genes behind it, where it was decoded from a genotype.
        threshold: The freezing threshold, where it was decoded from a genotype.
        header: Where the schedule comes from (backbone, weights, dataset, base_lr); takes no part in comparison.
        unfreezing: together: all trained blocks from the first epoch on; last_to_first: one more every epoch, from the last of
            them up to the first; first_to_last: the mirror image. Source: Howard and Ruder, *Universal language model
            fine-tuning for text classification*, ACL 2018.
    """

    blocks: tuple[Block, ...]
    lr_weights: tuple[float, ...]
    importances: tuple[float, ...] | None = field(default=None, compare=False)
    threshold: float | None = field(default=None, compare=False)
    header: Mapping[str, Any] = field(default_factory=dict, compare=False, hash=False)
    unfreezing: str = TOGETHER

    def __post_init__(self) -> None:
        if self.unfreezing not in UNFREEZING:
            raise ScheduleError(f"unfreezing is {shown(self.unfreezing)}: must be one of {', '.join(UNFREEZING)}.")
        if len(self.blocks) != len(self.lr_weights):
            raise ScheduleError(f"a schedule of {len(self.blocks)} blocks needs as many weights, not {len(self.lr_weights)}.")
        for block, weight in zip(self.blocks, self.lr_weights, strict=True):
            if not (math.isfinite(weight) and weight >= 0):
                raise ScheduleError(f"lr_weight of block {block.name} is {weight}: must be a finite number, 0 or more.")
        if sum(self.selected) < 2:  # there is no order of one, and what is the same training has one key
            object.__setattr__(self, "unfreezing", TOGETHER)

    @property
    def selected(self) -> tuple[bool, ...]:
        """The selection mask S, a value a block."""
        return tuple(weight > 0 for weight in self.lr_weights)

    @property
    def is_empty(self) -> bool:
        """Whether no block is trained at all."""
        return not any(self.selected)

    @property
    def first_trained(self) -> int:
        """Index of the first block that is trained, or the number of blocks: what lies before it never changes."""
        return next((index for index, selected in enumerate(self.selected) if selected), len(self.blocks))

    @property
    def key(self) -> str:
        """The canonical key: equal exactly where the same blocks are trained at the same rates, in the same order."""
        weights = "|".join(repr(weight) if weight > 0 else "-" for weight in self.lr_weights)
        return weights if self.unfreezing == TOGETHER else f"{weights} {self.unfreezing}"

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the blocks in forward order."""
        return tuple(block.name for block in self.blocks)

    @property
    def order(self) -> str:
        """In words: when the trained blocks join."""
        return _IN_WORDS[self.unfreezing]

    def trained_in(self, epoch: int, epochs: int) -> tuple[bool, ...]:
        """Which blocks are trained in an epoch: all selected ones, or as many as have been unfrozen.

        With fewer epochs than blocks several join at once, so that all are trained in the last epoch.

        Args:
            epoch: Counted from 0.
            epochs: The most epochs of the training.
        """
        if self.unfreezing == TOGETHER or self.is_empty:
            return self.selected
        own = [index for index, selected in enumerate(self.selected) if selected]
        count = min(len(own), math.ceil((epoch + 1) * len(own) / min(len(own), epochs)))
        joined = own[-count:] if self.unfreezing == LAST_TO_FIRST else own[:count]
        return tuple(index in joined for index in range(len(self.blocks)))

    def complete_from(self, epochs: int) -> int:
        """The first epoch, counted from 0, in which all blocks that are ever trained are.

        Args:
            epochs: The most epochs of the training.
        """
        return next(epoch for epoch in range(len(self.blocks) + 1) if self.trained_in(epoch, epochs) == self.selected)

    def unfreeze(self, model: torch.nn.Module, epoch: int, epochs: int) -> None:
        """Make the blocks trainable that are trained in an epoch, and freeze the others; to be called before each epoch.

        Needed only where `unfreezing` is not together. The optimizer keeps the groups of `apply`: frozen parameters have no
        gradients, and stand still.

        Args:
            model: The network that `apply` was called with.
            epoch: Counted from 0.
            epochs: The most epochs of the training.

        Raises:
            ScheduleError: The blocks do not fit the model.
        """
        from biotune.schedule.freezing import freeze

        freeze(model, self.blocks, self.trained_in(epoch, epochs))

    def apply(self, model: torch.nn.Module, base_lr: float | None = None) -> list[dict[str, Any]]:
        """Freeze and group a model's parameters as this schedule says.

        Frozen blocks lose their gradients and stay in eval mode through every later `model.train()`.

        Args:
            model: A network that has the modules this schedule names.
            base_lr: λ_0, the rate that the weights multiply; by default the one in the schedule's file.

        Returns:
            One optimizer parameter group a trained block: `{"params", "lr", "name"}`.

        Raises:
            ScheduleError: A block names no module of the model, or parameters belong to no block or to two.
        """
        rate = self.header.get("base_lr") if base_lr is None else base_lr
        if rate is None:
            raise ScheduleError("apply() needs base_lr: this schedule comes from no file that states one.")
        if not (math.isfinite(rate) and rate > 0):
            raise ScheduleError(f"base_lr={rate}: must be a positive number.")
        from biotune.schedule.param_groups import param_groups

        return param_groups(model, self.blocks, self.lr_weights, float(rate))
