"""Descriptions of torchvision's classifiers: blocks, head, and exceptions of single networks."""

from collections.abc import Iterator
from functools import lru_cache, partial
from typing import Any
from urllib.error import URLError

import torch
from torch import nn
from torchvision import models

from biotune.backbones.network import Architecture, Preprocessing, alternatives, skeleton
from biotune.backbones.partition import by_structure
from biotune.errors import BackboneError, one_line
from biotune.schedule.block import Block

Blocks = tuple[Block, ...]


def _blocks(*rows: tuple[str, str]) -> Blocks:
    return tuple(Block(name, tuple(modules.split())) for name, modules in rows)


def _features(*groups: str) -> Blocks:
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

# steps between the modules of a block, or between two blocks, in the networks' forward passes
_POOLED_FC = {"head": "avgpool @flatten fc"}
_POOLED_CLASSIFIER = {"head": "avgpool @flatten classifier"}
_RESNET_STEPS = {"stem": "conv1 bn1 relu maxpool", **_POOLED_FC}
_DENSENET_STEPS = {
    "stem": "features.conv0 features.norm0 features.relu0 features.pool0",
    "head": "@relu @pool @flatten classifier",
}
_VGG_STEPS = {
    name: " ".join(f"features.{index}" for index in range(start, end))
    for name, start, end in (("stem", 0, 5), ("block1", 5, 10), ("block2", 10, 19), ("block3", 19, 28), ("block4", 28, 37))
} | _POOLED_CLASSIFIER
_INCEPTION_STEPS = {
    "stem": "@transform_input Conv2d_1a_3x3 Conv2d_2a_3x3 Conv2d_2b_3x3 maxpool1 Conv2d_3b_1x1 Conv2d_4a_3x3 maxpool2",
    "head": "avgpool dropout @flatten fc",
}
_SWIN_STEPS = {"head": "norm permute avgpool flatten head"}
_VIT_STEPS = {"stem": "@class_token", "head": "encoder.ln @first_token heads"}


def _drop_auxiliary_heads(module: nn.Module) -> None:
    # they take no part in the main output, and with them a network returns a tuple in train mode
    for name in ("AuxLogits", "aux1", "aux2"):
        if hasattr(module, name):
            setattr(module, name, None)
    if hasattr(module, "aux_logits"):
        module.aux_logits = False  # type: ignore[assignment]


def _weights(name: str, weights: str) -> Any:
    choices = models.get_model_weights(name)
    return choices[weights] if weights in choices.__members__ else choices.DEFAULT


def _preprocessing(name: str, weights: str) -> Preprocessing:
    stated = _weights(name, weights).transforms()
    return Preprocessing(
        stated.resize_size[0], stated.crop_size[0], tuple(stated.mean), tuple(stated.std), stated.interpolation.value
    )


def _pretrained(name: str, weights: str) -> dict[str, torch.Tensor]:
    chosen = _weights(name, weights)
    try:
        state: dict[str, torch.Tensor] = chosen.get_state_dict(progress=False, check_hash=True)
    except (URLError, OSError, RuntimeError) as error:
        raise BackboneError(
            f"backbone.weights={weights}: {chosen} of {name} cannot be fetched from {chosen.url} ({one_line(error)}). "
            "Fetch it elsewhere and set backbone.weights=PATH, or train from random weights with backbone.weights=none."
        ) from error
    return state


def _row(name: str, blocks: Blocks, head: str, steps: dict[str, str] | None = None, **options: Any) -> Architecture:
    choices = models.get_model_weights(name)
    return Architecture(
        name=name,
        library="torchvision",
        build=partial(models.get_model, name, weights=None, **options),
        blocks=blocks,
        head=head,
        preprocessing=partial(_preprocessing, name),
        pretrained=partial(_pretrained, name),
        prepare=_drop_auxiliary_heads,
        source=f"torchvision {choices.DEFAULT.name}",
        named_weights=tuple(choices.__members__),
        steps=steps,
    )


