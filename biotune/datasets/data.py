"""A dataset ready for training: found, split, decoded and cut into folds."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from biotune.config.schema import DatasetConfig
from biotune.datasets.decoded import Pixels, decode
from biotune.datasets.images import Geometry
from biotune.datasets.registry import load_source
from biotune.datasets.source import Indices, Source
from biotune.datasets.splits import AS_GIVEN, Fold, Resampling, SplitIndices, check_classes, draw_folds, partition


@dataclass(frozen=True)
class Part:
    """Rows of `Data.pixels` to train on and to validate on, ascending."""

    train: Indices
    val: Indices


@dataclass(frozen=True)
class Data:
    """A dataset ready for training.

    Attributes:
        name: The dataset's name.
        classes: Names of the classes.
        pixels: (N, H, W, 3) uint8, every image in use.
        labels: (N,) int64.
        names: What identifies each image to the user.
        whole: All training and validation data.
        folds: The same cut into disjoint folds, or split anew several times (see `Resampling`).
        test: Rows of the test split; no model sees them before the search is over.
        fingerprint: Changes whenever images, labels or splits do.
        skipped: Images left out because they could not be decoded.
    """

    name: str
    classes: tuple[str, ...]
    pixels: Pixels
    labels: Indices
    names: tuple[str, ...]
    whole: Part
    folds: tuple[Part, ...]
    test: Indices
    fingerprint: str
    skipped: tuple[str, ...] = ()

    def part(self, fold: int | None) -> Part:
        """The training and validation rows of a fold, or all of them for None."""
        return self.whole if fold is None else self.folds[fold]


@dataclass(frozen=True)
class FoundDataset:
    """A dataset found, split and checked, but with no image decoded yet.

    Attributes:
        config: What was asked for.
        source: Where the images are.
        cut: Which image serves what.
        resampling: How folds are drawn from it.
        folds: The folds, as indices of images.
        kept: Labels that have an output: all, or those a limit on classes has left.
    """

    config: DatasetConfig
    source: Source
    cut: SplitIndices
    resampling: Resampling
    folds: tuple[Fold, ...]
    kept: Indices

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes that have an output."""
        return tuple(self.source.classes[label] for label in self.kept)


def find_dataset(config: DatasetConfig, resampling: Resampling = AS_GIVEN) -> FoundDataset:
    """Find a dataset, split it and draw its folds; decodes nothing.

    Args:
        config: Which dataset.
        resampling: How folds are drawn from the training and validation data.

    Raises:
        DataError: Data missing, malformed or too small.
    """
    source = load_source(config)
    cut = partition(source, config)
    folds = draw_folds(source, cut, resampling, config.split_seed)
    limited = config.max_classes is not None
    kept = np.unique(source.labels[cut.train]) if limited else np.arange(len(source.classes))
    return FoundDataset(config, source, cut, resampling, folds, kept)


def load_dataset(
    plan: FoundDataset, geometry: Geometry, on_progress: Callable[[int, int], None] = lambda done, total: None
) -> Data:
    """Decode what was found; only where broken images are left out are its folds drawn again.

    Args:
        plan: What `find_dataset` found.
        geometry: What the backbone's weights expect; `dataset.image_size` rescales it.
        on_progress: Told how many of how many images are decoded.

    Raises:
        DataError: An image cannot be decoded, or what can be is too little.
    """
    source, config, cut, folds = plan.source, plan.config, plan.cut, plan.folds
    members = np.sort(np.concatenate([cut.train, cut.val, cut.test]))
    decoded = decode(source, members, geometry.scaled_to(config.image_size), config.skip_broken, on_progress)
    if decoded.broken:
        good = np.setdiff1d(members, members[list(decoded.broken)])
        cut = SplitIndices(*(np.intersect1d(part, good) for part in (cut.train, cut.val, cut.test)))
        check_classes(source, cut)
        folds = draw_folds(source, cut, plan.resampling, config.split_seed)
    label_of = np.full(len(source.classes), -1, dtype=np.int64)
    label_of[plan.kept] = np.arange(len(plan.kept))
    train, val, test = (np.searchsorted(members, part) for part in (cut.train, cut.val, cut.test))
    return Data(
        name=config.name,
        classes=plan.classes,
        pixels=decoded.pixels,
        labels=label_of[source.labels[members]],
        names=tuple(source.names[index] for index in members),
        whole=Part(train, val),
        folds=tuple(Part(*(np.searchsorted(members, part) for part in fold)) for fold in folds),
        test=test,
        fingerprint=_fingerprint(source, cut, plan.resampling),
        skipped=tuple(source.names[members[row]] for row in decoded.broken),
    )


def _fingerprint(source: Source, cut: SplitIndices, resampling: Resampling) -> str:
    kind = " resplits" if resampling.anew else ""
    digest = hashlib.sha256(f"{source.fingerprint}/{resampling.splits}{kind}".encode())
    for part in (cut.train, cut.val, cut.test):
        digest.update(part.tobytes())
        # one set of images can be labelled in several ways
        digest.update(source.labels[part].tobytes())
    return digest.hexdigest()[:24]
