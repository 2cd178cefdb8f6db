"""biotune evolves layer schedules: which blocks of a pre-trained image classifier to fine-tune, and how fast each learns."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from biotune.schedule.block import Block
from biotune.schedule.schedule import Schedule
from biotune.schedule.schedule_file import load_schedule

if TYPE_CHECKING:
    from biotune.backbones.network import Architecture, Preprocessing
    from biotune.backbones.registry import register_backbone
    from biotune.datasets.registry import register_dataset
    from biotune.datasets.source import Source
    from biotune.strategies.registry import register_strategy
    from biotune.training.model import Model, load_model

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
    "Architecture": "biotune.backbones.network",
    "Preprocessing": "biotune.backbones.network",
    "register_backbone": "biotune.backbones.registry",
    "Source": "biotune.datasets.source",
    "register_dataset": "biotune.datasets.registry",
    "Model": "biotune.training.model",
    "load_model": "biotune.training.model",
    "register_strategy": "biotune.strategies.registry",
}


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(_LAZY[name]), name)
    return value
