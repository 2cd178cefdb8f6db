"""Training augmentation of whole mini-batches on the device; all draws come from a numpy Generator, so devices agree."""

import math

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from biotune.training.placement import send

_SCALE = (0.08, 1.0)  # share of the area that is kept, as in torchvision's RandomResizedCrop
_LOG_RATIO = (math.log(3 / 4), math.log(4 / 3))


def random_boxes(rng: np.random.Generator, count: int) -> np.ndarray:
    """Draw random crops; the proportions of those of a square lie between 3:4 and 4:3, and others' in the same relation to it.

    Args:
        rng: Source of the draws.
        count: Number of boxes.

    Returns:
        (count, 4) float: left, top, width and height as fractions of the image's sides, in [0, 1].
    """
    area = rng.uniform(*_SCALE, count)
    ratio = np.exp(rng.uniform(*_LOG_RATIO, count))
    width = np.minimum(np.sqrt(area * ratio), 1.0)
    height = np.minimum(np.sqrt(area / ratio), 1.0)
    left, top = (rng.random(count) * (1 - size) for size in (width, height))
    return np.stack([left, top, width, height], axis=1)


def crop_and_flip(images: Tensor, boxes: np.ndarray, flips: np.ndarray) -> Tensor:
    """Crop a box out of each image, resize it bilinearly to the image's size, and mirror some images.

    Args:
        images: (N, C, H, W) float.
        boxes: (N, 4) left, top, width and height as fractions of the image's sides.
        flips: (N,) bool, which images to mirror left to right.

    Returns:
        (N, C, H, W) float.
    """
    left, top, width, height = boxes.T
    theta = np.zeros((len(boxes), 2, 3))
    theta[:, 0, 0] = np.where(flips, -width, width)
    theta[:, 1, 1] = height
    theta[:, 0, 2] = 2 * left + width - 1
    theta[:, 1, 2] = 2 * top + height - 1
    on_device = send(torch.from_numpy(theta).to(images.dtype), images.device)
    grid = functional.affine_grid(on_device, list(images.shape), align_corners=False)
    return functional.grid_sample(images, grid, mode="bilinear", padding_mode="border", align_corners=False)


def standard(images: Tensor, rng: np.random.Generator) -> Tensor:
    """Random resized crop, and a horizontal flip with probability 1/2.

    Args:
        images: (N, C, H, W) float.
        rng: Source of the draws, seeded with the training seed.

    Returns:
        (N, C, H, W) float.
    """
    count = len(images)
    return crop_and_flip(images, random_boxes(rng, count), rng.random(count) < 0.5)
