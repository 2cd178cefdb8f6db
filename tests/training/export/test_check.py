"""An exported model is accepted only if it gives the network's logits, on mini-batches of several sizes."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from biotune.backbones.network import Preprocessing
from biotune.errors import BackboneError
from biotune.training.export.check import Logits, largest_difference
from biotune.training.model import Model


class Sums(nn.Module):
    """Two logits of an image: the sum of its values, and minus that; with what some networks return besides."""

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        sums = images.sum((1, 2, 3))
        return {"aux": images, "logits": torch.stack([sums, -sums], 1)}


@pytest.fixture
def model() -> Model:
    return Model(Sums(), Preprocessing(6, 4, (0.5,) * 3, (0.5,) * 3), ("a", "b"), torch.device("cpu"))


def test_the_difference_is_a_share_of_the_largest_logit(model: Model) -> None:
    same = Logits(model.module)
    assert largest_difference(model, same, "onnx") == 0.0
    assert largest_difference(model, lambda images: same(images) * (1 + 5e-5), "onnx") == pytest.approx(5e-5, rel=0.02)


@pytest.mark.parametrize(
    ("wrong", "fault"),
    [
        (lambda logits: logits * 1.0002, r"differ from the network's by 2.0e-04 of their scale"),
        (lambda logits: logits * math.nan, "differ from the network's by nan"),
        (lambda logits: logits[:1], r"returns \(1, 2\) for 3 images instead of \(3, 2\)"),
        (lambda logits: logits.flip(1), "differ from the network's"),
        (lambda logits: logits.no_such, r"does not run on 1 images \(AttributeError"),
    ],
)
def test_one_that_does_not_give_the_logits_is_refused(model: Model, wrong: Callable[[Tensor], Tensor], fault: str) -> None:
    network = Logits(model.module)
    with pytest.raises(BackboneError, match=rf"^--format onnx: the exported model .*{fault}.*Choose another format\.$"):
        largest_difference(model, lambda images: wrong(network(images)), "onnx")
