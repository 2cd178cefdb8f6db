"""Tests of hold-outs, folds and subsets."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from biotune.config.sections import DatasetConfig
from biotune.datasets.source import Source
from biotune.datasets.splits import (
    Resampling,
    SplitIndices,
    check_classes,
    disjoint_folds,
    draw_folds,
    hold_out,
    partition,
    resplits,
    splits_needed,
    stratified_folds,
)
from biotune.errors import DataError

NAMES = ("cat", "dog", "emu", "fox")


def source(labels: list[int], splits: list[str] | str = "", groups: list[int] | None = None) -> Source:
    count = len(labels)
    return Source(
        name="toy",
        classes=NAMES,
        labels=np.array(labels, dtype=np.int64),
        splits=np.array([splits] * count if isinstance(splits, str) else splits, dtype="<U5"),
        names=tuple(map(str, range(count))),
        read=lambda index: (_ for _ in ()).throw(AssertionError("splitting must open no image")),
        fingerprint="toy",
        groups=None if groups is None else np.array(groups, dtype=np.int64),
    )


def config(**options: object) -> DatasetConfig:
    return DatasetConfig("toy", "toy", **options)


def counts(toy: Source, members: np.ndarray) -> list[int]:
    return np.bincount(toy.labels[members], minlength=len(NAMES)).tolist()


def parts(cut: SplitIndices) -> list[np.ndarray]:
    return [cut.train, cut.val, cut.test]


def test_without_official_splits_every_class_is_cut_60_20_20() -> None:
    toy = source([0] * 10 + [1] * 20 + [2] * 50)
    assert [counts(toy, part)[:3] for part in parts(partition(toy, config()))] == [[6, 12, 30], [2, 4, 10], [2, 4, 10]]


def test_the_validation_share_refers_to_all_images_whatever_the_test_share() -> None:
    toy = source([0] * 20 + [1] * 20)
    cut = partition(toy, config(test_fraction=0.5, val_fraction=0.25))
    assert [counts(toy, part)[:2] for part in parts(cut)] == [[5, 5], [5, 5], [10, 10]]


def test_hold_outs_that_leave_nothing_name_both_keys() -> None:
    with pytest.raises(DataError, match=r"dataset\.val_fraction and dataset\.test_fraction"):
        partition(source([0] * 20 + [1] * 20), config(test_fraction=0.6, val_fraction=0.5))


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(3, 30), min_size=2, max_size=4), st.integers(0, 2**31))
def test_splits_are_disjoint_cover_everything_and_hold_every_class(sizes: list[int], seed: int) -> None:
    labels = [label for label, size in enumerate(sizes) for _ in range(size)]
    toy = source(labels)
    cut = partition(toy, config(split_seed=seed))
    together = np.concatenate(parts(cut))
    assert sorted(together.tolist()) == list(range(len(labels)))
    for part in parts(cut):
        assert (np.diff(part) > 0).all(), "ascending"
        assert all(count > 0 for count in counts(toy, part)[: len(sizes)])


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(4, 30), min_size=2, max_size=4), st.integers(1, 4), st.integers(0, 2**31))
def test_folds_are_disjoint_cover_everything_and_differ_by_one_image_a_class(
    sizes: list[int], num_folds: int, seed: int
) -> None:
    labels = np.array([label for label, size in enumerate(sizes) for _ in range(size)])
    folds = stratified_folds(labels, num_folds, seed)
    assert len(folds) == num_folds
    assert sorted(np.concatenate(folds).tolist()) == list(range(len(labels)))
    for label in range(len(sizes)):
        own = [int((labels[fold] == label).sum()) for fold in folds]
        assert max(own) - min(own) <= 1


@pytest.mark.parametrize("num_folds", [2, 3])
def test_the_same_seed_gives_the_same_folds_and_another_seed_others(num_folds: int) -> None:
    labels = np.repeat([0, 1], 30)
    first, again, other = (stratified_folds(labels, num_folds, seed) for seed in (1, 1, 2))
    assert all((a == b).all() for a, b in zip(first, again, strict=True))
    assert any(a.tolist() != b.tolist() for a, b in zip(first, other, strict=True))


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(2, 30), min_size=2, max_size=4), st.integers(0, 2**32 - 2))
def test_new_splits_share_out_the_same_images_in_each_class_as_before(sizes: list[int], seed: int) -> None:
    labels = [label for label, size in enumerate(sizes) for _ in range(2 * size)]
    toy = source(labels, [name for size in sizes for name in ["train"] * size + ["val"] * size] + ["test"] * 0)
    cut = SplitIndices(*(np.flatnonzero(toy.splits == split) for split in ("train", "val", "test")))
    found = resplits(toy, cut, 4, seed)
    assert [part.tolist() for part in found[0]] == [cut.train.tolist(), cut.val.tolist()]
    for train, val in found:
        assert sorted([*train.tolist(), *val.tolist()]) == list(range(len(labels)))
        assert (np.diff(train) > 0).all() and (np.diff(val) > 0).all()
        assert counts(toy, train) == counts(toy, cut.train)
    if min(sizes) > 10:
        assert len({tuple(val.tolist()) for _, val in found}) == 4
    assert [val.tolist() for _, val in resplits(toy, cut, 4, seed)] == [val.tolist() for _, val in found]


def test_new_splits_keep_the_share_of_validation_images_and_touch_no_test_image() -> None:
    toy = source([0] * 40 + [1] * 20, (["train"] * 6 + ["val"] * 2 + ["test"] * 2) * 6)
    cut = partition(toy, config())
    for train, val in resplits(toy, cut, 5, seed=3):
        assert (counts(toy, train)[:2], counts(toy, val)[:2]) == ([24, 12], [8, 4])
        assert not set(cut.test.tolist()) & {*train.tolist(), *val.tolist()}


def test_new_splits_never_tear_a_group_apart() -> None:
    groups = [number // 4 for number in range(80)]
    toy = source([group % 2 for group in groups], groups=groups)
    cut = partition(toy, config())
    for train, val in resplits(toy, cut, 4, seed=0):
        assert not {groups[row] for row in train} & {groups[row] for row in val}
        assert all(counts(toy, val)[:2])


def test_the_split_seed_decides_the_hold_outs() -> None:
    toy = source([0] * 30 + [1] * 30)
    first, again, other = (partition(toy, config(split_seed=seed)) for seed in (5, 5, 6))
    for a, b, c in zip(parts(first), parts(again), parts(other), strict=True):
        assert a.tolist() == b.tolist()
        assert a.tolist() != c.tolist()


def test_official_splits_are_kept_and_only_the_missing_one_is_held_out() -> None:
    splits = (["train"] * 10 + ["test"] * 5) * 2
    toy = source([0] * 15 + [1] * 15, splits)
    cut = partition(toy, config())
    assert cut.test.tolist() == [*range(10, 15), *range(25, 30)]
    assert counts(toy, cut.val)[:2] == [2, 2], "20 % of the training images"
    assert set(cut.val.tolist()) <= set(range(10)) | set(range(15, 25))


def test_three_official_splits_are_taken_as_they_are() -> None:
    toy = source([0, 0, 0, 1, 1, 1], ["train", "val", "test"] * 2)
    cut = partition(toy, config(split_seed=9, val_fraction=0.9))
    assert [part.tolist() for part in parts(cut)] == [[0, 3], [1, 4], [2, 5]]


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 1000), st.integers(12, 40))
def test_no_group_is_ever_torn_apart(seed: int, patients: int) -> None:
    rng = np.random.default_rng(seed)
    groups = np.repeat(np.arange(patients), 3)
    labels = rng.integers(0, 2, patients)[groups].tolist()
    labels[:6] = [0] * 6
    labels[-6:] = [1] * 6
    toy = source(labels, groups=groups.tolist())
    stay, held = hold_out(toy, np.arange(len(labels)), 0.25, seed)
    assert held.size and stay.size
    assert not set(groups[stay]) & set(groups[held])
    assert sorted([*stay, *held]) == list(range(len(labels)))
    for fold, other in zip(*[stratified_folds(toy.labels, 2, seed, groups)] * 2, strict=True):
        rest = np.setdiff1d(np.arange(len(labels)), fold)
        assert not set(groups[other]) & set(groups[rest])


@pytest.mark.parametrize("seed", range(5))
def test_folds_of_a_search_never_tear_a_group_apart(seed: int) -> None:
    groups = np.repeat(np.arange(40), 3)
    toy = source((groups % 2).tolist(), groups=groups.tolist())
    cut = partition(toy, config(split_seed=seed))
    folds = disjoint_folds(toy, cut, 2, seed)
    for parts_of, whole in ((0, cut.train), (1, cut.val)):
        first, second = (fold[parts_of] for fold in folds)
        assert not set(groups[first]) & set(groups[second])
        assert sorted([*first, *second]) == whole.tolist()


def test_subsets_limit_each_split_by_class() -> None:
    toy = source([0] * 50 + [1] * 50 + [2] * 50)
    cut = partition(toy, config(max_per_class=7, max_eval_per_class=3))
    assert [counts(toy, part)[:3] for part in parts(cut)] == [[7, 7, 7], [3, 3, 3], [3, 3, 3]]


def test_the_training_fraction_keeps_one_image_of_each_class_at_least_and_leaves_evaluation_alone() -> None:
    toy = source([0] * 50 + [1] * 5)
    whole, half, least = (partition(toy, config(train_fraction=share)) for share in (1.0, 0.5, 0.001))
    assert counts(toy, whole.train)[:2] == [30, 3]
    assert counts(toy, half.train)[:2] == [15, 2]
    assert counts(toy, least.train)[:2] == [1, 1]
    assert half.val.tolist() == whole.val.tolist()
    assert half.test.tolist() == whole.test.tolist()
    assert set(half.train) <= set(whole.train)


def test_a_limit_on_classes_takes_the_first_that_have_training_images() -> None:
    toy = source([3] * 10 + [2] * 10 + [1] * 10)
    cut = partition(toy, config(max_classes=2))
    assert all(set(toy.labels[part].tolist()) == {1, 2} for part in parts(cut))


@pytest.mark.parametrize("images", [1, 2])
def test_a_class_too_small_to_hold_out_from_is_named_with_its_count(images: int) -> None:
    with pytest.raises(DataError, match=rf"class dog has too few images \({images}\).*Add images"):
        partition(source([0] * 10 + [1] * images), config())


def test_a_class_too_small_for_the_folds_is_named_with_its_count_and_the_remedy() -> None:
    toy = source([0] * 20 + [1] * 6)
    cut = partition(toy, config())
    with pytest.raises(DataError, match=r"class dog has 1 validation images.*evolution\.folds=2.*set evolution\.folds=1"):
        disjoint_folds(toy, cut, 2)
    ((train, val),) = disjoint_folds(toy, cut, 1)
    assert (train.tolist(), val.tolist()) == (cut.train.tolist(), cut.val.tolist())


@pytest.mark.parametrize(
    ("labels", "splits", "words"),
    [
        ([0, 1, 0, 1, 2, 0], ["train", "train", "val", "val", "val", "test"], "class emu has validation images but no train"),
        ([0, 1, 0, 1, 0, 3], ["train", "train", "val", "val", "test", "test"], "class fox has test images but no train"),
        ([0, 1, 0, 0], ["train", "train", "val", "test"], "class dog has training images but no validation"),
        ([0, 0, 0, 0], ["train", "train", "val", "test"], "at least two classes, found 1"),
    ],
)
def test_a_class_that_one_split_lacks_is_named(labels: list[int], splits: list[str], words: str) -> None:
    with pytest.raises(DataError, match=words):
        partition(source(labels, splits), config())


def test_an_empty_split_is_refused() -> None:
    toy = source([0, 1, 0, 1])
    with pytest.raises(DataError, match="the test split is empty"):
        check_classes(toy, SplitIndices(np.array([0, 1]), np.array([2, 3]), np.array([], dtype=np.int64)))


def test_test_data_may_lack_a_class() -> None:
    toy = source([0, 1, 0, 1, 0], ["train", "train", "val", "val", "test"])
    assert partition(toy, config()).test.tolist() == [4]


@pytest.mark.parametrize(
    ("num_train", "num_val", "needed"),
    [(40, 10, 10), (100, 200, 7), (200, 200, 5), (1000, 250, 3), (10**6, 50, 8), (10**6, 10**6, 3)],
)
def test_few_images_need_many_splits(num_train: int, num_val: int, needed: int) -> None:
    """For 100 and 200 images (0.15 / 200 + 0.2 / 100) / 0.02² = 6.9; never fewer than 3, nor more than 10."""
    assert splits_needed(num_train, num_val) == needed


def test_splits_of_search_and_confirmation_all_differ_and_the_first_is_the_given_one() -> None:
    toy = source([0, 1, 2, 3] * 15)
    cut = partition(toy, config())
    resampling = Resampling(None, True, None).settled(len(cut.train), len(cut.val))
    assert resampling.counts == (10, 10)
    drawn = draw_folds(toy, cut, resampling, 0)
    assert len({tuple(val.tolist()) for _, val in drawn}) == 20
    assert drawn[0][1].tolist() == cut.val.tolist()
    alone = draw_folds(toy, cut, Resampling(10, True, 0), 0)
    assert [val.tolist() for _, val in alone] == [val.tolist() for _, val in drawn[:10]]


def test_numbers_that_are_not_settled_are_refused() -> None:
    with pytest.raises(ValueError, match="settled"):
        _ = Resampling(None, True).counts
