"""`biotune list` and `biotune blocks`: what can be chosen, and what it is made of."""

from __future__ import annotations

import argparse
import dataclasses

from biotune.cli import LISTS
from biotune.cli.data import DATASET_COLUMNS, dataset_row
from biotune.cli.groups import choices_of, remark, roots
from biotune.config import BlocksConfig
from biotune.errors import ConfigError, did_you_mean
from biotune.plugins import load_plugins
from biotune.view import Cell, View
from biotune.voice import Voice, take_voice

_GROUPS = {"strategies": "strategy"}


def show_list(arguments: list[str]) -> int:
    """Print one list of choices, with what each file's first comment says of it."""
    arguments, voice = take_voice(arguments, Voice.JSON)
    wanted, folder = _options(arguments)
    if len(wanted) != 1 or wanted[0] not in LISTS:
        name = " ".join(wanted) or "list"
        raise ConfigError(f"{name}: no such list.{did_you_mean(name, LISTS)} 'biotune list' takes one of {', '.join(LISTS)}.")
    group = _GROUPS.get(wanted[0], wanted[0].removesuffix("s"))
    choices = choices_of(group, roots(folder))
    with View(voice=voice) as view:
        if group == "dataset":
            rows = [dataset_row(name, file, remark(file)) for name, file in choices.items()]
            view.table("dataset=…", DATASET_COLUMNS, rows, name=wanted[0])
        else:
            rows = [[name, remark(file)] for name, file in choices.items()]
            view.table(f"{group}=…", [group, "what it is"], rows, name=wanted[0])
    return 0


def _options(arguments: list[str]) -> tuple[list[str], str | None]:
    """The lists that were asked for, and the user's own folder of configs."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    parser.add_argument("--config-dir", "-cd")
    try:
        options, rest = parser.parse_known_args(arguments)
    except argparse.ArgumentError as error:
        raise ConfigError(f"{error}.") from None
    if unknown := [argument for argument in rest if argument.startswith("-")]:
        raise ConfigError(f"{unknown[0]}: 'biotune list' knows no such option, only --config-dir and --json.")
    return rest, options.config_dir


def show_blocks(config: BlocksConfig, voice: Voice) -> None:
    """Print the blocks of a backbone."""
    from biotune import backbones

    load_plugins(config.plugins)
    # a count needs no weights, so none are fetched
    network = backbones.build(dataclasses.replace(config.backbone, weights="none", head="new"), config.num_classes)
    total = sum(network.parameters.values())
    rows = []
    for block in network.blocks:
        count = network.parameters[block.name]
        modules = Cell(list(block.modules), " ".join(block.modules))
        rows.append([block.name, modules, count, Cell(count / total, f"{count / total:.1%}")])
    with View(voice=voice) as view:
        view.fact("backbone", config.backbone.name)
        view.fact("classes", config.num_classes)
        view.fact("parameters", total)
        view.table(
            f"{config.backbone.name}: {len(network.blocks)} blocks, {total:,} parameters with {config.num_classes} classes",
            ["block", "modules", "parameters", "share"],
            rows,
            name="blocks",
        )
