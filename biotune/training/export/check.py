"""Holds an exported model against the network that it was made from."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn import functional

from biotune.backbones.network import main_output
from biotune.config.key import Sides, height_and_width
from biotune.errors import BackboneError, one_line
from biotune.training.model import Model

TOLERANCE = 1e-4  # of the largest logit; two runtimes add in different orders
_BATCHES = (1, 3)  # neither is the size that a network is traced with
_PATCHES = 3  # along a side
_LONGEST_REASON = 300  # characters
_TRACED_BATCH = 2  # torch.export takes a batch of one for a constant


class Logits(nn.Module):
    """A network that returns its logits alone, whatever else it returns."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        """Classify (N, 3, H, W) normalised images; (N, classes) logits."""
        return main_output(self.network(images))


def example(model: Model) -> Tensor:
    """Images to trace a network with, (2, 3, H, W) float."""
    return patches(_TRACED_BATCH, model.preprocessing.crop)


@torch.no_grad()
def largest_difference(model: Model, exported: Callable[[Tensor], Tensor], kind: str) -> float:
    """Compare the logits of an exported model with those of its network on mini-batches of two sizes.

    Args:
        model: The model, on the CPU.
        exported: Takes (N, 3, H, W) normalised float images, returns (N, classes) logits.
        kind: The format, for messages.

    Returns:
        The largest absolute difference, as a share of the largest absolute logit.

    Raises:
        BackboneError: It fails, returns another shape, or differs by more than `TOLERANCE`.
    """
    largest = 0.0
    for size in _BATCHES:
        images = patches(size, model.preprocessing.crop)
        expected = main_output(model.module(images))
        with refused(kind, f"does not run on {size} images"):
            found = exported(images)
        if found.shape != expected.shape:
            raise unfit(kind, f"returns {tuple(found.shape)} for {size} images instead of {tuple(expected.shape)}")
        scale = float(expected.abs().max()) or 1.0
        difference = float((found - expected).abs().max()) / scale
        if not difference <= TOLERANCE:  # NaN is no agreement
            raise unfit(kind, f"gives logits that differ from the network's by {difference:.1e} of their scale")
        largest = max(largest, difference)
    return largest


@contextmanager
def refused(kind: str, fault: str) -> Iterator[None]:
    """Turn whatever a library raises on a network that it cannot handle into one line.

    Args:
        kind: The format.
        fault: What fails, as a clause whose subject is the exported model.

    Raises:
        BackboneError: Anything was raised inside.
    """
    try:
        yield
    except Exception as error:  # exporters and runtimes raise many kinds of their own
        reason = f"{type(error).__name__}: {one_line(error)}"
        raise unfit(kind, f"{fault} ({reason[:_LONGEST_REASON]})") from error


def unfit(kind: str, fault: str) -> BackboneError:
    """The error of a network that a format does not take.

    Args:
        kind: The format.
        fault: What is wrong, as a clause whose subject is the exported model.
    """
    return BackboneError(f"--format {kind}: the exported model {fault}. Choose another format.")


def patches(size: int, sides: Sides) -> Tensor:
    """Made-up images, because no run keeps its own: coarse patches under noise, (N, 3, H, W) float, always the same.

    Noise alone would not do: to a network that averages over positions, all of it looks alike.

    Args:
        size: N, the number of images.
        sides: H and W in pixels; one number where they are equal.
    """
    draws = torch.Generator().manual_seed(size)
    shape = height_and_width(sides)
    coarse, fine = (torch.randn(size, 3, *lengths, generator=draws) for lengths in ((_PATCHES, _PATCHES), shape))
    return functional.interpolate(coarse, shape, mode="bilinear") + 0.3 * fine
