"""Networks of both libraries take a step of a training run, and are kept and loaded with equal outputs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from biotune.backbones.fitting import load_weights
from biotune.backbones.registry import build_network
from biotune.backbones.state import copy_state
from biotune.backbones.torchvision import ARCHITECTURES, names
from biotune.config.sections import BackboneConfig, TrainingConfig
from biotune.datasets.data import Data, Part
from biotune.errors import BackboneError
from biotune.executors.setup import run_trial
from biotune.schedule.schedule import Schedule
from biotune.strategies.registry import fixed_schedule
from biotune.training.finetune import finetune
from biotune.training.model import kept_model
from biotune.training.workspace import Workspace
from biotune.trial import Trial, TrialResult

CPU = torch.device("cpu")
# the smallest images that these take; the size is fixed where positions are learnt
SIZES = {
    "inception_v3": 75,
    "vit_": 224,
    "maxvit_t": 224,
    "vgg": 32,
    "alexnet": 63,
    "densenet": 32,
    "googlenet": 32,
    "glyphnet": 16,
}
WITHOUT_LINEAR_HEAD = {"squeezenet1_0", "squeezenet1_1"}
# over 100 million parameters: minutes and gigabytes for the same code as their smaller relatives
HUGE = {"vit_h_14", "vit_l_16", "vit_l_32", "regnet_y_128gf", "regnet_y_32gf", "regnet_x_32gf", "convnext_large"}
HUGE |= {"efficientnet_v2_l", "wide_resnet101_2", "vgg11", "vgg13", "vgg16", "vgg19", "vgg13_bn", "vgg16_bn", "vgg19_bn"}
NAMED = {"efficientnet_lite0": "lite0", "glyphnet": "biotune", **dict.fromkeys(ARCHITECTURES, "torchvision")}
# a small member of each of timm's families that has one, with the smallest images that it takes
TIMM = {
    32: "test_byobnet convmixer_768_32 test_convnext cpubone_nano cs3darknet_focus_s cspnext_tiny davit_tiny densenet121 "
    "edgenext_xx_small test_efficientnet efficientvit_b0 efficientvit_m0 vit_tiny_patch16_dinov3_qkvb fasternet_t0 fastvit_t8 "
    "focalnet_tiny_srf ghostnet_050 hardcorenas_b hgnetv2_b0 sam2_hiera_tiny hrnet_w18_small iformer_t inception_next_atto "
    "lcnetv2_small lowformer_b0 test_mambaout poolformerv2_s12 mobilenetv3_small_050 "
    "mobilenetv4_conv_small_035 mobilevit_xxs mvitv2_tiny nextvit_small "
    "test_nfnet pvt_v2_b0 rdnet_tiny regnetx_002 repghostnet_050 res2next50 resnest14d test_resnet selecsls42 "
    "legacy_seresnet18 sequencer2d_s shvit_s1 skresnet18 starnet_s050 tiny_vit_5m_224 tresnet_m test_vit ese_vovnet19b_slim_dw "
    "legacy_xception xception41p xcit_nano_12_p8_224",
    64: "csatv2",
    96: "inception_v3 rexnet_100",  # of smaller images, rounding grows in the second
    160: "test_coatnet test_vit_relpos",
    224: "convit_tiny deit_tiny_patch16_224 gcvit_xxtiny hiera_tiny_224 levit_256d gmlp_ti16_224 nest_tiny pit_ti_224 "
    "eva02_tiny_patch14_224 swin_tiny_patch4_window7_224 swinv2_cr_tiny_224 tnt_s_legacy_patch16_224 vit_tiny_r_s16_p8_224 "
    "vitamin_small_224",
    256: "halonet_h1 swinv2_tiny_window8_256",
}


def noise(size: int) -> Data:
    """Eight images of two classes: four to train, two to validate, two to test."""
    pixels = np.random.default_rng(0).integers(0, 256, (8, size, size, 3), dtype=np.uint8)
    part = Part(np.arange(4), np.arange(4, 6))
    return Data("noise", ("a", "b"), pixels, np.arange(8) % 2, tuple("01234567"), part, (part,), np.array([6, 7]), "noise")


def train_once(library: str, name: str, size: int, folder: Path) -> None:
    """Train one epoch of one mini-batch, and load the kept model again."""
    network = build_network(BackboneConfig(library, name, "none"), 2)
    settings = TrainingConfig(lr=1e-4, batch_size=4, precision="fp32")
    workspace = Workspace.of(network, noise(size), settings, CPU)
    trial = Trial(fixed_schedule("full", network.blocks), 0, 1, 1, 1e-4, test=True, keep="it")
    result = run_trial(trial, workspace, folder)
    assert result.status == "ok"
    assert len(result.curve) == 1
    kept = load_file(kept_model(folder, "it"))
    workspace.reset()
    assert any(not torch.equal(value, kept[entry]) for entry, value in network.module.named_parameters())
    load_weights(network.module, kept, None, name, "")
    for entry, value in network.module.state_dict().items():
        assert torch.equal(value, kept[entry]), entry


def trains_the_same_from_shared_activations(library: str, name: str, size: int, folder: Path) -> None:
    """Train the head and the second half of a network, from the images and from activations that are shared."""
    found: dict[float, list[tuple[TrialResult, dict[str, torch.Tensor]]]] = {}
    for max_gb in (0.0, 1.0):
        torch.manual_seed(0)
        network = build_network(BackboneConfig(library, name, "none"), 2)
        settings = TrainingConfig(lr=1e-3, batch_size=4, precision="fp32", optimizer="sgd")
        workspace = Workspace.of(network, noise(size), settings, CPU, folder, max_gb)
        count = len(network.blocks)
        for first in (count - 1, count // 2):
            schedule = Schedule(network.blocks, tuple(float(index >= first) for index in range(count)))
            result = finetune(Trial(schedule, 0, 1, 2, 1e-3), workspace).result
            found.setdefault(max_gb, []).append((result, copy_state(network.module)))
    assert len(list(folder.glob("*.bin"))) == 2
    initial = workspace.initial
    for (own, weights), (expected, as_expected) in zip(found[1.0], found[0.0], strict=True):
        assert own.losses == pytest.approx(expected.losses, rel=1e-4)
        assert any(not torch.equal(value, initial[entry]) for entry, value in weights.items())
        for entry, value in as_expected.items():
            moved = float((value - initial[entry]).double().abs().max()) if value.numel() else 0.0
            torch.testing.assert_close(weights[entry], value, atol=1e-2 * moved + 1e-7, rtol=1e-6, msg=entry)


def size_of(name: str) -> int:
    return next((size for start, size in SIZES.items() if name.startswith(start)), 32)


def test_a_network_whose_layers_need_their_version_trains_and_is_loaded(tmp_path: Path) -> None:
    """torchvision's MNASNet refuses a state dict without the version in its metadata."""
    train_once("torchvision", "mnasnet0_5", 32, tmp_path)


