"""Copies: images whose decoded pixels are the same, under different names or in different files."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from PIL import Image
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from biotune.datasets.decoded import DIGEST_BYTES, Digests, digest_of, in_parallel
from biotune.datasets.images import EIGHT_BIT, bombs_refused, kind_of, to_rgb, values_of
from biotune.datasets.source import Indices, Source
from biotune.errors import RunFolderError
from biotune.store.files import write_whole
from biotune.store.scratch import cache_folder

_FORMAT = 1

COPIES = "copies"  # the folder in the cache


@dataclass(frozen=True)
class Copies:
    """Images of the same pixels.

    Attributes:
        images: Positions of the images, ascending, at least two.
        across: Whether they lie in more than one of training, validation and test set.
        disagree: Whether they have different labels.
    """

    images: tuple[int, ...]
    across: bool
    disagree: bool


def sets_of_copies(digests: Sequence[bytes] | Digests, splits: Sequence[str], labels: Iterable[int]) -> list[Copies]:
    """Find the sets of images with the same pixels, in the order of their first image.

    Args:
        digests: (N,) hash of each image; images without one, because they cannot be decoded, are no copies.
        splits: (N,) the set in which each image lies.
        labels: (N,) the label of each image.
    """
    places: dict[bytes, list[int]] = defaultdict(list)
    for position, digest in enumerate(digests):
        if digest:
            places[bytes(digest)].append(position)
    label_of = list(labels)
    return [
        Copies(tuple(own), len({splits[at] for at in own}) > 1, len({label_of[at] for at in own}) > 1)
        for own in places.values()
        if len(own) > 1
    ]


def with_copies(source: Source, on_progress: Callable[[int, int], None] = lambda done, total: None) -> Source:
    """Look for copies among the images that hold-outs may divide, so that they keep them on one side; the cache keeps them.

    Where groups such as patients stay together, those that share an image become one.

    Args:
        source: The labelled images.
        on_progress: Called with the number of images decoded and the number of all images.

    Returns:
        The dataset with its `copies`; as it is if its images are bundled.
    """
    if not source.on_disk or source.copies is not None:
        return source
    digests = _digests(source, np.flatnonzero(source.splits != "test"), on_progress)
    # an image that cannot be decoded is no copy
    own = np.array([digest or b"%d" % position for position, digest in enumerate(digests)])
    copies = np.unique(own, return_inverse=True)[1].astype(np.int64)
    groups = source.groups
    if groups is not None:
        groups = _joined(groups, copies)
    return replace(source, copies=copies, groups=groups)


def digest_of_image(image: Image.Image) -> bytes:
    """A hash of an opened image's pixels as RGB of 8 bits, or of its values where it has more bits."""
    kind = kind_of(image)
    if kind == EIGHT_BIT:
        return digest_of(np.asarray(to_rgb(image)))
    with suppress(ValueError):
        return digest_of(values_of(image), kind)
    return digest_of(np.asarray(image), kind)


def _digests(source: Source, members: Indices, on_progress: Callable[[int, int], None]) -> Digests:
    """The (N,) hashes of the members; others have none."""
    key = hashlib.sha256(f"{_FORMAT} {source.fingerprint}".encode() + members.tobytes()).hexdigest()
    file = cache_folder() / COPIES / f"{key[:32]}.npy"
    with suppress(OSError, ValueError, EOFError):
        kept = np.load(file, allow_pickle=False)
        if kept.shape == (len(source.names),):
            return np.asarray(kept)
    digests = np.zeros(len(source.names), dtype=f"S{DIGEST_BYTES}")
    with bombs_refused():
        for row, outcome in in_parallel(lambda row: _digest(source, int(members[row])), len(members)):
            digests[members[row]] = b"" if isinstance(outcome, Exception) else outcome
            on_progress(row + 1, len(members))
    with suppress(OSError, RunFolderError):  # a cache that cannot be written is told of by the decoded images
        file.parent.mkdir(parents=True, exist_ok=True)
        write_whole(file, partial(np.save, arr=digests, allow_pickle=False))
    return digests


def _digest(source: Source, index: int) -> bytes:
    with source.read(index) as image:
        return digest_of_image(image)


def _joined(groups: Indices, copies: Indices) -> Indices:
    """Groups of which those with a copy in common are one."""
    _, group = np.unique(groups, return_inverse=True)
    edges = coo_array((np.ones(len(group)), (group, group.max() + 1 + copies)), shape=(2 * len(group), 2 * len(group)))
    return connected_components(edges, directed=False)[1][group].astype(np.int64)
