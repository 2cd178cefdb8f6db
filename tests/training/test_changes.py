"""Augmentation policies, MixUp and CutMix: against torchvision and by hand, and which generators they draw from."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torchvision.transforms import v2

from biotune.backbones.network import Preprocessing
from biotune.config.sections import POLICIES, TrainingConfig
from biotune.training.augment import standard
from biotune.training.changes import TOGETHER, Change, changes_of, drawn_from

CPU = torch.device("cpu")
PREPROCESSING = Preprocessing(16, 16, (0.4, 0.5, 0.6), (0.2, 0.25, 0.3))
CLASSES = 5
N = 2 * TOGETHER + 3


def pixels(seed: int = 0) -> Tensor:
    return torch.randint(0, 256, (N, 16, 16, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))


def made(seed: int = 3, **training: Any) -> list[Change]:
    return changes_of(TrainingConfig(**training), CLASSES, PREPROCESSING, CPU, seed, np.random.default_rng(seed))


def applied(changes: list[Change], images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    for change in changes:
        images, labels = change(images, labels)
    return images, labels


LABELS = torch.arange(N) % CLASSES


def test_nothing_is_changed_by_default() -> None:
    assert made() == []


def test_denormalised_images_are_the_pixels_again() -> None:
    own = pixels()
    assert torch.equal(PREPROCESSING.denormaliser(CPU)(PREPROCESSING.normalise(own)), own)


@pytest.mark.parametrize(
    ("name", "theirs"), list(zip(POLICIES, (v2.RandAugment, v2.TrivialAugmentWide, v2.AugMix), strict=True))
)
def test_a_policy_is_torchvisions_on_8_bit_pixels_after_crop_and_flip(name: str, theirs: Any) -> None:
    images = PREPROCESSING.normalise(pixels())
    found, labels = applied(made(3, augment=name), images, LABELS)
    cropped = standard(images, np.random.default_rng(3))
    mean, sd = (torch.tensor(values).reshape(3, 1, 1) for values in (PREPROCESSING.mean, PREPROCESSING.std))
    as_pixels = ((cropped * sd + mean) * 255).round().clamp(0, 255).to(torch.uint8)
    torch.manual_seed(int(np.random.default_rng((3, 0, 1)).integers(2**63)))
    changed = torch.cat([theirs()(part) for part in as_pixels.split(TOGETHER)])
    torch.testing.assert_close(found, (changed / 255 - mean) / sd, atol=2e-2, rtol=0)
    assert torch.equal(labels, LABELS)
    assert not torch.equal(changed, as_pixels)


@pytest.mark.parametrize(
    "training", [{"augment": name} for name in POLICIES] + [{"mixup": 1.0}, {"cutmix": 1.0, "mixup": 0.2}], ids=str
)
def test_draws_follow_the_training_seed_alone_and_leave_the_global_generator_as_it_was(training: dict[str, Any]) -> None:
    images = PREPROCESSING.normalise(pixels())
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = [applied(changes, images, LABELS)[0] for changes in [made(3, **training)] for _ in range(2)]
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    again = [applied(changes, images, LABELS)[0] for changes in [made(3, **training)] for _ in range(2)]
    assert all(torch.equal(one, other) for one, other in zip(first, again, strict=True))
    assert not torch.equal(first[0], first[1])  # a mini-batch later it draws anew
    assert not torch.equal(first[0], applied(made(4, **training), images, LABELS)[0])


def test_the_order_of_mini_batches_is_the_same_with_mixing_and_without() -> None:
    with_mixing, without = np.random.default_rng(3), np.random.default_rng(3)
    changes = changes_of(TrainingConfig(mixup=0.4), CLASSES, PREPROCESSING, CPU, 3, with_mixing)
    applied(changes, PREPROCESSING.normalise(pixels()), LABELS)
    assert with_mixing.random() == without.random()


def test_mixup_blends_neighbours_and_their_labels_by_one_share() -> None:
    images = PREPROCESSING.normalise(pixels())
    mixed, targets = applied(made(mixup=0.8), images, LABELS)
    one_hot = torch.eye(CLASSES)[LABELS]
    # image i is blended with the one before it: λ on its own class, 1 − λ on the other's
    share = targets[0, LABELS[0]].item()
    assert 0 < share < 1
    torch.testing.assert_close(targets, share * one_hot + (1 - share) * one_hot.roll(1, 0))
    torch.testing.assert_close(mixed, share * images + (1 - share) * images.roll(1, 0))


def test_cutmix_pastes_one_box_and_blends_labels_by_its_area() -> None:
    images = PREPROCESSING.normalise(pixels())
    mixed, targets = applied(made(seed=5, cutmix=1.0), images, LABELS)
    pasted = (mixed != images).any(1)
    assert torch.equal(mixed.permute(0, 2, 3, 1)[pasted], images.roll(1, 0).permute(0, 2, 3, 1)[pasted])
    box = pasted[0]
    rows, columns = box.any(1).nonzero().flatten(), box.any(0).nonzero().flatten()
    area = (rows[-1] - rows[0] + 1) * (columns[-1] - columns[0] + 1) / box.numel()
    assert 0 < area < 1
    one_hot = torch.eye(CLASSES)[LABELS]
    torch.testing.assert_close(targets, (1 - area) * one_hot + area * one_hot.roll(1, 0))


def test_with_both_each_mini_batch_takes_one_of_the_two() -> None:
    images = PREPROCESSING.normalise(pixels())
    changes = made(mixup=1.0, cutmix=1.0)
    kinds = set()
    for _ in range(12):
        mixed, _ = applied(changes, images, LABELS)
        kinds.add("cutmix" if ((mixed == images).all(1) | (mixed == images.roll(1, 0)).all(1)).all() else "mixup")
    assert kinds == {"mixup", "cutmix"}


def test_a_generator_of_its_own_gives_way_even_after_an_error() -> None:
    before = torch.get_rng_state()
    with pytest.raises(ValueError, match="no"), drawn_from(np.random.default_rng(0)):
        torch.rand(3)
        raise ValueError("no")
    assert torch.equal(torch.get_rng_state(), before)
