"""`biotune blocks`: prints the blocks of a backbone."""

from __future__ import annotations

import dataclasses

from biotune.cli.terminal.output_mode import OutputMode
from biotune.cli.terminal.view import Cell, View
from biotune.config.plugins import load_plugins
from biotune.config.schema import BlocksConfig


def show_blocks(config: BlocksConfig, mode: OutputMode) -> None:
    """Print the blocks of a backbone: modules, number of parameters and share of all parameters.

    Args:
        config: The composed config.
        mode: How to print.
    """
    from biotune.backbones.registry import build_network

    load_plugins(config.plugins)
    # counting needs no weights, so none are downloaded
    network = build_network(dataclasses.replace(config.backbone, weights="none", head="new"), config.num_classes)
    total = sum(network.parameters.values())
    rows = []
    for block in network.blocks:
        count = network.parameters[block.name]
        modules = Cell(list(block.modules), " ".join(block.modules))
        rows.append([block.name, modules, count, Cell(count / total, f"{count / total:.1%}")])
    with View(mode=mode) as view:
        view.fact("backbone", config.backbone.name)
        view.fact("classes", config.num_classes)
        view.fact("parameters", total)
        view.table(
            f"{config.backbone.name}: {len(network.blocks)} blocks, {total:,} parameters with {config.num_classes} classes",
            ["block", "modules", "parameters", "share"],
            rows,
            name="blocks",
        )
