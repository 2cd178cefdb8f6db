"""The temperature that makes probabilities calibrated."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.metrics import log_loss

from biotune.training.temperature import fit_temperature


def drawn(temperature: float, count: int = 20_000) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits, and labels that are drawn from the softmax of the logits divided by a temperature."""
    rng = np.random.default_rng(0)
    logits = torch.from_numpy(3 * rng.normal(size=(count, 6)))
    chances = (logits / temperature).softmax(1).numpy()
    labels = (rng.uniform(size=(count, 1)) > chances.cumsum(1)).sum(1).clip(max=5)
    return logits, torch.from_numpy(labels)


@pytest.mark.parametrize("temperature", [0.4, 1.0, 2.5])
def test_the_temperature_that_labels_were_drawn_with_is_found(temperature: float) -> None:
    found = fit_temperature(*drawn(temperature))
    assert found == pytest.approx(temperature, rel=0.05)


def test_no_other_temperature_has_a_lower_log_loss() -> None:
    logits, labels = drawn(1.7, 500)
    found = fit_temperature(logits.float(), labels)
    assert found is not None
    loss = {t: log_loss(labels, (logits / t).softmax(1), labels=range(6)) for t in (found, *np.geomspace(0.05, 20, 400))}
    assert loss[found] <= min(loss.values()) + 1e-9


def test_no_temperature_is_told_where_all_are_right_or_the_network_knows_nothing() -> None:
    logits = torch.eye(4, dtype=torch.float64).repeat(5, 1)
    labels = torch.arange(4).repeat(5)
    assert fit_temperature(logits, labels) is None
    assert fit_temperature(logits, labels.roll(1)) is None
