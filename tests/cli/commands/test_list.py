"""Tests of `biotune list` and `biotune blocks`."""

from __future__ import annotations

from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest

from biotune.cli.registry import LISTS

GROUPS = {name: "strategy" if name == "strategies" else name.removesuffix("s") for name in LISTS}


@pytest.mark.parametrize(("name", "group"), GROUPS.items())
def test_a_list_holds_every_choice_with_what_it_is_and_nothing_else(
    biotune: Callable[..., Any], here: Path, name: str, group: str
) -> None:
    said = biotune("list", name)
    assert said.status == 0
    assert said.err == ""
    wanted = sorted(file.name.removesuffix(".yaml") for file in files("biotune.configs").joinpath(group).iterdir())
    rows = [line.split(maxsplit=1) for line in said.out.splitlines() if line.startswith(" ") and "──" not in line]
    listed = {row[0]: row[1] if len(row) > 1 else "" for row in rows if row}
    for choice in wanted:
        if choice.startswith("__"):
            continue
        assert listed[choice].strip(), f"{choice} says what it is"
    assert list(here.iterdir()) == []


def test_a_users_own_dataset_is_listed_too(biotune: Callable[..., Any], here: Path) -> None:
    (here / "mine/dataset").mkdir(parents=True)
    (here / "mine/dataset/ferns.yaml").write_text("# Ferns of my garden.\nloader: folder\nname: ferns\nroot: ferns\n")
    for flag in (["--config-dir", "mine"], ["--config-dir=mine"], ["-cd", "mine"]):
        said = biotune("list", "datasets", *flag)
        assert (said.status, said.err) == (0, "")
        assert "Ferns of my garden." in said.out
        assert "digits" in said.out
    assert "ferns" not in biotune("list", "datasets").out


def test_blocks_are_shown_in_order_with_counts_that_add_up(biotune: Callable[..., Any], here: Path) -> None:
    said = biotune("blocks", "backbone=resnet50")
    assert said.status == 0
    shown = said.out.replace(",", "")
    # counted once by hand from the torchvision source: conv1+bn1, layer1 ... layer4, fc with 1000 classes
    positions = [shown.index(str(count)) for count in (9536, 215808, 1219584, 7098368, 14964736, 2049000)]
    assert positions == sorted(positions)
    assert "25557032" in shown
    assert list(here.iterdir()) == []


def test_blocks_follow_the_number_of_classes(biotune: Callable[..., Any]) -> None:
    assert "1,026" in biotune("blocks", "backbone=resnet18", "num_classes=2").out, "512 × 2 weights and 2 biases"


def test_a_flag_without_its_value_is_answered_with_the_usage(biotune: Callable[..., Any], here: Path) -> None:
    said = biotune("list", "datasets", "--config-dir")
    assert (said.status, said.out) == (2, "")
    assert said.err == (
        "biotune: argument --config-dir/-cd: expected one argument. Usage: biotune list NAME [--config-dir DIR] [--json]\n"
    )
