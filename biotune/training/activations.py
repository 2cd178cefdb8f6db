"""Activations at the frozen boundary, computed once and shared by every trial that can use them.

A schedule that freezes the first blocks computes the same activations behind them for every candidate, epoch and seed. They
are kept in a memory-mapped file for each boundary, in a folder that all workers of a run share. Which boundaries are kept
follows from their sizes alone. Knows chains and rows, but neither schedules' rates nor how anything is trained.
"""

from __future__ import annotations

import math
import os
import tempfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from filelock import FileLock
from numpy.typing import NDArray
from torch import Tensor, nn

from biotune.backbones.chain import Chain
from biotune.errors import RunFolderError
from biotune.schedule.block import Block
from biotune.schedule.block_parameters import part_at
from biotune.schedule.freezing import has_running_statistics

Indices = NDArray[np.int64]
GB = 10**9
_BATCH = 64  # images at a time while boundaries are computed; a constant, so that every worker computes the same
_STORED: dict[torch.dtype, np.dtype[Any]] = {  # how numpy, which has no bfloat16, holds what torch computes
    torch.float32: np.dtype(np.float32),
    torch.bfloat16: np.dtype(np.int16),
    torch.float16: np.dtype(np.float16),
}


@dataclass(frozen=True)
class Boundary:
    """A place between two blocks at which activations are kept.

    Attributes:
        block: Index of the first block behind it.
        entry: The chain's call that takes the activations.
        shape: One image's activations as they are stored.
        dtype: Their type.
        channels_last: Whether they are stored with their channels last, as the network passes them on.
    """

    block: int
    entry: int
    shape: tuple[int, ...]
    dtype: torch.dtype
    channels_last: bool

    def size(self, rows: int) -> int:
        """Bytes of the activations of so many images."""
        return rows * math.prod(self.shape) * self.dtype.itemsize

    def restore(self, stored: Tensor) -> Tensor:
        """(N, *shape) as stored, as the network takes it."""
        return stored.permute(0, 3, 1, 2) if self.channels_last else stored


def measure_boundaries(chain: Chain, images: Tensor) -> tuple[Boundary, ...]:
    """The boundary before every block but the first, with the shape and type of what passes it.

    Args:
        chain: The network, in eval mode.
        images: (2, 3, H, W) any images as the network takes them; two, so that the memory layout shows.
    """
    found = []
    x, at = images, 0
    for block, entry in enumerate(chain.entries):
        if block == 0:
            continue
        x, at = chain.forward(x, at, entry), entry
        last = x.dim() == 4 and x.is_contiguous(memory_format=torch.channels_last) and not x.is_contiguous()
        shape = tuple(x.permute(0, 2, 3, 1).shape[1:] if last else x.shape[1:])
        found.append(Boundary(block, entry, shape, x.dtype, last))
    return tuple(found)


def choose_boundaries(found: Sequence[Boundary], rows: int, max_bytes: float) -> tuple[Boundary, ...]:
    """Which boundaries are kept: from the deepest, which saves most, up, as long as they fit together.

    Args:
        found: All boundaries.
        rows: Images to keep activations of.
        max_bytes: What they may take together.
    """
    kept: list[Boundary] = []
    for boundary in sorted(found, key=lambda boundary: -boundary.block):
        if boundary.dtype in _STORED and sum(one.size(rows) for one in [*kept, boundary]) <= max_bytes:
            kept.append(boundary)
    return tuple(sorted(kept, key=lambda boundary: boundary.block))


def first_moving_block(module: nn.Module, blocks: Sequence[Block], frozen_norm: str) -> int:
    """The first block whose frozen state still changes while it is trained on: there the fixed beginning ends at the latest.

    Args:
        module: The network.
        blocks: Its blocks.
        frozen_norm: eval: none does. train: running statistics of frozen normalisation layers do.
    """
    if frozen_norm == "eval":
        return len(blocks)
    for index, block in enumerate(blocks):
        for path in block.modules:
            found = part_at(module, path)
            if isinstance(found, nn.Module) and any(has_running_statistics(part) for part in found.modules()):
                return index
    return len(blocks)


