"""Any classifier of timm (extra `timm`), cut by the model's own stages."""

from __future__ import annotations

import math
from functools import lru_cache, partial
from types import ModuleType
from typing import Any

import torch
from torch import nn

from biotune.backbones.network import Architecture, Preprocessing, skeleton
from biotune.backbones.partition import by_parameters
from biotune.errors import BackboneError, one_line
from biotune.schedule.block import Block


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

    Raises:
        BackboneError: timm is missing, or the model has no single linear head.
    """
    timm = library()
    if not timm.is_model(name):
        return None
    model: Any = skeleton(partial(timm.create_model, name, pretrained=False))
    head = model.pretrained_cfg.get("classifier")
    if not isinstance(head, str) or not isinstance(model.get_submodule(head), nn.Linear):
        raise BackboneError(f"backbone.name={name}: its head {head} is no single linear layer; choose another model.")
    return Architecture(
        name=name,
        library="timm",
        build=partial(timm.create_model, name, pretrained=False),
        blocks=_blocks(model),
        head=head,
        preprocessing=lambda weights: _preprocessing(model),
        pretrained=partial(_pretrained, name),
        source=f"timm {model.pretrained_cfg.get('tag') or ''}".strip(),
    )


def _blocks(model: Any) -> tuple[Block, ...]:
    from timm.models import group_parameters

    groups = group_parameters(model, model.group_matcher(coarse=True))
    return by_parameters(model, {name: number for number, members in groups.items() for name in members})


def _preprocessing(model: Any) -> Preprocessing:
    from timm.data import resolve_model_data_config

    stated = resolve_model_data_config(model)
    crop = stated["input_size"][-1]
    resize = math.floor(crop / stated["crop_pct"])
    return Preprocessing(resize, crop, tuple(stated["mean"]), tuple(stated["std"]), stated["interpolation"])


def _pretrained(name: str, weights: str) -> dict[str, torch.Tensor]:
    wanted = name if weights == "default" else f"{name.split('.')[0]}.{weights}"
    try:
        state: dict[str, torch.Tensor] = library().create_model(wanted, pretrained=True).state_dict()
    except Exception as error:  # timm and its hub raise many kinds of their own
        raise BackboneError(
            f"backbone.weights={weights}: timm cannot fetch {wanted} ({one_line(error)[:200]}). Fetch it elsewhere and "
            "set backbone.weights=PATH, or train from random weights with backbone.weights=none."
        ) from error
    return state
