"""TorchScript: the operations of one forward pass, which torch loads without the code of the network."""

from __future__ import annotations

import warnings
from pathlib import Path

import torch

from biotune.store.files import EXPORTED_MODEL
from biotune.training.export.check import Logits, example, largest_difference, refused
from biotune.training.model import Model


def write(model: Model, folder: Path) -> float:
    """Write `model.pt`, with mini-batches of any size.

    Traced, not scripted: the scripting compiler does not know all that networks of a user's own may be written in.

    Args:
        model: The model, on the CPU.
        folder: An existing folder.

    Returns:
        The largest difference of its logits, see `largest_difference`.

    Raises:
        BackboneError: The network cannot be traced, or the file gives other logits.
    """
    path = folder / EXPORTED_MODEL["torchscript"]
    with refused("torchscript", "cannot be made"), warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter(
            "ignore"
        )  # that tracing is no longer developed, and what it takes for a constant: this is checked
        torch.jit.trace(Logits(model.module).eval(), example(model), check_trace=False).save(path)
        loaded = torch.jit.load(path)
    return largest_difference(model, loaded, "torchscript")
