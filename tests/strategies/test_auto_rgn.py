"""Rates that follow gradients, against numbers worked out by hand and by plain autograd."""

import pytest
import torch

from biotune.strategies.auto_rgn import relative_norms, signal_to_noise


def test_relative_norms_by_hand() -> None:
    parameters = [torch.tensor([3.0, 4.0]), torch.tensor([2.0]), torch.zeros(2)]  # norms 5, 2, 0
    gradients = [  # norms 10, 1 and 20, 3: means 15 and 2, ratios 3 and 1
        [torch.tensor([6.0, 8.0]), torch.tensor([1.0]), torch.ones(2)],
        [torch.tensor([12.0, 16.0]), torch.tensor([-3.0]), torch.ones(2)],
    ]
    assert relative_norms(parameters, gradients) == pytest.approx([1.0, 1 / 3, 1.0])


def test_signal_to_noise_by_hand() -> None:
    # means 2, 1 and 0; variances 1, 4 and 1; ratios 4, 0.25 and 0
    gradients = [
        [torch.tensor([1.0]), torch.tensor([-1.0]), torch.tensor([1.0])],
        [torch.tensor([3.0]), torch.tensor([3.0]), torch.tensor([-1.0])],
    ]
    assert signal_to_noise(gradients, 0.2) == pytest.approx([1.0, 0.0625, 0.0])
    assert signal_to_noise(gradients, 0.95) == pytest.approx([1.0, 0.0, 0.0])
    assert signal_to_noise(gradients, 100.0) == pytest.approx([1.0, 0.0, 0.0])  # never do all stand still


def test_gradients_that_vanish_move_nothing() -> None:
    zeros = [[torch.zeros(2), torch.zeros(3)]] * 2
    assert relative_norms([torch.ones(2), torch.ones(3)], zeros) == [0.0, 0.0]
    assert signal_to_noise(zeros, 0.95) == [0.0, 0.0]


def test_auto_rgn_sets_the_rates_that_plain_autograd_gives_and_leaves_normalisation_out(toy, stage) -> None:
    context, hooks = stage("auto_rgn", batches=2)
    optimizer = torch.optim.SGD(hooks.groups)
    names = [group["name"] for group in optimizer.param_groups]
    assert names == ["0.weight", "0.bias", "1.weight", "1.bias", "5.weight", "5.bias"]
    assert not any(parameter.requires_grad for parameter in toy[2].parameters())
    parameters = dict(toy.named_parameters())
    sizes = {name: 0.0 for name in names}
    for loss in context.losses(0, 2):
        toy.zero_grad()
        loss.backward()
        for name in names:
            sizes[name] += float(parameters[name].grad.norm()) / 2
    ratios = {name: sizes[name] / float(parameters[name].detach().norm()) for name in names}
    toy[2].reset_running_stats()
    hooks.before_epoch(0, optimizer)
    largest = max(ratios.values())
    assert [group["lr"] for group in optimizer.param_groups] == pytest.approx(
        [0.1 * ratios[n] / largest for n in names], rel=1e-5
    )


def test_measuring_leaves_running_statistics_and_gradients_alone(toy, stage) -> None:
    _, hooks = stage("auto_snr", batches=2, floor=0.95)
    toy.zero_grad()
    hooks.before_epoch(0, torch.optim.SGD(hooks.groups))
    assert torch.equal(toy[2].running_mean, torch.zeros(4))
    assert all(parameter.grad is None for parameter in toy.parameters())
