"""Placement of tables of rows: in device memory if they fit, else in (mapped) host memory, sent mini-batch by mini-batch."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from biotune.datasets.streamed import Streamed

Rows = NDArray[np.int64]
SHARE = 0.25  # fraction of a GPU's memory for data; training itself needs most of it


def budget(device: torch.device, workers_per_gpu: int) -> float:
    """Bytes of device memory that one worker's data may take; 0 if the device shares the host's memory."""
    if device.type != "cuda":
        return 0.0
    return SHARE * torch.cuda.get_device_properties(device).total_memory / workers_per_gpu


def resident(sizes: Mapping[str, int], max_bytes: float) -> frozenset[str]:
    """Choose the tables to hold in device memory: in the given order, each one that still fits; order of use plays no part.

    Args:
        sizes: Bytes of each table, the most useful first.
        max_bytes: Upper bound of their total size in bytes.
    """
    chosen: list[str] = []
    for name, size in sizes.items():
        if size + sum(sizes[other] for other in chosen) <= max_bytes:
            chosen.append(name)
    return frozenset(chosen)


def send(tensor: Tensor, device: torch.device) -> Tensor:
    """Copy a host tensor to a device; through pinned memory, so that the host does not wait for a GPU."""
    if device.type == "cuda":
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)


class Placement:
    """Reads rows of tables from device or host memory."""

    def __init__(self, device: torch.device, on_device: frozenset[str] = frozenset()) -> None:
        """Prepare; a table is copied to the device when its first row is read.

        Args:
            device: The device that receives the rows.
            on_device: Names of the tables to hold in device memory.
        """
        self.device = device
        self.on_device = on_device
        self._copies: dict[str, Tensor] = {}

    def take(self, name: str, table: NDArray[Any], rows: Rows, dtype: torch.dtype) -> Tensor:
        """Read rows of a table onto the device.

        Args:
            name: The table's name.
            table: (N, ...) the table, in memory or memory-mapped.
            rows: (B,) indices of the rows.
            dtype: The torch type of its entries, of the same width as the numpy type.

        Returns:
            (B, ...) tensor of that type.
        """
        if name not in self.on_device:
            return self.send(torch.from_numpy(np.asarray(table[rows]))).view(dtype)
        if name not in self._copies:
            # copied by numpy first: a mapped file can be read-only, and torch has no read-only tensors
            self._copies[name] = torch.from_numpy(np.array(table)).to(self.device).view(dtype)
        return self._copies[name].index_select(0, self.send(torch.from_numpy(rows)))

    def in_turn(
        self, name: str, table: NDArray[Any] | Streamed, batches: Iterable[Rows], dtype: torch.dtype
    ) -> Iterator[Tensor]:
        """Read mini-batches of a table onto the device one after the other; streamed images are decoded ahead.

        Args:
            name: The table's name.
            table: (N, ...) the table, see `take`.
            batches: The rows (B,) of each mini-batch.
            dtype: The torch type of its entries, of the same width as the numpy type.

        Yields:
            (B, ...) tensor of each.
        """
        if isinstance(table, Streamed):
            for entries in table.in_turn(batches):
                yield self.send(torch.from_numpy(entries)).view(dtype)
        else:
            for rows in batches:
                yield self.take(name, table, rows, dtype)

    def send(self, tensor: Tensor) -> Tensor:
        """Copy a host tensor to the device."""
        return send(tensor, self.device)
