"""The formats: which networks each of them takes, and writing one."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from biotune.backbones.home import Home, find_home
from biotune.errors import BackboneError, ConfigError
from biotune.training.ensemble import Ensemble
from biotune.training.export import onnx, state, timm, torchscript
from biotune.training.model import Model

_BY_TRACING = {"onnx": onnx.write, "torchscript": torchscript.write}
_BY_LIBRARY = {"safetensors": state.write, "timm": timm.write}
FORMATS = (*_BY_TRACING, *_BY_LIBRARY)


def check_exportable(kind: str, library: str, name: str) -> Home | None:
    """Check, before anything is loaded, that a format takes a network and that its packages are installed.

    Args:
        kind: One of `FORMATS`.
        library: The network's library as in `backbone.library`.
        name: Its name there.

    Returns:
        What builds the network without biotune; None if nothing does.

    Raises:
        ConfigError: An extra is not installed.
        BackboneError: The format needs a network of torchvision or timm, and this is none.
    """
    if kind == "onnx":
        onnx.check_installed()
    if kind == "timm" and find_spec("timm") is None:
        raise ConfigError("--format timm: needs the extra 'timm': pip install 'biotune[timm]'.")
    home = find_home(library, name)
    if home is None and kind in _BY_LIBRARY:
        whose = "a plugin" if library == "plugin" else "biotune"
        raise BackboneError(
            f"--format {kind}: {name} is a network of {whose}, which neither torchvision nor timm builds. Choose "
            f"{' or '.join(_BY_TRACING)}."
        )
    return home


def write_model(kind: str, model: Model, home: Home | None, folder: Path) -> float:
    """Write a model in a format, and hold what has been written against the network.

    Args:
        kind: One of `FORMATS`.
        model: The model, on the CPU.
        home: What `check_exportable` returned.
        folder: An existing folder.

    Returns:
        The largest absolute difference of the logits, as a share of the largest absolute logit.

    Raises:
        BackboneError: The format does not take the network, or what has been written gives other logits.
    """
    if isinstance(model.module, Ensemble) and kind in _BY_LIBRARY:
        raise BackboneError(
            f"--format {kind}: the final model is an ensemble of {len(model.module.members)} networks, the format holds one. "
            f"Choose {' or '.join(_BY_TRACING)}."
        )
    if home is not None and kind in _BY_LIBRARY:
        return _BY_LIBRARY[kind](model, home, folder)
    return _BY_TRACING[kind](model, folder)
