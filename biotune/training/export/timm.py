"""A folder in the format of the Hugging Face Hub that timm loads by itself: weights, architecture and preprocessing."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from torch import nn

from biotune.backbones.home import Home, timm_home
from biotune.backbones.network import Preprocessing, skeleton
from biotune.backbones.timm import library
from biotune.config.key import height_and_width
from biotune.errors import BackboneError
from biotune.store.files import EXPORTED_MODEL
from biotune.training.export.check import largest_difference, refused
from biotune.training.export.state import filled
from biotune.training.model import Model

# what timm's description of a network says of the weights that timm has for it, and not of these
_OF_OTHER_WEIGHTS = {"tag", "custom_load", "label_offset", "label_names", "label_descriptions", "license", "origin_url"}
_OF_OTHER_WEIGHTS |= {"paper_ids", "paper_name", "notes", "test_input_size", "test_crop_pct"}


def write(model: Model, home: Home, folder: Path) -> float:
    """Write `config.json` and `model.safetensors`, as timm pushes them to the Hub.

    Args:
        model: The model, on the CPU.
        home: The network's library; a network of torchvision is exported if timm has the same one under the same name.
        folder: An existing folder.

    Returns:
        The largest difference of the logits of the network that timm builds and the file fills, see `largest_difference`.

    Raises:
        BackboneError: timm has no such network, the weights do not fit it, it gives other logits, or images are no squares.
    """
    height, width = height_and_width(model.preprocessing.crop)
    if height != width:
        raise BackboneError(
            f"--format timm: timm resizes for square images, and the model takes {height} × {width} pixels. Choose onnx, "
            "torchscript or safetensors."
        )
    from timm.models import save_for_hf

    own = home if home.library == "timm" else _twin(model, home)
    with refused("timm", "cannot be made"):
        network: Any = own.build(len(model.classes))
        network.load_state_dict(model.module.state_dict(), strict=True)
        network.pretrained_cfg = _description(network.pretrained_cfg, model)
        save_for_hf(network, str(folder), model_config={"label_names": list(model.classes)}, safe_serialization=True)
    return largest_difference(model, filled(model, own, folder / EXPORTED_MODEL["timm"], "timm"), "timm")


def _twin(model: Model, home: Home) -> Home:
    """The network in timm that has the name of one of torchvision.

    Raises:
        BackboneError: There is none, it has other parameters, or torchvision's does more: with pre-trained weights, Inception
            and GoogLeNet normalise images once more themselves.
    """
    twin = timm_home(home.name)
    same = library().is_model(home.name) and not home.arguments
    if not same or _shapes(skeleton(lambda: twin.build(len(model.classes)))) != _shapes(model.module):
        raise BackboneError(
            f"--format timm: timm has no {home.name} like torchvision's. Choose onnx, torchscript or safetensors."
        )
    return twin


def _shapes(network: nn.Module) -> dict[str, tuple[int, ...]]:
    return {name: tuple(value.shape) for name, value in network.state_dict().items()}


def _description(stated: dict[str, Any], model: Model) -> dict[str, Any]:
    """What timm states of a network, with the preprocessing and the classes of the model."""
    prepared = model.preprocessing
    return {key: value for key, value in stated.items() if key not in _OF_OTHER_WEIGHTS} | {
        "num_classes": len(model.classes),
        "input_size": (3, *height_and_width(prepared.crop)),
        "interpolation": prepared.interpolation,
        "crop_pct": crop_share(prepared),
        "crop_mode": "center",
        "mean": prepared.mean,
        "std": prepared.std,
    }


def crop_share(preprocessing: Preprocessing) -> float:
    """The `crop_pct` from which timm computes the side to resize to as ⌊crop / crop_pct⌋."""
    (crop, _), (resize, _) = height_and_width(preprocessing.crop), height_and_width(preprocessing.resize)
    share = crop / resize
    while math.floor(crop / share) < resize:
        share = math.nextafter(share, 0.0)
    return share
