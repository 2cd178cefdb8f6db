"""The penalties of L2-SP and L1-SP by their gradients, worked out by hand."""

import pytest
import torch
from torch import nn

ALPHA, BETA = 0.3, 0.7


def gradients(toy: nn.Sequential, hooks, move: float) -> dict[str, torch.Tensor]:
    with torch.no_grad():
        for parameter in toy.parameters():
            parameter.add_(move)
    hooks.penalty().backward()
    return {name: p.grad for name, p in toy.named_parameters() if p.grad is not None}


def test_l2_sp_pulls_pre_trained_weights_by_alpha_times_their_way_and_the_new_head_to_zero(toy, stage) -> None:
    _, hooks = stage("l2_sp", alpha=ALPHA, beta=BETA)
    found = gradients(toy, hooks, 0.25)
    assert set(found) == {"0.weight", "1.weight", "5.weight"}  # no bias, no normalisation
    for name in ("0.weight", "1.weight"):
        torch.testing.assert_close(found[name], torch.full_like(found[name], ALPHA * 0.25))
    torch.testing.assert_close(found["5.weight"], BETA * toy[5].weight.detach())


@pytest.mark.parametrize("move", [0.25, -0.5])
def test_l1_sp_pulls_with_a_constant_force(toy, stage, move: float) -> None:
    _, hooks = stage("l1_sp", alpha=ALPHA, beta=BETA)
    found = gradients(toy, hooks, move)
    for name in ("0.weight", "1.weight"):
        torch.testing.assert_close(found[name], torch.full_like(found[name], ALPHA if move > 0 else -ALPHA))
    torch.testing.assert_close(found["5.weight"], BETA * toy[5].weight.detach())


def test_a_kept_head_is_pre_trained_like_the_rest(toy, stage) -> None:
    _, hooks = stage("l2_sp", fresh_head=False, alpha=ALPHA, beta=BETA)
    found = gradients(toy, hooks, 0.25)
    torch.testing.assert_close(found["5.weight"], torch.full_like(found["5.weight"], ALPHA * 0.25))


def test_at_the_start_only_the_new_head_is_penalised(toy, stage) -> None:
    _, hooks = stage("l1_sp", alpha=ALPHA, beta=BETA)
    assert float(hooks.penalty().detach()) == pytest.approx(BETA / 2 * float((toy[5].weight.detach() ** 2).sum()))
