"""The optimizer over a schedule's parameter groups, and the course of its learning rates."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import nn

from biotune.config.sections import AUTO, TrainingConfig
from biotune.schedule.freezing import is_normalisation


def build_optimizer(groups: list[dict[str, Any]], training: TrainingConfig, device: torch.device) -> torch.optim.Optimizer:
    """Build the optimizer over parameter groups.

    Args:
        groups: Parameter groups, each with `params` and its own learning rate `lr`.
        training: Optimizer, momentum and weight decay.
        device: The device of the parameters; decides whether the fused kernel is used.
    """
    fused = device.type in ("cpu", "cuda")
    if training.optimizer == "sgd":
        return torch.optim.SGD(groups, momentum=training.momentum, weight_decay=training.weight_decay, fused=fused)
    kind = torch.optim.AdamW if training.optimizer == "adamw" else torch.optim.Adam
    return kind(groups, weight_decay=training.weight_decay, fused=fused)


def spare_norms(groups: list[dict[str, Any]], model: nn.Module) -> list[dict[str, Any]]:
    """Split parameter groups in two where they hold biases or parameters of normalisation layers, which get no weight decay.

    Args:
        groups: Parameter groups.
        model: The network that they belong to.

    Returns:
        Groups with the same parameters, learning rates and names; those without weight decay say so.
    """
    spared = {
        id(parameter)
        for module in model.modules()
        for name, parameter in module.named_parameters(recurse=False)
        if is_normalisation(module) or name.endswith("bias")
    }
    found = []
    for group in groups:
        decayed = [parameter for parameter in group["params"] if id(parameter) not in spared]
        others = [parameter for parameter in group["params"] if id(parameter) in spared]
        found += [{**group, "params": decayed}] if decayed else []
        found += [{**group, "params": others, "weight_decay": 0.0}] if others else []
    return found


def lr_factor(epoch: int, training: TrainingConfig, epochs: int) -> float:
    """The factor of all learning rates in an epoch: linear warm-up, then cosine, step or constant.

    Args:
        epoch: The epoch, counted from 0.
        training: The scheduler's settings; `warmup_epochs` is W below.
        epochs: The budget, which a cosine over all epochs follows.

    Returns:
        A dimensionless factor: (epoch + 1) / W during warm-up, then one that starts at 1. It is 1 with one_cycle, whose course
        `OneCycle` sets.
    """
    if epoch < training.warmup_epochs:
        return (epoch + 1) / training.warmup_epochs
    since = epoch - training.warmup_epochs
    if training.scheduler == "cosine":
        length = epochs - training.warmup_epochs if training.cosine_epochs == AUTO else int(training.cosine_epochs)
        return (1 + math.cos(math.pi * min(since, length) / length)) / 2
    if training.scheduler == "step":
        return float(training.step_factor ** (since // training.step_epochs))
    return 1.0


class OneCycle:
    """torch's OneCycleLR as a factor of every group's learning rate, so that a schedule's multiples hold at every step.

    Source: Smith and Topin, *Super-convergence: very fast training of neural networks using large learning rates*, 2017. The
    momentum stays as it is set.
    """

    def __init__(self, optimizer: torch.optim.Optimizer, steps: int) -> None:
        """Prepare.

        Args:
            optimizer: The optimizer whose learning rates are set.
            steps: Number of mini-batches of the whole training run.
        """
        self._optimizer = optimizer
        # a single weight at rate 1 runs through the course: the groups' own rates may change from epoch to epoch
        self._unit = torch.optim.SGD([torch.zeros(1)], lr=1.0)
        self._course = torch.optim.lr_scheduler.OneCycleLR(self._unit, 1.0, steps, cycle_momentum=False)
        self._peaks: list[float] = []

    def begin_epoch(self) -> None:
        """Take the groups' learning rates as their largest ones of this epoch."""
        self._peaks = [group["lr"] for group in self._optimizer.param_groups]
        self._apply()

    def advance(self) -> None:
        """Go on to the next mini-batch."""
        self._unit.step()
        self._course.step()
        self._apply()

    def _apply(self) -> None:
        for group, peak in zip(self._optimizer.param_groups, self._peaks, strict=True):
            group["lr"] = peak * self._unit.param_groups[0]["lr"]
