"""safetensors: the state dict under the names that torchvision or timm gives, held against the network that they build."""

from __future__ import annotations

from pathlib import Path

from safetensors.torch import load_file, save_file
from torch import nn

from biotune.backbones.home import Home
from biotune.store.files import EXPORTED_MODEL
from biotune.training.export.check import largest_difference, refused
from biotune.training.model import Model


def write(model: Model, home: Home, folder: Path) -> float:
    """Write `model.safetensors`.

    Args:
        model: The model, on the CPU.
        home: The network's library.
        folder: An existing folder.

    Returns:
        The largest difference of the logits of the network that the library builds and the file fills, see
        `largest_difference`.

    Raises:
        BackboneError: The file does not fit that network, or gives other logits.
    """
    path = folder / EXPORTED_MODEL["safetensors"]
    state = {name: value.contiguous() for name, value in model.module.state_dict().items()}
    save_file(state, path, metadata={"format": "pt"})
    return largest_difference(model, filled(model, home, path, "safetensors"), "safetensors")


def filled(model: Model, home: Home, path: Path, kind: str) -> nn.Module:
    """The network that a library builds, filled from a file of weights, every name of which must be the network's.

    Args:
        model: The model, for the number of classes.
        home: The library.
        path: The file.
        kind: The format, for messages.

    Raises:
        BackboneError: The library cannot build it, or the file does not fit.
    """
    with refused(kind, f"does not fit {home.function} of {home.library} as it is installed"):
        network = home.build(len(model.classes))
        network.load_state_dict(load_file(path), strict=True)
    return network.eval()
