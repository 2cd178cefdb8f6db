"""A dataset before it is split: labelled images that can be opened one by one."""

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
    """The labelled images of a dataset, as returned by its loader.

    Attributes:
        name: Name of the dataset, for messages.
        classes: Names of the classes, indexed by the labels.
        labels: (N,) int64, one label per image.
        splits: (N,) the official split of each image: "train", "val" or "test"; "" where there is none.
        names: (N,) name of each image: its path below the root, or its index.
        read: Returns image i opened by PIL, undecoded where possible.
        fingerprint: A text that changes whenever the images change.
        groups: (N,) id of the group of each image, such as a patient; a split never separates the images of a group.
        on_disk: Whether decoded images are kept in the cache.
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
