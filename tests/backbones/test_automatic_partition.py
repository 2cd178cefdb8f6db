"""Networks of timm and torchvision that no table knows: the blocks that are found for them."""

import pytest
import torch
from torch import nn
from torchvision import models

from biotune.backbones.network import skeleton
from biotune.backbones.partition import by_parameters, by_structure, check_partition
from biotune.backbones.registry import build_network
from biotune.backbones.torchvision import ARCHITECTURES, find
from biotune.config.sections import BackboneConfig
from biotune.errors import BackboneError


def modules_of(blocks):
    return [block.modules for block in blocks]


@pytest.mark.parametrize("name", ["resnet50", "vgg19", "swin_t", "regnet_y_400mf", "convnext_tiny"])
def test_the_structural_cut_agrees_with_the_declared_blocks(name):
    declared = ARCHITECTURES[name]
    module = skeleton(declared.build)
    assert modules_of(by_structure(module, declared.head))[:-1] == modules_of(declared.blocks)[:-1]


@pytest.mark.parametrize("name", ["alexnet", "mnasnet0_5", "googlenet", "mobilenet_v2", "shufflenet_v2_x0_5", "densenet169"])
def test_other_torchvision_networks_are_covered_once_in_order(name):
    row = find(name)
    module = skeleton(row.build)
    row.prepare(module)
    check_partition(module, row.blocks, row.head)
    assert len(row.blocks) >= 3


def test_a_network_without_a_linear_head_is_refused_by_name():
    with pytest.raises(BackboneError, match=r"backbone.name=squeezenet1_0: its head classifier.1 is no linear layer"):
        find("squeezenet1_0")


def test_convolutions_between_poolings_make_one_block():
    module = nn.Sequential()
    module.features = nn.Sequential(
        nn.Conv2d(3, 4, 3),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(4, 4, 3),
        nn.BatchNorm2d(4),
        nn.Conv2d(4, 4, 3),
        nn.MaxPool2d(2),
    )
    module.fc = nn.Linear(4, 2)
    assert modules_of(by_structure(module, "fc")) == [("features.0",), ("features.3", "features.4", "features.5"), ("fc",)]


def test_a_normalisation_before_the_head_joins_it():
    module = nn.Sequential()
    module.stem = nn.Sequential(nn.Conv2d(3, 4, 3))
    module.body = nn.Sequential(nn.Conv2d(4, 4, 3))
    module.norm = nn.LayerNorm(4)
    module.head = nn.Linear(4, 2)
    assert modules_of(by_structure(module, "head")) == [("stem",), ("body",), ("norm", "head")]


def test_groups_of_parameters_become_the_fewest_modules():
    module = nn.Sequential()
    module.token = nn.Parameter(torch.zeros(3))
    module.blocks = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2), nn.Linear(2, 2))
    module.head = nn.Linear(2, 2)
    group_of = {name: 2 for name, _ in module.named_parameters()}
    group_of |= {"token": 0, "blocks.0.weight": 0, "blocks.0.bias": 0, "blocks.1.weight": 1, "blocks.1.bias": 1}
    group_of |= {"blocks.2.weight": 1, "blocks.2.bias": 1}
    assert modules_of(by_parameters(module, group_of)) == [("token", "blocks.0"), ("blocks.1", "blocks.2"), ("head",)]


@pytest.mark.parametrize(
    "name", ["tf_efficientnet_lite0", "vit_tiny_patch16_224", "convnext_atto", "swin_tiny_patch4_window7_224"]
)
def test_timm_models_are_cut_by_their_own_stages(name):
    pytest.importorskip("timm")
    network = build_network(BackboneConfig("timm", name, "none"), 5)
    assert len(network.blocks) >= 6
    assert network.module.get_submodule(network.head).out_features == 5


def test_a_timm_model_with_two_heads_is_refused():
    pytest.importorskip("timm")
    with pytest.raises(BackboneError, match="deit_tiny_distilled_patch16_224: its head .* is no single linear layer"):
        build_network(BackboneConfig("timm", "deit_tiny_distilled_patch16_224", "none"), 5)


def test_timm_preprocessing_is_what_timm_states():
    timm = pytest.importorskip("timm")
    network = build_network(BackboneConfig("timm", "convnext_atto", "none"), 5)
    theirs = timm.data.create_transform(**timm.data.resolve_model_data_config(timm.create_model("convnext_atto")))
    resize, crop, normalize = theirs.transforms[0], theirs.transforms[1], theirs.transforms[-1]
    own = network.preprocessing
    assert own.resize == resize.size
    assert own.crop == crop.size[0]
    assert own.mean == pytest.approx(tuple(normalize.mean.tolist()))
    assert own.std == pytest.approx(tuple(normalize.std.tolist()))
    assert own.interpolation == resize.interpolation.value


def test_torchvision_preprocessing_follows_the_named_weights():
    first = find("resnet50").preprocessing("IMAGENET1K_V1")
    second = find("resnet50").preprocessing("IMAGENET1K_V2")
    stated = [
        weights.transforms() for weights in (models.ResNet50_Weights.IMAGENET1K_V1, models.ResNet50_Weights.IMAGENET1K_V2)
    ]
    assert [first.resize, second.resize] == [preset.resize_size[0] for preset in stated] == [256, 232]
    assert find("resnet50").preprocessing("none") == second
