"""An ensemble: several models of one network whose probabilities are averaged."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn

from biotune.backbones.network import main_output


class Ensemble(nn.Module):
    """Several networks whose probabilities are averaged.

    Source: Lakshminarayanan et al., *Simple and scalable predictive uncertainty estimation using deep ensembles*, NeurIPS 2017,
    section 2.4.
    """

    def __init__(self, members: Iterable[nn.Module]) -> None:
        """Take the networks, each of which maps (N, 3, H, W) images to (N, classes) logits."""
        super().__init__()
        self.members = nn.ModuleList(members)

    def forward(self, images: Tensor) -> Tensor:
        """(N, classes) logarithms of the averaged probabilities, whose softmax these probabilities are."""
        return average_probabilities([main_output(member(images)) for member in self.members])


def average_probabilities(logits: Sequence[Tensor]) -> Tensor:
    """(N, C) logarithms of the mean of the probabilities of several (N, C) logits."""
    logs = torch.stack([one.float().log_softmax(1) for one in logits])
    return logs.logsumexp(0) - math.log(len(logs))
