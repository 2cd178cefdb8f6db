"""Temperature scaling: one number by which logits are divided, so that probabilities say how often they are right."""

from __future__ import annotations

import math

import torch
from torch import Tensor

_LOWEST, _HIGHEST = 0.05, 20.0


def fit_temperature(logits: Tensor, labels: Tensor) -> float | None:
    """The temperature T that minimises the mean cross-entropy of softmax(logits / T) with the labels.

    Source: Guo et al., *On calibration of modern neural networks*, ICML 2017, section 4.2. The cross-entropy is convex in
    1/T, so that it has one minimum in log T.

    Args:
        logits: (N, C) logits or logarithms of probabilities of images that the network has not been trained on, N ≥ 1.
        labels: (N,) int64 true classes.

    Returns:
        T between 0.05 and 20; None where the images tell none: the cross-entropy falls towards one of these bounds, as it does
        towards 0 where all images are classified right.
    """
    from scipy.optimize import minimize_scalar  # slow to import, needed once per run

    exact = logits.double()

    def loss(log_temperature: float) -> float:
        return float(torch.nn.functional.cross_entropy(exact / math.exp(log_temperature), labels))

    low, high = math.log(_LOWEST), math.log(_HIGHEST)
    found = float(minimize_scalar(loss, bounds=(low, high), method="bounded", options={"xatol": 1e-6}).x)
    return math.exp(found) if low + 1e-3 < found < high - 1e-3 else None
