"""Networks of timm and torchvision that no table knows: the blocks that are found for them."""

import pytest
import torch
from torch import nn
from torchvision import models

from biotune.backbones.network import skeleton
from biotune.backbones.partition import by_parameters, by_structure, check_partition
from biotune.backbones.registry import build_network, find_architecture
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


def test_a_network_without_a_linear_head_is_refused_with_three_that_have_one():
    with pytest.raises(BackboneError) as refused:
        find("squeezenet1_0")
    assert str(refused.value) == (
        "backbone.name=squeezenet1_0: its head classifier.1 is no linear layer but a Conv2d. Choose another network, such as "
        "mobilenet_v3_small, shufflenet_v2_x0_5 or mnasnet0_5."
    )


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


def test_a_pooling_module_with_parts_of_its_own_is_no_stage():
    module = nn.Sequential()
    module.stem = nn.Sequential(nn.Conv2d(3, 4, 3))
    module.body = nn.Sequential(nn.Conv2d(4, 4, 3))
    module.global_pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
    module.head = nn.Linear(4, 2)
    assert modules_of(by_structure(module, "head")) == [("stem",), ("body",), ("head",)]


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


@pytest.mark.parametrize(
    ("name", "released"),
    [
        ("eva02_tiny_patch14_224", "EVA's masked images"),
        ("vit_small_patch14_dinov2", "DINOv2"),
        ("vit_base_patch16_224.mae", "masked autoencoder"),
        ("samvit_base_patch16", "SAM"),
        ("resnet50_clip_gap", "CLIP"),
    ],
)
def test_a_timm_model_released_without_a_classifier_gets_one(name, released):
    timm = pytest.importorskip("timm")
    row = find_architecture(BackboneConfig("timm", name, "none"))
    module = skeleton(row.build)
    check_partition(module, row.blocks, row.head)
    plain = skeleton(lambda: timm.create_model(name, pretrained=False))
    assert set(module.state_dict()) - set(plain.state_dict()) == {f"{row.head}.weight", f"{row.head}.bias"}, released
    size = module.pretrained_cfg["input_size"][-1]
    features = module.eval()(torch.zeros(2, 3, size, size, device=next(module.parameters()).device))
    assert features.shape == (2, module.get_submodule(row.head).out_features), "one vector an image"


def test_a_model_without_a_classifier_is_built_for_the_classes_at_hand():
    pytest.importorskip("timm")
    network = build_network(BackboneConfig("timm", "eva02_tiny_patch14_224", "none", granularity="layer"), 5)
    assert network.module.get_submodule("head").out_features == 5
    assert network.parameters["head"] == 2 * 192 + 192 * 5 + 5  # the normalisation of the pooled features, then the head


def test_weights_without_a_classifier_fit_the_model_with_one(tmp_path):
    timm = pytest.importorskip("timm")
    torch.save(timm.create_model("eva02_tiny_patch14_224", pretrained=False).state_dict(), tmp_path / "w.pt")
    network = build_network(BackboneConfig("timm", "eva02_tiny_patch14_224", str(tmp_path / "w.pt")), 5)
    assert network.remarks == ()


@pytest.mark.parametrize(
    ("name", "fault"),
    [
        (
            "deit_tiny_distilled_patch16_224",
            "it has 2 heads (head, head_dist), and biotune trains networks with one. Choose another model, such as deit_",
        ),
        (
            "levit_128s",
            "it has 2 heads (head.linear, head_dist.linear), and biotune trains networks with one. Choose another model",
        ),
        ("dla34", "its head fc is no linear layer but a Conv2d. Choose another model, such as "),
        (
            "twins_svt_small",
            "it cannot be cut into blocks: blocks block1 and block2 are not in forward order. Choose another model, such as ",
        ),
        (
            "coat_tiny",
            "it cannot be cut into blocks: parameter serial_blocks1.0.cpe.proj.weight is shared by several modules, or in no "
            "group. Choose another model, such as ",
        ),
    ],
)
def test_a_timm_model_that_cannot_be_used_names_what_it_lacks_and_three_that_can(name, fault):
    pytest.importorskip("timm")
    with pytest.raises(BackboneError) as refused:
        find_architecture(BackboneConfig("timm", name, "none"))
    message = str(refused.value)
    assert message.startswith(f"backbone.name={name}: {fault}")
    suggested = message.rpartition("such as ")[2].rstrip(".").replace(" or ", ", ").split(", ")
    assert len(suggested) == 3
    for other in suggested:
        assert isinstance(find_architecture(BackboneConfig("timm", other, "none")).head, str)


@pytest.mark.parametrize("name", ["pit_ti_224", "poolformerv2_s12", "rdnet_tiny"])
def test_a_timm_model_that_states_no_stages_is_cut_by_its_structure(name):
    pytest.importorskip("timm")
    row = find_architecture(BackboneConfig("timm", name, "none"))
    check_partition(skeleton(row.build), row.blocks, row.head)
    assert len(row.blocks) >= 3


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
