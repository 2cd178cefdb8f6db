"""`biotune help KEY`, `biotune help SECTION` and `biotune help COMMAND`: what can be set, from the schema itself."""

from __future__ import annotations

import dataclasses
from typing import Any

from biotune.cli.config_files import choices_of, groups_of, roots, settings
from biotune.cli.registry import COMMANDS, CONFIG_COMMANDS, HELP
from biotune.cli.terminal.output_mode import OutputMode, take_output_mode
from biotune.cli.terminal.view import View
from biotune.config.key import MISSING, Key, keys_of, sections_of, show
from biotune.config.schema import COMMANDS as SCHEMAS
from biotune.errors import ConfigError, did_you_mean

_BOUNDS = {"gt": "greater than", "ge": "at least", "lt": "less than", "le": "at most"}
_MOST_SHOWN = 6


@dataclasses.dataclass(frozen=True)
class _Known:
    """A key, and the commands that have it."""

    key: Key
    commands: list[str]


def show_help(arguments: list[str]) -> int:
    """Describe a key, all keys of a section, or all keys of a command.

    Raises:
        ConfigError: There is nothing of that name.
    """
    arguments, mode = take_output_mode(arguments, OutputMode.JSON)
    if not arguments and mode is OutputMode.NORMAL:
        print(HELP, end="")
        return 0
    if len(arguments) > 1:
        raise ConfigError(f"{' '.join(arguments)}: 'biotune help' takes one key, section or command.")
    known = _known_keys()
    wanted = arguments[0].partition("=")[0] if arguments else ""
    if mode is OutputMode.JSON:
        with View(mode=mode) as view:
            view.fact("keys", [_facts(item) for item in _select(wanted, known)])
    elif wanted in known:
        _describe(known[wanted])
    elif wanted in COMMANDS and wanted not in SCHEMAS:
        print(f"biotune {wanted}: {COMMANDS[wanted]}")
    else:
        _list(wanted, _select(wanted, known))
    return 0


def _known_keys() -> dict[str, _Known]:
    known: dict[str, _Known] = {}
    for command, schema in SCHEMAS.items():
        for item in keys_of(schema):
            known.setdefault(item.path, _Known(item, [])).commands.append("data check" if command == "data" else command)
    return known


def _select(wanted: str, known: dict[str, _Known]) -> list[_Known]:
    """The keys that a name stands for; all of them for an empty one."""
    if not wanted:
        return list(known.values())
    if wanted in known:
        return [known[wanted]]
    if wanted in SCHEMAS:
        return [known[item.path] for item in keys_of(SCHEMAS[wanted])]
    if wanted in _sections():
        return [item for path, item in known.items() if path.startswith(f"{wanted}.")]
    same_leaf = [path for path in known if path.rpartition(".")[2] == wanted.rpartition(".")[2]]
    near = f" Did you mean {' or '.join(same_leaf)}?" if same_leaf else did_you_mean(wanted, [*known, *_sections(), *COMMANDS])
    raise ConfigError(f"{wanted}: no such key.{near or ' '}".rstrip() + ("" if near else " 'biotune help run' shows all keys."))


def _sections() -> dict[str, str]:
    return {name: about for schema in SCHEMAS.values() for name, about in sections_of(schema).items()}


def _facts(known: _Known) -> dict[str, Any]:
    item = known.key
    return {
        "key": item.path,
        "type": item.must_be,
        "default": None if item.default == MISSING else item.default,
        "must_be_given": item.default == MISSING,
        "bounds": {name: item.metadata[name] for name in _BOUNDS if name in item.metadata},
        "choices": list(item.metadata["choices"]),
        "meaning": item.metadata["meaning"],
        "commands": known.commands,
        "set_by": [{"config": setting.config, "value": setting.value} for setting in settings() if setting.key == item.path],
    }


def _describe(known: _Known) -> None:
    item = known.key
    lines = {
        "default": "none; must be given" if item.default == MISSING else show(item.default),
        "bounds": ", ".join(f"{words} {item.metadata[name]}" for name, words in _BOUNDS.items() if name in item.metadata),
        "choices": ", ".join(map(str, item.metadata["choices"])),
        "commands": ", ".join(f"biotune {command}" for command in known.commands),
    }
    others = [setting for setting in settings() if setting.key == item.path and setting.value != item.default]
    group = item.path.partition(".")[0]
    with View() as view:
        view.line(f"{item.path}: {item.must_be}", "bold")
        view.line(f"  {item.metadata['meaning']}")
        for name, text in lines.items():
            if text:
                view.line(f"  {name:<9} {text}")
        for index, setting in enumerate(others[:_MOST_SHOWN]):
            view.line(f"  {'set by' if index == 0 else '':<9} {setting.config}: {show(setting.value)}")
        if rest := len(others) - _MOST_SHOWN:
            view.line(f"  {'':<9} and {rest} more{_where_listed(group)}") if rest > 0 else None


def _list(wanted: str, keys: list[_Known]) -> None:
    """A table of keys, below what chooses them together."""
    about = (
        f"biotune {wanted}: {CONFIG_COMMANDS.get(wanted, COMMANDS.get(wanted))}" if wanted in SCHEMAS else _sections()[wanted]
    )
    groups = groups_of(wanted) if wanted in SCHEMAS else [wanted]
    with View() as view:
        for group in groups:
            if choices := list(choices_of(group, roots(None))):
                shown = ", ".join(choices[:_MOST_SHOWN]) + (", …" if len(choices) > _MOST_SHOWN else "")
                view.line(f"{group}=CHOICE sets several keys at once: {shown}{_where_listed(group)}")
        rows = [
            [
                item.key.path,
                "must be given" if item.key.default == MISSING else show(item.key.default),
                item.key.metadata["meaning"],
            ]
            for item in keys
        ]
        view.table(about, ["key", "default", "meaning"], rows)


def _where_listed(group: str) -> str:
    lists = {"strategy": "strategies", "evolution": "evolution", "training": "training"}
    return f" (biotune list {lists.get(group, group + 's')})"
