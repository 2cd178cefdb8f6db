"""GlyphNet, the network that ships with biotune, pre-trained on printed characters: its layers, and its row of facts."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import nn

from biotune.backbones.network import Architecture, Preprocessing
from biotune.schedule.block import Block

IMAGE_SIZE = 16


# Near the mean and standard deviation of the printed source glyphs (0.33, 0.36); one grey value for three channels.
MEAN = (0.3, 0.3, 0.3)


STD = (0.37, 0.37, 0.37)


# A wide last unit: the more features, the faster a fresh head learns from a few steps.
WIDTHS = (12, 12, 24, 32, 80)


# Fine-tuning on some hundred images takes about 60 steps; with the usual 0.1 the running statistics lag behind the
# weights for the first epochs, and early stopping sees chance accuracy.
BN_MOMENTUM = 0.3


class Stem(nn.Module):
    """Channel mean, 3x3 convolution with stride 2, batch norm and ReLU."""

    def __init__(self, out_channels: int) -> None:
        """Build the stem.

        Args:
            out_channels: Number of feature maps the stem puts out.
        """
        super().__init__()
        self.conv = nn.Conv2d(1, out_channels, 3, stride=2, padding=1, bias=False)
        self.bn = nn.BatchNorm2d(out_channels, momentum=BN_MOMENTUM)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Turn normalised images into the first feature maps.

        Args:
            x: Normalised images, shape (N, 3, H, W).

        Returns:
            Feature maps, shape (N, out_channels, H / 2, W / 2).
        """
        return torch.relu(self.bn(self.conv(x.mean(1, keepdim=True))))


class ResidualUnit(nn.Module):
    """Two 3x3 convolutions with batch norm around a shortcut."""

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        """Build the unit.

        Args:
            in_channels: Feature maps that come in.
            out_channels: Feature maps that go out.
            stride: Stride of the first convolution and of the shortcut.
        """
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(out_channels, momentum=BN_MOMENTUM)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(out_channels, momentum=BN_MOMENTUM)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or in_channels != out_channels:
            self.shortcut = nn.Sequential(
                nn.Conv2d(in_channels, out_channels, 1, stride=stride, bias=False),
                nn.BatchNorm2d(out_channels, momentum=BN_MOMENTUM),
            )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Apply the unit.

        Args:
            x: Feature maps, shape (N, in_channels, H, W).

        Returns:
            Feature maps, shape (N, out_channels, H / stride, W / stride).
        """
        y = torch.relu(self.bn1(self.conv1(x)))
        return torch.relu(self.bn2(self.conv2(y)) + self.shortcut(x))


class GlyphNet(nn.Module):
    """Residual network for 16x16 grey glyphs, made of six blocks.

    The children, in forward order, are ``stem``, ``layer1`` to ``layer4`` and ``head``. The network sees grey values
    only: the stem begins by averaging the three channels to one, so its convolution has a single input channel. The
    global average pool has no parameters and belongs to the step into ``head``.
    """

    def __init__(self, num_classes: int) -> None:
        """Build the network with random weights.

        Args:
            num_classes: Number of outputs of the head.
        """
        super().__init__()
        w0, w1, w2, w3, w4 = WIDTHS
        self.stem = Stem(w0)
        self.layer1 = ResidualUnit(w0, w1, stride=1)
        self.layer2 = ResidualUnit(w1, w2, stride=2)
        self.layer3 = ResidualUnit(w2, w3, stride=1)
        self.layer4 = ResidualUnit(w3, w4, stride=2)
        self.head = nn.Linear(w4, num_classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Classify images.

        Args:
            x: Images normalised with ``MEAN`` and ``STD``, shape (N, 3, 16, 16).

        Returns:
            Class scores before softmax, shape (N, num_classes).
        """
        x = self.stem(x)
        x = self.layer1(x)
        x = self.layer2(x)
        x = self.layer3(x)
        x = self.layer4(x)
        scores: torch.Tensor = self.head(x.mean((2, 3)))
        return scores


WEIGHTS = Path(__file__).parent / "weights" / "glyphnet.safetensors"


SOURCE_CLASSES = 36  # A-Z and 0-9


_STAGES = ("layer1", "layer2", "layer3", "layer4")


def _preprocessing(weights: str) -> Preprocessing:
    return Preprocessing(IMAGE_SIZE, IMAGE_SIZE, MEAN, STD, "bicubic")


def _pretrained(weights: str) -> dict[str, torch.Tensor]:
    return load_file(WEIGHTS)


ARCHITECTURES = {
    "glyphnet": Architecture(
        name="glyphnet",
        library="biotune",
        build=lambda: GlyphNet(SOURCE_CLASSES),
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
        licence=lambda weights: "apache-2.0",  # part of this package
    )
}


def find(name: str) -> Architecture | None:
    """The row of a network that ships with biotune, or None."""
    return ARCHITECTURES.get(name)


def names() -> list[str]:
    """The names of the networks that ship with biotune."""
    return list(ARCHITECTURES)
