"""Tests of `biotune help`, of the first screen, and of `--json`."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hydra import compose
from omegaconf import OmegaConf

from biotune.cli.launch.compose import composing
from biotune.cli.registry import COMMANDS, SCHEMAS
from biotune.config.key import keys_of, sections_of


def test_the_first_screen_fits_an_old_terminal_and_names_every_command(biotune: Callable[..., Any]) -> None:
    lines = biotune("--help").out.splitlines()
    assert len(lines) <= 23, "and a line for the prompt"
    assert max(map(len, lines)) <= 80
    assert [line.split()[0] for line in lines if line.startswith("  ") and line.split()[0] in COMMANDS] == list(COMMANDS)
    assert biotune("help").out == biotune("--help").out


def test_a_key_is_described_with_all_that_holds_for_it(biotune: Callable[..., Any], here: Path) -> None:
    said = biotune("help", "training.lr")
    assert (said.status, said.err) == (0, "")
    assert said.out.splitlines() == [
        "training.lr: a number or auto",
        "  Base learning rate λ_0 that a schedule's weights multiply; auto takes the one of lr_grid with the best "
        "validation score, in a search with full fine-tuning.",
        "  default   0.001",
        "  bounds    greater than 0, at most 100",
        "  commands  biotune run, biotune train, biotune compare, biotune evaluate, biotune suggest",
        "  set by    training=sgd: 0.01",
    ]
    assert biotune("help", "training.lr=0.1").out == said.out
    assert "choices   brood, sequential, asynchronous" in biotune("help", "evolution.mating").out
    assert "set by    evolution=published: sequential" in biotune("help", "evolution.mating").out
    assert "must be given" in biotune("help", "genotypes").out
    assert "(biotune list datasets)" in biotune("help", "dataset.name").out
    assert list(here.iterdir()) == []


def test_a_default_is_the_value_of_a_command_without_overrides(biotune: Callable[..., Any], here: Path) -> None:
    for name, text in (
        ("evolution.elites", "default   16 (evolution=biotune; 3 where no file sets it)"),
        ("confirm.splits", "default   auto (biotune run; 0 where no file sets it)"),
        ("training.head_start", "default   evolved (evolution=biotune; fresh where no file sets it)"),
        ("dataset.loader", "default   digits (dataset=digits)"),
    ):
        assert text in biotune("help", name).out
    assert "set by    biotune run: auto\n            biotune compare: auto" in biotune("help", "confirm.splits").out
    (row,) = (line for line in biotune("help", "evolution").out.splitlines() if line.split()[:1] == ["evolution.elites"])
    assert row.split()[1] == "16"


@pytest.mark.parametrize("command", SCHEMAS)
def test_the_defaults_of_a_command_are_those_that_it_composes(biotune: Callable[..., Any], here: Path, command: str) -> None:
    with composing(None):
        config = compose(command)
    answers = json.loads(biotune("help", command, "--json").out)["keys"]
    assert len(answers) == len(list(keys_of(SCHEMAS[command])))
    for one in answers:
        assert one["must_be_given"] == OmegaConf.is_missing(*_parent(config, one["key"])), one["key"]
        if not one["must_be_given"]:
            found = OmegaConf.select(config, one["key"])
            assert one["default"] == (OmegaConf.to_container(found) if OmegaConf.is_config(found) else found), one["key"]


def _parent(config: Any, path: str) -> tuple[Any, str]:
    section, _, name = path.rpartition(".")
    return (OmegaConf.select(config, section) if section else config), name


@pytest.mark.parametrize("command", COMMANDS)
def test_a_commands_help_holds_its_meaning_and_all_its_keys(biotune: Callable[..., Any], command: str) -> None:
    said = biotune("help", command)
    assert (said.status, said.err) == (0, "")
    assert f"biotune {command}: {COMMANDS[command].meaning}\n" in said.out
    keys = [item.path for item in keys_of(SCHEMAS[command])] if command in SCHEMAS else []
    first = [line.split()[0] for line in said.out.splitlines() if line.strip()]
    assert [word for word in first if word in keys] == keys


def test_a_key_of_every_type_and_a_section_of_every_command_are_described(biotune: Callable[..., Any]) -> None:
    keys = {str(item.type): item for schema in SCHEMAS.values() for item in keys_of(schema)}
    for item in keys.values():
        assert biotune("help", item.path).out.startswith(f"{item.path}: {item.must_be}\n  {item.metadata['meaning']}\n")
    sections = {name: about for schema in SCHEMAS.values() for name, about in sections_of(schema).items()}
    for name, about in sections.items():
        if name not in COMMANDS:
            assert about in biotune("help", name).out


def test_a_section_lists_its_keys_and_what_sets_them_together(biotune: Callable[..., Any]) -> None:
    said = biotune("help", "evolution").out
    assert "The search (BioTune, section 2)." in said
    assert "evolution=CHOICE" in said
    assert [line.split()[0] for line in said.splitlines() if line.startswith(" evolution.")] == [
        item.path for item in keys_of(SCHEMAS["run"]) if item.path.startswith("evolution.")
    ]


@pytest.mark.parametrize(
    ("name", "near"),
    [("lr", "training.lr"), ("trainin.lr", "training.lr"), ("evolutio", "evolution"), ("qqqq", "biotune help run")],
)
def test_an_unknown_name_is_one_line_with_near_ones(biotune: Callable[..., Any], name: str, near: str) -> None:
    said = biotune("help", name)
    assert (said.status, said.out) == (2, "")
    [line] = said.err.splitlines()
    assert line.startswith(f"biotune: {name}: no such key.")
    assert near in line


def test_help_as_json_holds_types_bounds_choices_and_commands(biotune: Callable[..., Any]) -> None:
    [key] = json.loads(biotune("help", "training.lr", "--json").out)["keys"]
    assert key["key"] == "training.lr"
    assert key["default"] == 0.001
    assert key["bounds"] == {"gt": 0, "le": 100}
    assert key["commands"] == ["run", "train", "compare", "evaluate", "suggest"]
    assert {"config": "training=sgd", "value": 0.01} in key["set_by"]
    every = json.loads(biotune("help", "--json").out)["keys"]
    assert {item["key"] for item in every} == {item.path for schema in SCHEMAS.values() for item in keys_of(schema)}
    assert [item["key"] for item in json.loads(biotune("help", "confirm", "--json").out)["keys"]] == [
        "confirm.top_k",
        "confirm.baselines",
        "confirm.lr_factors",
        "confirm.splits",
        "confirm.choose",
        "confirm.retrain",
        "confirm.seeds",
    ]


def test_lists_as_json_are_one_object_of_values(biotune: Callable[..., Any]) -> None:
    said = biotune("list", "datasets", "--json")
    assert (said.status, said.err) == (0, "")
    rows = {row["dataset"]: row for row in json.loads(said.out)["datasets"]}
    assert rows["digits"]["classes"] == 10
    assert rows["digits"]["here"] is True
    assert rows["folder"]["classes"] is None
    assert {"strategy": "full", "what_it_is": "Full fine-tuning: every block at the base learning rate."} in json.loads(
        biotune("list", "strategies", "--json").out
    )["strategies"]


def test_blocks_as_json_add_up(biotune: Callable[..., Any], here: Path) -> None:
    said = biotune("blocks", "--json", "num_classes=7")
    assert (said.status, said.err) == (0, "")
    shown = json.loads(said.out)
    assert sum(block["parameters"] for block in shown["blocks"]) == shown["parameters"]
    assert sum(block["share"] for block in shown["blocks"]) == pytest.approx(1)
    assert [block["modules"] for block in shown["blocks"]][-1] == ["head"]
    assert list(here.iterdir()) == []


def test_data_commands_as_json(biotune: Callable[..., Any], here: Path) -> None:
    whole = json.loads(biotune("data", "check", "--json").out)
    assert whole["whole"] is True
    assert {"what": "test", "found": 1397, "official": 1397, "verdict": "ok"} in whole["counts"]
    said = biotune("data", "check", "dataset=folder", "dataset.root=nowhere", "--json")
    assert said.status == 1
    assert json.loads(said.out)["whole"] is False
    assert "nowhere" in json.loads(said.out)["problems"][0]
    assert json.loads(biotune("data", "cache", "--json").out)["entries"] == []
    assert json.loads(biotune("data", "cache", "--json", "--clear").out) == {"removed": 0, "freed": 0}


@pytest.mark.parametrize(
    "arguments", [["-sc", "install=bash"], ["run", "-sc", "install=bash"], ["run", "--shell-completion", "x=y"]]
)
def test_hydras_completion_points_to_ours(biotune: Callable[..., Any], arguments: list[str]) -> None:
    said = biotune(*arguments)
    assert (said.status, said.out) == (2, "")
    [line] = said.err.splitlines()
    assert "biotune completion bash" in line


def test_completion_says_what_to_type_and_refuses_other_shells(biotune: Callable[..., Any]) -> None:
    said = biotune("completion")
    assert said.status == 0
    for shell in ("bash", "zsh", "fish"):
        assert f"biotune completion {shell}" in said.out
        assert "complet" in biotune("completion", shell).out
    said = biotune("completion", "bsh")
    assert said.status == 2
    assert said.err == "biotune: completion bsh: no such shell. Did you mean bash or zsh? Shells: bash, zsh, fish.\n"
