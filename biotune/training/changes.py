"""What happens to a mini-batch of training between the data and the network: augmentation, MixUp and CutMix."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from biotune.backbones.network import Preprocessing
from biotune.config.sections import POLICIES, TrainingConfig
from biotune.training.augment import standard

if TYPE_CHECKING:
    from torchvision.transforms import v2

Change = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
Augmentation = Callable[[Tensor, np.random.Generator], Tensor]
TOGETHER = 8  # images that share the operations that a policy draws: one by one they would keep a GPU waiting


def changes_of(
    training: TrainingConfig,
    classes: int,
    preprocessing: Preprocessing,
    device: torch.device,
    seed: int,
    order: np.random.Generator,
) -> list[Change]:
    """The changes that the settings ask for, in their order.

    Each maps inputs (N, 3, H, W), normalised float, and their targets to changed ones. Targets are labels (N,) int64, or after
    MixUp or CutMix probabilities (N, classes) float. Crops and flips are drawn from the generator of the mini-batches' order,
    everything else from one of its own, so that the order is the same with it and without.

    Args:
        training: The settings.
        classes: Number of classes.
        preprocessing: How the images were normalised.
        device: The device of the mini-batches.
        seed: The training seed.
        order: The generator of the mini-batches' order.
    """
    draws = np.random.default_rng((seed, 0, 1))
    steps = augmentations(training.augment, preprocessing, device)
    found = [_of_images(step, generator) for step, generator in zip(steps, (order, draws), strict=False)]
    if training.mixes_images:
        found.append(_mixing(training, classes, draws))
    return found


def augmentations(name: str, preprocessing: Preprocessing, device: torch.device) -> list[Augmentation]:
    """The steps of `training.augment`: each maps normalised images (N, 3, H, W) and a source of draws to changed images.

    Args:
        name: The setting; none has no step, a policy comes after random resized crop and flip.
        preprocessing: How the images were normalised.
        device: The device of the images.
    """
    crops: list[Augmentation] = [] if name == "none" else [standard]
    return crops + ([_policy(name, preprocessing, device)] if name in POLICIES else [])


def _of_images(step: Augmentation, generator: np.random.Generator) -> Change:
    return lambda images, labels: (step(images, generator), labels)


@contextmanager
def drawn_from(draws: np.random.Generator) -> Iterator[None]:
    """Let torch's global generator, which torchvision uses, follow another one, and be afterwards as it was before."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(int(draws.integers(2**63)))
        yield


def _policy(name: str, preprocessing: Preprocessing, device: torch.device) -> Augmentation:
    """One of torchvision's policies, on 8-bit pixels, as its photometric operations need them."""
    from torchvision.transforms import v2

    kinds = {"randaugment": v2.RandAugment, "trivialaugment": v2.TrivialAugmentWide, "augmix": v2.AugMix}
    policy = kinds[name]()
    to_pixels, normalise = preprocessing.denormaliser(device), preprocessing.normaliser(device)

    def augment(images: Tensor, draws: np.random.Generator) -> Tensor:
        parts = to_pixels(images).permute(0, 3, 1, 2).split(TOGETHER)
        with drawn_from(draws):
            pixels = torch.cat([policy(part) for part in parts])
        return normalise(pixels.permute(0, 2, 3, 1)).contiguous(memory_format=torch.channels_last)

    return augment


def _mixing(training: TrainingConfig, classes: int, draws: np.random.Generator) -> Change:
    """MixUp, CutMix, or for each mini-batch one of the two."""
    from torchvision.transforms import v2

    kinds: list[v2.Transform] = []
    if training.mixup:
        kinds.append(v2.MixUp(alpha=training.mixup, num_classes=classes))
    if training.cutmix:
        kinds.append(v2.CutMix(alpha=training.cutmix, num_classes=classes))
    one = v2.RandomChoice(kinds)

    def change(images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        with drawn_from(draws):
            mixed, targets = one(images, labels)
        return mixed, targets

    return change
