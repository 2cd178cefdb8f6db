"""Any classifier of timm (extra `timm`), cut by the model's own stages."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import suppress
from difflib import get_close_matches
from functools import lru_cache, partial
from itertools import islice
from types import ModuleType
from typing import Any

import torch
from torch import nn

from biotune.backbones.network import Architecture, Preprocessing, alternatives, skeleton
from biotune.backbones.partition import by_parameters, by_structure, check_partition
from biotune.errors import BackboneError, one_line
from biotune.schedule.block import Block

_USUAL_TRANSFORMERS = ("vit_tiny_patch16_224", "deit_tiny_patch16_224", "swin_tiny_patch4_window7_224")
_USUAL_CONVOLUTIONS = ("resnet18", "convnext_atto", "efficientnet_b0")
_ANY_RATE = 0.1  # with a rate of 0 timm leaves the layers of stochastic depth out
_TRIED = 12  # members of a family that are built to find three that work


def library() -> ModuleType:
    """The timm package.

    Raises:
        BackboneError: It is not installed.
    """
    try:
        import timm
    except ImportError as error:
        raise BackboneError("backbone.library=timm: needs the extra 'timm': pip install 'biotune[timm]'.") from error
    return timm


def names() -> list[str]:
    """The names of timm's models."""
    return list(library().list_models())


@lru_cache
def find(name: str) -> Architecture | None:
    """The row of a timm model, or None if timm has none of that name.

    A model that is released without a classifier gets a linear one on its pooled features, as timm makes it.

    Raises:
        BackboneError: timm is missing, or the model cannot classify images by a single linear head.
    """
    timm = library()
    if not timm.is_model(name):
        return None
    build, model = _with_classifier(name)
    fault = _fault(model)
    if fault is not None:
        raise BackboneError(f"backbone.name={name}: {fault}. Choose another model, such as {_alternatives(name, model)}.")
    return Architecture(
        name=name,
        library="timm",
        build=build,
        blocks=_blocks(model),
        head=model.pretrained_cfg["classifier"],
        preprocessing=lambda weights: _preprocessing(model),
        pretrained=partial(_pretrained, name),
        source=f"timm {model.pretrained_cfg.get('tag') or ''}".strip(),
        licence=partial(_licence, name),
        build_dropping=partial(build, drop_path_rate=_ANY_RATE),
    )


def _with_classifier(name: str) -> tuple[Callable[..., nn.Module], Any]:
    """The function that builds a model, with a classifier if timm can give it one, and the model's skeleton."""
    build = partial(library().create_model, name, pretrained=False)
    model: Any = skeleton(build)
    if isinstance(_part(model, model.pretrained_cfg.get("classifier")), nn.Identity):
        # released without a classifier; any number of classes will do, because the head is replaced
        build = partial(build, num_classes=1)
        model = skeleton(build)
    return build, model


def _fault(model: Any) -> str | None:
    """The property that a model lacks, as a clause; None if it can be fine-tuned."""
    head = model.pretrained_cfg.get("classifier")
    if not head or (isinstance(head, str) and _part(model, head) is None):
        return "it has no classifier, and timm makes none for it"
    if not isinstance(head, str):
        return f"it has {len(head)} heads ({', '.join(head)}), and biotune trains networks with one"
    found = _part(model, head)
    if not isinstance(found, nn.Linear):
        return f"its head {head} is no linear layer but a {type(found).__name__}"
    try:
        _blocks(model)
    except BackboneError as error:
        return f"it cannot be cut into blocks: {str(error).rstrip('.')}"
    return None


def _part(model: nn.Module, path: object) -> nn.Module | None:
    """The module at a path; None if there is none."""
    try:
        return model.get_submodule(path) if isinstance(path, str) else None
    except AttributeError:
        return None


def _alternatives(name: str, model: nn.Module) -> str:
    """Three models that can be fine-tuned, for a message: the nearest of the same family, then usual ones of the same kind."""
    timm = library()
    family = timm.list_models(module=timm.model_entrypoint(name).__module__.rpartition(".")[2])
    near = get_close_matches(name, [member for member in family if member != name], n=_TRIED, cutoff=0)
    of_family = islice((member for member in near if _fault(_with_classifier(member)[1]) is None), 3)
    attention = any("Attention" in type(part).__name__ for part in model.modules())
    return alternatives([*of_family, *(_USUAL_TRANSFORMERS if attention else _USUAL_CONVOLUTIONS)])


def _blocks(model: Any) -> tuple[Block, ...]:
    """The stages that timm states for a model or, where it states none, those of its structure.

    Raises:
        BackboneError: They do not cover every parameter once, in forward order, head last.
    """
    from timm.models import group_parameters

    head = model.pretrained_cfg["classifier"]
    try:
        matcher = model.group_matcher(coarse=True)
    except (AttributeError, AssertionError):  # a model without the method, or without coarse groups
        blocks = by_structure(model, head)
    else:
        groups = group_parameters(model, matcher)
        blocks = by_parameters(model, {name: number for number, members in groups.items() for name in members})
    check_partition(model, blocks, head)
    return blocks


def stages_of(network: nn.Module) -> Iterator[tuple[tuple[Block, ...], str]]:
    """The partition that timm states for a network of its own, with the path of its head; none where it does not fit.

    Args:
        network: A network of timm's, perhaps changed.
    """
    head = getattr(network, "pretrained_cfg", {}).get("classifier")
    if isinstance(head, str):
        with suppress(BackboneError):
            yield _blocks(network), head


def _preprocessing(model: Any) -> Preprocessing:
    from timm.data import resolve_model_data_config

    stated = resolve_model_data_config(model)
    crop = stated["input_size"][-1]
    resize = math.floor(crop / stated["crop_pct"])
    return Preprocessing(resize, crop, tuple(stated["mean"]), tuple(stated["std"]), stated["interpolation"])


def _tagged(name: str, weights: str) -> str:
    """The name by which timm knows a model with weights."""
    return name if weights == "default" else f"{name.split('.')[0]}.{weights}"


def _licence(name: str, weights: str) -> str | None:
    """The licence that timm states for its weights."""
    from timm.models import get_pretrained_cfg

    try:
        stated = get_pretrained_cfg(_tagged(name, weights))
    except RuntimeError:  # it has none of that name
        return None
    return None if stated is None else stated.license


def _pretrained(name: str, weights: str) -> dict[str, torch.Tensor]:
    wanted = _tagged(name, weights)
    try:
        state: dict[str, torch.Tensor] = library().create_model(wanted, pretrained=True).state_dict()
    except Exception as error:  # timm and its hub raise many kinds of their own
        raise BackboneError(
            f"backbone.weights={weights}: timm cannot fetch {wanted} ({one_line(error)[:200]}). Fetch it elsewhere and "
            "set backbone.weights=PATH, or train from random weights with backbone.weights=none."
        ) from error
    return state
