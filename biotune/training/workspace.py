"""The state a worker loads once and keeps for all its trials: network, images, shared activations, tables in device memory.

Returns mini-batches by row. Knows nothing about optimizers, learning rates or scores.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from itertools import tee
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from biotune.backbones.chain import Passage, link
from biotune.backbones.network import Network, main_output
from biotune.backbones.replay import replay_of
from biotune.backbones.state import copy_state, restore
from biotune.config.sections import TrainingConfig
from biotune.datasets.data import Data
from biotune.datasets.streamed import Streamed
from biotune.training.activations import (
    GB,
    Boundary,
    SharedActivations,
    choose_boundaries,
    first_moving_block,
    measure_boundaries,
)
from biotune.training.changes import augmentations
from biotune.training.device import autocast_type
from biotune.training.placement import Placement, Rows, budget, resident
from biotune.training.views import Views


class LinearHead(NamedTuple):
    """The parameters of a linear head.

    Attributes:
        weight: (classes, F).
        bias: (classes,); zero where the head has none.
    """

    weight: Tensor
    bias: Tensor


@dataclass(frozen=True)
class EntryPoint:
    """A position in the network at which mini-batches enter.

    Attributes:
        inputs: Maps mini-batches of rows (B,) one after the other to inputs of `forward`, on the device; may prepare the next
            one while the caller uses the one before.
        forward: Maps an input to logits (B, classes).
    """

    inputs: Callable[[Iterable[Rows]], Iterator[Tensor]]
    forward: Callable[[Tensor], Tensor]

    def take(self, rows: Rows) -> Tensor:
        """The input of `forward` for rows (B,) of a single mini-batch."""
        (found,) = self.inputs([rows])
        return found


@dataclass
class Workspace:
    """The state a worker loads once and keeps for all its trials.

    Attributes:
        network: The backbone on the device; every trial starts from `initial`.
        data: The decoded images with splits and folds.
        training: The training settings.
        device: The device on which trials train.
        initial: The state dict that every trial starts from, on the device.
        autocast: Returns the context in which the network computes.
        placement: Reads rows of the data onto the device.
        features: The activations that trials share; None if none are shared.
        views: The augmented views that training images are drawn from; None where none are fixed.
        probes: The linear probes fitted so far, by fold, see `probe`.
        final: The settings of final training runs; None where they are those of all.
    """

    network: Network
    data: Data
    training: TrainingConfig
    device: torch.device
    initial: dict[str, Tensor]
    autocast: Callable[[], AbstractContextManager[Any]]
    placement: Placement
    features: SharedActivations | None = None
    views: Views | None = None
    probes: dict[int | None, LinearHead] = field(default_factory=dict)
    final: TrainingConfig | None = None

    @staticmethod
    def of(
        network: Network,
        data: Data,
        training: TrainingConfig,
        device: torch.device,
        scratch: Path | None = None,
        max_gb: float = 0.0,
        workers_per_gpu: int = 1,
        final: TrainingConfig | None = None,
        views: int | None = None,
        seed: int = 0,
    ) -> Workspace:
        """Move the network to the device, copy its initial state, and choose the tables to share and to hold in device memory.

        Args:
            network: The backbone.
            data: The images.
            training: The training settings.
            device: The device on which trials train.
            scratch: Folder of the activations that trials share, the same for all workers of a run; None shares none.
            max_gb: Upper bound of the size of these activations in GB; 0 shares none.
            workers_per_gpu: Number of workers that use the device.
            final: The settings of final training runs; None where they are those of all.
            views: Number of augmented views of each training image that are drawn once; None draws anew in every epoch.
            seed: Seed of these views.
        """
        # images are stored as (N, H, W, C), so this memory layout needs no copy
        network.module.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        initial = copy_state(network.module)
        dtype = autocast_type(training.precision, device, network.module)
        autocast = nullcontext if dtype is None else lambda: torch.autocast(device.type, dtype)
        workspace = Workspace(network, data, training, device, initial, autocast, Placement(device), final=final)
        if views is not None:
            steps = augmentations(training.augment, network.preprocessing, device)
            workspace.views = Views(len(data.labels), views, seed, steps)
        if scratch is not None and max_gb > 0:
            workspace.features = workspace._shared(scratch, max_gb)
        at_most = budget(device, workers_per_gpu)
        if at_most > 0:
            workspace.placement.on_device = resident(workspace._table_sizes(), at_most)
        return workspace

    def __post_init__(self) -> None:
        self._normalise = self.network.preprocessing.normaliser(self.device)
        self._labels = torch.from_numpy(self.data.labels).to(self.device)

    def reset(self) -> None:
        """Restore the network's initial weights."""
        restore(self.network.module, self.initial)

    def settings(self, of_final: bool) -> TrainingConfig:
        """The training settings of a trial, which in final training runs can be others."""
        return self.final if of_final and self.final is not None else self.training

    def takes_views(self, settings: TrainingConfig) -> bool:
        """Whether training runs of these settings take the images of each epoch from the views."""
        return self.views is not None and settings.augment == self.training.augment and not settings.mixes_images

    def labels(self, rows: Rows) -> Tensor:
        """(B,) int64 labels on the device."""
        return self._labels.index_select(0, self.placement.send(torch.from_numpy(rows)))

    def images(self, rows: Rows) -> Tensor:
        """(B, 3, H, W) normalised float images on the device."""
        (found,) = self.images_in_turn([rows])
        return found

    def images_in_turn(self, batches: Iterable[Rows]) -> Iterator[Tensor]:
        """(B, 3, H, W) normalised float images or views of each mini-batch, on the device; streamed ones are decoded ahead."""
        if self.views is None:
            return map(self._normalise, self.placement.in_turn("pixels", self.data.pixels, batches, torch.uint8))
        wanted, batches = tee(batches)
        pixels = self.placement.in_turn("pixels", self.data.pixels, map(self.views.images_of, batches), torch.uint8)
        return map(self.views.change, map(self._normalise, pixels), wanted)

    def whole(self) -> EntryPoint:
        """The entry before the first block: valid for any schedule and any weights."""
        module = self.network.module
        return EntryPoint(self.images_in_turn, lambda x: main_output(module(x)))

    def entry(self, first_trained: int) -> EntryPoint:
        """The deepest entry before a block; the blocks before it must have their initial weights now and keep them.

        Args:
            first_trained: Index of the first block that is not frozen.
        """
        boundary = None if self.features is None else self.features.deepest(first_trained)
        if self.features is None or boundary is None:
            return self.whole()
        features = self.features
        with self.computing():
            stored = features.at(boundary)

        def inputs(batches: Iterable[Rows]) -> Iterator[Tensor]:
            positions = map(features.positions, batches)
            return map(boundary.restore, self.placement.in_turn(_table(boundary), stored, positions, boundary.dtype))

        return EntryPoint(inputs, lambda x: main_output(features.network.forward(x, boundary.entry)))

    def _shared(self, scratch: Path, max_gb: float) -> SharedActivations | None:
        """The activations to share, or None if the network or the training settings allow none."""
        if self.training.changes_images and self.views is None:
            return None
        rows = np.union1d(self.data.whole.train, self.data.whole.val)
        rows = rows if self.views is None else self.views.with_all(rows)
        limit = first_moving_block(self.network.module, self.network.blocks, self.training.frozen_norm)
        passage = self._passage(rows, limit)
        if passage is None:
            return None
        with self.computing():
            found = measure_boundaries(passage, self.images(rows[[0, -1]]))
        usable = [boundary for boundary in found if boundary.block <= limit]
        kept = choose_boundaries(usable, len(rows), max_gb * GB)
        return SharedActivations(passage, kept, rows, scratch, self.images_in_turn, self.device) if kept else None

    def _passage(self, rows: Rows, deepest: int) -> Passage | None:
        """The network as a pass that can begin in front of a block, or None if there is none."""
        network = self.network
        if network.steps is not None:
            return link(network.module, network.blocks, network.steps)
        batches = [self.images(rows[:2]), self.images(rows[-3:])]
        return replay_of(network.module, network.blocks, batches, self.autocast, deepest, self.training.frozen_norm)

    def _table_sizes(self) -> dict[str, int]:
        """Bytes of the tables that can be held in device memory: images first, then activations from the deepest upwards."""
        streamed = isinstance(self.data.pixels, Streamed)
        sizes = {} if streamed else {"pixels": math.prod(self.data.pixels.shape)}
        if self.features is not None:
            deepest_first = sorted(self.features.boundaries, key=lambda boundary: -boundary.block)
            sizes |= {_table(boundary): boundary.size(len(self.features.rows)) for boundary in deepest_first}
        return sizes

    @contextmanager
    def computing(self) -> Iterator[None]:
        """Put the network into eval mode, without gradients and in the run's precision; restores its mode afterwards."""
        module = self.network.module
        before = module.training
        module.eval()
        try:
            with torch.inference_mode(), self.autocast():
                yield
        finally:
            module.train(before)


def _table(boundary: Boundary) -> str:
    return f"activations before block {boundary.block}"
