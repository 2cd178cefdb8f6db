"""The sizes of a dataset's images, and those that stand out."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

LONG = 3  # times as long as wide: the centre crop shows less than a third of such an image
_FACTOR = 4  # from the usual size


@dataclass(frozen=True)
class Sizes:
    """Widths and heights in pixels.

    Attributes:
        median: The median width and height.
        smallest: The image with the fewest pixels.
        largest: The one with the most.
        long: Positions of the images more than three times as long as wide, or as wide as long.
        small: Positions of those whose side is less than a quarter of the median one: that of a square with as many pixels.
        large: Positions of those whose side is more than four times the median one.
    """

    median: tuple[int, int]
    smallest: tuple[int, int]
    largest: tuple[int, int]
    long: tuple[int, ...]
    small: tuple[int, ...]
    large: tuple[int, ...]


def sizes_of(sides: NDArray[np.int32]) -> Sizes | None:
    """Describe the sizes of images.

    Args:
        sides: (N, 2) width and height of each image; zeros where it cannot be decoded.

    Returns:
        The sizes; None if there is no image.
    """
    known = np.flatnonzero(sides.min(axis=1) > 0) if len(sides) else np.empty(0, dtype=np.int64)
    if not known.size:
        return None
    width, height = sides[known].T.astype(np.int64)
    shorter, longer = np.minimum(width, height), np.maximum(width, height)
    side = np.sqrt(width * height)
    usual = float(np.median(side))

    def where(condition: NDArray[np.bool_]) -> tuple[int, ...]:
        return tuple(known[condition].tolist())

    def size(at: np.int64) -> tuple[int, int]:
        return int(width[at]), int(height[at])

    return Sizes(
        (int(np.median(width)), int(np.median(height))),
        size(np.argmin(width * height)),
        size(np.argmax(width * height)),
        where(longer > LONG * shorter),
        where(_FACTOR * side < usual),
        where(side > _FACTOR * usual),
    )
