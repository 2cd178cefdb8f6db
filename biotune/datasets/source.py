"""A dataset before it is split: labelled images that can be opened one by one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Indices = NDArray[np.int64]


SPLITS = ("train", "val", "test")
_SPLIT_WORDS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "dev"), "val"),
    **dict.fromkeys(("test", "testing"), "test"),
}


def split_of(word: str) -> str | None:
    """The split that a folder, a word in a table or a part of a dataset is named for, in any case; None for other words."""
    return _SPLIT_WORDS.get(word.strip().lower())


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
        on_disk: Whether the images lie in files of the user's: decoded ones are kept in the cache, and copies among them are
            looked for. Bundled images need neither.
        passed_over: Lists the files below the root that are not among the images, relative to it.
        copies: (N,) id of each image's content, the same for copies; a split never separates them. None before they are looked
            for.
        remarks: What a reader of the scores should know of how the dataset was read, such as columns that were guessed.
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
    passed_over: Callable[[], Sequence[str]] = tuple
    copies: NDArray[np.int64] | None = None
    remarks: tuple[str, ...] = ()
