"""What a dataset is before it is split: labelled images that can be opened one by one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Indices = NDArray[np.int64]


SPLITS = ("train", "val", "test")


@dataclass(frozen=True)
class Source:
    """A dataset as its loader found it.

    Attributes:
        name: Name for messages.
        classes: Names of the classes; a label is an index into them.
        labels: (N,) int64, a label an image.
        splits: (N,) of "train", "val", "test": the official split; "" where there is none.
        names: What identifies each image to the user: its path below the root, or its index.
        read: Opens image i as PIL does, undecoded where that is possible.
        fingerprint: Changes whenever the images do.
        groups: (N,) ids of what must not be torn apart by a split, such as patients.
        on_disk: Whether decoding is worth keeping in the decoded cache.
    """

    name: str
    classes: tuple[str, ...]
    labels: Indices
    splits: NDArray[np.str_]
    names: tuple[str, ...]
    read: Callable[[int], Image.Image]
    fingerprint: str
    groups: NDArray[np.int64] | None = None
    on_disk: bool = True
