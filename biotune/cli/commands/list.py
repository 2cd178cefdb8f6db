"""`biotune list`: what can be chosen."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from biotune.cli.arguments import Parser
from biotune.cli.config_files import choices_of, read_yaml, remark, roots
from biotune.cli.registry import COMMANDS, LISTS
from biotune.cli.terminal.output_mode import take_output_mode
from biotune.cli.terminal.view import Cell, View
from biotune.errors import ConfigError, did_you_mean

DATASET_COLUMNS = ["dataset", "classes", "train", "val", "test", "size", "here", "licence", "source"]


def dataset_row(name: str, file: Path, remark: str) -> list[Any]:
    """One row of `biotune list datasets`.

    Args:
        name: The choice's name.
        file: Its YAML.
        remark: The first comment in it, shown for datasets that biotune has no facts of.
    """
    from biotune.datasets.catalogue import CATALOGUE

    keys = read_yaml(file)
    facts = CATALOGUE.get(str(keys.get("name")))
    if facts is None or facts.loader != keys.get("loader"):
        facts = CATALOGUE.get(str(keys.get("loader")))
    if facts is None or keys.get("loader") == "folder":
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
    """Print one list of choices, with what each file's first comment says of it."""
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
    """The lists that were asked for, and the user's own folder of configs."""
    parser = Parser("biotune list", add_help=False, allow_abbrev=False)
    parser.add_argument("--config-dir", "-cd")
    options, rest = parser.parse_known_args(arguments)
    if unknown := [argument for argument in rest if argument.startswith("-")]:
        raise ConfigError(f"{unknown[0]}: 'biotune list' knows no such option, only --config-dir and --json.")
    return rest, options.config_dir
