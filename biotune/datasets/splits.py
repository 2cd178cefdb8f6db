"""Divides a dataset into training, validation and test sets, folds and subsets: seeded, stratified, grouped, disjoint."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from biotune.config.sections import DatasetConfig
from biotune.datasets.hold_out import by_class, check_groups, hold_out, stratified_folds
from biotune.datasets.source import SPLITS, Indices, Source
from biotune.errors import DataError

_RESPLIT_SEEDS = 10**6  # offset from the seeds of the hold-outs, which begin at dataset.split_seed
# the power calculation of `splits_needed`
_DISAGREEMENT = 0.15  # share of images on which exactly one of two good fine-tunes of a network is right
_TRAINING = 0.1  # variance of one training run's accuracy, over seeds and training sets, times the number of training images
_RESOLUTION = 0.02  # standard error of a difference in accuracy that several splits shall reach
_FEWEST_SPLITS, _MOST_SPLITS = 3, 10


Fold = tuple[Indices, Indices]  # indices of training and validation images, ascending


@dataclass(frozen=True)
class Resampling:
    """How the training and validation images of a search's trials are drawn.

    With `evolution.resplit=true` each split is a random one of all training and validation images, the first one the given
    split; otherwise each is a disjoint fold of both sets.

    Attributes:
        splits: Number of splits that the search takes in turn, `evolution.folds`; 1 is the given one, None as many as
            `splits_needed`.
        anew: Whether each is a new split of all images instead of a disjoint fold.
        confirming: Number of further splits, for the confirmation, `confirm.splits`; None as many as `splits_needed`.
    """

    splits: int | None = 1
    anew: bool = False
    confirming: int | None = 0

    def settled(self, num_train: int, num_val: int) -> Resampling:
        """Return the resampling with both numbers.

        Args:
            num_train: Number of training images of the given split.
            num_val: Number of validation images of the given split.
        """
        needed = splits_needed(num_train, num_val)
        return Resampling(
            needed if self.splits is None else self.splits,
            self.anew,
            needed if self.confirming is None else self.confirming,
        )

    @property
    def counts(self) -> tuple[int, int]:
        """Numbers of splits of the search and of further splits for the confirmation.

        Raises:
            ValueError: A number is not settled.
        """
        if self.splits is None or self.confirming is None:
            raise ValueError("Resampling.counts: the numbers of splits are not settled. Call settled first.")
        return self.splits, self.confirming


AS_GIVEN = Resampling()


def splits_needed(num_train: int, num_val: int) -> int:
    """Return the number of splits over which two schedules must be compared, from a power calculation.

    Where exactly one of two models is right on a share d of the images, the variance of the difference of their accuracies on n
    images is at most d / n (McNemar, "Note on the sampling error of the difference between correlated proportions or
    percentages", 1947). To this comes what luck in training adds, twice c / m with m training images. Over K splits the
    standard error is √((d / n + 2 c / m) / K), which shall be at most 0.02 with d = 0.15 and c = 0.1 (docs/method.md). Splits
    share images, so that this is the least that is needed.

    Args:
        num_train: m, the number of training images, at least 1.
        num_val: n, the number of validation images, at least 1.

    Returns:
        K, between 3 and 10.
    """
    variance = _DISAGREEMENT / num_val + 2 * _TRAINING / num_train
    needed = math.ceil(variance / _RESOLUTION**2)
    return min(max(needed, _FEWEST_SPLITS), _MOST_SPLITS)


@dataclass(frozen=True)
class SplitIndices:
    """Indices of the images of each split, ascending.

    Attributes:
        train: Training images.
        val: Validation images.
        test: Test images, unseen by any model before the search is over.
    """

    train: Indices
    val: Indices
    test: Indices


def partition(source: Source, config: DatasetConfig) -> SplitIndices:
    """Divide a dataset into training, validation and test set.

    Official splits are kept. A missing one is held out, stratified by class and with groups kept together: the test set
    from all images, then the validation set, so that neither share depends on the other (60/20/20 by default).

    Args:
        source: The labelled images.
        config: Shares, limits and seed.

    Returns:
        The indices of each split.

    Raises:
        DataError: A class has too few images, or the shares leave none to train on.
    """
    train, val, test = (np.flatnonzero(source.splits == split) for split in SPLITS)
    if config.val_from_train:
        train, val = np.union1d(train, val), val[:0]
    unassigned = np.flatnonzero(source.splits == "")
    train = np.union1d(train, unassigned)
    whole = len(train)
    if not test.size:
        train, test = hold_out(source, train, config.test_fraction, config.split_seed)
    if not val.size:
        # where both are held out, the validation share refers to all images, not to those left by the test set
        share = config.val_fraction * whole / len(train) if unassigned.size else config.val_fraction
        if unassigned.size and config.val_fraction + config.test_fraction >= 1:
            raise DataError(
                "dataset.val_fraction and dataset.test_fraction: must add up to less than 1, so that training images are left."
            )
        train, val = hold_out(source, train, min(share, 1.0), config.split_seed + 1)
    if config.max_classes is not None:
        first = np.unique(source.labels[train])[: config.max_classes]
        train, val, test = (part[np.isin(source.labels[part], first)] for part in (train, val, test))
    if config.train_fraction < 1:
        train = _subset(source.labels, train, config.train_fraction, config.split_seed)
    train = _at_most(source.labels, train, config.max_per_class, config.split_seed)
    val = _at_most(source.labels, val, config.max_eval_per_class, config.split_seed)
    test = _at_most(source.labels, test, config.max_eval_per_class, config.split_seed)
    cut = SplitIndices(train, val, test)
    check_classes(source, cut)
    return cut


def draw_folds(source: Source, cut: SplitIndices, resampling: Resampling, seed: int) -> tuple[Fold, ...]:
    """Draw the training and validation images of each fold.

    Args:
        source: Labels and, where they exist, groups.
        cut: The splits that folds are drawn from.
        resampling: Number and kind of the folds, settled.
        seed: Seed of the draws.

    Returns:
        Training and validation indices of each fold, ascending.

    Raises:
        DataError: A class would be missing in a fold, or groups leave no way to split anew.
    """
    draw = resplits if resampling.anew else disjoint_folds
    return tuple(draw(source, cut, sum(resampling.counts), seed))


def resplits(source: Source, cut: SplitIndices, count: int, seed: int) -> list[Fold]:
    """Split the training and validation images several times: the given split first, then random ones.

    Schedules selected on a single validation set can overfit it; several sets reduce that.

    Args:
        source: Labels and, where they exist, groups.
        cut: The given splits; the share of validation images stays about the same in each class.
        count: Number of splits, the given one included.
        seed: Seed of the draws.

    Returns:
        Training and validation indices of each split, ascending.

    Raises:
        DataError: Groups leave no way to split anew.
    """
    members = np.union1d(cut.train, cut.val)
    share = len(cut.val) / len(members)
    seeds = [(seed + _RESPLIT_SEEDS + number) % 2**32 for number in range(1, count)]
    drawn = [hold_out(source, members, share, own) for own in seeds]
    return [(cut.train, cut.val), *drawn]


def disjoint_folds(source: Source, cut: SplitIndices, num_folds: int, seed: int = 0) -> list[Fold]:
    """Divide the training and the validation images into disjoint folds, each with every class.

    Args:
        source: Labels and, where they exist, groups.
        cut: The splits that folds are cut from.
        num_folds: Number of folds.
        seed: Seed of the folds; with groups it decides which class gets fewer images.

    Returns:
        Training and validation indices of each fold, ascending.

    Raises:
        DataError: A class would be missing in a fold; with the class, its count and the remedy.
    """
    parts = []
    for name, members in (("training", cut.train), ("validation", cut.val)):
        counts = np.bincount(source.labels[members], minlength=len(source.classes))
        for label in np.flatnonzero((counts > 0) & (counts < num_folds)):
            raise DataError(
                f"class {source.classes[label]} has {counts[label]} {name} images, fewer than evolution.folds={num_folds}. "
                f"Add images or set evolution.folds={counts[label]}."
            )
        groups = None if source.groups is None else source.groups[members]
        if source.groups is not None and num_folds > 1:
            check_groups(source, source.groups, members, num_folds, f"for evolution.folds={num_folds} {name} folds")
        own = [members[held] for held in stratified_folds(source.labels[members], num_folds, seed, groups)]
        if groups is not None and num_folds > 1:
            for part in own:
                _check_part(source, members, part, seed, f"{name} fold")
        parts.append(own)
    return list(zip(*parts, strict=True))


def _check_part(source: Source, members: Indices, part: Indices, seed: int, what: str) -> None:
    """Reject a part in which a class is missing because groups stay together."""
    if lacking := sorted(set(source.labels[members].tolist()) - set(source.labels[part].tolist())):
        raise DataError(
            f"class {source.classes[lacking[0]]} would be missing in a {what}, as groups (such as patients) stay together. "
            f"Set another dataset.split_seed than {seed}, or fewer evolution.folds."
        )


def without(source: Source, cut: SplitIndices, broken: Sequence[int]) -> SplitIndices:
    """Leave images out of splits.

    Args:
        source: The labels and class names.
        cut: The splits.
        broken: Indices of the images to leave out.

    Raises:
        DataError: A class has too few images then.
    """
    cut = SplitIndices(*(np.setdiff1d(part, np.asarray(broken, np.int64)) for part in (cut.train, cut.val, cut.test)))
    check_classes(source, cut)
    return cut


def check_classes(source: Source, cut: SplitIndices) -> None:
    """Reject splits in which a class of another split is missing; only the test set may lack a class.

    Args:
        source: The labels and class names.
        cut: The splits.

    Raises:
        DataError: With the missing class.
    """
    present = np.unique(source.labels[cut.train])
    if len(present) < 2:
        raise DataError(f"{source.name}: needs training images of at least two classes, found {len(present)}.")
    for name, members in (("validation", cut.val), ("test", cut.test)):
        if stray := sorted(set(source.labels[members].tolist()) - set(present.tolist())):
            raise DataError(f"class {source.classes[stray[0]]} has {name} images but no training images.")
        if not members.size:
            raise DataError(f"{source.name}: the {name} split is empty.")
    if len(cut.val) and (lacking := sorted(set(present.tolist()) - set(source.labels[cut.val].tolist()))):
        raise DataError(f"class {source.classes[lacking[0]]} has training images but no validation images.")


def _subset(labels: Indices, members: Indices, share: float, seed: int) -> Indices:
    rng = np.random.default_rng([seed, 2])
    chosen = []
    for _, own in by_class(labels, members):
        chosen.append(rng.permutation(own)[: max(1, round(share * len(own)))])
    return np.sort(np.concatenate(chosen))


def _at_most(labels: Indices, members: Indices, limit: int | None, seed: int) -> Indices:
    if limit is None:
        return members
    rng = np.random.default_rng([seed, 3])
    chosen = [rng.permutation(own)[:limit] for _, own in by_class(labels, members)]
    return np.sort(np.concatenate(chosen)) if chosen else members
