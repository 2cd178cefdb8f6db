"""The networks that can be chosen, by library and name; building one with a new head, and registering the user's own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from biotune.backbones.fitting import find_state, load_weights
from biotune.backbones.network import Architecture, Network, skeleton
from biotune.backbones.partition import check_partition, finer, finer_steps
from biotune.backbones.state import keep_entries
from biotune.backbones.stochastic_depth import DropPath, drop_rates
from biotune.backbones.weights_file import State, read_weights
from biotune.config.sections import BackboneConfig
from biotune.errors import BackboneError, did_you_mean
from biotune.schedule.block_parameters import block_parameters


@dataclass(frozen=True)
class Library:
    """Where networks are defined.

    Attributes:
        find: The row of a name, or None.
        names: All names, for suggestions.
    """

    find: Callable[[str], Architecture | None]
    names: Callable[[], list[str]]


# imported on first use, because some of the libraries take seconds to import
def _biotune() -> Library:
    from biotune.backbones import glyphnet

    return Library(glyphnet.find, glyphnet.names)


def _torchvision() -> Library:
    from biotune.backbones import torchvision

    return Library(torchvision.find, torchvision.names)


def _timm() -> Library:
    from biotune.backbones import timm

    return Library(timm.find, timm.names)


def _lite0() -> Library:
    from biotune.backbones import lite0

    return Library(lite0.find, lite0.names)


REGISTERED: dict[str, Architecture] = {}


LIBRARIES: dict[str, Callable[[], Library]] = {
    "biotune": _biotune,
    "torchvision": _torchvision,
    "timm": _timm,
    "lite0": _lite0,
    "plugin": lambda: Library(REGISTERED.get, lambda: list(REGISTERED)),
}


_BODY_SEED = 0  # random bodies are the same in all trials of a run; only the head varies with the training seed


def register_backbone(row: Architecture) -> None:
    """Make a user's network available as `backbone.library=plugin backbone.name=NAME`.

    Raises:
        BackboneError: The name is taken, or the blocks do not cover the network once, in forward order, head last.
    """
    if row.name in REGISTERED and REGISTERED[row.name] != row:
        raise BackboneError(f"backbone {row.name}: is registered already.")
    module = skeleton(row.build)
    if row.prepare is not None:
        row.prepare(module)
    check_partition(module, row.blocks, row.head)
    REGISTERED[row.name] = row


def find_architecture(config: BackboneConfig) -> Architecture:
    """Look a network up by its library and name.

    Raises:
        BackboneError: There is none of that name.
    """
    if config.library not in LIBRARIES:
        raise BackboneError(f"backbone.library={config.library}: must be one of {', '.join(LIBRARIES)}.")
    library = LIBRARIES[config.library]()
    row = library.find(config.name)
    if row is None:
        near = did_you_mean(config.name, library.names())
        if config.library == "plugin" and not near:
            near = " Name the module that registers it: plugins=[MODULE], or --plugins MODULE for 'biotune predict'."
        raise BackboneError(f"backbone.name={config.name}: no such network in {config.library}.{near}")
    return row


def build_network(config: BackboneConfig, num_classes: int, dropping: bool = False) -> Network:
    """Build a network on the CPU, load its weights, and give it a new head unless `head=keep`.

    Args:
        config: Which network, which weights, which granularity, which head.
        num_classes: Outputs of the head.
        dropping: Whether its rates of stochastic depth are to be set.

    Raises:
        BackboneError: No such network, weights that cannot be had or do not fit, or no stochastic depth where it is to be set.
    """
    row = find_architecture(config)
    build, drop_path = _with_drop_path(row) if dropping else (row.build, None)
    found = _weights(row, config)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(_BODY_SEED)
        module = build()
        _replace_head(module, row.head, num_classes)
    whole = set(module.state_dict())
    if row.prepare is not None:
        row.prepare(module)
    dropped = whole - set(module.state_dict())
    remarks = [] if found is None else _load(module, found, dropped, row, config)
    blocks = row.blocks if config.granularity == "block" else row.layers or finer(module, row.blocks)
    check_partition(module, blocks, row.head)
    counts = {
        name: sum(parameter.numel() for _, parameter in pairs) for name, pairs in block_parameters(module, blocks).items()
    }
    fresh_head = config.head == "new"
    steps = row.steps
    if config.granularity == "layer":
        # declared layers may cut through a unit, inside which a forward pass cannot begin
        steps = None if row.layers else finer_steps(module, row.blocks, row.steps)
    return Network(
        module=module,
        blocks=blocks,
        head=row.head,
        preprocessing=row.preprocessing(config.weights),
        parameters=counts,
        fresh_head=fresh_head,
        steps=steps,
        remarks=tuple(remarks),
        drop_path=drop_path,
    )


def _with_drop_path(row: Architecture) -> tuple[Callable[[], nn.Module], DropPath]:
    """The function that builds a network with its layers of stochastic depth, and their rates.

    Raises:
        BackboneError: It has none.
    """
    build = row.build_dropping or row.build
    try:
        rates = drop_rates(skeleton(build))
    except TypeError:  # timm, about an argument that a model does not know
        rates = {}
    largest = max(rates.values(), default=0.0)
    if largest == 0:
        raise BackboneError(
            f"training.drop_path, test.training.drop_path: {row.name} has no stochastic depth. Leave them out, or choose "
            "a network that has it, such as convnext_tiny or swin_t."
        )
    own = max(drop_rates(skeleton(row.build)).values(), default=0.0)
    return build, DropPath(own, {path: rate / largest for path, rate in rates.items()})


def _load(
    module: nn.Module, found: Mapping[str, State], dropped: set[str], row: Architecture, config: BackboneConfig
) -> list[str]:
    """Load the weights that were found, with or without their head.

    Args:
        module: The network with its new head; changed in place.
        found: The state dicts among which the weights are.
        dropped: Names of entries that the network had before `prepare`.
        row: The network's description.
        config: Which weights, and which head.

    Returns:
        Remarks for the user on the choice among several weights, and on their names.
    """
    origin, keep = f"backbone.weights={config.weights}", config.head == "keep"
    state, remarks = find_state(found, module, row.head, origin)
    state = keep_entries(state, lambda name: name not in dropped)
    if keep:
        _check_kept_head(state, row.head, len(module.state_dict()[f"{row.head}.weight"]))
    remedy = (
        f"Give weights that were saved from {row.library}'s {row.name}, under the names of its state_dict(), or choose the "
        "backbone.name that they belong to."
    )
    load_weights(module, state, None if keep else row.head, origin, remedy)
    return remarks


def _weights(row: Architecture, config: BackboneConfig) -> Mapping[str, State] | None:
    """The state dicts among which the weights asked for are, by the library's name or from a file; None for random ones."""
    if config.weights == "none":
        return None
    if config.weights == "default" or config.weights in row.named_weights:
        return {"": row.pretrained(config.weights)}
    path = Path(config.weights).expanduser()
    if not path.is_file() and row.named_weights:
        named = ", ".join(row.named_weights)
        raise BackboneError(f"backbone.weights={config.weights}: no such file. Give a file, default, none, or one of {named}.")
    return read_weights(path)


def _check_kept_head(state: State, head: str, num_classes: int) -> None:
    weight = state.get(f"{head}.weight")
    if weight is None or weight.shape[0] != num_classes:
        found = "no head" if weight is None else f"a head for {weight.shape[0]} classes"
        raise BackboneError(
            f"backbone.head=keep: the weights have {found}, the dataset has {num_classes} classes. Set backbone.head=new."
        )


def _replace_head(module: nn.Module, head: str, num_classes: int) -> None:
    parent_path, _, leaf = head.rpartition(".")
    old = module.get_submodule(head)
    if not isinstance(old, nn.Linear):
        raise BackboneError(f"the head {head} is a {type(old).__name__}; only linear heads can be replaced.")
    new = nn.Linear(old.in_features, num_classes, bias=old.bias is not None)
    setattr(module.get_submodule(parent_path), leaf, new)
