"""A fixed number of augmented views of each training image, drawn once, so that what frozen blocks compute of them can be kept.

A view has a row of its own behind those of the dataset: view k of row r, counted from 1, is row r + k · N of N. What reads rows
need not know of views, and the image as it is keeps its row.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from biotune.training.changes import Augmentation
from biotune.training.placement import Rows


@dataclass(frozen=True)
class Views:
    """The views of all images.

    Attributes:
        images: Number N of images of the dataset.
        count: Number of views of each.
        seed: Seed of what is drawn for the views.
        steps: The augmentation, see `augmentations`.
    """

    images: int
    count: int
    seed: int
    steps: Sequence[Augmentation]

    def draw(self, rows: Rows, draws: np.random.Generator) -> Rows:
        """(B,) rows of a view of each image, one of all with equal probability.

        Args:
            rows: (B,) rows of the images.
            draws: Source of the draws.
        """
        return rows + self.images * draws.integers(1, self.count + 1, len(rows))

    def with_all(self, rows: Rows) -> Rows:
        """((count + 1) · B,) ascending rows: those of images (B,), ascending, and those of all their views."""
        return np.concatenate([rows + self.images * view for view in range(self.count + 1)])

    def images_of(self, rows: Rows) -> Rows:
        """(B,) rows of the images that rows of views belong to."""
        return rows % self.images

    def change(self, images: Tensor, rows: Rows) -> Tensor:
        """(B, 3, H, W) the views that rows ask for, made of their images.

        What is drawn depends on the seed, the image and the view alone, not on the others of a mini-batch.

        Args:
            images: (B, 3, H, W) normalised float images, as they are.
            rows: (B,) rows of views, or of images, which stay as they are.
        """
        if not (rows >= self.images).any():
            return images
        return torch.cat([self._view(one, int(row)) for one, row in zip(images.split(1), rows, strict=True)])

    def _view(self, image: Tensor, row: int) -> Tensor:
        if row >= self.images:
            draws = np.random.default_rng((self.seed, row % self.images, row // self.images))
            for step in self.steps:
                image = step(image, draws)
        return image
