"""Tests of the sizes that stand out."""

from __future__ import annotations

import numpy as np

from biotune.datasets.sizes import sizes_of


def test_images_stand_out_by_proportions_and_by_size() -> None:
    sides = [(100, 80)] * 7 + [(310, 100), (100, 301), (300, 100), (0, 0), (22, 22), (23, 23), (400, 300), (360, 361)]
    sizes = sizes_of(np.array(sides, dtype=np.int32))
    assert sizes is not None
    assert sizes.long == (7, 8)  # 3 : 1 itself is not more than three times as long
    # the median is that of 100 × 80, √8000 = 89.4: a quarter is 22.4, four times are 357.8
    assert sizes.small == (11,) and sizes.large == (14,)
    assert (sizes.median, sizes.smallest, sizes.largest) == ((100, 80), (22, 22), (360, 361))


def test_without_an_image_that_can_be_decoded_there_are_no_sizes() -> None:
    assert sizes_of(np.zeros((3, 2), dtype=np.int32)) is None
    assert sizes_of(np.zeros((0, 2), dtype=np.int32)) is None
