"""`biotune list` and `biotune blocks`: what can be chosen, and what it is made of."""

from __future__ import annotations

import dataclasses
from importlib.resources import files
from pathlib import Path

from hydra import compose, initialize_config_module
from hydra.core.global_hydra import GlobalHydra
from hydra.core.object_type import ObjectType

from biotune.cli import LISTS
from biotune.config import BlocksConfig
from biotune.errors import ConfigError, did_you_mean
from biotune.view import View

_GROUPS = {"strategies": "strategy"}


def show_list(arguments: list[str]) -> int:
    """Print one list of choices, with what each file's first comment says of it."""
    wanted = [argument for argument in arguments if not argument.startswith("-")]
    folder = _config_dir(arguments)
    if folder:
        wanted = [argument for argument in wanted if argument != folder]
    if len(wanted) != 1 or wanted[0] not in LISTS:
        name = wanted[0] if wanted else "list"
        raise ConfigError(f"{name}: no such list.{did_you_mean(name, LISTS)} 'biotune list' takes one of {', '.join(LISTS)}.")
    group = _GROUPS.get(wanted[0], wanted[0].removesuffix("s"))
    overrides = [f"hydra.searchpath=[file://{Path(folder).resolve()}]"] if folder else []
    with initialize_config_module("biotune.configs", version_base="1.3"):
        compose("output", overrides=overrides)
        loader = GlobalHydra.instance().config_loader()
        choices = loader.get_group_options(group, results_filter=ObjectType.CONFIG)
        sources = [Path(source.path) for source in loader.get_search_path().get_path() if source.path.startswith("file://")]
        rows = [[name, _remark(group, name, sources)] for name in choices]
    with View() as view:
        view.table(f"{group}=…", [group, "what it is"], rows)
    return 0


def _config_dir(arguments: list[str]) -> str | None:
    for position, argument in enumerate(arguments):
        if argument.startswith("--config-dir="):
            return argument.partition("=")[2]
        if argument in ("--config-dir", "-cd") and position + 1 < len(arguments):
            return arguments[position + 1]
    return None


def _remark(group: str, name: str, sources: list[Path]) -> str:
    """The first comment of a choice's file."""
    own = Path(str(files("biotune.configs")))
    for root in [own, *(Path(str(source).removeprefix("file:")) for source in sources)]:
        file = root / group / f"{name}.yaml"
        if file.is_file():
            for line in file.read_text(encoding="utf-8").splitlines():
                if line.startswith("#") and not line.startswith("# @package"):
                    return line.lstrip("# ").strip()
    return ""


def show_blocks(config: BlocksConfig) -> None:
    """Print the blocks of a backbone."""
    from biotune import backbones

    # a count needs no weights, so none are fetched
    network = backbones.build(dataclasses.replace(config.backbone, weights="none"), config.num_classes)
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