class SharedActivations:
    """The kept boundaries of one network on one dataset.

    Files appear whole or not at all, and a lock a boundary lets several workers compute each one only once.

    Attributes:
        chain: The network.
        boundaries: The boundaries that are kept, by block.
        rows: (N,) ascending rows of the dataset that activations are kept of, in the order they are stored in.
    """

    def __init__(
        self,
        chain: Chain,
        boundaries: Sequence[Boundary],
        rows: Indices,
        folder: Path,
        images: Callable[[Indices], Tensor],
        device: torch.device,
    ) -> None:
        """Prepare; nothing is computed before it is needed.

        Args:
            chain: The network with its initial weights and in eval mode whenever `at` is called.
            boundaries: Those to keep, by block.
            rows: (N,) ascending rows of the dataset to keep activations of.
            folder: Where the files lie, shared by the workers of a run.
            images: From rows to the chain's input on the device.
            device: Where the chain computes.
        """
        self.chain = chain
        self.boundaries = tuple(boundaries)
        self.rows = rows
        self._folder = folder
        self._images = images
        self._device = device
        self._open: dict[int, NDArray[Any]] = {}

    def positions(self, rows: Indices) -> Indices:
        """Where rows of the dataset stand in the stored activations.

        Raises:
            IndexError: A row is not among those that activations are kept of.
        """
        found = np.searchsorted(self.rows, rows)
        if not np.array_equal(self.rows[np.minimum(found, len(self.rows) - 1)], rows):
            raise IndexError("activations are kept of training and validation images only")
        return found

    def deepest(self, block: int) -> Boundary | None:
        """The deepest kept boundary that lies before a block, or None."""
        return max((one for one in self.boundaries if one.block <= block), key=lambda one: one.block, default=None)

    def at(self, boundary: Boundary) -> NDArray[Any]:
        """(N, *shape) memory-mapped activations at a boundary, bfloat16 as int16; computed now if no worker has yet.

        Raises:
            RunFolderError: There is no room for them.
        """
        if boundary.block not in self._open:
            path = self._path(boundary)
            try:
                with FileLock(f"{path}.lock"):
                    if not path.exists():
                        self._compute(boundary, path)
            except OSError as error:
                raise self._no_room(boundary, error) from error
            shape = (len(self.rows), *boundary.shape)
            kind: np.dtype[Any] = _STORED[boundary.dtype]
            self._open[boundary.block] = np.memmap(path, kind, "r", shape=shape)
        return self._open[boundary.block]

    def _path(self, boundary: Boundary) -> Path:
        return self._folder / f"boundary-{boundary.block}.bin"

    def _compute(self, boundary: Boundary, path: Path) -> None:
        """From the nearest shallower boundary that is there already, or from the images."""
        ready = [one for one in self.boundaries if one.block < boundary.block and self._path(one).exists()]
        start = max(ready, key=lambda one: one.block, default=None)
        handle, temporary = tempfile.mkstemp(dir=self._folder, prefix=".unfinished-")
        try:
            with os.fdopen(handle, "wb") as file:
                for batch in self._batches(start):
                    x = self.chain.forward(batch, start.entry if start else 0, boundary.entry)
                    file.write(_to_store(x, boundary).tobytes())
            os.replace(temporary, path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise

    def _no_room(self, boundary: Boundary, error: OSError) -> RunFolderError:
        size = boundary.size(len(self.rows)) / GB
        return RunFolderError(
            f"{self._folder}: cannot hold {size:.2f} GB of activations ({error.strerror}). Make room, set "
            "BIOTUNE_CACHE_DIR to another folder, or lower features.max_gb."
        )

    def _batches(self, start: Boundary | None) -> Iterable[Tensor]:
        for begin in range(0, len(self.rows), _BATCH):
            rows = self.rows[begin : begin + _BATCH]
            if start is None:
                yield self._images(rows)
            else:
                stored = from_store(self.at(start)[begin : begin + _BATCH], start.dtype)
                yield start.restore(stored.to(self._device))


def from_store(stored: NDArray[Any], dtype: torch.dtype) -> Tensor:
    """A copy of stored activations as a tensor of the type they were computed in."""
    return torch.from_numpy(np.array(stored)).view(dtype)


def _to_store(x: Tensor, boundary: Boundary) -> NDArray[Any]:
    plain = (x.permute(0, 2, 3, 1) if boundary.channels_last else x).contiguous().cpu()
    return plain.view(torch.int16).numpy() if plain.dtype == torch.bfloat16 else plain.numpy()
