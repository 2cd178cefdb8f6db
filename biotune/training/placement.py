"""Where tables of rows lie: on the device if they fit there, else in (mapped) memory, from where each batch is sent."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Rows = NDArray[np.int64]
SHARE = 0.25  # of a GPU's memory, for data; most of it is needed for the training itself


def budget(device: torch.device, workers_per_gpu: int) -> float:
    """Bytes that a worker's data may take on a device: 0 where the device's memory is the host's own."""
    if device.type != "cuda":
        return 0.0
    return SHARE * torch.cuda.get_device_properties(device).total_memory / workers_per_gpu


def resident(sizes: Mapping[str, int], max_bytes: float) -> frozenset[str]:
    """Which tables lie on the device: the first, then each next one that still fits. Sizes decide, never what came first.

    Args:
        sizes: Bytes of each table, the most useful first.
        max_bytes: What they may take together.
    """
    chosen: list[str] = []
    for name, size in sizes.items():
        if size + sum(sizes[other] for other in chosen) <= max_bytes:
            chosen.append(name)
    return frozenset(chosen)


def send(tensor: Tensor, device: torch.device) -> Tensor:
    """A tensor of the host's on a device; from pinned memory, so that a GPU is not waited for."""
    if device.type == "cuda":
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)


class Placement:
    """Takes rows of tables, wherever these lie."""

    def __init__(self, device: torch.device, on_device: frozenset[str] = frozenset()) -> None:
        """Prepare; a table is copied to the device when its first row is asked for.

        Args:
            device: Where rows are wanted.
            on_device: Names of the tables that lie there.
        """
        self.device = device
        self.on_device = on_device
        self._copies: dict[str, Tensor] = {}

    def take(self, name: str, table: NDArray[Any], rows: Rows, dtype: torch.dtype) -> Tensor:
        """Rows of a table, on the device.

        Args:
            name: The table's name.
            table: (N, ...) the table itself, in memory or memory-mapped.
            rows: (B,) which rows.
            dtype: The type of its entries, of the same width as numpy's.

        Returns:
            (B, ...) tensor of that type.
        """
        if name not in self.on_device:
            return self.send(torch.from_numpy(np.asarray(table[rows]))).view(dtype)
        if name not in self._copies:
            # copied by numpy first: a mapped file can be read-only, which torch has no word for
            self._copies[name] = torch.from_numpy(np.array(table)).to(self.device).view(dtype)
        return self._copies[name].index_select(0, self.send(torch.from_numpy(rows)))

    def send(self, tensor: Tensor) -> Tensor:
        """A tensor of the host's on the device."""
        return send(tensor, self.device)
