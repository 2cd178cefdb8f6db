"""Checkpoints as training scripts write them: which weights are taken, under which names, and what the user is told."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from torch.optim.swa_utils import AveragedModel

from biotune.backbones.fitting import find_state
from biotune.backbones.glyphnet import GlyphNet
from biotune.backbones.network import Network
from biotune.backbones.registry import build_network
from biotune.config.sections import BackboneConfig
from biotune.errors import BackboneError

STRAY = torch.full((), 7.0)


class Held(nn.Module):
    """Keeps a network as an attribute, as a LightningModule does."""

    def __init__(self, name: str, network: nn.Module, *, criterion: bool = False) -> None:
        super().__init__()
        self.add_module(name, network)
        if criterion:
            self.criterion = nn.CrossEntropyLoss(weight=torch.ones(7))


def filled(value: float) -> GlyphNet:
    """A network of 7 classes, all of whose parameters have one value."""
    network = GlyphNet(7)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.fill_(value)
    return network


def build(path: Path, head: str = "new", num_classes: int = 10) -> Network:
    return build_network(BackboneConfig("biotune", "glyphnet", str(path), head=head), num_classes)


def body(network: Network) -> set[float]:
    """The values of the parameters of all blocks but the head."""
    return {
        value
        for name, parameter in network.module.named_parameters()
        if not name.startswith("head.")
        for value in parameter.flatten().tolist()
    }


# by the libraries' own wrappers; DataParallel names its network as DistributedDataParallel does, without a process group
WRAPPERS: dict[str, tuple[Callable[[nn.Module], nn.Module], str]] = {
    "lightning": (lambda network: Held("model", network), "model."),
    "lightning with another name": (lambda network: Held("net", network), "net."),
    "parallel": (nn.DataParallel, "module."),
    "compiled": (torch.compile, "_orig_mod."),  # type: ignore[dict-item]
    "parallel and compiled": (lambda network: nn.DataParallel(torch.compile(network)), "module._orig_mod."),  # type: ignore[arg-type]
    "compiled and parallel": (lambda network: torch.compile(nn.DataParallel(network)), "_orig_mod.module."),
    "lightning and compiled": (lambda network: Held("model", torch.compile(network)), "model._orig_mod."),  # type: ignore[arg-type]
    "deeper": (lambda network: Held("encoder", Held("backbone", network)), "encoder.backbone."),
}


@pytest.mark.parametrize("suffix", [".ckpt", ".safetensors"])
@pytest.mark.parametrize("wrapper", WRAPPERS)
def test_one_prefix_is_taken_off_and_named(wrapper: str, suffix: str, tmp_path: Path) -> None:
    wrap, prefix = WRAPPERS[wrapper]
    path = tmp_path / f"weights{suffix}"
    state = wrap(filled(3.0)).state_dict()
    if suffix == ".ckpt":
        torch.save({"state_dict": state, "epoch": 1, "optimizer_states": [{"state": {0: {"step": STRAY}}}]}, path)
    else:
        save_file(state, path)
    network = build(path)
    assert body(network) == {3.0}
    assert network.remarks == (f"remark: backbone.weights={path}: its names are read without the prefix {prefix}.",)


def test_plain_weights_are_loaded_without_a_remark(tmp_path: Path) -> None:
    for number, content in enumerate([filled(3.0).state_dict(), {"model": filled(3.0).state_dict(), "epoch": 2}]):
        torch.save(content, tmp_path / f"{number}.pt")
        network = build(tmp_path / f"{number}.pt")
        assert (body(network), network.remarks) == ({3.0}, ())


def test_a_loss_beside_the_network_is_left_aside_and_named(tmp_path: Path) -> None:
    torch.save({"state_dict": Held("model", filled(3.0), criterion=True).state_dict()}, tmp_path / "l.ckpt")
    network = build(tmp_path / "l.ckpt")
    assert body(network) == {3.0}
    assert network.remarks[0].endswith("without the prefix model.; left aside: criterion.weight.")


def timm_checkpoint() -> dict[str, Any]:
    """timm.utils.CheckpointSaver's entries."""
    return {
        "epoch": 3,
        "arch": "glyphnet",
        "state_dict": filled(1.0).state_dict(),
        "optimizer": {"state": {0: {"exp_avg": STRAY}}, "param_groups": [{"lr": 0.1}]},
        "version": 2,
        "args": argparse.Namespace(model="glyphnet", lr=0.1),
        "state_dict_ema": filled(2.0).state_dict(),
        "metric": np.float64(76.5),
    }


