"""Random crops and flips: what they do to images, against torchvision, and that they follow their seed."""

import numpy as np
import torch
from torchvision.transforms.v2 import functional

from biotune.training.augment import crop_and_flip, random_boxes, standard

WHOLE = np.array([[0.0, 0.0, 1.0, 1.0]])


def ramp(size=8):
    return torch.arange(size * size, dtype=torch.float32).reshape(1, 1, size, size)


def test_the_whole_box_changes_nothing():
    torch.testing.assert_close(crop_and_flip(ramp(), WHOLE, np.array([False])), ramp(), atol=1e-4, rtol=0)


def test_a_flip_mirrors_left_to_right():
    torch.testing.assert_close(crop_and_flip(ramp(), WHOLE, np.array([True])), ramp().flip(3), atol=1e-4, rtol=0)


def test_a_box_is_what_torchvision_crops_and_resizes():
    box = np.array([[0.25, 0.5, 0.5, 0.25]])  # columns 2 to 5 and rows 4 and 5 of eight
    theirs = functional.resized_crop(ramp(), 4, 2, 2, 4, [8, 8], antialias=False)
    ours = crop_and_flip(ramp(), box, np.array([False]))
    # at the rim ours goes on with the image beyond the crop where torchvision repeats its edge
    torch.testing.assert_close(ours[..., 2:-2, 1:-1], theirs[..., 2:-2, 1:-1], atol=1e-3, rtol=0)


def test_boxes_lie_inside_the_image_and_vary():
    boxes = random_boxes(np.random.default_rng(0), 1000)
    assert boxes.min() >= 0
    assert (boxes[:, 0] + boxes[:, 2]).max() <= 1 + 1e-12
    assert (boxes[:, 1] + boxes[:, 3]).max() <= 1 + 1e-12
    areas = boxes[:, 2] * boxes[:, 3]
    assert 0.08 * 0.99 <= areas.min() < 0.12
    assert 0.9 < areas.max() <= 1


def test_equal_seeds_give_equal_batches_and_other_seeds_others():
    images = torch.rand(4, 3, 16, 16)
    first, again, other = (standard(images, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert not torch.equal(first, images)
