"""Building a network: which weights it gets, its head, and what it leaves alone."""

from __future__ import annotations

from pathlib import Path
from urllib.error import URLError

import pytest
import torch
from torch import Tensor

from biotune.backbones.network import Preprocessing
from biotune.backbones.registry import build_network, find_architecture
from biotune.config.sections import BackboneConfig
from biotune.errors import BackboneError


def state(config: BackboneConfig, num_classes: int = 10) -> dict[str, Tensor]:
    return build_network(config, num_classes).module.state_dict()


def equal(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(value, other[name]) for name, value in one.items())


@pytest.mark.parametrize(("library", "name"), [("biotune", "glyphnet"), ("torchvision", "resnet18")])
def test_random_bodies_are_the_same_at_each_build(library: str, name: str) -> None:
    config = BackboneConfig(library, name, "none")
    torch.manual_seed(1)
    first = state(config)
    torch.manual_seed(2)
    assert equal(first, state(config))


def test_default_weights_are_not_the_random_ones() -> None:
    pretrained = state(BackboneConfig("biotune", "glyphnet"))
    random = state(BackboneConfig("biotune", "glyphnet", "none"))
    assert not torch.equal(pretrained["stem.conv.weight"], random["stem.conv.weight"])
    assert not torch.equal(pretrained["layer4.conv2.weight"], random["layer4.conv2.weight"])


@pytest.mark.parametrize("num_classes", [2, 10, 200])
def test_the_head_has_an_output_a_class(num_classes: int) -> None:
    network = build_network(BackboneConfig("biotune", "glyphnet"), num_classes)
    assert network.module.eval()(torch.zeros(3, 3, 16, 16)).shape == (3, num_classes)
    assert network.parameters["head"] == 80 * num_classes + num_classes


def test_the_head_of_a_nested_classifier_is_replaced_and_the_rest_of_it_kept() -> None:
    network = build_network(BackboneConfig("torchvision", "mobilenet_v3_large", "none"), 7)
    assert network.head == "classifier.3"
    assert network.module.classifier[3].out_features == 7
    assert network.module.classifier[0].out_features == 1280
    assert network.parameters["head"] == 960 * 1280 + 1280 + 1280 * 7 + 7


def test_inception_gives_plain_logits_in_train_mode_as_its_auxiliary_head_is_gone() -> None:
    network = build_network(BackboneConfig("torchvision", "inception_v3", "none"), 5)
    assert network.module.train()(torch.zeros(2, 3, 75, 75)).shape == (2, 5)
    assert not any(name.startswith("AuxLogits") for name, _ in network.module.named_parameters())


def test_building_leaves_the_global_random_state_untouched() -> None:
    torch.manual_seed(11)
    undisturbed = torch.rand(5)
    torch.manual_seed(11)
    for weights in ("default", "none"):
        build_network(BackboneConfig("biotune", "glyphnet", weights), 10)
    assert torch.equal(torch.rand(5), undisturbed)


def test_layers_are_finer_blocks_of_the_same_network() -> None:
    blocks = build_network(BackboneConfig("biotune", "glyphnet"), 10)
    layers = build_network(BackboneConfig("biotune", "glyphnet", granularity="layer"), 10)
    assert len(layers.blocks) == 10
    assert sum(layers.parameters.values()) == sum(blocks.parameters.values())
    assert layers.parameters["layer2.0"] + layers.parameters["layer2.1"] == blocks.parameters["layer2"]


def test_an_unknown_network_suggests_near_names() -> None:
    with pytest.raises(BackboneError, match=r"backbone\.name=resnet-50: .*Did you mean .*resnet50"):
        find_architecture(BackboneConfig("torchvision", "resnet-50"))
    with pytest.raises(BackboneError, match=r"backbone\.name=ResNet18: .*resnet18"):
        find_architecture(BackboneConfig("torchvision", "ResNet18"))


def test_an_unknown_library_names_those_there_are() -> None:
    with pytest.raises(BackboneError, match=r"backbone\.library=tim: .*biotune, torchvision"):
        find_architecture(BackboneConfig("tim", "resnet18"))


def test_default_weights_without_internet_name_the_key_and_both_ways_out(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def unplugged(*_: object, **__: object) -> None:
        raise URLError("Name or service not known")

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))  # or weights that were fetched before would be found
    monkeypatch.setattr("torch.hub.urlopen", unplugged)
    with pytest.raises(BackboneError) as refused:
        build_network(BackboneConfig("torchvision", "resnet18"), 10)
    message = str(refused.value)
    assert message.startswith("backbone.weights=default: ")
    assert "Name or service not known" in message
    assert "https://download.pytorch.org/models/resnet18" in message
    assert "backbone.weights=PATH" in message
    assert "backbone.weights=none" in message
    assert "\n" not in message


def preprocessing(config: BackboneConfig) -> Preprocessing:
    return find_architecture(config).preprocessing(config.weights)


def test_preprocessing_is_what_the_weights_state() -> None:
    """torchvision's documentation of the weights: ResNet-50's second ones resize to 232, its first to 256."""
    second = preprocessing(BackboneConfig("torchvision", "resnet50"))
    assert (second.resize, second.crop, second.interpolation) == (232, 224, "bilinear")
    assert second.mean == (0.485, 0.456, 0.406)
    assert second.std == (0.229, 0.224, 0.225)
    first = preprocessing(BackboneConfig("torchvision", "resnet50", "IMAGENET1K_V1"))
    assert (first.resize, first.crop) == (256, 224)
    inception = preprocessing(BackboneConfig("torchvision", "inception_v3", "none"))
    assert (inception.resize, inception.crop) == (342, 299)


def test_another_image_size_keeps_the_ratio_of_resize_to_crop() -> None:
    stated = Preprocessing(232, 224, (0.5,) * 3, (0.5,) * 3)
    assert stated.scaled_to(None) == stated
    scaled = stated.scaled_to(112)
    assert (scaled.resize, scaled.crop) == (116, 112)
