"""The registry against all that must agree with it: configs, recipes, parsers, Hydra, the report, the first screen."""

from __future__ import annotations

import argparse
import inspect
from importlib.resources import files
from typing import Any

import pytest
from hydra._internal.utils import get_args_parser

from biotune.cli.commands.export import export_parser
from biotune.cli.commands.predict import predict_parser
from biotune.cli.commands.report import report_parser
from biotune.cli.commands.schedules import schedules_parser
from biotune.cli.completion.candidates import offer_for
from biotune.cli.flags import SHORT
from biotune.cli.registry import COMMANDS, COMPLETE_ENTRY, EVERY, FIRST_SCREEN, LISTS, SCHEMAS, WITH_FOLDER, load
from biotune.cli.terminal.output_mode import OutputMode, take_output_mode
from biotune.report.read import REPORTED

# what biotune refuses (precheck), and what Hydra offers about itself
NOT_OFFERED = {"--hydra-help", "--version", "--shell-completion", "-sc", "--config-path", "-cp", "--config-name", "-cn"}
NOT_OFFERED |= {"--run", "-r", "--experimental-rerun", "-h", *SHORT}


def options_of(parser: argparse.ArgumentParser) -> set[str]:
    return {option for action in parser._actions for option in action.option_strings}


def test_every_command_can_be_called() -> None:
    for row in EVERY.values():
        assert (row.schema is None) == (row.job is None), row.name
        for place in (row.entry, row.job):
            assert place is None or callable(load(place)), row.name
        assert row.entry or row.schema, f"{row.name} can be reached"
    assert callable(load(COMPLETE_ENTRY))


def test_commands_with_a_config_have_a_file_of_that_name_and_no_file_is_left_over() -> None:
    folder = files("biotune.configs")
    named = {file.name.removesuffix(".yaml") for file in folder.iterdir() if file.name.endswith(".yaml")}
    assert named - {"output"} == set(SCHEMAS)
    groups = {folder.name for folder in folder.iterdir() if folder.is_dir() and not folder.name.startswith("_")}
    assert set(LISTS.values()) == groups


def test_a_recipe_takes_the_schema_of_its_command() -> None:
    for name in WITH_FOLDER:
        recipe = load(str(COMMANDS[name].job))
        assert recipe.__module__ == f"biotune.recipes.{name}"
        assert next(iter(inspect.signature(recipe, eval_str=True).parameters.values())).annotation is SCHEMAS[name]


@pytest.mark.parametrize("command", SCHEMAS)
def test_flags_of_commands_with_a_config_are_hydras_and_those_of_its_modes(command: str) -> None:
    row = COMMANDS[command]
    hydras = options_of(get_args_parser()) - NOT_OFFERED
    if not row.leaves_folder:
        hydras -= {"-m", "--multirun"}
    assert set(row.own_flags) == hydras


@pytest.mark.parametrize(
    ("command", "parser"),
    [
        ("predict", predict_parser()),
        ("export", export_parser()),
        ("report", report_parser()),
        ("schedules", schedules_parser()),
    ],
)
def test_flags_of_the_other_commands_are_those_of_their_parsers(command: str, parser: Any) -> None:
    assert set(COMMANDS[command].flags) == options_of(parser) - {"-h"}


@pytest.mark.parametrize("row", EVERY.values(), ids=EVERY)
def test_completion_offers_every_flag_and_every_mode_is_reached_by_one(row: Any) -> None:
    assert set(offer_for([*row.typed.split()[1:], "-"]).words) == set(row.flags)
    flags = set(row.flags) - set(row.own_flags)
    assert {take_output_mode([flag], *OutputMode)[1] for flag in flags} == set(row.modes)


def test_what_is_reported_is_what_the_report_reads() -> None:
    assert {name for name, row in COMMANDS.items() if row.reported} == {*REPORTED, "compare"}


def test_the_first_screen_holds_every_command_with_its_meaning() -> None:
    for name, row in COMMANDS.items():
        assert f"\n  {name:<10}  {row.meaning}\n" in FIRST_SCREEN
    assert ", ".join(WITH_FOLDER) in FIRST_SCREEN
