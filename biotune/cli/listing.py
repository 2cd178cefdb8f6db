"""`biotune list` and `biotune blocks`: what can be chosen, and what it is made of."""

from __future__ import annotations

import argparse
import dataclasses
from importlib.resources import files
from pathlib import Path

from hydra.core.object_type import ObjectType

from biotune.cli import LISTS
from biotune.cli.composing import composing
from biotune.cli.data import DATASET_COLUMNS, dataset_row
from biotune.config import BlocksConfig
from biotune.errors import ConfigError, did_you_mean
from biotune.plugins import load_plugins
from biotune.view import View

_GROUPS = {"strategies": "strategy"}


def show_list(arguments: list[str]) -> int:
    """Print one list of choices, with what each file's first comment says of it."""
    wanted, folder = _options(arguments)
    if len(wanted) != 1 or wanted[0] not in LISTS:
        name = " ".join(wanted) or "list"
        raise ConfigError(f"{name}: no such list.{did_you_mean(name, LISTS)} 'biotune list' takes one of {', '.join(LISTS)}.")
    group = _GROUPS.get(wanted[0], wanted[0].removesuffix("s"))
    with composing(folder) as loader:
        choices = loader.get_group_options(group, results_filter=ObjectType.CONFIG)
    roots = [Path(str(files("biotune.configs"))), *([Path(folder)] if folder else [])]
    remarks = {name: _remark(group, name, roots) for name in choices}
    with View() as view:
        if group == "dataset":
            rows = [dataset_row(name, _file(group, name, roots), remark) for name, remark in remarks.items()]
            view.table("dataset=…", DATASET_COLUMNS, rows)
        else:
            view.table(f"{group}=…", [group, "what it is"], [list(remark) for remark in remarks.items()])
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
        raise ConfigError(f"{unknown[0]}: 'biotune list' knows no such option, only --config-dir.")
    return rest, options.config_dir


def _remark(group: str, name: str, roots: list[Path]) -> str:
    """The first comment of a choice's file."""
    file = _file(group, name, roots)
    for line in file.read_text(encoding="utf-8").splitlines() if file else []:
        if line.startswith("#") and not line.startswith("# @package"):
            return line.lstrip("# ").strip()
    return ""


def _file(group: str, name: str, roots: list[Path]) -> Path | None:
    """The file of a choice in the first folder that has it."""
    return next((root / group / f"{name}.yaml" for root in roots if (root / group / f"{name}.yaml").is_file()), None)


def show_blocks(config: BlocksConfig) -> None:
    """Print the blocks of a backbone."""
    from biotune import backbones

    load_plugins(config.plugins)
    # a count needs no weights, so none are fetched
    network = backbones.build(dataclasses.replace(config.backbone, weights="none", head="new"), config.num_classes)
    total = sum(network.parameters.values())
    with View() as view:
        view.table(
            f"{config.backbone.name}: {len(network.blocks)} blocks, {total:,} parameters with {config.num_classes} classes",
            ["block", "modules", "parameters", "share"],
            (
                [
                    block.name,
                    " ".join(block.modules),
                    f"{network.parameters[block.name]:,}",
                    f"{network.parameters[block.name] / total:.1%}",
                ]
                for block in network.blocks
            ),
        )
