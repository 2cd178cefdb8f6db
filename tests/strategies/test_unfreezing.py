"""Which blocks move in which epoch, seen by stepping an optimizer."""

import pytest
import torch
from torch import nn

from biotune.strategies.unfreezing import unfrozen


def moved(toy: nn.Sequential, hooks, epochs: int, pictures) -> list[set[str]]:
    """The blocks whose parameters change in each epoch."""
    names = {"0": "stem", "1": "middle", "2": "middle", "5": "head"}
    optimizer = torch.optim.Adam(hooks.groups)
    found = []
    for epoch in range(epochs):
        before = {name: value.clone() for name, value in toy.state_dict().items()}
        hooks.before_epoch(epoch, optimizer)
        toy.train()
        optimizer.zero_grad()
        nn.functional.cross_entropy(toy(pictures), torch.tensor([0, 1] * 4)).backward()
        optimizer.step()
        found.append({names[name[0]] for name, value in toy.state_dict().items() if not torch.equal(value, before[name])})
    return found


def test_gradual_unfreezing_adds_a_block_an_epoch_from_the_head_down(toy, stage, pictures) -> None:
    _, hooks = stage("gradual_last_to_first")
    assert moved(toy, hooks, 4, pictures) == [{"head"}, {"middle", "head"}, *[{"stem", "middle", "head"}] * 2]
    assert hooks.settled == 2  # the first epoch in which all are trained


def test_its_mirror_image_begins_with_the_first_block(toy, stage, pictures) -> None:
    _, hooks = stage("gradual_first_to_last")
    assert moved(toy, hooks, 4, pictures) == [{"stem"}, {"stem", "middle"}, *[{"stem", "middle", "head"}] * 2]


def test_lp_ft_trains_the_head_for_half_of_the_epochs_then_all_without_running_statistics(toy, stage, pictures) -> None:
    _, hooks = stage("lp_ft", epochs=4)
    assert moved(toy, hooks, 4, pictures) == [{"head"}, {"head"}, *[{"stem", "middle", "head"}] * 2]
    assert torch.equal(toy[2].running_mean, torch.zeros(4))
    assert toy[2].weight.requires_grad


@pytest.mark.parametrize(
    ("count", "epochs", "by_epoch"), [(3, 30, [1, 2, 3, 3]), (6, 3, [2, 4, 6]), (5, 2, [3, 5]), (4, 1, [4]), (1, 2, [1, 1])]
)
def test_all_blocks_are_trained_in_the_last_epoch(count: int, epochs: int, by_epoch: list[int]) -> None:
    assert [unfrozen(epoch, count, epochs) for epoch in range(len(by_epoch))] == by_epoch
