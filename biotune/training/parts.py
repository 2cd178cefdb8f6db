"""The parts of a training run that its settings choose: made once, so that the loop itself asks about no setting."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from biotune.backbones.state import copy_state, restore
from biotune.config.sections import ONE_CYCLE, TrainingConfig
from biotune.strategies.hooks import Hooks
from biotune.training.changes import Change, changes_of
from biotune.training.optimizer import OneCycle
from biotune.training.placement import Rows
from biotune.training.workspace import Workspace


def _nothing() -> None:
    return None


def _as_they_are(rows: Rows) -> Rows:
    return rows


@dataclass(frozen=True)
class Parts:
    """The parts of one training run.

    Attributes:
        batch_size: Images per mini-batch.
        loss: Maps logits (B, classes) and labels (B,) or probabilities (B, classes) to a loss.
        penalty: Returns a term added to every loss; None adds nothing.
        view: Maps the rows (B,) of a mini-batch to those whose images it takes, see `Views`.
        changes: Applied in turn to the inputs and targets of a mini-batch.
        begin_epoch: Called once the learning rates of an epoch are set.
        before_step: Called in turn once the gradients of a mini-batch are there.
        after_step: Called in turn after the optimizer's step.
        scored: Context in which the network has the weights that are validated and kept.
    """

    batch_size: int
    loss: nn.Module
    penalty: Callable[[], Tensor] | None = None
    view: Callable[[Rows], Rows] = _as_they_are
    changes: Sequence[Change] = ()
    begin_epoch: Callable[[], None] = _nothing
    before_step: Sequence[Callable[[], Any]] = ()
    after_step: Sequence[Callable[[], Any]] = ()
    scored: Callable[[], AbstractContextManager[Any]] = nullcontext


def parts_of(
    training: TrainingConfig,
    workspace: Workspace,
    optimizer: torch.optim.Optimizer,
    loss: nn.Module,
    hooks: Hooks,
    order: np.random.Generator,
    seed: int,
    steps: int,
) -> Parts:
    """Make the parts of a training run.

    Args:
        training: Its settings.
        workspace: The network, as its strategy has prepared it, and the data.
        optimizer: The optimizer over the trained parameters.
        loss: The loss.
        hooks: The hooks of its strategy.
        order: The generator of the mini-batches' order.
        seed: The training seed.
        steps: Number of mini-batches of all its epochs.
    """
    before: list[Callable[[], Any]] = []
    after: list[Callable[[], Any]] = []
    begin_epoch = _nothing
    scored: Callable[[], AbstractContextManager[Any]] = nullcontext
    if training.clip_grad:
        trained = [parameter for group in optimizer.param_groups for parameter in group["params"]]
        before.append(partial(nn.utils.clip_grad_norm_, trained, training.clip_grad))
    if training.scheduler == ONE_CYCLE:
        course = OneCycle(optimizer, steps)
        begin_epoch = course.begin_epoch
        after.append(course.advance)
    if training.ema:
        average = MovingAverage(workspace.network.module, training.ema)
        after.append(average.update)
        scored = average.in_place
    view, changes = _as_they_are, list[Change]()
    if workspace.views is not None and workspace.takes_views(training):
        view = partial(workspace.views.draw, draws=np.random.default_rng((seed, 0, 2)))
    else:
        preprocessing, device = workspace.network.preprocessing, workspace.device
        changes = changes_of(training, len(workspace.data.classes), preprocessing, device, seed, order)
    return Parts(training.batch_size, loss, hooks.penalty, view, changes, begin_epoch, before, after, scored)


class MovingAverage:
    """An exponential moving average of a network's parameters and buffers; the first update copies them.

    The running statistics of normalisation layers are averaged like the weights to which they belong.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        """Prepare.

        Args:
            model: The network.
            decay: Share of the average that one update keeps, in (0, 1).
        """
        self._model = model
        self._average = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(decay), use_buffers=True)

    def update(self) -> None:
        """Take in the network's present weights."""
        self._average.update_parameters(self._model)

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Give the network the averaged weights, and afterwards its own again."""
        own = copy_state(self._model)
        restore(self._model, self._average.module.state_dict())
        try:
            yield
        finally:
            restore(self._model, own)
