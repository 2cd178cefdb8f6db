"""Reads the config groups from their YAML files without Hydra, so that completion, help and lists are instant."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml

from biotune.cli.registry import COMMANDS, SCHEMAS
from biotune.config.key import MISSING, Key, show
from biotune.errors import ConfigError


@dataclass(frozen=True)
class Setting:
    """A key that a packaged YAML file sets.

    Attributes:
        config: The choice that sets it, as typed: `training=sgd`, or `biotune run` for a command's own file.
        key: The dotted key.
        value: Its value in that file.
    """

    config: str
    key: str
    value: Any


def roots(config_dir: str | None) -> list[Path]:
    """Return the folders of configs; files in the user's folder, which comes first, take precedence.

    Args:
        config_dir: The user's folder, or None.


    Raises:
        ConfigError: The user's folder does not exist.
    """
    own = Path(str(files("biotune.configs")))
    if config_dir is None:
        return [own]
    if not Path(config_dir).is_dir():
        raise ConfigError(f"--config-dir {config_dir}: no such folder.")
    return [Path(config_dir), own]


def groups_of(command: str) -> list[str]:
    """Return the config groups of a command, in the order of its defaults list."""
    defaults = read_yaml(roots(None)[0] / f"{command}.yaml").get("defaults", [])
    entries = [name for entry in defaults if isinstance(entry, dict) for name in entry]
    return [name for name in entries if not name.startswith("override ")]


def choices_of(group: str, folders: Sequence[Path]) -> dict[str, Path]:
    """Return the choices of a group in alphabetical order, each with its file."""
    found: dict[str, Path] = {}
    for folder in folders:
        for file in (folder / group).glob("*.yaml"):
            found.setdefault(file.stem, file)
    return dict(sorted(found.items()))


def remark(file: Path) -> str:
    """Return the first comment of a config file that is not a directive; empty where there is none."""
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return ""
    comments = (line for line in lines if line.startswith("#") and not line.startswith("# @package"))
    return next(comments, "").lstrip("# ").strip()


def read_yaml(file: Path | None) -> dict[str, Any]:
    """Return the keys of a YAML file; an empty dict where it cannot be read."""
    try:
        keys = yaml.safe_load(file.read_text(encoding="utf-8")) if file else {}
    except (OSError, UnicodeDecodeError, yaml.YAMLError):
        keys = {}
    return keys if isinstance(keys, dict) else {}


@cache
def settings() -> tuple[Setting, ...]:
    """Return every key that a packaged YAML file sets."""
    return tuple(_settings())


@cache
def usual_settings(command: str) -> dict[str, Setting]:
    """Return by key what a command's own file and the choices of its defaults list set: its values where nothing is typed."""
    defaults = read_yaml(roots(None)[0] / f"{command}.yaml").get("defaults", [])
    chosen = {f"{group}={choice}" for entry in defaults if isinstance(entry, dict) for group, choice in entry.items()}
    own = COMMANDS[command].typed
    # the command's own file comes after the choices
    ordered = sorted((one for one in settings() if one.config in {own, *chosen}), key=lambda one: one.config == own)
    return {one.key: one for one in ordered}


def usual_text(key: Key, command: str) -> str | None:
    """Describe a key's value in a command where nothing is typed: with the file that sets it, and the schema's own.

    Args:
        key: The key.
        command: A command that has it.

    Returns:
        Such as `16 (evolution=biotune; 3 where no file sets it)`; None where the key must be given.
    """
    usual = usual_settings(command).get(key.path)
    if usual is None:
        return None if key.default == MISSING else show(key.default)
    otherwise = "" if key.default in (MISSING, usual.value) else f"; {show(key.default)} where no file sets it"
    return f"{show(usual.value)} ({usual.config}{otherwise})"


def _settings() -> Iterator[Setting]:
    root = roots(None)[0]
    for command in SCHEMAS:
        for key, value in _leaves(read_yaml(root / f"{command}.yaml"), ""):
            yield Setting(COMMANDS[command].typed, key, value)
    for file in sorted(root.glob("*/*.yaml")):
        group = file.parent.name
        is_global = "@package _global_" in file.read_text(encoding="utf-8")
        for key, value in _leaves(read_yaml(file), "" if is_global else f"{group}."):
            yield Setting(f"{group}={file.stem}", key, value)


def _leaves(keys: dict[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    for name, value in keys.items():
        if name in ("defaults", "hydra"):
            continue
        if isinstance(value, dict):
            yield from _leaves(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value
