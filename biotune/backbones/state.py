"""State dicts with their metadata, which some layers need when they are loaded: copied, cut down, and loaded again."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

_METADATA = "_metadata"  # torch's attribute of a state dict: for each module's path, the version of its layout


def copy_state(module: nn.Module, device: torch.device | None = None) -> OrderedDict[str, Tensor]:
    """Copy a module's parameters and buffers, with the metadata of its state dict.

    Args:
        module: The module.
        device: The device of the copy; None copies each tensor on its own device.

    Returns:
        Tensors that share no memory with the module, in the shapes and memory formats of its own.
    """
    own = module.state_dict()
    copies = ((name, value.detach().to(device, copy=True)) for name, value in own.items())
    return _with_metadata(OrderedDict(copies), own)


def keep_entries(state: Mapping[str, Any], wanted: Callable[[str], bool]) -> OrderedDict[str, Any]:
    """The entries of a state dict whose names are wanted, with its metadata; the tensors are not copied."""
    return _with_metadata(OrderedDict((name, value) for name, value in state.items() if wanted(name)), state)


def restore(module: nn.Module, state: Mapping[str, Tensor], strict: bool = True) -> None:
    """Load a state dict in place; one without metadata, as safetensors files hold, counts as written by this module's code.

    Args:
        module: The module.
        state: Parameters and buffers by their dotted names.
        strict: Whether all entries must be there, and no others.

    Raises:
        RuntimeError: Names or shapes do not fit.
    """
    entries = OrderedDict(state)
    module.load_state_dict(_with_metadata(entries, state if hasattr(state, _METADATA) else module.state_dict()), strict)


def _with_metadata(state: OrderedDict[str, Any], source: Mapping[str, Any]) -> OrderedDict[str, Any]:
    metadata = getattr(source, _METADATA, None)
    if metadata is not None:
        setattr(state, _METADATA, OrderedDict(metadata))  # a copy, because prefixes are taken off it in place
    return state
