"""The state dicts of a local file: safetensors, or what torch.save wrote; pickled objects that could run code are refused."""

from __future__ import annotations

import argparse
import pathlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from biotune.errors import BackboneError, one_line

State = Mapping[str, Any]

# training scripts keep their arguments and scores beside the weights; making these objects runs no code
_SCALAR = np.float64(0).__reduce__()[0]
_HARMLESS: list[Any] = [
    argparse.Namespace,
    pathlib.PosixPath,
    np.dtype,
    *(type(np.dtype(kind)) for kind in (np.float64, np.float32, np.int64)),
    (_SCALAR, "numpy.core.multiarray.scalar"),  # its names before and since numpy 2
    (_SCALAR, "numpy._core.multiarray.scalar"),
]
_DEPTH = 3  # of dicts within dicts in which state dicts are looked for


def read_weights(path: Path) -> dict[str, State]:
    """Read the state dicts of a file.

    Returns:
        Every dict of the file that holds a tensor and has only texts for keys, by its dotted place: "" for the file itself,
        `state_dict` or `model_ema` for an entry of a checkpoint. In the order of the file.

    Raises:
        BackboneError: The file is missing or holds no state dict.
    """
    if not path.is_file():
        raise BackboneError(f"backbone.weights={path}: no such file. Give a file, or one of default, none.")
    try:
        if path.suffix == ".safetensors":
            return {"": load_file(path)}
        with torch.serialization.safe_globals(_HARMLESS):
            content = torch.load(path, map_location="cpu", weights_only=True)
    except (SafetensorError, OSError, RuntimeError, ValueError, EOFError, KeyError) as error:
        raise BackboneError(f"backbone.weights={path}: cannot be read as weights ({one_line(error)[:200]}).") from error
    except Exception as error:  # torch.load raises pickle's errors for files that hold other objects than tensors
        raise BackboneError(
            f"backbone.weights={path}: is no plain state dict ({type(error).__name__}{_refused(path)}). Save one with "
            "torch.save(model.state_dict(), ...) or as safetensors."
        ) from error
    found = dict(_state_dicts(content, "", _DEPTH))
    if not found:
        raise BackboneError(f"backbone.weights={path}: holds no state dict of tensors.")
    return found


def _state_dicts(content: object, place: str, depth: int) -> Iterator[tuple[str, State]]:
    if not isinstance(content, Mapping) or not all(isinstance(name, str) for name in content):
        return
    if any(isinstance(value, Tensor) for value in content.values()):
        yield place, content
    if depth:
        for name, value in content.items():
            yield from _state_dicts(value, f"{place}.{name}" if place else name, depth - 1)


def _refused(path: Path) -> str:
    """The pickled types of a file that are not loaded, for a message; empty where they cannot be told."""
    try:
        with torch.serialization.safe_globals(_HARMLESS):
            names = torch.serialization.get_unsafe_globals_in_checkpoint(path)
    except Exception:  # files of torch before 1.6 and bare pickles are not understood
        return ""
    return f": it holds {', '.join(sorted(names)[:3])}" if names else ""