def test_weights_from_safetensors_have_no_version_and_load_all_the_same(tmp_path: Path) -> None:
    state = build_network(BackboneConfig("torchvision", "mnasnet0_5", "none"), 7).module.state_dict()
    state["layers.0.weight"] += 1
    save_file(state, tmp_path / "w.safetensors")
    network = build_network(BackboneConfig("torchvision", "mnasnet0_5", str(tmp_path / "w.safetensors")), 2)
    assert torch.equal(network.module.state_dict()["layers.0.weight"], state["layers.0.weight"])


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(set(names()) - HUGE - WITHOUT_LINEAR_HEAD))
def test_every_classifier_of_torchvision_takes_a_step(name: str, tmp_path: Path) -> None:
    train_once("torchvision", name, size_of(name), tmp_path)


@pytest.mark.parametrize("name", sorted(WITHOUT_LINEAR_HEAD))
def test_the_others_of_torchvision_are_refused(name: str) -> None:
    with pytest.raises(BackboneError, match="is no linear layer but a Conv2d"):
        build_network(BackboneConfig("torchvision", name, "none"), 2)


@pytest.mark.parametrize("name", ["test_vit", "test_convnext", "test_efficientnet", "hrnet_w18_small"])
def test_networks_that_are_no_chain_share_what_frozen_blocks_compute(name: str, tmp_path: Path) -> None:
    pytest.importorskip("timm")
    trains_the_same_from_shared_activations("timm", name, 32, tmp_path)


def test_a_network_of_torchvision_that_is_cut_by_its_stages_shares_too(tmp_path: Path) -> None:
    trains_the_same_from_shared_activations("torchvision", "shufflenet_v2_x0_5", 32, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(NAMED))
def test_every_named_network_trains_the_same_from_what_it_shares(name: str, tmp_path: Path) -> None:
    trains_the_same_from_shared_activations(NAMED[name], name, size_of(name), tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "size"), [(name, size) for size, text in TIMM.items() for name in text.split()])
def test_a_small_model_of_each_family_shares_what_frozen_blocks_compute(name: str, size: int, tmp_path: Path) -> None:
    timm = pytest.importorskip("timm")
    if not timm.is_model(name):
        pytest.skip(f"timm {timm.__version__} has no {name}")
    trains_the_same_from_shared_activations("timm", name, size, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "size"), [(name, size) for size, text in TIMM.items() for name in text.split()])
def test_a_small_model_of_each_family_of_timm_takes_a_step(name: str, size: int, tmp_path: Path) -> None:
    timm = pytest.importorskip("timm")
    if not timm.is_model(name):
        pytest.skip(f"timm {timm.__version__} has no {name}")
    train_once("timm", name, size, tmp_path)
