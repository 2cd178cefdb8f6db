"""Weights from a local file: safetensors or a torch state dict; of pickled objects, only tensors are loaded."""

from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from biotune.errors import BackboneError, one_line

_SHOWN = 3


def read_weights(path: Path) -> dict[str, torch.Tensor]:
    """Read a state dict; a wrapping `state_dict` or `model` entry is unwrapped.

    Raises:
        BackboneError: The file is missing or holds no state dict.
    """
    if not path.is_file():
        raise BackboneError(f"backbone.weights={path}: no such file. Give a file, or one of default, none.")
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (SafetensorError, OSError, RuntimeError, ValueError, EOFError, KeyError) as error:
        raise BackboneError(f"backbone.weights={path}: cannot be read as weights ({one_line(error)[:200]}).") from error
    except Exception as error:  # torch.load raises pickle's errors for files that hold other objects than tensors
        raise BackboneError(
            f"backbone.weights={path}: is no plain state dict ({type(error).__name__}). Save one with "
            "torch.save(model.state_dict(), ...) or as safetensors."
        ) from error
    for wrapper in ("state_dict", "model"):
        if isinstance(state, dict) and isinstance(state.get(wrapper), dict):
            state = state[wrapper]
    if not isinstance(state, dict) or not all(isinstance(value, torch.Tensor) for value in state.values()):
        raise BackboneError(f"backbone.weights={path}: holds no state dict of tensors.")
    return state


def load_weights(module: nn.Module, state: dict[str, torch.Tensor], head: str | None, origin: str) -> None:
    """Load a state dict in place, or all of it but the head; every other entry must be there, and no other may be.

    Args:
        module: The network with its own, already replaced head.
        state: Parameters and buffers by their dotted names, in the shapes of the module's own.
        head: Path of the final linear layer, whose entries are left aside because a fresh head takes its place; None
            loads the head too.
        origin: How error messages name the source, such as `backbone.weights=FILE`.

    Raises:
        BackboneError: Names are missing or unexpected, or shapes differ.
    """
    given = {name: value for name, value in state.items() if head is None or not name.startswith(head + ".")}
    own = {name: value for name, value in module.state_dict().items() if head is None or not name.startswith(head + ".")}
    # absent from weights saved by old versions of torch, and of no use to them
    missing = sorted(name for name in own.keys() - given.keys() if not name.endswith("num_batches_tracked"))
    unexpected = sorted(given.keys() - own.keys())
    shapes = sorted(name for name in own.keys() & given.keys() if own[name].shape != given[name].shape)
    problems = [
        f"{len(names)} {what} ({', '.join(names[:_SHOWN])}{', …' if len(names) > _SHOWN else ''})"
        for names, what in ((missing, "missing"), (unexpected, "unexpected"), (shapes, "of another shape"))
        if names
    ]
    if problems:
        raise BackboneError(f"{origin}: does not fit the network: {'; '.join(problems)}.")
    module.load_state_dict(given, strict=False)
