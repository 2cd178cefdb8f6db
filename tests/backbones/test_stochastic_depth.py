"""Rates of stochastic depth: where they are set, what a training run sees of them, and networks without any."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torchvision.ops import StochasticDepth

from biotune.backbones.registry import build_network
from biotune.backbones.stochastic_depth import drop_rates
from biotune.config.sections import BackboneConfig, TrainingConfig
from biotune.errors import BackboneError
from biotune.schedule.schedule import Schedule
from biotune.training import finetune as loop
from biotune.training.finetune import finetune
from biotune.training.workspace import Workspace
from biotune.trial import Trial

EFFICIENTNET = BackboneConfig("torchvision", "efficientnet_b0", "none")


def test_rates_keep_their_rise_and_can_be_given_back() -> None:
    network = build_network(EFFICIENTNET, 2, dropping=True)
    own = {path: part.p for path, part in network.module.named_modules() if isinstance(part, StochasticDepth)}
    assert list(own.values()) == pytest.approx([0.2 * index / 16 for index in range(16)])
    assert network.drop_path is not None
    network.drop_path.set(network.module, 0.6)
    assert list(drop_rates(network.module).values()) == pytest.approx([0.6 * index / 15 for index in range(16)])
    network.drop_path.set(network.module, 0.0)
    assert set(drop_rates(network.module).values()) == {0.0}
    network.drop_path.set(network.module, None)
    assert drop_rates(network.module) == pytest.approx(own)


def test_timm_builds_its_layers_on_demand_and_their_own_rate_is_none() -> None:
    pytest.importorskip("timm")
    config = BackboneConfig("timm", "vit_tiny_patch16_224", "none")
    assert drop_rates(build_network(config, 2).module) == {}
    network = build_network(config, 2, dropping=True)
    assert network.drop_path is not None
    network.drop_path.set(network.module, 0.22)
    # eleven of twelve blocks, two layers each: the first block's rate is 0, and timm leaves it out
    expected = [0.22 * (1 + index // 2) / 11 for index in range(22)]
    assert list(drop_rates(network.module).values()) == pytest.approx(expected, rel=1e-5)
    network.drop_path.set(network.module, None)
    assert set(drop_rates(network.module).values()) == {0.0}
    plain = build_network(config, 2).module.state_dict()
    assert all(torch.equal(value, plain[name]) for name, value in network.module.state_dict().items())


@pytest.mark.parametrize(("library", "name"), [("torchvision", "resnet18"), ("biotune", "glyphnet"), ("timm", "vgg11")])
def test_a_network_without_any_is_refused_in_one_line(library: str, name: str) -> None:
    if library == "timm":
        pytest.importorskip("timm")
    with pytest.raises(
        BackboneError,
        match=f"^training.drop_path, test.training.drop_path: {name} has no stochastic depth. Leave them out[^\n]*$",
    ):
        build_network(BackboneConfig(library, name, "none"), 2, dropping=True)


def test_search_and_final_training_runs_have_rates_of_their_own(
    load_digits: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    network = build_network(EFFICIENTNET, 10, dropping=True)
    settings = TrainingConfig(drop_path=0.1)
    final = replace(settings, drop_path=0.5)
    workspace = Workspace.of(network, load_digits(), settings, torch.device("cpu"), final=final)
    seen: list[float] = []

    def note(space: Workspace, *_: Any) -> None:
        seen.append(max(drop_rates(space.network.module).values()))

    def logits(space: Workspace, rows: Any, *_: Any) -> Tensor:
        return nn.functional.one_hot(space.labels(rows), 10).float()

    monkeypatch.setattr(loop, "_train_epoch", note)
    monkeypatch.setattr(loop, "predict", logits)
    schedule = Schedule(network.blocks, (1.0,) * len(network.blocks))
    for test in (False, True, False):
        finetune(Trial(schedule, None, 1, 1, 1e-3, test=test), workspace)
    assert seen == pytest.approx([0.1, 0.5, 0.1])
