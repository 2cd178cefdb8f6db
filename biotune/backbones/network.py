"""The interface of a backbone: a network, its blocks in forward order, its head and its preprocessing."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from biotune.backbones.stochastic_depth import DropPath
from biotune.config.key import Sides, height_and_width
from biotune.schedule.block import Block


@dataclass(frozen=True)
class Preprocessing:
    """The preprocessing of images for a network.

    Attributes:
        resize: Length of the shorter side after resizing, in pixels; for a crop that is no square the height and width that the
            resized image covers.
        crop: Side of the centre crop in pixels, or its height and width.
        mean: Mean per channel, on the scale 0 to 1.
        std: Standard deviation per channel, on the scale 0 to 1.
        interpolation: PIL's name of the filter: bilinear or bicubic.
    """

    resize: Sides
    crop: Sides
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    interpolation: str = "bilinear"

    def scaled_to(self, image_size: Sides | None) -> Preprocessing:
        """The same for another image size, with the ratio of resize to crop kept; None changes nothing."""
        if image_size is None:
            return self
        (resized, _), (cropped, _) = height_and_width(self.resize), height_and_width(self.crop)
        if isinstance(image_size, int):
            resize: Sides = round(resized * image_size / cropped)
        else:
            resize = (round(resized * image_size[0] / cropped), round(resized * image_size[1] / cropped))
        return Preprocessing(resize, image_size, self.mean, self.std, self.interpolation)

    def normalise(self, pixels: Tensor) -> Tensor:
        """Normalise pixels for the network: (pixels − 255 mean) / (255 std), per channel.

        Args:
            pixels: (N, H, W, 3) uint8, on any device.

        Returns:
            (N, 3, H, W) float32 on the same device; a view with its channels last.
        """
        return self.normaliser(pixels.device)(pixels)

    def normaliser(self, device: torch.device) -> Callable[[Tensor], Tensor]:
        """`normalise` for one device, with its constants copied there once: a copy per mini-batch would stall a GPU."""
        mean, std = (torch.tensor(values, device=device) * 255 for values in (self.mean, self.std))
        return lambda pixels: ((pixels.float() - mean) / std).permute(0, 3, 1, 2)

    def denormaliser(self, device: torch.device) -> Callable[[Tensor], Tensor]:
        """The inverse of `normaliser`: (N, 3, H, W) float to the nearest (N, H, W, 3) uint8 pixels."""
        mean, std = (torch.tensor(values, device=device) * 255 for values in (self.mean, self.std))
        return lambda images: (images.permute(0, 2, 3, 1) * std + mean).round().clamp(0, 255).to(torch.uint8)


@dataclass(frozen=True)
class Architecture:
    """The description of a network that can be chosen.

    Attributes:
        name: Name in its library.
        library: The library that defines it.
        build: Builds it with random weights and its original head.
        blocks: Its blocks in forward order, the head last.
        head: Path of the final linear layer, which is replaced.
        preprocessing: Returns the preprocessing for weights by name; `none` and files count as `default`.
        pretrained: Returns the state dict of weights by name; `default` is the best available.
        prepare: Changes the built network, such as dropping an auxiliary head; weights of dropped parts are ignored.
        layers: The finer blocks of `granularity=layer` if `finer` cannot find them itself.
        source: The origin of the weights, in a few words.
        named_weights: Names of weights that the library has besides `default`.
        steps: The steps of the blocks if the network is a chain of them (see `chain`).
        licence: Returns the licence of weights by name, as the Hugging Face Hub abbreviates it; None where it is unknown.
        build_dropping: Builds it with stochastic depth, where the library inserts its layers only on demand.
    """

    name: str
    library: str
    build: Callable[[], nn.Module]
    blocks: tuple[Block, ...]
    head: str
    preprocessing: Callable[[str], Preprocessing]
    pretrained: Callable[[str], dict[str, torch.Tensor]]
    prepare: Callable[[nn.Module], None] | None = None
    layers: tuple[Block, ...] | None = None
    source: str = ""
    named_weights: tuple[str, ...] = ()
    steps: Mapping[str, str] | None = None
    licence: Callable[[str], str | None] = lambda weights: None
    build_dropping: Callable[[], nn.Module] | None = None


@dataclass
class Network:
    """A built backbone with a head for the classes at hand.

    Attributes:
        module: Takes (N, 3, H, W) normalised float images, returns (N, classes) logits.
        blocks: The blocks at the chosen granularity, in forward order.
        head: Path of the final linear layer.
        preprocessing: The preprocessing that the weights expect.
        parameters: Number of parameters per block.
        steps: The steps of the blocks (see `chain`), or None if the network is not a chain of them.
        fresh_head: Whether every trial begins with a new head; False if a pre-trained head is kept.
        remarks: Remarks for the user on how the weights were found in their file.
        drop_path: The rates of its stochastic depth where settings ask for some; None keeps them as they are.
    """

    module: nn.Module
    blocks: tuple[Block, ...]
    head: str
    preprocessing: Preprocessing
    parameters: dict[str, int]
    fresh_head: bool = True
    steps: Mapping[str, str] | None = None
    remarks: tuple[str, ...] = ()
    drop_path: DropPath | None = None


def skeleton(build: Callable[[], nn.Module]) -> nn.Module:
    """Build a network without allocating its weights, if possible; a few networks compute while they are built."""
    try:
        with torch.device("meta"):
            return build()
    except NotImplementedError:
        with torch.random.fork_rng(devices=[]):
            return build()


def alternatives(names: Sequence[str]) -> str:
    """The first three names, for a message that suggests other networks."""
    first, second, third = names[:3]
    return f"{first}, {second} or {third}"


def main_output(output: Any) -> Tensor:
    """The logits of a network that returns several things: the first, or the one called `logits` or `out`."""
    if isinstance(output, Tensor):
        return output
    if isinstance(output, Mapping):
        return main_output(output["logits"] if "logits" in output else output["out"])
    return main_output(output[0])


def weights_fingerprint(network: Network) -> str:
    """Fingerprint of the weights that every trial starts from; without a new head, which each trial draws itself."""
    digest = hashlib.sha256()
    for name, value in network.module.state_dict().items():
        if not (network.fresh_head and name.startswith(network.head + ".")):
            digest.update(name.encode())
            digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()[:24]
