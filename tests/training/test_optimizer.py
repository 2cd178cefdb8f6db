"""Learning rates over a training run and weight decay by group: against torch's schedulers, and by hand."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import nn
from torch.optim.lr_scheduler import OneCycleLR

from biotune.config.sections import TrainingConfig
from biotune.training.optimizer import OneCycle, build_optimizer, lr_factor, spare_norms

CPU = torch.device("cpu")


def test_a_cosine_over_all_epochs_follows_the_budget_after_the_warm_up() -> None:
    settings = TrainingConfig(cosine_epochs="auto", warmup_epochs=2)
    found = [lr_factor(epoch, settings, 6) for epoch in range(6)]
    # half, whole, then (1 + cos(π e / 4)) / 2 for e = 0 to 3
    expected = [0.5, 1.0, 1.0, (1 + math.sqrt(0.5)) / 2, 0.5, (1 - math.sqrt(0.5)) / 2]
    assert found == pytest.approx(expected, abs=1e-12)


def test_one_cycle_is_torchs_at_every_groups_own_height() -> None:
    weights = [nn.Parameter(torch.zeros(1)) for _ in range(2)]
    heights = [0.5, 0.02]
    ours = torch.optim.SGD([{"params": [w], "lr": lr} for w, lr in zip(weights, heights, strict=True)], lr=1.0)
    theirs = torch.optim.SGD([{"params": [w], "lr": lr} for w, lr in zip(weights, heights, strict=True)], lr=1.0)
    expected = OneCycleLR(theirs, max_lr=heights, total_steps=12, cycle_momentum=False)
    course = OneCycle(ours, 12)
    for step in range(12):
        if step % 4 == 0:  # an epoch of four mini-batches begins with the groups' own rates
            for group, height in zip(ours.param_groups, heights, strict=True):
                group["lr"] = height
            course.begin_epoch()
        found = [group["lr"] for group in ours.param_groups]
        assert found == pytest.approx([group["lr"] for group in theirs.param_groups], rel=1e-9)
        ours.step()
        theirs.step()
        course.advance()
        if step < 11:
            expected.step()


def test_a_rate_that_is_changed_before_an_epoch_stays_changed_through_its_mini_batches() -> None:
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    course = OneCycle(optimizer, 4)
    course.begin_epoch()
    first = optimizer.param_groups[0]["lr"]
    course.advance()
    second = optimizer.param_groups[0]["lr"]
    for scale in (1.0, 0.1):
        optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=scale)
        course = OneCycle(optimizer, 4)
        course.begin_epoch()
        assert optimizer.param_groups[0]["lr"] == pytest.approx(scale * first)
        course.advance()
        assert optimizer.param_groups[0]["lr"] == pytest.approx(scale * second)
    assert second != first


class TestDecay:
    @pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
    @pytest.mark.parametrize("decay_norm", [True, False])
    def test_without_a_gradient_only_decayed_parameters_move(self, optimizer: str, decay_norm: bool) -> None:
        model = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2), nn.LayerNorm(2))
        for parameter in model.parameters():
            nn.init.constant_(parameter, 2.0)
            parameter.grad = torch.zeros_like(parameter)
        groups: list[dict[str, Any]] = [{"params": list(model.parameters()), "lr": 0.1, "name": "all"}]
        groups = groups if decay_norm else spare_norms(groups, model)
        build_optimizer(groups, TrainingConfig(optimizer=optimizer, weight_decay=0.5), CPU).step()
        moved = 2 - 0.1 * 0.5 * 2  # w − λ (0 + decay · w)
        spared = moved if decay_norm else 2.0
        expected = {"0.weight": moved} | dict.fromkeys(("0.bias", "1.weight", "1.bias", "2.weight", "2.bias"), spared)
        found = {name: parameter.flatten()[0].item() for name, parameter in model.named_parameters()}
        assert found == pytest.approx(expected, rel=1e-6)

    def test_groups_keep_their_rates_names_and_order(self) -> None:
        model = nn.Sequential(nn.Linear(2, 2, bias=False), nn.LayerNorm(2), nn.Linear(2, 2))
        groups = [
            {"params": list(part.parameters()), "lr": rate, "name": name}
            for part, rate, name in zip(model, (1.0, 2.0, 3.0), "abc", strict=True)
        ]
        found = spare_norms(groups, model)
        assert [(group["name"], group["lr"], group.get("weight_decay")) for group in found] == [
            ("a", 1.0, None),
            ("b", 2.0, 0.0),
            ("c", 3.0, None),
            ("c", 3.0, 0.0),
        ]
        assert [id(p) for group in found for p in group["params"]] == [id(p) for p in model.parameters()]
