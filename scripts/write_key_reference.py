"""Write docs/reference/keys.md from the schema: every key with type, default, bounds, meaning, commands and configs."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from docs_tables import DOCS

from biotune.cli.config_files import Setting, choices_of, groups_of, roots, settings, usual_text
from biotune.cli.registry import COMMANDS, SCHEMAS
from biotune.config.key import Key, keys_of, sections_of, show

PAGE = DOCS / "reference" / "keys.md"
BOUNDS = {"gt": "greater than", "ge": "at least", "lt": "less than", "le": "at most"}
HEAD = """\
<!-- Written by scripts/write_key_reference.py from biotune/config: change the schema and run the script again. -->
# Keys

Every key is set on the command line as `KEY=VALUE`, or in a YAML file of a folder that `--config-dir` names.
`biotune help KEY` says the same as this page.
A value that is out of bounds, of a wrong type or at odds with another key is refused before anything runs.
"""
TOP = "Keys without a section"


@dataclass(frozen=True)
class Entry:
    """A key and the commands that have it."""

    key: Key
    commands: tuple[str, ...]

    @property
    def section(self) -> str:
        """The first part of the key's path; empty for a key without a section."""
        first, dot, _ = self.key.path.partition(".")
        return first if dot else ""


def main(arguments: list[str] | None = None) -> None:
    """Write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--docs", type=Path, default=PAGE, help="file to write")
    parser.parse_args(arguments).docs.write_text(page(), encoding="utf-8")


def page() -> str:
    """The page as Markdown."""
    parts = [HEAD]
    abouts = {name: about for schema in SCHEMAS.values() for name, about in sections_of(schema).items()}
    choosable = {group for command in SCHEMAS for group in groups_of(command)}
    found = entries()
    for section in dict.fromkeys(entry.section for entry in found):
        parts.append(f"## {section or TOP}\n")
        if section:
            parts.append(f"{abouts[section]}\n")
        if section in choosable:
            names = ", ".join(f"`{name}`" for name in choices_of(section, roots(None)))
            parts.append(f"`{section}=CHOICE` sets several of these keys at once: {names}.\n")
        parts += [text(entry) for entry in found if entry.section == section]
    return "\n".join(parts)


def entries() -> list[Entry]:
    """Every key of any command, once."""
    keys: dict[str, Key] = {}
    commands: dict[str, list[str]] = {}
    for command, schema in SCHEMAS.items():
        for item in keys_of(schema):
            keys.setdefault(item.path, item)
            commands.setdefault(item.path, []).append(command)
    return [Entry(item, tuple(commands[path])) for path, item in keys.items()]


def text(entry: Entry) -> str:
    """One key's heading, meaning and facts."""
    facts = "\n".join(f"- {name}: {value}" for name, value in _facts(entry))
    return f"### {entry.key.path}\n\n{_escaped(entry.key.metadata['meaning'])}\n\n{facts}\n"


def _facts(entry: Entry) -> Iterator[tuple[str, str]]:
    item = entry.key
    yield "Type", item.must_be
    value, by, rest = (usual_text(item, entry.commands[0]) or "").partition(" (")
    yield "Default", f"`{value}`{by}{rest}" if value else "none; must be given"
    if bounds := [f"{words} {item.metadata[name]}" for name, words in BOUNDS.items() if name in item.metadata]:
        yield "Bounds", " and ".join(bounds)
    if choices := item.metadata["choices"]:
        yield "Choices", ", ".join(f"`{choice}`" for choice in choices)
    yield "Commands", ", ".join(f"`{COMMANDS[command].typed.removeprefix('biotune ')}`" for command in entry.commands)
    others = [setting for setting in settings() if setting.key == item.path and setting.value != item.default]
    if others:
        yield "Set by", "; ".join(_setting(setting) for setting in others)


def _setting(setting: Setting) -> str:
    return f"`{setting.config}` to `{show(setting.value)}`"


def _escaped(meaning: str) -> str:
    """Plain text, so that names like λ_0 and lr_grid keep their underscores."""
    return meaning.replace("_", "\\_").replace("*", "\\*")


if __name__ == "__main__":
    main()
