"""Checks a dataset before a run: counts, broken images, duplicates, sizes, and classes too small to be split.

Every image is decoded once; what is kept of it is a hash, a perceptual hash and a thumbnail of 12 pixels, about 600 bytes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from biotune.config.sections import DatasetConfig
from biotune.datasets.catalogue import Facts
from biotune.datasets.copies import Copies, digest_of_image, sets_of_copies
from biotune.datasets.decoded import DIGEST_BYTES, Digests, digest_of
from biotune.datasets.images import EIGHT_BIT, ValueRange, bombs_refused, is_hidden, kind_of, to_rgb, to_view
from biotune.datasets.near import SIDE, Hashes, Thumbnails, alike, can_look, look_of
from biotune.datasets.parallel import in_parallel
from biotune.datasets.registry import facts_of, load_source
from biotune.datasets.sizes import Sizes, sizes_of
from biotune.datasets.source import SPLITS, Source
from biotune.datasets.splits import SplitIndices, partition, without
from biotune.errors import DataError, one_line

HIDDEN = "hidden"


@dataclass(frozen=True)
class Count:
    """One count of a copy.

    Attributes:
        what: What is counted: `classes`, or the images of `train`, `val` or `test`.
        found: The count in the copy.
        official: The official count; None where there is none.
    """

    what: str
    found: int
    official: int | None

    @property
    def agrees(self) -> bool:
        """Whether the count equals the official one, if there is one."""
        return self.official is None or self.found == self.official


@dataclass(frozen=True)
class ClassCount:
    """The images of one class.

    Attributes:
        name: Its name.
        images: Number of images in train, val and test; those without a split count as training images.
        lacks: What it lacks to be split, in words; empty if nothing.
    """

    name: str
    images: tuple[int, int, int]
    lacks: str


@dataclass(frozen=True)
class Finding:
    """The result of a check.

    Attributes:
        source: The dataset.
        counts: Classes and images of each split.
        broken: Name of an image → the reason why it cannot be decoded.
        copies: Sets of images with the same pixels.
        near: Sets of images that look alike and are not all copies; None where the package to find them is not installed.
        classes: The classes and their images, in the order of the labels; those without images are left out.
        refused: Why a run that leaves out the broken images would refuse the dataset; empty if it would split it.
        cut: The training, validation and test set of such a run; None if it refuses the dataset.
        sizes: The sizes of the images; None if none can be decoded.
        several: Names of the files of several pages or frames, of which the first is used.
        passed_over: Kind of file below the root that is no image of the dataset → how many: `hidden`, or the file's ending.
    """

    source: Source
    counts: tuple[Count, ...]
    broken: dict[str, str]
    copies: tuple[Copies, ...]
    near: tuple[Copies, ...] | None
    classes: tuple[ClassCount, ...]
    refused: str
    cut: SplitIndices | None
    sizes: Sizes | None
    several: tuple[str, ...]
    passed_over: dict[str, int]

    @property
    def names(self) -> tuple[str, ...]:
        """The name of each image."""
        return self.source.names

    @property
    def is_whole(self) -> bool:
        """Whether all counts agree and every image can be decoded."""
        return not self.broken and all(count.agrees for count in self.counts)


class _Seen(NamedTuple):
    """What is kept of an image that was decoded."""

    digest: bytes
    hash: int
    thumbnail: Thumbnails | None
    size: tuple[int, int]
    several: bool


def check_copy(config: DatasetConfig, on_progress: Callable[[int, int], None] = lambda done, total: None) -> Finding:
    """Count what a copy holds and decode every image of it.

    Args:
        config: The dataset and its root.
        on_progress: Called with the number of images decoded and the number of all images.

    Returns:
        The counts and the broken images.

    Raises:
        DataError: The copy is missing or cannot be read at all.
    """
    source, facts = load_source(config), facts_of(config)
    total, looks = len(source.names), can_look()
    broken: dict[str, str] = {}
    several: list[str] = []
    digests = np.zeros(total, dtype=f"S{DIGEST_BYTES}")
    hashes = np.zeros(total, dtype=np.uint64)
    thumbnails = np.zeros((total if looks else 0, SIDE, SIDE, 3), dtype=np.uint8)
    sides = np.zeros((total, 2), dtype=np.int32)
    with bombs_refused():
        for index, seen in in_parallel(lambda at: _seen(source, at, config.limits, looks), total):
            if isinstance(seen, Exception):
                broken[source.names[index]] = one_line(seen) or type(seen).__name__
            else:
                digests[index], hashes[index], sides[index] = seen.digest, seen.hash, seen.size
                if seen.thumbnail is not None:
                    thumbnails[index] = seen.thumbnail
                if seen.several:
                    several.append(source.names[index])
            on_progress(index + 1, total)
    splits, labels = source.splits.tolist(), source.labels.tolist()
    return Finding(
        source,
        _counts(source, facts),
        broken,
        tuple(sets_of_copies(digests, splits, labels)),
        tuple(_near(digests, hashes, thumbnails, splits, labels)) if looks else None,
        tuple(_classes(source, config)),
        *_cut(source, config, [at for at, name in enumerate(source.names) if name in broken]),
        sizes_of(sides),
        tuple(several),
        dict(Counter(map(_kind, source.passed_over()))),
    )


def _seen(source: Source, index: int, limits: ValueRange | None, looks: bool) -> _Seen:
    with source.read(index) as image:
        several = bool(getattr(image, "is_animated", False))
        wide = kind_of(image) != EIGHT_BIT
        if wide:
            digest = digest_of_image(image)
        else:
            shown = to_rgb(image)
            digest = digest_of(np.asarray(shown))
    if wide:  # opened again, because reading the values has moved on in the file
        with source.read(index) as image:
            shown = to_view(image, limits)
    hash_, thumbnail = look_of(shown) if looks else (0, None)
    return _Seen(digest, hash_, thumbnail, shown.size, several)


def _near(digests: Digests, hashes: Hashes, thumbnails: Thumbnails, splits: list[str], labels: list[int]) -> Iterator[Copies]:
    """The sets of images that look alike, of at least two contents, in the order of their first image."""
    known = np.flatnonzero(digests != b"")
    _, first, content = np.unique(digests[known], return_index=True, return_inverse=True)
    sets = alike(hashes[known[first]], thumbnails[known[first]])
    several = np.flatnonzero(np.bincount(sets, minlength=1) > 1)
    own = sets[content]
    order = np.argsort(own, kind="stable")
    begins, ends = np.searchsorted(own[order], several), np.searchsorted(own[order], several, side="right")
    found = [known[order[begin:end]].tolist() for begin, end in zip(begins, ends, strict=True)]
    for images in sorted(found):
        yield Copies(tuple(images), len({splits[at] for at in images}) > 1, len({labels[at] for at in images}) > 1)


def _counts(source: Source, facts: Facts | None) -> tuple[Count, ...]:
    used = int(np.unique(source.labels).size)
    counts = [Count("classes", used, None if facts is None else facts.classes)]
    # images without an official split count as training images: hold-outs are drawn from them
    sizes = {split: int(np.isin(source.splits, _words(split)).sum()) for split in SPLITS}
    counts += [
        Count(split, sizes[split], _official(facts, split)) for split in SPLITS if sizes[split] or _official(facts, split)
    ]
    return tuple(counts)


def _words(split: str) -> tuple[str, ...]:
    return (split, "") if split == "train" else (split,)


def _classes(source: Source, config: DatasetConfig) -> Iterator[ClassCount]:
    """The classes with their images, and what each lacks: an image, or a group, for every split that is drawn."""
    splits = [np.isin(source.splits, _words(split)) for split in SPLITS]
    if config.val_from_train:
        splits = [splits[0] | splits[1], np.zeros_like(splits[1]), splits[2]]
    drawn = [name for name, own in zip(("validation", "test"), splits[1:], strict=True) if not own.any()]
    most = len(source.classes)
    counts = np.stack([np.bincount(source.labels[own], minlength=most) for own in splits], axis=1)
    units, unit = counts[:, 0], "image"
    if source.groups is not None:
        pairs = np.unique(np.stack([source.labels[splits[0]], source.groups[splits[0]]]), axis=1)
        units, unit = np.bincount(pairs[0], minlength=most), "group"
    for name, (train, val, test), there in zip(source.classes, counts.tolist(), units.tolist(), strict=True):
        lacks = ""
        if not train:
            lacks = "has no training images"
        elif not val and "validation" not in drawn:
            lacks = "has no validation images"
        elif there <= len(drawn):
            lacks = f"has {there} {unit}{'s' * (there > 1)} for training, {' and '.join(drawn)}, which need one each"
        if train or val or test:
            yield ClassCount(name, (train, val, test), lacks)


def _cut(source: Source, config: DatasetConfig, broken: Sequence[int]) -> tuple[str, SplitIndices | None]:
    """Why a run that leaves out the broken images refuses the dataset, and its splits where it does not."""
    try:
        cut = partition(source, config)
        return "", without(source, cut, broken) if broken else cut
    except DataError as error:
        return str(error), None


def _kind(name: str) -> str:
    path = Path(name)
    return HIDDEN if any(map(is_hidden, path.parts)) else path.suffix.lower() or "no ending"


def _official(facts: Facts | None, split: str) -> int | None:
    return None if facts is None else {"train": facts.train, "val": facts.val, "test": facts.test}[split]
