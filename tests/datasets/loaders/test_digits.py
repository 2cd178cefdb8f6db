"""Tests of the bundled digits and their shifts."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.datasets import load_digits as bundled

from biotune.config.sections import DatasetConfig
from biotune.datasets.loaders import digits
from biotune.datasets.source import Source


def load(**options: object) -> Source:
    return digits.load(DatasetConfig("digits", "digits", **options))


def pixels(source: Source) -> np.ndarray:
    return np.stack([np.asarray(source.read(index)) for index in range(len(source.labels))])


def test_all_1797_digits_come_with_20_training_and_20_validation_images_a_class() -> None:
    source = load()
    assert len(source.labels) == 1797
    assert source.classes == tuple("0123456789")
    assert (source.labels == bundled().target).all()
    for split, total in (("train", 200), ("val", 200), ("test", 1397)):
        chosen = source.labels[source.splits == split]
        assert len(chosen) == total
        if split != "test":
            assert np.bincount(chosen).tolist() == [20] * 10


def test_images_are_the_bundled_ones_enlarged() -> None:
    source = load()
    image = np.asarray(source.read(0)).astype(float)
    assert image.shape == (16, 16)
    shrunk = image.reshape(8, 2, 8, 2).mean((1, 3))
    assert np.corrcoef(shrunk.ravel(), bundled().images[0].ravel())[0, 1] > 0.97
    assert image.max() > 230, "16 grey levels span the whole range"


def test_the_split_seed_changes_the_split_and_the_same_seed_repeats_it() -> None:
    first, again, other = (load(split_seed=seed).splits for seed in (0, 0, 1))
    assert (first == again).all()
    assert (first != other).any()


def test_inverting_is_exact() -> None:
    assert (pixels(load(shift="invert")) == 255 - pixels(load())).all()


def test_low_contrast_keeps_a_fifth_of_the_range_around_the_middle() -> None:
    plain, pale = pixels(load()).astype(float), pixels(load(shift="low_contrast")).astype(float)
    assert np.abs(pale - (127.5 + 0.2 * (plain - 127.5))).max() <= 0.5
    assert pale.min() >= 102
    assert pale.max() <= 153


def test_noise_is_seeded_by_the_split_seed_and_as_strong_as_stated() -> None:
    plain, noisy, again, other = (
        pixels(load(**options)).astype(float)
        for options in ({}, {"shift": "noise"}, {"shift": "noise"}, {"shift": "noise", "split_seed": 1})
    )
    assert (noisy == again).all()
    assert (noisy != other).any()
    middle = (plain > 115) & (plain < 140)  # away from both ends, clipping hits the noise's tails alone
    assert abs((noisy - plain)[middle].std() - 90.0) < 15.0


def test_blurring_takes_away_detail_but_not_brightness() -> None:
    plain, blurred = pixels(load()).astype(float), pixels(load(shift="blur")).astype(float)
    assert np.abs(np.diff(blurred, axis=2)).mean() < 0.6 * np.abs(np.diff(plain, axis=2)).mean()
    assert abs(blurred.mean() - plain.mean()) < 10


@pytest.mark.parametrize("shift", ["noise", "blur", "invert", "low_contrast"])
def test_a_shift_changes_the_fingerprint_but_neither_labels_nor_splits(shift: str) -> None:
    plain, shifted = load(), load(shift=shift)
    assert plain.fingerprint != shifted.fingerprint
    assert (plain.labels == shifted.labels).all()
    assert (plain.splits == shifted.splits).all()
