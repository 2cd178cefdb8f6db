"""Copies: images whose decoded pixels are the same, under different names or in different files."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from biotune.datasets.decoded import DIGEST_BYTES, Digests, digest_of
from biotune.datasets.images import EIGHT_BIT, bombs_refused, kind_of, to_rgb, values_of
from biotune.datasets.shards import in_shards, unfinished
from biotune.datasets.source import Indices, Source
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
    listed = [bytes(digest) for digest in digests]
    repeated = {digest for digest, count in Counter(listed).items() if count > 1 and digest}
    places: dict[bytes, list[int]] = defaultdict(list)
    for position, digest in enumerate(listed):
        if digest in repeated:
            places[digest].append(position)
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
    listed = digests.tolist()
    number = {digest: at for at, digest in enumerate(dict.fromkeys(listed))}
    copies = np.array([number[digest] for digest in listed], dtype=np.int64)
    # an image that cannot be decoded is no copy
    without = np.flatnonzero(digests == b"")
    copies[without] = len(number) + np.arange(len(without))
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
    kept = _kept(file, len(source.names))
    if kept is not None:
        return kept
    digests = np.zeros(len(source.names), dtype=f"S{DIGEST_BYTES}")
    with unfinished(file, len(members), on_progress) as part:
        kept = _kept(file, len(source.names))
        if kept is not None:  # another process has made it while this one waited
            return kept
        with bombs_refused():
            found = in_shards(part, len(members), lambda row: _digest(source, int(members[row])), _recorded, on_progress)
            for row, digest in found:
                digests[members[row]] = digest
        write_whole(file, partial(np.save, arr=digests, allow_pickle=False))
    return digests


def _kept(file: Path, count: int) -> Digests | None:
    with suppress(OSError, ValueError, EOFError):
        kept = np.load(file, allow_pickle=False)
        if kept.shape == (count,):
            return np.asarray(kept)
    return None


def _recorded(row: int, outcome: bytes | Exception) -> str:
    return "" if isinstance(outcome, Exception) else outcome.decode()


def _digest(source: Source, index: int) -> bytes:
    with source.read(index) as image:
        return digest_of_image(image)


def _joined(groups: Indices, copies: Indices) -> Indices:
    """Groups of which those with a copy in common are one."""
    _, group = np.unique(groups, return_inverse=True)
    edges = coo_array((np.ones(len(group)), (group, group.max() + 1 + copies)), shape=(2 * len(group), 2 * len(group)))
    return connected_components(edges, directed=False)[1][group].astype(np.int64)
