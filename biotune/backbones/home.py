"""What a network is without biotune: how its own library builds it, and whose weights it was trained from."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from torch import nn

from biotune.backbones import lite0, timm
from biotune.backbones.registry import find_architecture
from biotune.config.sections import BackboneConfig


@dataclass(frozen=True)
class Home:
    """A network's own library, and the call that builds it.

    Attributes:
        library: torchvision or timm.
        name: The network's name there.
        function: The dotted name of the function that builds it.
        arguments: Its arguments, beside the number of classes.
        builder: The function.
    """

    library: str
    name: str
    function: str
    arguments: Mapping[str, object]
    builder: Callable[..., nn.Module]

    def call(self, num_classes: int) -> str:
        """The call as Python code."""
        given = {**self.arguments, "num_classes": num_classes}
        return f"{self.function}({', '.join(f'{key}={value!r}' for key, value in given.items())})"

    def build(self, num_classes: int) -> nn.Module:
        """The network that the call returns, with random weights."""
        return self.builder(**self.arguments, num_classes=num_classes)


def find_home(library: str, name: str) -> Home | None:
    """The home of a network; None for one that biotune or a plugin defines.

    Args:
        library: The library as in `backbone.library`.
        name: The name as in `backbone.name`.
    """
    if library == "torchvision":
        return _at_torchvision(name)
    if library == "timm":
        return timm_home(name)
    return timm_home(lite0.TIMM_NAME) if library == "lite0" else None


def timm_home(name: str) -> Home:
    """A network of timm.

    Raises:
        BackboneError: timm is not installed.
    """
    return Home("timm", name, "timm.create_model", {"model_name": name}, timm.library().create_model)


def _at_torchvision(name: str) -> Home:
    from torchvision import models  # takes seconds to import

    from biotune.backbones.torchvision import arguments

    return Home("torchvision", name, f"torchvision.models.{name}", arguments(name), getattr(models, name))


def weights_origin(library: str, name: str, weights: str) -> tuple[str, str | None]:
    """Where a network's initial weights come from.

    Args:
        library: The library as in `backbone.library`.
        name: The name as in `backbone.name`.
        weights: The weights as in `backbone.weights`.

    Returns:
        Their origin in a few words, which never hold the path of a file; and their licence, as the Hugging Face Hub
        abbreviates it, or None where there are no pre-trained weights or it is unknown.

    Raises:
        BackboneError: There is no such network.
    """
    row = find_architecture(BackboneConfig(library=library, name=name))
    if weights == "none":
        return "none, random initial weights", None
    if weights == "default":
        return row.source or "the default ones", row.licence(weights)
    if not re.fullmatch(r"\w+", weights):
        return "a file", None
    return f"{row.library} {weights}", row.licence(weights)
