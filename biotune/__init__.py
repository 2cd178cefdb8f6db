"""biotune evolves layer schedules: which blocks of a pre-trained image classifier to fine-tune, and how fast each learns."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from biotune.schedule import Block, Schedule, load_schedule

if TYPE_CHECKING:
    from biotune.backbones import Architecture, Preprocessing, register_backbone
    from biotune.datasets import Source, register_dataset
    from biotune.predict import Model, load_model
    from biotune.strategies import register_strategy

__version__ = "0.1.0"
__all__ = [
    "Architecture",
    "Block",
    "Model",
    "Preprocessing",
    "Schedule",
    "Source",
    "__version__",
    "load_model",
    "load_schedule",
    "register_backbone",
    "register_dataset",
    "register_strategy",
]

_LAZY = {  # these need torch, which is slow to import and not needed for every command
    "Architecture": "biotune.backbones",
    "Preprocessing": "biotune.backbones",
    "register_backbone": "biotune.backbones",
    "Source": "biotune.datasets",
    "register_dataset": "biotune.datasets",
    "Model": "biotune.predict",
    "load_model": "biotune.predict",
    "register_strategy": "biotune.strategies",
}


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(_LAZY[name]), name)
    return value
