"""The optimizer over a schedule's parameter groups, and its learning-rate scheduler."""

from __future__ import annotations

import math
from typing import Any

import torch

from biotune.config.sections import TrainingConfig


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


def lr_factor(epoch: int, training: TrainingConfig) -> float:
    """The factor of all learning rates in an epoch: linear warm-up, then cosine, step or constant.

    Args:
        epoch: The epoch, counted from 0.
        training: The scheduler's settings; `warmup_epochs` is W below.

    Returns:
        A dimensionless factor: (epoch + 1) / W during warm-up, then one that starts at 1.
    """
    if epoch < training.warmup_epochs:
        return (epoch + 1) / training.warmup_epochs
    since = epoch - training.warmup_epochs
    if training.scheduler == "cosine":
        return (1 + math.cos(math.pi * min(since, training.cosine_epochs) / training.cosine_epochs)) / 2
    if training.scheduler == "step":
        return float(training.step_factor ** (since // training.step_epochs))
    return 1.0
