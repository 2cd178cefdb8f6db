"""The training loop: one function from a trial to its result. All strategies share it and differ only in their hooks."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from biotune.backbones.state import copy_state, restore
from biotune.config.sections import TrainingConfig
from biotune.datasets.data import Data
from biotune.errors import TrialError
from biotune.schedule.freezing import freeze
from biotune.schedule.param_groups import param_groups, prove_coverage
from biotune.schedule.schedule import PROBE
from biotune.strategies.hooks import Hooks, TrainingContext
from biotune.strategies.registry import hooks_of
from biotune.training.metrics import macro_accuracy, score_predictions, unbiased_accuracy
from biotune.training.optimizer import build_optimizer, lr_factor, spare_norms
from biotune.training.parts import Parts, parts_of
from biotune.training.placement import Rows
from biotune.training.probe import probe_of
from biotune.training.workspace import EntryPoint, Workspace
from biotune.trial import Trial, TrialResult


@dataclass(frozen=True)
class Trained:
    """The outcome of a trial.

    Attributes:
        result: Its scores.
        state: State dict of the best epoch, on the CPU; None unless the trial asks for test scores.
        probabilities: (tests, classes) float64 probabilities of the test set under these weights; None unless the trial asks
            for test scores.
    """

    result: TrialResult
    state: dict[str, Tensor] | None = None
    probabilities: np.ndarray | None = None


def finetune(trial: Trial, workspace: Workspace) -> Trained:
    """Fine-tune the network by a trial's settings.

    All randomness (a fresh head, batch order, dropout) comes from the trial's seed. The validation set decides the best epoch
    and when to stop. The test set is used only if the trial asks for test scores, and with the best epoch's weights.

    Args:
        trial: Schedule, fold, seed and budget.
        workspace: Network, data and training settings; the network keeps the trained weights afterwards.

    Raises:
        TrialError: The loss became infinite or NaN.
    """
    started = time.perf_counter()
    training, data = workspace.settings(trial.test), workspace.data
    torch.manual_seed(trial.seed)
    workspace.reset()
    if workspace.network.drop_path is not None:
        workspace.network.drop_path.set(workspace.network.module, training.drop_path)
    part = data.part(trial.fold)
    weights = class_weights(data, part.train, training, workspace.device)
    _start_head(trial, workspace, weights)
    entries = _entries(trial, workspace)
    loss_function = nn.CrossEntropyLoss(weight=weights, label_smoothing=training.label_smoothing)
    hooks = _hooks(trial, workspace, entries[-1], part.train, loss_function)
    try:
        fitted = _fit(trial, workspace, entries, hooks, loss_function)
        scores, state, probabilities = {}, None, None
        if trial.test:
            restore(workspace.network.module, fitted.best_state)
            hooks.fold_in()
            probabilities = predict(workspace, data.test).double().softmax(1).cpu()
            scores = score_predictions(probabilities, torch.from_numpy(data.labels[data.test]))
            state = copy_state(workspace.network.module, torch.device("cpu"))
    finally:
        hooks.undo()
    result = TrialResult(
        fitted.status,
        tuple(fitted.curve),
        time.perf_counter() - started,
        scores,
        losses=tuple(fitted.losses),
        unbiased=fitted.unbiased,
        train_losses=tuple(fitted.train_losses),
    )
    return Trained(result, state, None if probabilities is None else probabilities.numpy())


@dataclass
class _Fitted:
    """What the epochs of a trial left: `TrialResult`'s fields, and for a trial with test scores the best state."""

    status: str = "ok"
    curve: list[float] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)
    train_losses: list[float] = field(default_factory=list)
    best_state: dict[str, Tensor] = field(default_factory=dict)
    unbiased: float | None = None


