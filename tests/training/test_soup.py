"""Averaged weights, and the statistics of batch normalisation under them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from biotune.backbones.state import copy_state, restore
from biotune.training.soup import average_weights, renew_statistics


def test_weights_are_averaged_and_counters_are_not() -> None:
    states = [
        {"weight": torch.tensor([1.0, 4.0]), "seen": torch.tensor(7)},
        {"weight": torch.tensor([2.0, 0.0]), "seen": torch.tensor(9)},
        {"weight": torch.tensor([6.0, 2.0]), "seen": torch.tensor(1)},
    ]
    soup = average_weights(states)
    torch.testing.assert_close(soup["weight"], torch.tensor([3.0, 2.0]))
    assert int(soup["seen"]) == 7
    soup["seen"] += 1
    assert int(states[0]["seen"]) == 7


def test_statistics_that_were_learnt_are_measured_anew_and_frozen_ones_stay(make_workspace: Callable[..., Any]) -> None:
    space = make_workspace(batch_size=100_000)  # one mini-batch: its statistics are those of all images
    module = space.network.module
    rows = space.data.whole.train
    layers = [name for name, layer in module.named_modules() if isinstance(layer, nn.BatchNorm2d)]
    first, last = layers[0], layers[-1]
    one = copy_state(module)
    other = {name: value.clone() for name, value in one.items()}
    other[f"{last}.running_mean"] += 1.0  # as if that layer alone had been trained
    restore(module, average_weights([one, other]))
    module.train()
    seen: list[torch.Tensor] = []
    module.get_submodule(last).register_forward_pre_hook(lambda layer, inputs: seen.append(inputs[0].detach().clone()))
    renew_statistics(space, [one, other], rows)
    found = module.state_dict()
    (inputs,) = seen
    assert len(inputs) == len(rows)
    torch.testing.assert_close(found[f"{last}.running_mean"], inputs.mean((0, 2, 3)), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(found[f"{last}.running_var"], inputs.var((0, 2, 3)), rtol=1e-4, atol=1e-5)
    assert found[f"{first}.running_mean"].equal(one[f"{first}.running_mean"])
    assert not any(layer.training for layer in module.modules())
    assert module.get_submodule(last).momentum is not None


def test_without_learnt_statistics_no_image_is_read(make_workspace: Callable[..., Any]) -> None:
    space = make_workspace()
    state = copy_state(space.network.module)
    space.images_in_turn = None  # reading would fail
    renew_statistics(space, [state, state], space.data.whole.train)
    assert all(value.equal(state[name]) for name, value in space.network.module.state_dict().items())
