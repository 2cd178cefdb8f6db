"""The backbone that ships with biotune as a row of facts: GlyphNet, pre-trained on printed characters."""

from pathlib import Path

import torch

from biotune.backbones import glyphnet
from biotune.backbones._base import Architecture, Preprocessing
from biotune.backbones.weights_file import read_weights
from biotune.schedule import Block

WEIGHTS = Path(__file__).parent / "weights" / "glyphnet.safetensors"
SOURCE_CLASSES = 36  # A-Z and 0-9
_STAGES = ("layer1", "layer2", "layer3", "layer4")


def _preprocessing(weights: str) -> Preprocessing:
    return Preprocessing(glyphnet.IMAGE_SIZE, glyphnet.IMAGE_SIZE, glyphnet.MEAN, glyphnet.STD, "bicubic")


def _pretrained(weights: str) -> dict[str, torch.Tensor]:
    return read_weights(WEIGHTS)


ARCHITECTURES = {
    "glyphnet": Architecture(
        name="glyphnet",
        library="biotune",
        build=lambda: glyphnet.GlyphNet(SOURCE_CLASSES),
        blocks=tuple(Block(name, (name,)) for name in ("stem", *_STAGES, "head")),
        head="head",
        preprocessing=_preprocessing,
        pretrained=_pretrained,
        # a stage is a single residual unit, so its two convolutions are the layers
        layers=(
            Block("stem", ("stem",)),
            *(
                Block(f"{stage}.{half}", modules)
                for stage in _STAGES
                for half, modules in enumerate(
                    (
                        (f"{stage}.conv1", f"{stage}.bn1"),
                        (f"{stage}.conv2", f"{stage}.bn2", f"{stage}.shortcut"),
                    )
                )
            ),
            Block("head", ("head",)),
        ),
        steps={"head": "@mean head"},
        source="printed A-Z and 0-9, scripts/pretrain_glyphnet.py",
    )
}


def find(name: str) -> Architecture | None:
    """The row of a network that ships with biotune, or None."""
    return ARCHITECTURES.get(name)


def names() -> list[str]:
    """The names of the networks that ship with biotune."""
    return list(ARCHITECTURES)
