"""The optimizer over a schedule's parameter groups, and the course of its learning rates over the epochs."""

from __future__ import annotations

import math
from typing import Any

import torch

from biotune.config.schema import TrainingConfig


def build_optimizer(groups: list[dict[str, Any]], training: TrainingConfig, device: torch.device) -> torch.optim.Optimizer:
    """The optimizer over parameter groups that carry their own rates."""
    fused = device.type in ("cpu", "cuda")
    if training.optimizer == "sgd":
        return torch.optim.SGD(groups, momentum=training.momentum, weight_decay=training.weight_decay, fused=fused)
    kind = torch.optim.AdamW if training.optimizer == "adamw" else torch.optim.Adam
    return kind(groups, weight_decay=training.weight_decay, fused=fused)


def lr_factor(epoch: int, training: TrainingConfig) -> float:
    """What all rates are multiplied by in an epoch, counted from 0: linear warm-up, then cosine, steps or constant."""
    if epoch < training.warmup_epochs:
        return (epoch + 1) / training.warmup_epochs
    since = epoch - training.warmup_epochs
    if training.scheduler == "cosine":
        return (1 + math.cos(math.pi * min(since, training.cosine_epochs) / training.cosine_epochs)) / 2
    if training.scheduler == "step":
        return float(training.step_factor ** (since // training.step_epochs))
    return 1.0
