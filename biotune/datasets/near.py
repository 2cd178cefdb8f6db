"""Near duplicates: images that show the same, such as a photograph saved again, resized or retouched.

Candidates have perceptual hashes (pHash) that differ in few bits; they are near duplicates if their thumbnails agree too.
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from biotune.datasets.source import Indices

Hashes = NDArray[np.uint64]
Thumbnails = NDArray[np.uint8]

SIDE = 12  # pixels of a thumbnail
_DISTANCE = 4  # bits of 64 in which two hashes may differ
_BANDS = _DISTANCE + 1  # if so many bands of bits are compared, one of them is equal in hashes that differ in fewer bits
_NEIGHBOURS = 128  # images of one band that an image is compared with
_DIFFERENCE = 0.15  # largest root mean square difference of two thumbnails, as a share of their contrast
_LEAST_CONTRAST = 8.0  # grey levels: plain images differ if their colours do
_AT_ONCE = 4_000  # pairs
_ONES = np.array([number.bit_count() for number in range(256)], dtype=np.uint8)


def can_look() -> bool:
    """Whether the package for perceptual hashes is installed."""
    return find_spec("imagehash") is not None


def look_of(image: Image.Image) -> tuple[int, Thumbnails]:
    """The perceptual hash of an RGB image, 64 bits, and its thumbnail, (SIDE, SIDE, 3) uint8."""
    import imagehash

    # a hash needs 32 pixels, and shrinking a photograph once is quicker than twice
    image = image.resize((64, 64), Image.Resampling.BOX, reducing_gap=2.0)
    bits = np.packbits(imagehash.phash(image).hash.reshape(-1))
    thumbnail = image.resize((SIDE, SIDE), Image.Resampling.BOX)
    return int.from_bytes(bits.tobytes(), "big"), np.asarray(thumbnail)


def alike(hashes: Hashes, thumbnails: Thumbnails) -> Indices:
    """Find the sets of images that look alike.

    The hashes are sorted by each of five bands of their bits, and those with an equal band are compared: all pairs whose hashes
    differ in at most four bits have one. In a band that more than 128 images share, each is compared with the 128 next to it in
    the order of their brightness, so that the time grows with the number of images and not with its square.

    Args:
        hashes: (N,) hash of each image.
        thumbnails: (N, SIDE, SIDE, 3) uint8.

    Returns:
        (N,) number of the set of each image, the same for images that are joined by a chain of near duplicates.
    """
    if len(hashes) < 2:
        return np.arange(len(hashes))
    flat = thumbnails.reshape(len(hashes), -1)
    brightness = flat.mean(axis=1)
    most = (_DIFFERENCE * np.maximum(flat.std(axis=1), _LEAST_CONTRAST)).astype(np.float32)
    coarse = thumbnails.reshape(-1, 3, SIDE // 3, 3, SIDE // 3, 3).mean(axis=(2, 4), dtype=np.float32).reshape(len(hashes), -1)
    sets = np.arange(len(hashes))
    edges = [np.array_split(np.arange(64), _BANDS)[band][[0, -1]] for band in range(_BANDS)]
    for first, last in edges:
        band = (hashes >> np.uint64(first)) & np.uint64(2 ** int(last - first + 1) - 1)
        order = np.lexsort((brightness, band))
        ordered, own = band[order], hashes[order]
        for step in range(1, min(len(order), _NEIGHBOURS + 1)):
            same = np.flatnonzero(ordered[step:] == ordered[:-step])
            if not same.size:
                break
            close = same[_differing_bits(own[same], own[same + step]) <= _DISTANCE]
            pairs = np.stack([order[close], order[close + step]])
            pairs = pairs[:, sets[pairs[0]] != sets[pairs[1]]]
            for values in (coarse, flat):  # a mean of differences is no larger than they are, and tells most images apart
                pairs = pairs[:, _agree(values, most, pairs)]
            if pairs.size:
                sets = _joined(sets, pairs)
    return sets


def _differing_bits(one: Hashes, other: Hashes) -> NDArray[np.int64]:
    return _ONES[(one ^ other).view(np.uint8).reshape(-1, 8)].sum(axis=1, dtype=np.int64)


def _agree(values: NDArray[Any], most: NDArray[np.float32], pairs: Indices) -> NDArray[np.bool_]:
    """Whether the values of each of the (2, M) pairs differ by no more than either of them allows."""
    found = np.zeros(pairs.shape[1], dtype=bool)
    for begin in range(0, pairs.shape[1], _AT_ONCE):
        one, other = pairs[:, begin : begin + _AT_ONCE]
        squares = (values[one].astype(np.float32) - values[other]) ** 2
        found[begin : begin + _AT_ONCE] = np.sqrt(squares.mean(axis=1)) <= np.minimum(most[one], most[other])
    return found


def _joined(sets: Indices, pairs: Indices) -> Indices:
    """The sets after those of each pair have become one."""
    edges = coo_array((np.ones(pairs.shape[1]), (sets[pairs[0]], sets[pairs[1]])), shape=(len(sets), len(sets)))
    joined: Indices = connected_components(edges, directed=False)[1].astype(np.int64)[sets]
    return joined
