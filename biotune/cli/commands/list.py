"""`biotune list`: the choices of a config group, such as datasets or backbones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from biotune.cli.arguments import Parser
from biotune.cli.config_files import choices_of, read_yaml, remark, roots
from biotune.cli.registry import COMMANDS, LISTS
from biotune.cli.terminal.output_mode import take_output_mode
from biotune.cli.terminal.view import Cell, View
from biotune.errors import ConfigError, did_you_mean

_USAGE = "biotune list NAME [--config-dir DIR] [--json]"

DATASET_COLUMNS = ["dataset", "classes", "train", "val", "test", "size", "here", "licence", "source"]


def dataset_row(name: str, file: Path, remark: str) -> list[Any]:
    """Return one row of `biotune list datasets`, in the order of `DATASET_COLUMNS`.

    Args:
        name: Name of the choice.
        file: Its YAML file.
        remark: The first comment of that file, shown for datasets that are not in the catalogue.
    """
    from biotune.datasets.catalogue import CATALOGUE

    keys = read_yaml(file)
    facts = CATALOGUE.get(str(keys.get("name")))
    if facts is None or facts.loader != keys.get("loader"):
        facts = CATALOGUE.get(str(keys.get("loader")))
    if facts is None or keys.get("loader") in ("folder", "table", "hf"):
        root = keys.get("root")
        here = None if root is None else Path(str(root)).expanduser().is_dir()
        return [name, None, None, None, None, None, _yes_or_no(here), None, remark]
    here = True
    if facts.needs:
        root = keys.get("root")
        here = root is not None and not facts.missing(Path(str(root)).expanduser())
    splits = ["own" if count is None else count for count in (facts.train, facts.val, facts.test)]
    return [name, facts.classes, *splits, facts.size, _yes_or_no(here), facts.licence, facts.source]


def _yes_or_no(value: bool | None) -> Cell:
    return Cell(value, {None: "", True: "yes", False: "no"}[value])


def show_list(arguments: list[str]) -> int:
    """Print one list of choices, each with the first comment of its file.

    Args:
        arguments: The words after `biotune list`: the name of a list, and flags.

    Returns:
        The exit status, 0.

    Raises:
        ConfigError: There is no such list, option or folder of configs.
    """
    arguments, mode = take_output_mode(arguments, *COMMANDS["list"].modes)
    wanted, folder = _options(arguments)
    if len(wanted) != 1 or wanted[0] not in LISTS:
        name = " ".join(wanted) or "list"
        raise ConfigError(f"{name}: no such list.{did_you_mean(name, LISTS)} 'biotune list' takes one of {', '.join(LISTS)}.")
    group = LISTS[wanted[0]]
    choices = choices_of(group, roots(folder))
    with View(mode=mode) as view:
        if group == "dataset":
            rows = [dataset_row(name, file, remark(file)) for name, file in choices.items()]
            view.table("dataset=…", DATASET_COLUMNS, rows, name=wanted[0])
        else:
            rows = [[name, remark(file)] for name, file in choices.items()]
            view.table(f"{group}=…", [group, "what it is"], rows, name=wanted[0])
    return 0


def _options(arguments: list[str]) -> tuple[list[str], str | None]:
    """The names that were typed, and the user's folder of configs."""
    parser = Parser("biotune list", help_shows="", usage=_USAGE, add_help=False, allow_abbrev=False)
    parser.add_argument("--config-dir", "-cd")
    options, rest = parser.parse_known_args(arguments)
    if unknown := [argument for argument in rest if argument.startswith("-")]:
        raise ConfigError(f"{unknown[0]}: no such option; 'biotune list' has only --config-dir and --json.")
    return rest, options.config_dir
