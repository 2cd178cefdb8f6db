"""`biotune help KEY`, `biotune help SECTION` and `biotune help COMMAND`: describes keys, from the schema."""

from __future__ import annotations

import dataclasses
from typing import Any

from biotune.cli.config_files import Setting, choices_of, groups_of, roots, settings, usual_settings, usual_text
from biotune.cli.registry import COMMANDS, FIRST_SCREEN, LIST_OF, SCHEMAS
from biotune.cli.terminal.output_mode import OutputMode, take_output_mode
from biotune.cli.terminal.view import View
from biotune.config.key import MISSING, Key, keys_of, near_keys, sections_of, show
from biotune.errors import ConfigError

_BOUNDS = {"gt": "greater than", "ge": "at least", "lt": "less than", "le": "at most"}
_MOST_SHOWN = 6
_ALL_KEYS = " 'biotune help run' shows all keys."


@dataclasses.dataclass(frozen=True)
class _Known:
    """A key, the names of the commands that have it, and the one that is asked about; None asks about the first of them."""

    key: Key
    commands: list[str]
    asked: str | None = None

    @property
    def default(self) -> Any:
        """Its value in the command where nothing is typed; MISSING where it must be given."""
        setting = self.set_by_default
        return self.key.default if setting is None else setting.value

    @property
    def set_by_default(self) -> Setting | None:
        """The file that sets this value; None where it is the schema's own."""
        return usual_settings(self.asked or self.commands[0]).get(self.key.path)


def show_help(arguments: list[str]) -> int:
    """Describe a key, all keys of a section, or all keys of a command.

    Args:
        arguments: The words after `biotune help`.

    Returns:
        The exit status, 0.

    Raises:
        ConfigError: No key, section or command has that name.
    """
    arguments, mode = take_output_mode(arguments, *COMMANDS["help"].modes)
    if not arguments and mode is OutputMode.NORMAL:
        print(FIRST_SCREEN, end="")
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
        print(f"biotune {wanted}: {COMMANDS[wanted].meaning}")
    else:
        _list(wanted, _select(wanted, known))
    return 0


def _known_keys() -> dict[str, _Known]:
    known: dict[str, _Known] = {}
    for command, schema in SCHEMAS.items():
        for item in keys_of(schema):
            known.setdefault(item.path, _Known(item, [])).commands.append(command)
    return known


def _select(wanted: str, known: dict[str, _Known]) -> list[_Known]:
    """The keys that a name stands for; all keys for an empty name."""
    if not wanted:
        return list(known.values())
    if wanted in known:
        return [known[wanted]]
    if wanted in SCHEMAS:
        return [dataclasses.replace(known[item.path], asked=wanted) for item in keys_of(SCHEMAS[wanted])]
    if wanted in _sections():
        return [item for path, item in known.items() if path.startswith(f"{wanted}.")]
    near = near_keys(wanted, known, [*_sections(), *COMMANDS])
    raise ConfigError(f"{wanted}: no such key.{near or _ALL_KEYS}")


def _sections() -> dict[str, str]:
    return {name: about for schema in SCHEMAS.values() for name, about in sections_of(schema).items()}


def _facts(known: _Known) -> dict[str, Any]:
    item = known.key
    return {
        "key": item.path,
        "type": item.must_be,
        "default": None if known.default == MISSING else known.default,
        "must_be_given": known.default == MISSING,
        "bounds": {name: item.metadata[name] for name in _BOUNDS if name in item.metadata},
        "choices": list(item.metadata["choices"]),
        "meaning": item.metadata["meaning"],
        "commands": [COMMANDS[name].typed.removeprefix("biotune ") for name in known.commands],
        "set_by": [{"config": setting.config, "value": setting.value} for setting in settings() if setting.key == item.path],
    }


def _describe(known: _Known) -> None:
    item = known.key
    default = usual_text(known.key, known.commands[0])
    lines = {
        "default": "none; must be given" if default is None else default,
        "bounds": ", ".join(f"{words} {item.metadata[name]}" for name, words in _BOUNDS.items() if name in item.metadata),
        "choices": ", ".join(map(str, item.metadata["choices"])),
        "commands": ", ".join(COMMANDS[name].typed for name in known.commands),
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
        if len(others) > _MOST_SHOWN:
            view.line(f"  {'':<9} and {len(others) - _MOST_SHOWN} more{_where_listed(group)}")


def _list(wanted: str, keys: list[_Known]) -> None:
    """Print a table of keys, below the groups whose choices set several of them."""
    is_command = wanted in SCHEMAS
    about = f"biotune {wanted}: {COMMANDS[wanted].meaning}" if is_command else _sections()[wanted]
    with View() as view:
        for group in groups_of(wanted) if is_command else [wanted]:
            choices = list(choices_of(group, roots(None)))
            if choices:
                shown = ", ".join(choices[:_MOST_SHOWN]) + (", …" if len(choices) > _MOST_SHOWN else "")
                view.line(f"{group}=CHOICE sets several keys at once: {shown}{_where_listed(group)}")
        rows = [
            [
                item.key.path,
                "must be given" if item.default == MISSING else show(item.default),
                item.key.metadata["meaning"],
            ]
            for item in keys
        ]
        view.table(about, ["key", "default", "meaning"], rows)


def _where_listed(group: str) -> str:
    return f" (biotune list {LIST_OF[group]})" if group in LIST_OF else ""
