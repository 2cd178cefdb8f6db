"""Blocks of all backbones against independently counted parameters, and the refusal of partitions that do not fit."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest
import torch
from torch import nn

from biotune.backbones import torchvision
from biotune.backbones.blocks_of import blocks_of
from biotune.backbones.glyphnet import ARCHITECTURES
from biotune.backbones.network import Architecture
from biotune.backbones.partition import check_partition, finer
from biotune.errors import BackboneError
from biotune.schedule.block import Block
from biotune.schedule.block_parameters import block_parameters, parameters_of

TORCHVISION = torchvision.ARCHITECTURES
GLYPHNET = ARCHITECTURES["glyphnet"]


def without_memory(row: Architecture) -> nn.Module:
    """The network on the meta device: shapes without numbers. regnet computes its widths with tensors, real ones."""
    with torch.device("meta") if not row.name.startswith("regnet") else contextlib.nullcontext():
        module = row.build()
    if row.prepare is not None:
        row.prepare(module)
    return module


def test_every_network_with_known_counts_is_here_and_no_other(vectors: dict[str, Any]) -> None:
    assert set(TORCHVISION) == set(vectors["blocks"])


@pytest.mark.parametrize("name", TORCHVISION)
def test_blocks_hold_the_modules_and_parameters_counted_elsewhere(name: str, vectors: dict[str, Any]) -> None:
    row = TORCHVISION[name]
    module = without_memory(row)
    found = block_parameters(module, row.blocks)
    expected = vectors["blocks"][name]
    assert [sorted(block.modules) for block in row.blocks] == [sorted(entry["modules"]) for entry in expected]
    assert [sum(p.numel() for _, p in found[block.name]) for block in row.blocks] == [entry["parameters"] for entry in expected]


@pytest.mark.parametrize("name", [*TORCHVISION, "glyphnet"])
def test_blocks_cover_every_parameter_once_in_forward_order_with_the_head_last(name: str) -> None:
    row = TORCHVISION.get(name, GLYPHNET)
    module = without_memory(row)
    found = block_parameters(module, row.blocks)
    names = [parameter for block in row.blocks for parameter, _ in found[block.name]]
    assert len(names) == len(set(names))
    assert set(names) == {parameter for parameter, _ in module.named_parameters()}
    assert f"{row.head}.weight" in {parameter for parameter, _ in found[row.blocks[-1].name]}
    check_partition(module, row.blocks, row.head)


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v3_large", "densenet121"])
def test_blocks_run_in_their_order(name: str) -> None:
    """Forward order is what the network does, not what it declares: hooks note when each module first runs."""
    row = TORCHVISION[name]
    module = row.build().eval()
    ran: list[str] = []
    for block in row.blocks:
        for path in block.modules:
            module.get_submodule(path).register_forward_hook(lambda *_, block=block: ran.append(block.name))
    with torch.inference_mode():
        module(torch.zeros(1, 3, 32, 32))
    assert list(dict.fromkeys(ran)) == [block.name for block in row.blocks]


@pytest.mark.parametrize("name", [*TORCHVISION, "glyphnet"])
def test_every_layer_lies_in_one_block_and_all_layers_cover_the_network(name: str) -> None:
    row = TORCHVISION.get(name, GLYPHNET)
    module = without_memory(row)
    layers = row.layers or finer(module, row.blocks)
    owner = {p: block for block, pairs in block_parameters(module, row.blocks).items() for p, _ in pairs}
    order = [block.name for block in row.blocks]
    found = block_parameters(module, layers)
    owners = [{owner[p] for p, _ in found[layer.name]} for layer in layers]
    assert all(len(own) == 1 for own in owners)
    positions = [order.index(next(iter(own))) for own in owners]
    assert positions == sorted(positions)
    assert set(positions) == set(range(len(order)))
    check_partition(module, layers, row.head)


@pytest.mark.parametrize(
    ("name", "count"),
    # stem and head, and in between: basic or bottleneck units (2+2+2+2, 3+4+6+3, 3+4+23+3), encoder layers, conv pairs
    [("resnet18", 10), ("resnet34", 18), ("resnet50", 18), ("resnet101", 35), ("vit_b_16", 14), ("glyphnet", 10)],
)
def test_layers_are_the_units_one_counts_by_hand(name: str, count: int) -> None:
    row = TORCHVISION.get(name, GLYPHNET)
    assert len(row.layers or finer(without_memory(row), row.blocks)) == count


@pytest.mark.parametrize(
    ("name", "units", "last_of_stage"),
    # units of the stages by the papers: 2+2+6+2, 2+2+2+2, 3+3+5+2; layers before and after them lie with their neighbours
    [
        ("convnext_atto", 12, ("stages.1.downsample", "stages.1.blocks.0")),
        ("pvt_v2_b0", 8, ("stages.0.blocks.1", "stages.0.norm")),
        ("cspresnet50", 13, ("stages.0.blocks.2", "stages.0.conv_transition_b", "stages.0.conv_transition")),
    ],
)
def test_stages_with_layers_beside_their_units_are_cut_too(name: str, units: int, last_of_stage: tuple[str, ...]) -> None:
    timm = pytest.importorskip("timm")
    with torch.device("meta"):
        layers = blocks_of(timm.create_model(name), "layer")
    assert len(layers) == units + 2
    assert last_of_stage in [layer.modules for layer in layers]


class Chain(nn.Module):
    """a (conv) → norm → b → head, with a bare parameter and one module without parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.token = nn.Parameter(torch.zeros(1))
        self.a = nn.Conv2d(3, 4, 1)
        self.norm = nn.BatchNorm2d(4)
        self.relu = nn.ReLU()
        self.b = nn.Sequential(nn.Conv2d(4, 4, 1), nn.Conv2d(4, 4, 1))
        self.head = nn.Linear(4, 2)


