"""The costs of a training step against hand counts, and against counting each step by itself."""

from __future__ import annotations

import copy
import itertools

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from biotune.backbones.network import Network, Preprocessing
from biotune.backbones.registry import build_network
from biotune.config.sections import BackboneConfig, TrainingConfig
from biotune.evolution.objectives import BlockCosts
from biotune.schedule.block import Block
from biotune.schedule.freezing import freeze
from biotune.schedule.schedule import Schedule
from biotune.training.step_costs import macs_by_block, measure_step

CPU = torch.device("cpu")
PLAIN = Preprocessing(8, 8, (0.5,) * 3, (0.25,) * 3)


def network_of(**parts: nn.Module) -> Network:
    module = nn.Sequential()
    for name, part in parts.items():
        module.add_module(name, part)
    blocks = tuple(Block(name, (name,)) for name in parts if any(True for _ in parts[name].parameters()))
    sizes = {name: sum(one.numel() for one in parts[name].parameters()) for name in parts}
    return Network(module, blocks, blocks[-1].name, PLAIN, sizes)


def test_macs_are_those_counted_by_hand() -> None:
    network = network_of(
        stem=nn.Conv2d(3, 4, 3, padding=1), pool=nn.AdaptiveAvgPool2d(1), flat=nn.Flatten(), head=nn.Linear(4, 5)
    )
    stem, head = 8 * 8 * 4 * 3 * 9, 4 * 5
    alone, joined = macs_by_block(network, 8)
    assert alone == (stem + head + head + stem, stem + head + head)  # forward, then down to the block
    assert joined == (0.0, head)


def test_macs_of_a_schedule_are_those_of_a_step_that_is_counted_itself() -> None:
    network = build_network(BackboneConfig(name="glyphnet", library="biotune", weights="none"), 10)
    macs = BlockCosts(*macs_by_block(network, 16))
    for bits in itertools.product((False, True), repeat=len(network.blocks)):
        if not any(bits):
            continue
        model = copy.deepcopy(network.module)
        freeze(model, network.blocks, bits)
        with FlopCounterMode(display=False) as counter:
            model.train()(torch.zeros(4, 3, 16, 16)).sum().backward()
        assert macs(Schedule(network.blocks, tuple(map(float, bits)))) == counter.get_total_flops() / 8


def test_a_network_that_looks_at_values_is_counted_with_some() -> None:
    class Picky(nn.Linear):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return super().forward(x) if x.abs().max().item() >= 0 else x

    network = network_of(flat=nn.Flatten(), head=Picky(192, 5))
    assert macs_by_block(network, 8) == ((2 * 192 * 5,), (0.0,))


def test_memory_grows_by_gradients_and_optimizer_state_of_what_is_trained() -> None:
    network = network_of(flat=nn.Flatten(), body=nn.Linear(192, 10), head=nn.Linear(10, 5))
    training = TrainingConfig(optimizer="sgd", momentum=0.9, batch_size=8, precision="fp32")
    head, both = (measure_step(network, own, training, CPU, 8).memory for own in ((False, True), (True, True)))
    flattened = 4 * 8 * 192  # a copy, as the channels of images come last; only the body's gradients need it
    assert both - head == 2 * 4 * (192 * 10 + 10) + flattened
    weights = 4 * (192 * 10 + 10 + 10 * 5 + 5)
    assert head >= weights + 2 * 4 * 55 + 4 * 8 * 192 + 4 * 8 * 10


@pytest.mark.gpu
def test_memory_on_cuda_is_what_was_allocated() -> None:
    network = network_of(flat=nn.Flatten(), body=nn.Linear(3 * 64 * 64, 1000), head=nn.Linear(1000, 5))
    training = TrainingConfig(optimizer="sgd", momentum=0.9, batch_size=8, precision="fp32")
    cuda = torch.device("cuda", 0)
    head, both = (measure_step(network, own, training, cuda, 64).memory for own in ((False, True), (True, True)))
    assert both - head >= 2 * 4 * 3 * 64 * 64 * 1000


def test_measuring_changes_neither_the_network_nor_the_random_numbers() -> None:
    network = network_of(flat=nn.Flatten(), drop=nn.Dropout(0.5), norm=nn.BatchNorm1d(192), head=nn.Linear(192, 5))
    before, state = copy.deepcopy(network.module.state_dict()), torch.get_rng_state()
    cost = measure_step(network, (True, True), TrainingConfig(optimizer="adamw", batch_size=4), CPU, 8)
    macs_by_block(network, 8)
    assert cost.seconds > 0
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(value, before[name]) for name, value in network.module.state_dict().items())
    assert all(parameter.requires_grad and parameter.grad is None for parameter in network.module.parameters())