# torchvision's weights expect the transformed input; its builder sets that only when it loads them itself
_GOOGLE = {"init_weights": False, "transform_input": True}
_WITH_AUXILIARY_HEADS = ("inception_v3", "googlenet")
# to suggest in the place of the two networks without a linear head, the small SqueezeNets
_SMALL = ("mobilenet_v3_small", "shufflenet_v2_x0_5", "mnasnet0_5")
_SEVEN_STAGES = ("1", "2", "3", "4", "5", "6", "7")

ARCHITECTURES = {
    row.name: row
    for row in (
        *(_row(name, _RESNET, "fc", _RESNET_STEPS) for name in ("resnet18", "resnet34", "resnet50", "resnet101")),
        _row("densenet121", _DENSENET, "classifier", _DENSENET_STEPS),
        _row(
            "vgg19",
            _features("0 2", "5 7", "10 12 14 16", "19 21 23 25", "28 30 32 34") + _CLASSIFIER,
            "classifier.6",
            _VGG_STEPS,
        ),
        _row("inception_v3", _INCEPTION, "fc", _INCEPTION_STEPS, **_GOOGLE),
        _row(
            "efficientnet_b0", _features("0 1", "2", "3", "4 5", "6 7", "8") + _CLASSIFIER, "classifier.1", _POOLED_CLASSIFIER
        ),
        _row("efficientnet_v2_s", _features("0", *_SEVEN_STAGES) + _CLASSIFIER, "classifier.1", _POOLED_CLASSIFIER),
        _row(
            "mobilenet_v3_large",
            _features("0 1", "2 3", "4 5 6", "7 8 9 10", "11 12", "13 14 15", "16") + _CLASSIFIER,
            "classifier.3",
            _POOLED_CLASSIFIER,
        ),
        _row("convnext_tiny", _features("0", *_SEVEN_STAGES) + _CLASSIFIER, "classifier.2", {"head": "avgpool classifier"}),
        _row("swin_t", _features("0", *_SEVEN_STAGES) + _blocks(("head", "norm head")), "head", _SWIN_STEPS),
        _row("vit_b_16", _VIT, "heads.head", _VIT_STEPS),
        _row("regnet_y_400mf", _REGNET, "fc", _POOLED_FC),
    )
}


def stages_of(network: nn.Module) -> Iterator[tuple[Blocks, str]]:
    """The partitions that this network may have, each with the path of its head: of the table, and by its structure.

    Args:
        network: A network of torchvision's, perhaps changed, such as by another head.
    """
    home = type(network).__module__
    for row in ARCHITECTURES.values():
        if models.get_model_builder(row.name).__module__ == home:
            yield row.blocks, row.head
    if home.rpartition(".")[0] == models.__name__ and (head := _linear_head(network)):
        yield by_structure(network, head), head


def _linear_head(module: nn.Module) -> str | None:
    """The path of the last linear layer, if it is the last layer; else None."""
    linear = [path for path, part in module.named_modules() if isinstance(part, nn.Linear)]
    last = list(module.named_parameters())[-1][0].rpartition(".")[0]
    return last if linear[-1:] == [last] else None


def arguments(name: str) -> dict[str, object]:
    """What torchvision's function takes, beside the number of classes, to build a network as biotune trains it."""
    return {"aux_logits": False, **_GOOGLE} if name in _WITH_AUXILIARY_HEADS else {}


def names() -> list[str]:
    """The names of torchvision's classifiers."""
    return [name for name in models.list_models(module=models) if not name.startswith("quantized")]


@lru_cache
def find(name: str) -> Architecture | None:
    """The row of a torchvision classifier: declared above, or else cut by its own stages.

    Raises:
        BackboneError: Its head is no linear layer.
    """
    if name in ARCHITECTURES or name not in names():
        return ARCHITECTURES.get(name)
    options: dict[str, Any] = _GOOGLE if name == "googlenet" else {}
    module = skeleton(partial(models.get_model, name, weights=None, **options))
    _drop_auxiliary_heads(module)
    head = _linear_head(module)
    if head is None:
        last = list(module.named_parameters())[-1][0].rpartition(".")[0]
        raise BackboneError(
            f"backbone.name={name}: its head {last} is no linear layer but a {type(module.get_submodule(last)).__name__}. "
            f"Choose another network, such as {alternatives(_SMALL)}."
        )
    return _row(name, by_structure(module, head), head, **options)