def _fit(trial: Trial, workspace: Workspace, entries: Sequence[EntryPoint], hooks: Hooks, loss_function: nn.Module) -> _Fitted:
    """Train epoch by epoch."""
    model, training, data = workspace.network.module, workspace.settings(trial.test), workspace.data
    groups = hooks.groups if training.decay_norm else spare_norms(hooks.groups, model)
    optimizer = build_optimizer(groups, training, workspace.device)
    prove_coverage(model, optimizer)
    rates = [group["lr"] for group in optimizer.param_groups]
    part = data.part(trial.fold)
    order = np.random.default_rng(trial.seed)
    steps = trial.epochs * len(list(batch_rows(part.train, training.batch_size)))
    parts = parts_of(training, workspace, optimizer, loss_function, hooks, order, trial.seed, steps)
    truth = workspace.labels(part.val)
    fitted = _Fitted()
    curve = fitted.curve
    predicted: list[Tensor] = []
    for epoch in range(trial.epochs):
        for group, rate in zip(optimizer.param_groups, rates, strict=True):
            group["lr"] = rate * lr_factor(epoch, training, trial.epochs)
        hooks.before_epoch(epoch, optimizer)
        parts.begin_epoch()
        entry = entries[min(epoch, len(entries) - 1)]
        fitted.train_losses.append(_train_epoch(workspace, entry, part.train, order, optimizer, parts, epoch))
        with parts.scored():
            logits = predict(workspace, part.val, entry)
            predicted.append(logits.argmax(1))
            curve.append(macro_accuracy(predicted[-1], truth, len(data.classes)))
            fitted.losses.append(float(nn.functional.cross_entropy(logits, truth)))
            best = curve.index(max(curve))
            if best == epoch and trial.test:
                fitted.best_state = copy_state(model)
        if epoch - max(best, hooks.stop_from) >= training.patience or epoch + 1 == trial.epochs:
            break  # before the floor is checked: a trial that has ended is not pruned
        # while blocks are still joining, the curve reflects only those that train already
        if epoch >= hooks.stop_from and trial.floor and curve[best] < trial.floor[epoch]:
            fitted.status = "pruned"
            break
    if trial.unbiased:
        fitted.unbiased = unbiased_accuracy(torch.stack(predicted), truth, len(data.classes))
    return fitted


def _entries(trial: Trial, workspace: Workspace) -> list[EntryPoint]:
    """The entry point of the network for each epoch; the last one holds for all later epochs."""
    settings = workspace.settings(trial.test)
    if settings.changes_images and not workspace.takes_views(settings):
        return [workspace.whole()]  # what is shared was computed from the images as they are
    schedule = trial.schedule
    firsts = [
        next((index for index, trained in enumerate(schedule.trained_in(epoch, trial.epochs)) if trained), len(schedule.blocks))
        for epoch in range(1 + schedule.complete_from(trial.epochs))
    ]
    # all at once, because computing activations needs the initial weights
    found = {first: workspace.entry(first) for first in firsts}
    return [found[first] for first in firsts]


def _hooks(trial: Trial, workspace: Workspace, entry: EntryPoint, rows: Rows, loss_function: nn.Module) -> Hooks:
    """The hooks of the trial's strategy, or of its plain schedule."""
    network, training = workspace.network, workspace.settings(trial.test)
    schedule = trial.schedule
    groups = param_groups(network.module, schedule.blocks, schedule.lr_weights, trial.lr, training.frozen_norm)
    if trial.method is None:
        return _in_order(trial, workspace, groups)

    def losses(epoch: int, batches: int) -> Iterator[Tensor]:
        network.module.train()
        # from a generator of its own, so that the mini-batches of training are the same for every strategy
        order = np.random.default_rng((trial.seed, epoch)).permutation(rows)
        first = list(islice(batch_rows(order, training.batch_size), batches))
        for batch, inputs in zip(first, entry.inputs(first), strict=True):
            with workspace.autocast():
                yield loss_function(entry.forward(inputs), workspace.labels(batch))

    return hooks_of(
        TrainingContext(
            model=network.module,
            blocks=network.blocks,
            head=network.head,
            fresh_head=network.fresh_head,
            groups=groups,
            lr=trial.lr,
            epochs=trial.epochs,
            method=trial.method,
            frozen_norm=training.frozen_norm,
            losses=losses,
            example=lambda: workspace.images(rows[:2]),
        )
    )


