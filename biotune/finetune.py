"""The training loop: one function from a trial to its result. Strategies differ by what they hand in, never by a copy of it."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from biotune.augment import standard
from biotune.backbones import Network
from biotune.config import TrainingConfig
from biotune.datasets import Data
from biotune.errors import BiotuneError
from biotune.fitness import Trial, TrialResult
from biotune.outputs import main_output
from biotune.param_groups import apply_schedule, prove_coverage
from biotune.scores import macro_accuracy, test_scores
from biotune.store import keep_model


class TrialError(BiotuneError):
    """A training went wrong in itself, such as a loss that is no number."""


@dataclass
class Workspace:
    """What a worker loads once and keeps for all its trials.

    Attributes:
        network: The backbone on the device; every trial starts from `initial`.
        data: The decoded pictures with splits and folds.
        training: How to train.
        device: Where.
        initial: The state dict that every trial starts from, on the device.
        folder: Where trials keep models that are asked for.
    """

    network: Network
    data: Data
    training: TrainingConfig
    device: torch.device
    initial: dict[str, Tensor]
    folder: Path

    @staticmethod
    def of(network: Network, data: Data, training: TrainingConfig, device: torch.device, folder: Path) -> Workspace:
        """Move the network to the device and note its initial state."""
        # pictures come as (N, H, W, C), so this is the layout that needs no copy
        network.module.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        initial = {name: value.clone() for name, value in network.module.state_dict().items()}
        return Workspace(network, data, training, device, initial, folder)


def finetune(trial: Trial, workspace: Workspace) -> TrialResult:
    """Fine-tune the network as a trial says.

    All randomness (head, batch order, dropout) comes from the trial's seed. The validation data decide the best epoch
    and when to stop; test data are touched only if the trial asks for test scores, with the best epoch's weights.

    Args:
        trial: Schedule, fold, seed and budget.
        workspace: Network, data and training settings; the network is left in the trained state.

    Raises:
        TrialError: The loss became infinite or NaN.
    """
    started = time.perf_counter()
    model, training, data = workspace.network.module, workspace.training, workspace.data
    torch.manual_seed(trial.seed)
    model.load_state_dict(workspace.initial)
    _fresh_head(workspace)
    groups = apply_schedule(model, trial.schedule, training.lr, training.frozen_norm)
    optimizer = build_optimizer(groups, training, workspace.device)
    prove_coverage(model, optimizer)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda epoch: lr_factor(epoch, training))
    part = data.part(trial.fold)
    loss_function = nn.CrossEntropyLoss(weight=class_weights(data, part.train, training, workspace.device))
    order = np.random.default_rng(trial.seed)
    curve: list[float] = []
    best_state: dict[str, Tensor] = {}
    for epoch in range(trial.epochs):
        _train_epoch(workspace, part.train, order, optimizer, loss_function, epoch)
        scheduler.step()
        predicted = predict(workspace, part.val).argmax(1)
        curve.append(macro_accuracy(predicted, _labels(workspace, part.val), len(data.classes)))
        best = curve.index(max(curve))
        if best == epoch and trial.test:
            best_state = {name: value.clone() for name, value in model.state_dict().items()}
        if epoch - best >= training.patience:
            break
    scores = _score_on_test(trial, workspace, best_state) if trial.test else {}
    return TrialResult("ok", tuple(curve), time.perf_counter() - started, scores)


def build_optimizer(groups: list[dict[str, Any]], training: TrainingConfig, device: torch.device) -> torch.optim.Optimizer:
    """The optimizer over parameter groups that carry their own rates."""
    fused = device.type in ("cpu", "cuda")
    if training.optimizer == "sgd":
        return torch.optim.SGD(
            groups, lr=training.lr, momentum=training.momentum, weight_decay=training.weight_decay, fused=fused
        )
    kind = torch.optim.AdamW if training.optimizer == "adamw" else torch.optim.Adam
    return kind(groups, lr=training.lr, weight_decay=training.weight_decay, fused=fused)


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


def class_weights(data: Data, rows: np.ndarray, training: TrainingConfig, device: torch.device) -> Tensor | None:
    """(classes,) loss weights N / (classes · count), or None for unweighted; absent classes weigh 0."""
    if training.class_weights == "none":
        return None
    counts = torch.bincount(torch.from_numpy(data.labels[rows]), minlength=len(data.classes)).double()
    weights = torch.where(counts > 0, len(rows) / ((counts > 0).sum() * counts), 0.0)
    return weights.float().to(device)


def batch_rows(rows: np.ndarray, batch_size: int) -> Iterator[np.ndarray]:
    """Cut rows into batches; a last batch of a single picture joins the one before, as BatchNorm needs two."""
    starts = list(range(0, len(rows), batch_size))
    if len(starts) > 1 and len(rows) - starts[-1] == 1:
        starts.pop()
    for start, end in zip(starts, [*starts[1:], len(rows)], strict=True):
        yield rows[start:end]


def pictures(workspace: Workspace, rows: np.ndarray) -> Tensor:
    """(B, 3, H, W) normalised float pictures on the device."""
    pixels = torch.from_numpy(workspace.data.pixels[rows]).to(workspace.device, non_blocking=True)
    preprocessing = workspace.network.preprocessing
    mean = torch.tensor(preprocessing.mean, device=workspace.device) * 255
    std = torch.tensor(preprocessing.std, device=workspace.device) * 255
    return ((pixels.float() - mean) / std).permute(0, 3, 1, 2)


@torch.inference_mode()
def predict(workspace: Workspace, rows: np.ndarray) -> Tensor:
    """(N, classes) logits of pictures in eval mode, N ≥ 1."""
    model = workspace.network.module
    model.eval()
    size = workspace.training.eval_batch_size
    batches = (rows[start : start + size] for start in range(0, len(rows), size))
    return torch.cat([main_output(model(pictures(workspace, batch))) for batch in batches])


def _train_epoch(
    workspace: Workspace,
    rows: np.ndarray,
    order: np.random.Generator,
    optimizer: torch.optim.Optimizer,
    loss_function: nn.Module,
    epoch: int,
) -> None:
    model = workspace.network.module
    model.train()
    total = torch.zeros((), device=workspace.device)
    for batch in batch_rows(order.permutation(rows), workspace.training.batch_size):
        optimizer.zero_grad(set_to_none=True)
        inputs = pictures(workspace, batch)
        if workspace.training.augment == "standard":
            inputs = standard(inputs, order)
        loss = loss_function(main_output(model(inputs)), _labels(workspace, batch))
        loss.backward()
        optimizer.step()
        total += loss.detach()
    # looked at once an epoch: reading it every batch would make a GPU wait
    if not math.isfinite(float(total)):
        raise TrialError(f"the loss became {float(total)} in epoch {epoch + 1}")


def _labels(workspace: Workspace, rows: np.ndarray) -> Tensor:
    return torch.from_numpy(workspace.data.labels[rows]).to(workspace.device)


def _fresh_head(workspace: Workspace) -> None:
    if workspace.network.fresh_head:
        head = workspace.network.module.get_submodule(workspace.network.head)
        head.reset_parameters()  # type: ignore[operator]


def _score_on_test(trial: Trial, workspace: Workspace, best_state: dict[str, Tensor]) -> dict[str, float]:
    workspace.network.module.load_state_dict(best_state)
    rows = workspace.data.test
    probabilities = predict(workspace, rows).double().softmax(1).cpu()
    labels = torch.from_numpy(workspace.data.labels[rows])
    if trial.keep is not None:
        keep_model(workspace.folder, trial.keep, best_state, workspace.data, probabilities.numpy())
    return test_scores(probabilities, labels)
