"""biotune evolves layer schedules: which blocks of a pre-trained image classifier to fine-tune, and how fast each learns.

The command `biotune` does the work. For your own code there are:

Schedules
    load_schedule(file)          a layer schedule from its YAML file
    Schedule                     .apply(model, base_lr) freezes and groups; .unfreeze(model, epoch, epochs)
    Block                        one gene's worth of a network: a name and its modules
A search for any training loop
    blocks_of(model)             the blocks of any nn.Module, head last
    search(objective, blocks)    the whole search; Search asks and is told; Trial: .schedule, .report; Best: .schedule, .score
Trained models
    load_model(folder)           a run's final model, as a Model: .probabilities(files), .prepare(image)
Your own datasets, networks and strategies, named by the key `plugins`
    register_dataset(name, f)    f: DatasetConfig -> Source, labelled images that can be opened one by one
    register_backbone(row)       row: an Architecture, with its blocks, head and Preprocessing
    register_strategy(name, f)   f: blocks -> Schedule
Errors, all of them BiotuneError with a text of one line
    ConfigError, DataError, BackboneError, ScheduleError, RunFolderError, WorkerError, TrialError, SearchError

What is named here keeps its names and meaning; every other module may change between versions.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from biotune.errors import (
    BackboneError,
    BiotuneError,
    ConfigError,
    DataError,
    RunFolderError,
    ScheduleError,
    SearchError,
    TrialError,
    WorkerError,
)
from biotune.schedule.block import Block
from biotune.schedule.schedule import Schedule
from biotune.schedule.schedule_file import load_schedule

if TYPE_CHECKING:
    from biotune.backbones.blocks_of import blocks_of
    from biotune.backbones.network import Architecture, Preprocessing
    from biotune.backbones.registry import register_backbone
    from biotune.config.sections import DatasetConfig
    from biotune.datasets.registry import register_dataset
    from biotune.datasets.source import Source
    from biotune.evolution.ask_tell import Best, Search, search
    from biotune.evolution.asked import Trial
    from biotune.strategies.registry import register_strategy
    from biotune.training.model import Model, load_model

__version__ = "0.1.0"
__all__ = [
    "Architecture",
    "BackboneError",
    "Best",
    "BiotuneError",
    "Block",
    "ConfigError",
    "DataError",
    "DatasetConfig",
    "Model",
    "Preprocessing",
    "RunFolderError",
    "Schedule",
    "ScheduleError",
    "Search",
    "SearchError",
    "Source",
    "Trial",
    "TrialError",
    "WorkerError",
    "__version__",
    "blocks_of",
    "load_model",
    "load_schedule",
    "register_backbone",
    "register_dataset",
    "register_strategy",
    "search",
]

_LAZY = {  # most of these need torch, which is slow to import and not needed for every command
    "Architecture": "biotune.backbones.network",
    "Best": "biotune.evolution.ask_tell",
    "DatasetConfig": "biotune.config.sections",
    "Model": "biotune.training.model",
    "Preprocessing": "biotune.backbones.network",
    "Search": "biotune.evolution.ask_tell",
    "Source": "biotune.datasets.source",
    "Trial": "biotune.evolution.asked",
    "blocks_of": "biotune.backbones.blocks_of",
    "load_model": "biotune.training.model",
    "register_backbone": "biotune.backbones.registry",
    "register_dataset": "biotune.datasets.registry",
    "register_strategy": "biotune.strategies.registry",
    "search": "biotune.evolution.ask_tell",
}


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(_LAZY[name]), name)
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
