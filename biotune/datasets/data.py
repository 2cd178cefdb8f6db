"""Loads a dataset for training: finds, splits and decodes its images, and draws the folds."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from biotune.config.sections import STREAM, DatasetConfig
from biotune.datasets.copies import Copies, sets_of_copies, with_copies
from biotune.datasets.decoded import Decoded, Pixels, decode
from biotune.datasets.images import Geometry, ValueRange
from biotune.datasets.registry import load_source
from biotune.datasets.source import SPLITS, Indices, Source
from biotune.datasets.splits import AS_GIVEN, Fold, Resampling, SplitIndices, draw_folds, partition, without
from biotune.datasets.streamed import Streamed
from biotune.datasets.value_range import find_range
from biotune.errors import DataError

_REDIVIDED = (
    "the given validation set is the first of the search's splits and that of the final training runs; other splits divide "
    "training and validation images anew. With evolution.resplit=false they do not."
)


@dataclass(frozen=True)
class Part:
    """A training set and a validation set.

    Attributes:
        train: (N_train,) rows of `Data.pixels`, ascending.
        val: (N_val,) rows of `Data.pixels`, ascending.
    """

    train: Indices
    val: Indices


@dataclass(frozen=True)
class Data:
    """A dataset ready for training.

    Attributes:
        name: The dataset's name.
        classes: Names of the classes.
        pixels: (N, H, W, 3) uint8 RGB, all images in use; with dataset.decoded=stream they are decoded when rows are read.
        labels: (N,) int64 indices into `classes`.
        names: (N,) name of each image: its path below the root, or its index.
        whole: All training and validation images.
        folds: The same images cut into disjoint folds, or split several times (see `Resampling`): those of the search, then
            those of the confirmation.
        test: (N_test,) rows of the test set, ascending; no model sees them before the search is over.
        fingerprint: Changes whenever images, labels or splits do, and where the files lie elsewhere or are written anew.
        skipped: Names of the images left out because they could not be decoded.
        resampling: How the folds were drawn; its numbers are settled.
        value_range: The values that became 0 and 255 in images of more than 8 bits; None is the range of their type.
        copies: Sets of images with the same pixels, as rows.
        contents: Changes whenever pixels, names, labels or splits do, wherever the files lie; runs are resumed by it.
        remarks: How the dataset was read, see `Source`.
    """

    name: str
    classes: tuple[str, ...]
    pixels: Pixels | Streamed
    labels: Indices
    names: tuple[str, ...]
    whole: Part
    folds: tuple[Part, ...]
    test: Indices
    fingerprint: str
    skipped: tuple[str, ...] = ()
    resampling: Resampling = AS_GIVEN
    value_range: ValueRange | None = None
    copies: tuple[Copies, ...] = ()
    contents: str = ""
    remarks: tuple[str, ...] = ()

    @property
    def sides(self) -> tuple[int, int]:
        """Height and width of the images in pixels."""
        return self.pixels.shape[1], self.pixels.shape[2]

    def part(self, fold: int | None) -> Part:
        """Return the training and validation rows of a fold, or all of them for None."""
        return self.whole if fold is None else self.folds[fold]


@dataclass(frozen=True)
class FoundDataset:
    """A dataset that is found, split and checked, but not decoded.

    Attributes:
        config: The dataset's config.
        source: The labelled images.
        cut: The indices of the images of each split.
        resampling: How folds are drawn from the splits; its numbers are settled.
        folds: The folds, as indices of images.
        kept: (C,) labels of the source that have an output of the network: all, or as many as dataset.max_classes allows.
    """

    config: DatasetConfig
    source: Source
    cut: SplitIndices
    resampling: Resampling
    folds: tuple[Fold, ...]
    kept: Indices

    @property
    def classes(self) -> tuple[str, ...]:
        """(C,) names of the classes that have an output of the network."""
        return tuple(self.source.classes[label] for label in self.kept)


def find_dataset(
    config: DatasetConfig,
    resampling: Resampling = AS_GIVEN,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> FoundDataset:
    """Find a dataset, split it and draw its folds; copies among images that are divided stay together.

    Args:
        config: The dataset's config.
        resampling: How folds are drawn from the training and validation images.
        on_progress: Called with the number of images compared and the number of all images, where copies are looked for.

    Returns:
        The dataset as indices of images.

    Raises:
        DataError: The data is missing, malformed or too small.
    """
    source = load_source(config)
    if resampling.anew and not config.val_from_train and "val" in source.splits:
        source = replace(source, remarks=(*source.remarks, _REDIVIDED))
    if resampling.anew or config.val_from_train or not {"train", "val", "test"} <= set(source.splits.tolist()):
        source = with_copies(source, on_progress)
    try:
        cut = partition(source, config)
        resampling = resampling.settled(len(cut.train), len(cut.val))
        folds = draw_folds(source, cut, resampling, config.split_seed)
    except DataError as error:  # a column of groups may have been guessed
        raise DataError(" ".join((str(error), *source.remarks))) from error
    limited = config.max_classes is not None
    kept = np.unique(source.labels[cut.train]) if limited else np.arange(len(source.classes))
    return FoundDataset(config, source, cut, resampling, folds, kept)


def load_dataset(
    plan: FoundDataset, geometry: Geometry, on_progress: Callable[[int, int], None] = lambda done, total: None
) -> Data:
    """Decode the images of a dataset; where broken images are left out, its folds are drawn again.

    Args:
        plan: The result of `find_dataset`.
        geometry: The size and crop that the backbone's weights expect; `dataset.image_size` rescales it.
        on_progress: Called with the number of images decoded and the number of all images.

    Returns:
        The dataset with its pixels.

    Raises:
        DataError: An image cannot be decoded, or a class has too few images that can.
    """
    source, config, cut, folds = plan.source, plan.config, plan.cut, plan.folds
    members = np.sort(np.concatenate([cut.train, cut.val, cut.test]))
    value_range = config.limits or find_range(source, cut.train, on_progress)
    geometry = geometry.scaled_to(config.sides)
    streams = config.decoded == STREAM and source.on_disk
    decoded = decode(source, members, geometry, config.skip_broken, on_progress, value_range, keep=not streams)
    pixels = Streamed(config, source, members, geometry, value_range, decoded.digests) if streams else decoded.pixels
    if decoded.broken:
        cut = without(source, cut, members[list(decoded.broken)].tolist())
        folds = draw_folds(source, cut, plan.resampling, config.split_seed)
    label_of = np.full(len(source.classes), -1, dtype=np.int64)
    label_of[plan.kept] = np.arange(len(plan.kept))
    train, val, test = (np.searchsorted(members, part) for part in (cut.train, cut.val, cut.test))
    lies_in = np.full(len(members), "", dtype="<U5")
    for name, part in zip(SPLITS, (train, val, test), strict=True):
        lies_in[part] = name
    labels = label_of[source.labels[members]]
    return Data(
        name=config.name,
        classes=plan.classes,
        pixels=pixels,
        labels=labels,
        names=tuple(source.names[index] for index in members.tolist()),
        whole=Part(train, val),
        folds=tuple(Part(*(np.searchsorted(members, part) for part in fold)) for fold in folds),
        test=test,
        fingerprint=_fingerprint(source.fingerprint, source, cut, plan.resampling, value_range),
        contents=_fingerprint(_content(source, members, decoded), source, cut, plan.resampling, value_range),
        skipped=tuple(source.names[members[row]] for row in decoded.broken),
        resampling=plan.resampling,
        value_range=value_range,
        copies=tuple(sets_of_copies(decoded.digests, lies_in.tolist(), labels.tolist())),
        remarks=source.remarks,
    )


def _content(source: Source, members: Indices, decoded: Decoded) -> str:
    """A hash of the names and pixels of the images in use; the decoder has hashed each image already."""
    digest = hashlib.sha256()
    for index, own in zip(members, decoded.digests, strict=True):
        digest.update(f"{source.names[index]}\0{bytes(own).hex()}\n".encode(errors="surrogateescape"))
    return digest.hexdigest()


def _fingerprint(images: str, source: Source, cut: SplitIndices, resampling: Resampling, value_range: ValueRange | None) -> str:
    kind = " resplits" if resampling.anew else ""
    further = f" and {resampling.confirming}" if resampling.confirming else ""
    values = "" if value_range is None else f" values {value_range}"
    digest = hashlib.sha256(f"{images}/{resampling.splits}{kind}{further}{values}".encode())
    for part in (cut.train, cut.val, cut.test):
        digest.update(part.tobytes())
        # the same images may have other labels
        digest.update(source.labels[part].tobytes())
    return digest.hexdigest()[:24]