def partition(*rows: tuple[str, str]) -> tuple[Block, ...]:
    return tuple(Block(name, tuple(modules.split())) for name, modules in rows)


GOOD = (("stem", "token a norm"), ("body", "b"), ("head", "head"))


def refuse(*rows: tuple[str, str]) -> str:
    with pytest.raises(BackboneError) as refused:
        check_partition(Chain(), partition(*rows), "head")
    return str(refused.value)


def test_a_good_partition_is_taken_bare_parameters_too() -> None:
    check_partition(Chain(), partition(*GOOD), "head")
    assert parameters_of(Chain(), "token")[0][0] == "token"


def test_a_forgotten_parameter_is_named() -> None:
    assert "token" in refuse(("stem", "a norm"), *GOOD[1:])
    message = refuse(GOOD[0], ("body", "b.0"), GOOD[2])
    assert "b.1.weight" in message
    assert "no block" in message


def test_overlapping_blocks_are_named_with_the_parameter() -> None:
    message = refuse(("stem", "token a norm b.0"), *GOOD[1:])
    assert "b.0.weight" in message
    assert "stem" in message
    assert "body" in message


def test_a_module_named_twice_in_one_block_is_refused() -> None:
    assert "a.weight" in refuse(("stem", "token a a norm"), *GOOD[1:])


@pytest.mark.parametrize(
    "rows",
    [
        (GOOD[1], GOOD[0], GOOD[2]),
        (("one", "token a b.0"), ("two", "norm b.1"), GOOD[2]),  # interleaved, though each begins after the other
    ],
)
def test_blocks_out_of_forward_order_are_refused_with_their_names(rows: tuple[tuple[str, str], ...]) -> None:
    message = refuse(*rows)
    assert "forward order" in message
    assert rows[0][0] in message
    assert rows[1][0] in message


def test_a_head_that_is_not_in_the_last_block_is_refused() -> None:
    with pytest.raises(BackboneError, match="last block, rest, does not hold the head a"):
        check_partition(Chain(), partition(("stem", "token a"), ("rest", "norm b head")), "a")


def test_repeated_block_names_are_refused() -> None:
    assert "stem" in refuse(GOOD[0], ("stem", "b"), GOOD[2])


@pytest.mark.parametrize("path", ["c", "b.2", "c.d", "a.forward", "norm.running_mean"])
def test_a_path_that_names_no_module_is_refused_with_its_block(path: str) -> None:
    message = refuse(GOOD[0], ("body", f"b {path}"), GOOD[2])
    assert path in message
    assert "body" in message


def test_a_block_without_parameters_is_refused() -> None:
    assert "idle" in refuse(GOOD[0], ("idle", "relu"), *GOOD[1:])


def test_a_partition_of_another_network_is_refused() -> None:
    with pytest.raises(BackboneError, match="stem.*conv1"):
        check_partition(GLYPHNET.build(), TORCHVISION["resnet18"].blocks, "fc")
