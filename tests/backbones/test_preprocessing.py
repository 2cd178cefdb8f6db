"""Pixels as a network takes them, against torchvision's own arithmetic and numbers worked out by hand."""

from __future__ import annotations

import torch
from torchvision.transforms.v2 import functional

from biotune.backbones.network import Preprocessing

ROW = Preprocessing(8, 4, (0.2, 0.4, 0.6), (0.5, 0.25, 0.1))


def test_normalising_subtracts_each_channels_mean_and_divides_by_its_deviation() -> None:
    pixels = torch.tensor([[[[51, 102, 255]]]], dtype=torch.uint8)  # (1, 1, 1, 3): 0.2, 0.4 and 1 of 255
    found = ROW.normalise(pixels)
    assert found.shape == (1, 3, 1, 1) and found.dtype == torch.float32
    assert torch.allclose(found.flatten(), torch.tensor([0.0, 0.0, 4.0]), atol=1e-6)


def test_a_batch_is_normalised_as_torchvision_does_it() -> None:
    pixels = torch.randint(0, 256, (3, 4, 5, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    expected = functional.normalize(pixels.permute(0, 3, 1, 2).float() / 255, ROW.mean, ROW.std)
    assert torch.allclose(ROW.normalise(pixels), expected, atol=1e-5)
    assert torch.equal(ROW.normaliser(pixels.device)(pixels), ROW.normalise(pixels))


def test_another_size_keeps_the_ratio_of_resize_to_crop() -> None:
    stated = Preprocessing(256, 224, ROW.mean, ROW.std)
    assert (stated.scaled_to(112).resize, stated.scaled_to(112).crop) == (128, 112)
    # 96 and 160, times 256 / 224: 109.7 and 182.9
    assert (stated.scaled_to((96, 160)).resize, stated.scaled_to((96, 160)).crop) == ((110, 183), (96, 160))
    assert stated.scaled_to(None) is stated
