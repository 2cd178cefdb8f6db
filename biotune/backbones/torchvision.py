"""torchvision's classifiers as rows of facts: blocks, head, and the odd one's peculiarities."""

from collections.abc import Callable
from functools import partial
from typing import Any
from urllib.error import URLError

import torch
from torch import nn
from torchvision import models

from biotune.backbones._base import Architecture, Preprocessing
from biotune.errors import BackboneError, one_line
from biotune.schedule import Block

Partition = tuple[Block, ...]


def _blocks(*rows: tuple[str, str]) -> Partition:
    return tuple(Block(name, tuple(modules.split())) for name, modules in rows)


def _features(*groups: str) -> Partition:
    """Blocks over `features.N`: each argument lists the indices of one block."""
    names = ["stem"] + [f"block{index}" for index in range(1, len(groups))]
    return _blocks(
        *((name, " ".join(f"features.{index}" for index in group.split())) for name, group in zip(names, groups, strict=True))
    )


_RESNET = _blocks(
    ("stem", "conv1 bn1"),
    ("layer1", "layer1"),
    ("layer2", "layer2"),
    ("layer3", "layer3"),
    ("layer4", "layer4"),
    ("head", "fc"),
)
_DENSENET = _blocks(
    ("stem", "features.conv0 features.norm0"),
    ("dense1", "features.denseblock1"),
    ("transition1", "features.transition1"),
    ("dense2", "features.denseblock2"),
    ("transition2", "features.transition2"),
    ("dense3", "features.denseblock3"),
    ("transition3", "features.transition3"),
    ("dense4", "features.denseblock4 features.norm5"),
    ("head", "classifier"),
)
_INCEPTION = _blocks(
    ("stem", "Conv2d_1a_3x3 Conv2d_2a_3x3 Conv2d_2b_3x3 Conv2d_3b_1x1 Conv2d_4a_3x3"),
    *((f"mixed{name}", f"Mixed_{name}") for name in ("5b", "5c", "5d", "6a", "6b", "6c", "6d", "6e", "7a", "7b", "7c")),
    ("head", "fc"),
)
_VIT = _blocks(
    ("stem", "class_token conv_proj encoder.pos_embedding"),
    *(
        (f"layers{low}_{low + 2}", " ".join(f"encoder.layers.encoder_layer_{index}" for index in range(low, low + 3)))
        for low in (0, 3, 6, 9)
    ),
    ("head", "encoder.ln heads"),
)
_REGNET = _blocks(
    ("stem", "stem"),
    *((f"block{index}", f"trunk_output.block{index}") for index in range(1, 5)),
    ("head", "fc"),
)
_CLASSIFIER = _blocks(("head", "classifier"))


def _drop_auxiliary_head(module: nn.Module) -> None:
    # it takes no part in the main output, and with it the network returns a tuple in train mode
    module.AuxLogits = None  # type: ignore[assignment]
    module.aux_logits = False  # type: ignore[assignment]


def _preprocessing(name: str) -> Preprocessing:
    stated = models.get_model_weights(name).DEFAULT.transforms()
    return Preprocessing(
        stated.resize_size[0], stated.crop_size[0], tuple(stated.mean), tuple(stated.std), stated.interpolation.value
    )


def _pretrained(name: str) -> dict[str, torch.Tensor]:
    weights = models.get_model_weights(name).DEFAULT
    try:
        state: dict[str, torch.Tensor] = weights.get_state_dict(progress=False, check_hash=True)
    except (URLError, OSError, RuntimeError) as error:
        raise BackboneError(
            f"backbone.weights=default: {weights} of {name} cannot be fetched from {weights.url} ({one_line(error)}). "
            "Fetch it elsewhere and set backbone.weights=PATH, or train from random weights with backbone.weights=none."
        ) from error
    return state


def _row(
    name: str, blocks: Partition, head: str, prepare: Callable[[nn.Module], None] | None = None, **options: Any
) -> Architecture:
    return Architecture(
        name,
        "torchvision",
        partial(models.get_model, name, weights=None, **options),
        blocks,
        head,
        partial(_preprocessing, name),
        partial(_pretrained, name),
        prepare,
        source=f"torchvision {models.get_model_weights(name).DEFAULT.name}",
    )


_SEVEN_STAGES = ("1", "2", "3", "4", "5", "6", "7")

ARCHITECTURES = {
    row.name: row
    for row in (
        *(_row(name, _RESNET, "fc") for name in ("resnet18", "resnet34", "resnet50", "resnet101")),
        _row("densenet121", _DENSENET, "classifier"),
        _row(
            "vgg19",
            _features("0 2", "5 7", "10 12 14 16", "19 21 23 25", "28 30 32 34") + _CLASSIFIER,
            "classifier.6",
        ),
        # transform_input: torchvision's weights expect it, its builder sets it only when it loads them itself
        _row("inception_v3", _INCEPTION, "fc", _drop_auxiliary_head, init_weights=False, transform_input=True),
        _row("efficientnet_b0", _features("0 1", "2", "3", "4 5", "6 7", "8") + _CLASSIFIER, "classifier.1"),
        _row("efficientnet_v2_s", _features("0", *_SEVEN_STAGES) + _CLASSIFIER, "classifier.1"),
        _row(
            "mobilenet_v3_large",
            _features("0 1", "2 3", "4 5 6", "7 8 9 10", "11 12", "13 14 15", "16") + _CLASSIFIER,
            "classifier.3",
        ),
        _row("convnext_tiny", _features("0", *_SEVEN_STAGES) + _CLASSIFIER, "classifier.2"),
        _row("swin_t", _features("0", *_SEVEN_STAGES) + _blocks(("head", "norm head")), "head"),
        _row("vit_b_16", _VIT, "heads.head"),
        _row("regnet_y_400mf", _REGNET, "fc"),
    )
}
