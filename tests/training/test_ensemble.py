"""Averaged probabilities."""

from __future__ import annotations

import torch
from torch import nn

from biotune.training.ensemble import Ensemble, average_probabilities


def test_an_ensemble_has_the_mean_of_its_members_probabilities() -> None:
    torch.manual_seed(0)
    members = [nn.Sequential(nn.Flatten(), nn.Linear(12, 4)) for _ in range(3)]
    images = 5 * torch.randn(6, 3, 2, 2)
    expected = sum(member(images).softmax(1) for member in members) / 3
    torch.testing.assert_close(Ensemble(members)(images).softmax(1), expected)


def test_a_class_that_a_member_rules_out_keeps_the_others_share() -> None:
    certain, even = torch.tensor([[0.0, -1e4]]), torch.tensor([[0.0, 0.0]])
    torch.testing.assert_close(average_probabilities([certain, even]).exp(), torch.tensor([[0.75, 0.25]]))