def _in_order(trial: Trial, workspace: Workspace, groups: list[dict[str, Any]]) -> Hooks:
    """Hooks that add a schedule's blocks in the epochs in which they join; none if all blocks train from the first epoch."""
    schedule, network = trial.schedule, workspace.network
    complete = schedule.complete_from(trial.epochs)
    if complete == 0:
        return Hooks(groups)

    def before_epoch(epoch: int, optimizer: torch.optim.Optimizer) -> None:
        if epoch <= complete:
            freeze(network.module, network.blocks, schedule.trained_in(epoch, trial.epochs), workspace.training.frozen_norm)

    return Hooks(groups, before_epoch, stop_from=complete)


def class_weights(data: Data, rows: np.ndarray, training: TrainingConfig, device: torch.device) -> Tensor | None:
    """(classes,) loss weights N / (classes · count), or None for an unweighted loss; absent classes get weight 0."""
    if training.class_weights == "none":
        return None
    counts = torch.bincount(torch.from_numpy(data.labels[rows]), minlength=len(data.classes)).double()
    weights = torch.where(counts > 0, len(rows) / ((counts > 0).sum() * counts), 0.0)
    return weights.float().to(device)


def batch_rows(rows: np.ndarray, batch_size: int) -> Iterator[np.ndarray]:
    """Cut rows (N,) into mini-batches; a last one of a single image joins the one before, because BatchNorm needs two."""
    starts = list(range(0, len(rows), batch_size))
    if len(starts) > 1 and len(rows) - starts[-1] == 1:
        starts.pop()
    for start, end in zip(starts, [*starts[1:], len(rows)], strict=True):
        yield rows[start:end]


@torch.inference_mode()
def predict(workspace: Workspace, rows: Rows, entry: EntryPoint | None = None) -> Tensor:
    """(N, classes) float32 logits of images in eval mode, N ≥ 1.

    Args:
        workspace: The network and its data.
        rows: (N,) rows of the images.
        entry: The entry point of the network; by default before its first block.
    """
    entry = entry or workspace.whole()
    workspace.network.module.eval()
    size = workspace.training.eval_batch_size
    batches = (rows[start : start + size] for start in range(0, len(rows), size))
    with workspace.autocast():
        return torch.cat([entry.forward(inputs).float() for inputs in entry.inputs(batches)])


def _train_epoch(
    workspace: Workspace,
    entry: EntryPoint,
    rows: Rows,
    order: np.random.Generator,
    optimizer: torch.optim.Optimizer,
    parts: Parts,
    epoch: int,
) -> float:
    """Train one epoch; returns the mean loss of its mini-batches."""
    workspace.network.module.train()
    total = torch.zeros((), device=workspace.device)
    batches = list(batch_rows(order.permutation(rows), parts.batch_size))
    seen = [parts.view(batch) for batch in batches]
    for batch, inputs in zip(batches, entry.inputs(seen), strict=True):
        optimizer.zero_grad(set_to_none=True)
        targets = workspace.labels(batch)
        for change in parts.changes:
            inputs, targets = change(inputs, targets)
        with workspace.autocast():
            loss = parts.loss(entry.forward(inputs), targets)
        if parts.penalty is not None:
            loss = loss + parts.penalty()
        loss.backward()
        for act in parts.before_step:
            act()
        optimizer.step()
        for act in parts.after_step:
            act()
        total += loss.detach()
    # read once per epoch: reading it after every mini-batch would stall a GPU
    if not math.isfinite(summed := float(total)):
        raise TrialError(f"the loss became {summed} in epoch {epoch + 1}")
    return summed / len(batches)


def _start_head(trial: Trial, workspace: Workspace, weights: Tensor | None) -> None:
    """Give a new head random weights by the trial's seed, or those of the linear probe on the trial's fold.

    Args:
        trial: The trial.
        workspace: The network with its initial weights, and its data.
        weights: (classes,) weights of the classes in the loss; None for an unweighted loss.
    """
    if not workspace.network.fresh_head:
        return
    head = workspace.network.module.get_submodule(workspace.network.head)
    head.reset_parameters()  # type: ignore[operator]  # drawn in any case: later draws are the same for both starts
    if trial.schedule.head_start == PROBE:
        probe = probe_of(workspace, trial.fold, weights)
        with torch.no_grad():
            for name, parameter in head.named_parameters():
                parameter.copy_(getattr(probe, name))
