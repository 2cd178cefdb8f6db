"""Tests of the embedded backbone and its shipped weights."""

from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from biotune.backbones.glyphnet import IMAGE_SIZE, GlyphNet, __file__

WEIGHTS = Path(__file__).parent / "weights" / "glyphnet.safetensors"


@pytest.fixture
def images() -> torch.Tensor:
    return torch.randn(4, 3, IMAGE_SIZE, IMAGE_SIZE, generator=torch.Generator().manual_seed(0))


def test_blocks_come_in_forward_order() -> None:
    names = [name for name, _ in GlyphNet(10).named_children()]
    assert names == ["stem", "layer1", "layer2", "layer3", "layer4", "head"]


def test_forward_is_the_chain_of_its_blocks(images: torch.Tensor) -> None:
    model = GlyphNet(10).eval()
    x = images
    for name in ("stem", "layer1", "layer2", "layer3", "layer4"):
        x = model.get_submodule(name)(x)
    torch.testing.assert_close(model(images), model.head(x.mean((2, 3))))


def test_only_the_channel_mean_counts(images: torch.Tensor) -> None:
    model = GlyphNet(10).eval()
    grey = images.mean(1, keepdim=True).expand(-1, 3, -1, -1)
    torch.testing.assert_close(model(images), model(grey))


def test_every_parameter_gets_a_gradient(images: torch.Tensor) -> None:
    model = GlyphNet(10)
    model(images).logsumexp(1).sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in model.parameters())


def test_shipped_weights_fit_and_are_small() -> None:
    GlyphNet(36).load_state_dict(load_file(WEIGHTS))
    assert WEIGHTS.stat().st_size < 500_000
    with safe_open(WEIGHTS, "pt") as file:
        metadata = file.metadata()
    assert len(metadata["classes"]) == 36
    assert float(metadata["source_accuracy"]) > 0.9
