"""The table of commands, one row per command; help, completion, dispatch and checks read it. Imports nothing heavy."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

from biotune.cli.flags import COMPOSING, CONFIG_DIR, HELP, MULTIRUN, OF_MODE, Flag
from biotune.cli.terminal.output_mode import OutputMode
from biotune.config.schema import BlocksConfig, CompareConfig, DataConfig, EvaluateConfig, RunConfig, SuggestConfig, TrainConfig
from biotune.store.files import EXPORTED_MODEL

LOUDNESS = (OutputMode.QUIET, OutputMode.VERBOSE)
JSON = (OutputMode.JSON,)


@dataclass(frozen=True, kw_only=True)
class Command:
    """One command.

    Attributes:
        name: The words after `biotune`; two for a command such as `data cache`.
        meaning: One line for the first screen.
        entry: `module:function`, called with the arguments after the name; it returns the exit status. None for commands
            whose config Hydra composes.
        schema: The class of the config; None for commands without a config.
        job: `module:function`, called with the composed config; None for commands without a config.
        own_flags: Its flags, except those of its output modes.
        modes: The output modes it supports besides the normal one.
        leaves_folder: Whether it trains and writes a run folder.
        reported: Whether `biotune report` can make a page from its run folder.
        composed_by: The words that compose its config, where they differ from its name.
    """

    name: str
    meaning: str
    entry: str | None = None
    schema: type | None = None
    job: str | None = None
    own_flags: Mapping[str, Flag] = field(default_factory=dict)
    modes: tuple[OutputMode, ...] = ()
    leaves_folder: bool = False
    reported: bool = False
    composed_by: str = ""

    @property
    def flags(self) -> dict[str, Flag]:
        """All flags, those of the output modes last."""
        return {**self.own_flags, **{name: flag for mode in self.modes for name, flag in OF_MODE[mode].items()}}

    @property
    def typed(self) -> str:
        """The whole command as typed to compose its config, such as `biotune data check`."""
        return f"biotune {self.composed_by or self.name}"


_TRAINS: dict[str, Any] = {"own_flags": {**COMPOSING, **MULTIRUN}, "modes": LOUDNESS, "leaves_folder": True}
_SHOWS: dict[str, Any] = {"own_flags": COMPOSING, "modes": JSON}
_ROWS = (
    Command(
        name="run",
        meaning="search, confirm, retrain, test, report",
        schema=RunConfig,
        job="biotune.recipes.run:run",
        reported=True,
        **_TRAINS,
    ),
    Command(
        name="train",
        meaning="one strategy over several seeds: strategy=NAME or schedule=FILE",
        schema=TrainConfig,
        job="biotune.recipes.train:train",
        reported=True,
        **_TRAINS,
    ),
    Command(
        name="compare",
        meaning="many strategies on the same data: one table",
        schema=CompareConfig,
        job="biotune.recipes.compare:compare",
        reported=True,
        **_TRAINS,
    ),
    Command(
        name="evaluate",
        meaning="fitness of given genotypes, no search: genotypes=FILE.csv",
        schema=EvaluateConfig,
        job="biotune.recipes.evaluate:evaluate",
        **_TRAINS,
    ),
    Command(
        name="suggest",
        meaning="a schedule with its reasons, from earlier runs and gradients",
        schema=SuggestConfig,
        job="biotune.recipes.suggest:suggest",
        **_TRAINS,
    ),
    Command(
        name="blocks",
        meaning="the blocks of a backbone: modules, parameters, share",
        schema=BlocksConfig,
        job="biotune.cli.commands.blocks:show_blocks",
        **_SHOWS,
    ),
    Command(
        name="resume",
        meaning="finish an interrupted run, or lengthen a search: resume DIR",
        entry="biotune.cli.launch.resume:resume",
        own_flags=HELP,
        modes=LOUDNESS,
    ),
    Command(
        name="predict",
        meaning="classify with a run's final model: predict DIR IMAGE...",
        entry="biotune.cli.commands.predict:predict",
        own_flags={
            "--csv": Flag("also write the predictions, of --top classes, to a CSV file", "files"),
            "--jsonl": Flag("write a line of JSON per image; - prints them", "files"),
            "--top": Flag("classes to show per image, also in files", ("1", "3", "5")),
            "--batch-size": Flag("images that are computed at once", ("64", "256", "1024")),
            "--tta": Flag("average with the mirror image", ("none", "flip")),
            "--device": Flag("device to compute on", ("auto", "cpu", "cuda", "mps")),
            "--plugins": Flag("modules to import first", ()),
            **HELP,
        },
        modes=JSON,
    ),
    Command(
        name="export",
        meaning="write a final model as ONNX, TorchScript, ...: export DIR",
        entry="biotune.cli.commands.export:export",
        own_flags={
            "--format": Flag("format of the model", tuple(EXPORTED_MODEL)),
            "--out": Flag("new folder to write", "folders"),
            "--plugins": Flag("modules to import first", ()),
            **HELP,
        },
    ),
    Command(
        name="report",
        meaning="rebuild a run's page, or compare several runs: report DIR...",
        entry="biotune.cli.commands.report:report",
        own_flags={
            "--out": Flag("where to write the page", "files"),
            "--optuna": Flag("also write the search as a study of Optuna", ()),
            **HELP,
        },
    ),
    Command(
        name="schedules",
        meaning="the trade-offs that a search has found: schedules DIR",
        entry="biotune.cli.commands.schedules:schedules",
        own_flags={
            "--max-share": Flag("largest trained share of the parameters", ("0.01", "0.1", "0.5")),
            "--write": Flag("N FILE: write the schedule with number N"),
            **HELP,
        },
        modes=JSON,
    ),
    Command(
        name="list",
        meaning="what can be chosen: list datasets, list backbones, ...",
        entry="biotune.cli.commands.list:show_list",
        own_flags=CONFIG_DIR,
        modes=JSON,
    ),
    Command(
        name="data",
        meaning="data check dataset=NAME verifies a copy; data cache",
        entry="biotune.cli.launch.data:data",
        schema=DataConfig,
        job="biotune.cli.commands.data_check:check_dataset",
        composed_by="data check",
        **_SHOWS,
    ),
    Command(
        name="data cache",
        meaning="list the decoded images that runs share, or remove them",
        entry="biotune.cli.commands.data_cache:data_cache",
        own_flags={"--clear": Flag("remove decoded images")},
        modes=JSON,
    ),
    Command(
        name="help",
        meaning="what a key means, or the keys of a section: help training.lr",
        entry="biotune.cli.commands.help:show_help",
        modes=JSON,
    ),
    Command(
        name="completion",
        meaning="TAB completes commands, keys, choices in bash, zsh, fish",
        entry="biotune.cli.completion.candidates:completion",
        own_flags=HELP,
    ),
)
EVERY = {row.name: row for row in _ROWS}
COMMANDS = {name: row for name, row in EVERY.items() if " " not in name}
SCHEMAS = {name: row.schema for name, row in COMMANDS.items() if row.schema is not None}
WITH_FOLDER = tuple(name for name, row in COMMANDS.items() if row.leaves_folder)
COMPLETE = "__complete"  # called by the shells' completion scripts, not by users
COMPLETE_ENTRY = "biotune.cli.completion.candidates:complete"

LISTS = {  # name of a list in `biotune list` → the config group that it lists
    "datasets": "dataset",
    "backbones": "backbone",
    "evolution": "evolution",
    "training": "training",
    "strategies": "strategy",
    "executors": "executor",
    "trackers": "tracker",
    "experiments": "experiment",
}
LIST_OF = {group: name for name, group in LISTS.items()}
SEVERAL = ("tracker",)  # groups of which several choices may be taken at once, as a list

NO_HYDRA_COMPLETION = (
    "-sc: biotune has its own completion: 'biotune completion bash' prints it, 'biotune completion' shows how to load it."
)


def load(place: str) -> Callable[..., Any]:
    """Import and return the function at `module:function`."""
    module, name = place.split(":")
    function: Callable[..., Any] = getattr(import_module(module), name)
    return function


# at most 23 lines of 80 columns, so that they fit a small terminal together with the prompt
FIRST_SCREEN = f"""\
biotune finds which layers of an image classifier to fine-tune, and how fast.
  biotune run                                    a demo on bundled digits
  biotune run dataset=folder dataset.root=IMAGES backbone=resnet50
Commands:
{chr(10).join(f"  {name:<10}  {row.meaning}" for name, row in COMMANDS.items())}

Everything is set as KEY=VALUE. Flags of {", ".join(WITH_FOLDER)}:
  -q  only the result  -v  a line per training run  -m  one job per combination
  --cfg job  show the config and stop     --config-dir D  look for configs in D
"""