def torchvision_checkpoint() -> dict[str, Any]:
    """Entries of torchvision's references/classification/train.py with --model-ema."""
    return {
        "model": filled(1.0).state_dict(),
        "optimizer": {"state": {}, "param_groups": []},
        "epoch": 3,
        "args": argparse.Namespace(model="glyphnet", lr=0.1),
        "model_ema": AveragedModel(filled(2.0)).state_dict(),
    }


@pytest.mark.parametrize(
    ("checkpoint", "chosen"),
    [
        (timm_checkpoint, "state_dict_ema is loaded; state_dict would fit too"),
        (torchvision_checkpoint, "model_ema.module is loaded; model would fit too"),
    ],
)
def test_averaged_weights_are_preferred_and_the_choice_is_stated(
    checkpoint: Callable[[], dict[str, Any]], chosen: str, tmp_path: Path
) -> None:
    path = tmp_path / "c.pth"
    torch.save(checkpoint(), path)
    network = build(path)
    assert body(network) == {2.0}
    assert network.remarks[0] == f"remark: backbone.weights={path}: {chosen}. To use another, save it to a file of its own."
    if checkpoint is torchvision_checkpoint:
        assert network.remarks[1].endswith("without the prefix module.; left aside: n_averaged.")


def test_without_averaged_weights_the_first_of_the_file_are_taken(tmp_path: Path) -> None:
    torch.save({"online": filled(1.0).state_dict(), "best": filled(2.0).state_dict()}, tmp_path / "c.pt")
    network = build(tmp_path / "c.pt")
    assert body(network) == {1.0}
    assert network.remarks[0].startswith(f"remark: backbone.weights={tmp_path / 'c.pt'}: online is loaded; best would fit too.")


def test_the_entry_that_fits_is_taken_whatever_it_is_called(tmp_path: Path) -> None:
    torch.save({"model_ema": {"other.weight": STRAY}, "model": filled(1.0).state_dict()}, tmp_path / "c.pt")
    assert body(build(tmp_path / "c.pt")) == {1.0}


def test_a_kept_head_is_found_behind_the_prefix(tmp_path: Path) -> None:
    torch.save({"state_dict": Held("model", filled(3.0)).state_dict()}, tmp_path / "l.ckpt")
    network = build(tmp_path / "l.ckpt", "keep", 7)
    assert network.module.get_submodule("head").weight.unique().tolist() == [3.0]


def test_a_body_without_its_head_is_enough_for_a_new_head(tmp_path: Path) -> None:
    state = {f"encoder.{name}": value for name, value in filled(3.0).state_dict().items() if not name.startswith("head.")}
    torch.save({**state, "projector.weight": STRAY}, tmp_path / "ssl.pt")
    assert body(build(tmp_path / "ssl.pt")) == {3.0}


def test_metadata_of_a_prefixed_state_dict_is_kept_under_the_networks_own_names() -> None:
    network = GlyphNet(7)
    wrapped = nn.DataParallel(Held("net", network)).state_dict()
    state, _ = find_state({"": wrapped}, network, "head", "x")
    assert dict(state._metadata) == dict(network.state_dict()._metadata)  # type: ignore[attr-defined]
    assert "module.net.stem" in wrapped._metadata, "what was read is not changed"  # type: ignore[attr-defined]


def test_weights_of_another_network_name_the_closest_names_and_the_remedy(tmp_path: Path) -> None:
    state = {name.replace("conv1", "conv_1"): value for name, value in Held("net", filled(1.0)).state_dict().items()}
    torch.save({"state_dict": state}, tmp_path / "other.ckpt")
    with pytest.raises(BackboneError) as refused:
        build(tmp_path / "other.ckpt")
    message = str(refused.value)
    assert "4 missing (layer1.conv1.weight, layer2.conv1.weight, layer3.conv1.weight, …)" in message
    assert "layer1.conv1.weight is perhaps layer1.conv_1.weight" in message
    assert message.endswith(
        "Give weights that were saved from biotune's glyphnet, under the names of its state_dict(), or choose the "
        "backbone.name that they belong to."
    )


def test_objects_that_could_run_code_are_named(tmp_path: Path) -> None:
    torch.save({"state_dict": filled(1.0).state_dict(), "hook": build}, tmp_path / "c.ckpt")
    with pytest.raises(BackboneError, match=r"it holds .*\.build\)\. Save one with torch\.save\(model\.state_dict\(\)"):
        build(tmp_path / "c.ckpt")
