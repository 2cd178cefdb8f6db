"""Parses KEY=VALUE overrides by Hydra's grammar and checks them against the schema."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any

from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from biotune.cli.launch.compose import options_of
from biotune.cli.registry import COMMANDS, LIST_OF, SCHEMAS, SEVERAL
from biotune.config.key import Key, keys_of, near_keys, sides_of
from biotune.config.unused import unused_keys
from biotune.errors import ConfigError, did_you_mean, one_line

_ALL_KEYS = " 'biotune run --cfg job' shows all keys."


def with_pairs_quoted(command: str, arguments: Sequence[str]) -> list[str]:
    """Quote values of two numbers: `0,4095`, which Hydra would take for two jobs of a sweep, and `[96,160]`, for a list.

    Args:
        command: A command with a schema.
        arguments: The words after it.
    """
    items = {item.path: item.metadata for item in keys_of(SCHEMAS[command])}

    def quoted(argument: str) -> str:
        name, _, value = argument.partition("=")
        facts = items.get(name.lstrip("+"))
        if facts is None or '"' in value:
            return argument
        one = ("," in value and facts["pair"]) or (facts["sides"] and sides_of(value) is not None)
        return f'{name}="{value}"' if one else argument

    return [quoted(argument) for argument in arguments]


def parse_overrides(given: list[str], loader: ConfigLoader) -> list[Override]:
    """Parse KEY=VALUE overrides by Hydra's grammar.

    Args:
        given: The overrides as typed.
        loader: Hydra's config loader.

    Raises:
        ConfigError: An argument is not KEY=VALUE.
    """
    parser = OverridesParser.create(loader)
    parsed = []
    for text in given:
        try:
            parsed.append(parser.parse_override(text))
        except HydraException as error:
            reason = one_line(str(error).splitlines()[0])
            remedy = "Write $HOME instead of ~." if "'~'" in reason else "Quote special characters."
            raise ConfigError(f"{text}: cannot be read as KEY=VALUE ({reason}). {remedy}") from None
        if not parsed[-1].key_or_group:
            raise ConfigError(f"{text}: cannot be read as KEY=VALUE (there is no key).")
    return parsed


def check_names(command: str, overrides: list[Override], loader: ConfigLoader) -> None:
    """Check that every override names a key of the schema, or a group and one of its choices.

    Args:
        command: A command with a schema.
        overrides: The parsed overrides.
        loader: Hydra's config loader.

    Raises:
        ConfigError: With one line per error.
    """
    keys = {item.path: item for item in keys_of(SCHEMAS[command])}
    sections = {path.rpartition(".")[0] for path in keys} - {""}
    problems: list[str] = []

    @cache
    def chosen() -> dict[str, str | None]:  # takes half as long as composing
        groups: dict[str, str | None] = loader.compute_defaults_list(command, [], RunMode.RUN).overrides.known_choices
        return groups

    for override in overrides:
        name = override.key_or_group
        if name.split(".")[0].split("/")[0] == "hydra":
            continue
        if name in keys:
            problems += _type_problems(keys[name], override)
        elif choices := options_of(name, loader):
            if name not in chosen() and not override.is_add():
                problems.append(f"{override.input_line}: 'biotune {command}' has no group {name}.")
            else:
                problems += _choice_problems(name, choices, override)
        elif name in sections:
            problems.append(
                f"{override.input_line}: {name} is a section; set one of its keys, such as {_first_in(name, keys)}."
            )
        else:
            problems.append(f"{override.input_line}: no such key.{near_keys(name, keys, chosen()) or _ALL_KEYS}")
    if problems:
        raise ConfigError("\n".join(problems))


def check_use(command: str, overrides: list[Override], configs: Sequence[Any]) -> None:
    """Reject typed keys that no job of the command uses.

    Args:
        command: A command with a schema.
        overrides: The typed overrides; a group's choice may set keys that are not used.
        configs: The composed configs of the jobs.

    Raises:
        ConfigError: With one line per such key.
    """
    typed = {override.key_or_group: override.input_line for override in overrides}
    of_jobs = [dict(unused_keys(config, typed)) for config in configs]
    problems = [
        f"{typed[path]}: '{COMMANDS[command].typed}' {because} and does not use it; leave it out."
        for path, because in (of_jobs[0] if of_jobs else {}).items()
        if all(path in unused for unused in of_jobs)
    ]
    if problems:
        raise ConfigError("\n".join(problems))


def _first_in(section: str, keys: dict[str, Key]) -> str:
    return next(path for path in keys if path.startswith(section + "."))


def _choice_problems(group: str, choices: Sequence[str], override: Override) -> Iterator[str]:
    if group not in SEVERAL and not override.is_sweep_override() and isinstance(override.value(), list):
        yield f"{override.input_line}: takes one {group}, not a list; -m runs several: {group}=one,another."
        return
    for value in _values(override):
        if value is None:
            none = f"give {group}=[]" if group in SEVERAL else "leave it out"
            yield f"{override.input_line}: names no {group}; {none} for none."
        elif str(value) not in choices:
            listing = LIST_OF.get(group)
            where = f" 'biotune list {listing}' shows all {len(choices)}." if listing else f" Known: {', '.join(choices)}."
            yield f"{group}={value}: no such {group}.{did_you_mean(str(value), choices)}{where}"


def _values(override: Override) -> list[Any]:
    if override.is_sweep_override():
        return list(override.sweep_string_iterator()) if override.is_discrete_sweep() else []
    value = override.value()
    return value if isinstance(value, list) else [value]


def _type_problems(item: Key, override: Override) -> Iterator[str]:
    """Report a value that OmegaConf cannot convert to the key's type."""
    if override.is_delete() or override.is_add():
        yield f"{override.input_line}: keys can be neither added nor deleted."
        return
    if override.is_sweep_override() and not override.is_discrete_sweep():
        yield f"{override.input_line}: only values can be swept, as in {item.path}=1,2 or {item.path}=range(1,3)."
        return
    for value in override.sweep_iterator() if override.is_sweep_override() else [override.value()]:
        probe = OmegaConf.structured(_probe_class(item))
        try:
            OmegaConf.update(probe, "value", value)
        except OmegaConfBaseException:
            yield f"{override.input_line}: must be {item.must_be}."
            return
        if item.is_no_word(value):
            yield f"{override.input_line}: must be {item.must_be}."
            return


def _probe_class(item: Key) -> type:
    return dataclasses.make_dataclass("Probe", [("value", item.type, dataclasses.field(default="???"))])
