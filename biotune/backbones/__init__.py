"""Pre-trained networks with a new head, and their blocks in forward order."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from biotune.backbones import embedded, torchvision
from biotune.backbones._base import (
    Architecture,
    Network,
    Preprocessing,
    block_parameters,
    check_partition,
    finer,
    parameters_of,
)
from biotune.backbones.weights_file import load_body, read_weights
from biotune.config import BackboneConfig
from biotune.errors import BackboneError, did_you_mean

__all__ = [
    "Architecture",
    "Network",
    "Preprocessing",
    "architecture",
    "block_parameters",
    "build",
    "check_partition",
    "parameters_of",
]

LIBRARIES: dict[str, dict[str, Architecture]] = {
    "biotune": embedded.ARCHITECTURES,
    "torchvision": torchvision.ARCHITECTURES,
}
_BODY_SEED = 0  # random bodies are the same in all trials of a run; only the head varies with the training seed


def architecture(config: BackboneConfig) -> Architecture:
    """Look a network up by its library and name.

    Raises:
        BackboneError: There is none of that name.
    """
    library = LIBRARIES.get(config.library)
    if library is None:
        raise BackboneError(f"backbone.library={config.library}: must be one of {', '.join(LIBRARIES)}.")
    if config.name not in library:
        raise BackboneError(
            f"backbone.name={config.name}: no such network in {config.library}.{did_you_mean(config.name, library)}"
        )
    return library[config.name]


def build(config: BackboneConfig, num_classes: int) -> Network:
    """Build a network with a new head on the CPU and load its weights.

    Args:
        config: Which network, which weights, which granularity.
        num_classes: Outputs of the new head.

    Raises:
        BackboneError: No such network, or weights that cannot be had or do not fit.
    """
    row = architecture(config)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(_BODY_SEED)
        module = row.build()
        _replace_head(module, row.head, num_classes)
    if config.weights == "default":
        load_body(module, row.pretrained(), row.head, "backbone.weights=default")
    elif config.weights != "none":
        load_body(module, read_weights(Path(config.weights)), row.head, f"backbone.weights={config.weights}")
    if row.prepare is not None:
        row.prepare(module)
    blocks = row.blocks if config.granularity == "block" else row.layers or finer(module, row.blocks)
    check_partition(module, blocks, row.head)
    counts = {
        name: sum(parameter.numel() for _, parameter in pairs) for name, pairs in block_parameters(module, blocks).items()
    }
    return Network(module, blocks, row.head, row.preprocessing(), counts)


def _replace_head(module: nn.Module, head: str, num_classes: int) -> None:
    parent_path, _, leaf = head.rpartition(".")
    old = module.get_submodule(head)
    if not isinstance(old, nn.Linear):
        raise BackboneError(f"the head {head} is a {type(old).__name__}; only linear heads can be replaced.")
    new = nn.Linear(old.in_features, num_classes, bias=old.bias is not None)
    setattr(module.get_submodule(parent_path), leaf, new)
