"""Linear probing then fine-tuning: which blocks move in which epoch, seen by stepping an optimizer."""

import torch


def test_lp_ft_trains_the_head_for_half_of_the_epochs_then_all_without_running_statistics(toy, stage, moved) -> None:
    _, hooks = stage("lp_ft", epochs=4)
    optimizer = torch.optim.Adam(hooks.groups)
    steps = [moved(optimizer, lambda epoch=epoch: hooks.before_epoch(epoch, optimizer)) for epoch in range(4)]
    assert steps == [{"head"}, {"head"}, *[{"stem", "middle", "head"}] * 2]
    assert torch.equal(toy[2].running_mean, torch.zeros(4))
    assert toy[2].weight.requires_grad
