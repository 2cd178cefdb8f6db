"""Activations at the frozen boundary, computed once and shared by every trial that can use them.

If a schedule freezes the first blocks, their output is the same for every candidate, epoch and seed. It is stored in one
memory-mapped file per boundary, in a folder that all workers of a run share. Only the sizes of the boundaries decide which
ones are stored. This module knows forward passes and rows, but neither learning rates nor the training loop.
"""

from __future__ import annotations

import math
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from filelock import FileLock
from numpy.typing import NDArray
from torch import Tensor, nn

from biotune.backbones.chain import Passage
from biotune.backbones.cut import is_channels_last
from biotune.errors import RunFolderError
from biotune.schedule.block import Block
from biotune.schedule.block_parameters import part_at
from biotune.schedule.freezing import has_running_statistics

Indices = NDArray[np.int64]
GB = 10**9
_BATCH = 64  # images per forward pass while activations are computed; constant, so that all workers get equal values
_STORED: dict[torch.dtype, np.dtype[Any]] = {  # torch type -> numpy type on disk; numpy has no bfloat16
    torch.float32: np.dtype(np.float32),
    torch.bfloat16: np.dtype(np.int16),
    torch.float16: np.dtype(np.float16),
}


@dataclass(frozen=True)
class Boundary:
    """A position between two blocks at which activations can be stored.

    Attributes:
        block: Index of the first block after it.
        entry: Position of the forward pass that takes the activations, see `Passage`.
        shape: Shape of one image's activations as stored.
        dtype: Their torch type.
        channels_last: Whether they are stored with the channels last, the memory layout in which the network computes them.
    """

    block: int
    entry: int
    shape: tuple[int, ...]
    dtype: torch.dtype
    channels_last: bool

    def size(self, rows: int) -> int:
        """Bytes of the activations of `rows` images."""
        return rows * math.prod(self.shape) * self.dtype.itemsize

    def restore(self, stored: Tensor) -> Tensor:
        """Turn (N, *shape) activations as stored into the memory layout that the network takes."""
        return stored.permute(0, 3, 1, 2) if self.channels_last else stored


def measure_boundaries(network: Passage, images: Tensor) -> tuple[Boundary, ...]:
    """Find the boundary before every block at which the forward pass can begin, with the shape and type of its activations.

    Args:
        network: The network, in eval mode.
        images: (2, 3, H, W) any normalised images; two, because the memory layout of a single one is ambiguous.
    """
    found = []
    x, at = images, 0
    for block, entry in network.stops:
        x, at = network.forward(x, at, entry), entry
        last = is_channels_last(x)
        shape = tuple(x.permute(0, 2, 3, 1).shape[1:] if last else x.shape[1:])
        found.append(Boundary(block, entry, shape, x.dtype, last))
    return tuple(found)


def choose_boundaries(found: Sequence[Boundary], rows: int, max_bytes: float) -> tuple[Boundary, ...]:
    """Choose the boundaries to store: from the deepest, which saves most, upwards, as long as their total size fits.

    Args:
        found: All boundaries.
        rows: Number of images whose activations are stored.
        max_bytes: Upper bound of their total size in bytes.
    """
    kept: list[Boundary] = []
    for boundary in sorted(found, key=lambda boundary: -boundary.block):
        if boundary.dtype in _STORED and sum(one.size(rows) for one in [*kept, boundary]) <= max_bytes:
            kept.append(boundary)
    return tuple(sorted(kept, key=lambda boundary: boundary.block))


def first_moving_block(module: nn.Module, blocks: Sequence[Block], frozen_norm: str) -> int:
    """Index of the first block whose output can change during training although it is frozen; no boundary after it is usable.

    Args:
        module: The network.
        blocks: Its blocks.
        frozen_norm: eval: no frozen block changes. train: the running statistics of frozen normalisation layers change.
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
    """The stored activations of one network on one dataset.

    Each file is written atomically. One lock per boundary ensures that only one of several workers computes it.

    Attributes:
        network: The network.
        boundaries: The boundaries whose activations are stored, by block.
        rows: (N,) ascending rows of the dataset whose activations are stored, in storage order.
    """

    def __init__(
        self,
        network: Passage,
        boundaries: Sequence[Boundary],
        rows: Indices,
        folder: Path,
        images: Callable[[Iterable[Indices]], Iterator[Tensor]],
        device: torch.device,
    ) -> None:
        """Prepare; activations are computed when they are first needed.

        Args:
            network: The network with its initial weights and in eval mode whenever `at` is called.
            boundaries: The boundaries to store, by block.
            rows: (N,) ascending rows of the dataset whose activations are stored.
            folder: The folder of the files, shared by the workers of a run.
            images: Maps mini-batches of rows (B,) one after the other to the network's input (B, 3, H, W) on the device.
            device: The device on which the network computes.
        """
        self.network = network
        self.boundaries = tuple(boundaries)
        self.rows = rows
        self._folder = folder
        self._images = images
        self._device = device
        self._open: dict[int, NDArray[Any]] = {}

    def positions(self, rows: Indices) -> Indices:
        """Positions (N,) of rows of the dataset in the stored activations.

        Raises:
            IndexError: No activations are stored for a row.
        """
        found = np.searchsorted(self.rows, rows)
        if not np.array_equal(self.rows[np.minimum(found, len(self.rows) - 1)], rows):
            raise IndexError("activations are stored for training and validation images only")
        return found

    def deepest(self, block: int) -> Boundary | None:
        """The deepest stored boundary before a block, or None."""
        return max((one for one in self.boundaries if one.block <= block), key=lambda one: one.block, default=None)

    def at(self, boundary: Boundary) -> NDArray[Any]:
        """(N, *shape) memory-mapped activations at a boundary, bfloat16 as int16; computed now if no worker has done so.

        Raises:
            RunFolderError: The disk has no room for them.
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
        """Compute from the nearest shallower boundary that is stored already, or from the images."""
        ready = [one for one in self.boundaries if one.block < boundary.block and self._path(one).exists()]
        start = max(ready, key=lambda one: one.block, default=None)
        handle, temporary = tempfile.mkstemp(dir=self._folder, prefix=".unfinished-")
        try:
            with os.fdopen(handle, "wb") as file:
                for batch in self._batches(start):
                    x = self.network.forward(batch, start.entry if start else 0, boundary.entry)
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

    def _batches(self, start: Boundary | None) -> Iterator[Tensor]:
        begins = range(0, len(self.rows), _BATCH)
        if start is None:
            yield from self._images(self.rows[begin : begin + _BATCH] for begin in begins)
            return
        for begin in begins:
            stored = from_store(self.at(start)[begin : begin + _BATCH], start.dtype)
            yield start.restore(stored.to(self._device))


def from_store(stored: NDArray[Any], dtype: torch.dtype) -> Tensor:
    """Copy stored activations into a tensor of the type in which they were computed."""
    return torch.from_numpy(np.array(stored)).view(dtype)


def _to_store(x: Tensor, boundary: Boundary) -> NDArray[Any]:
    plain = (x.permute(0, 2, 3, 1) if boundary.channels_last else x).contiguous().cpu()
    return plain.view(torch.int16).numpy() if plain.dtype == torch.bfloat16 else plain.numpy()
