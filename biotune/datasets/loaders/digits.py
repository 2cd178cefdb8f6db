"""Loader of scikit-learn's bundled handwritten digits, 8×8 pixels, with an optional distribution shift. Works offline."""

import hashlib

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from PIL import Image, ImageFilter
from sklearn.datasets import load_digits

from biotune.config.sections import DatasetConfig
from biotune.datasets.source import Source

PER_CLASS = {"train": 20, "val": 20}  # few enough that transfer matters; the rest is the test set
SIZE = 16
NOISE_SD = 90.0
BLUR_RADIUS = 2.0
CONTRAST = 0.2

Pixels = NDArray[np.uint8]


def load(config: DatasetConfig) -> Source:
    """Load the 1,797 digits: 20 training and 20 validation images per class, the rest as test set.

    Args:
        config: The seed of the split and the distribution shift.

    Returns:
        The labelled images, 16×16 pixels.
    """
    bundled = load_digits()
    labels = bundled.target.astype(np.int64)
    rng = np.random.default_rng([config.split_seed, len(labels)])
    splits = np.full(len(labels), "test", dtype="<U5")
    for label in range(10):
        members = rng.permutation(np.flatnonzero(labels == label))
        splits[members[: PER_CLASS["train"]]] = "train"
        splits[members[PER_CLASS["train"] : sum(PER_CLASS.values())]] = "val"
    images = [_image(values) for values in bundled.images]
    noise = np.random.default_rng([config.split_seed, 1])
    shifted = np.stack([shift(image, config.shift, noise) for image in images])
    return Source(
        name="digits",
        classes=tuple(str(label) for label in range(10)),
        labels=labels,
        splits=splits,
        names=tuple(str(index) for index in range(len(labels))),
        read=lambda index: Image.fromarray(shifted[index]),
        fingerprint=hashlib.sha256(shifted.tobytes()).hexdigest(),
        on_disk=False,
    )


def _image(values: NDArray[np.float64]) -> Pixels:
    """Convert (8, 8) grey values from 0 to 16 into a (16, 16) uint8 image."""
    grey = Image.fromarray(np.clip(values * (255 / 16), 0, 255).astype(np.uint8))
    return np.asarray(grey.resize((SIZE, SIZE), Image.Resampling.BICUBIC))


def shift(image: Pixels, kind: str, rng: Generator) -> Pixels:
    """Apply a distribution shift to one image.

    Args:
        image: (16, 16) uint8.
        kind: none, noise, blur, invert or low_contrast.
        rng: Source of the noise.

    Returns:
        (16, 16) uint8.
    """
    if kind == "noise":
        return np.clip(image + rng.normal(0.0, NOISE_SD, image.shape), 0, 255).astype(np.uint8)
    if kind == "blur":
        return np.asarray(Image.fromarray(image).filter(ImageFilter.GaussianBlur(BLUR_RADIUS)))
    if kind == "invert":
        return (255 - image).astype(np.uint8)
    if kind == "low_contrast":
        return np.round(127.5 + CONTRAST * (image - 127.5)).astype(np.uint8)
    return image
