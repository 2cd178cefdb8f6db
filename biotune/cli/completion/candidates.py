"""`biotune completion SHELL`, and the candidates for its scripts. Without Hydra and torch, so that TAB answers at once."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from importlib.resources import files

from biotune.cli.completion.shell_words import bash_candidate, read_line
from biotune.cli.config_files import choices_of, groups_of, remark, roots
from biotune.cli.flags import SHORT
from biotune.cli.registry import COMMANDS, EVERY, LISTS, SCHEMAS, SEVERAL
from biotune.config.key import Key, is_bool, keys_of, sections_of, show
from biotune.errors import BiotuneError, ConfigError, did_you_mean

SHELLS = {"bash": "~/.bashrc", "zsh": "~/.zshrc", "fish": "~/.config/fish/config.fish"}
_RUN_FOLDERS = {"hydra.run.dir=": "the run's folder", "hydra.sweep.dir=": "the multirun's folder"}
_SIGNS = "+~"
_MEANINGS = {name: row.meaning for name, row in COMMANDS.items()}


@dataclass(frozen=True)
class Offer:
    """The candidates for the word at the cursor.

    Attributes:
        words: Complete words, each with its meaning.
        paths: `files` or `folders` where the shell completes paths after the word's last `=`.
        open_end: Whether the word goes on after the candidate, so that no space may follow.
    """

    words: dict[str, str] = field(default_factory=dict)
    paths: str = ""
    open_end: bool = False


def completion(arguments: list[str]) -> int:
    """Print the completion script of a shell.

    Args:
        arguments: The words after `biotune completion`: a shell's name.

    Returns:
        The exit status, 0.

    Raises:
        ConfigError: There is no script for that shell.
    """
    if not arguments or arguments[0] in ("-h", "--help"):
        print("TAB completes commands, choices, keys and files. Run the line for your shell, or add it to the file beside it:")
        for shell, file in SHELLS.items():
            line = "biotune completion fish | source" if shell == "fish" else f'eval "$(biotune completion {shell})"'
            print(f"  {line:<40} {file}")
        return 0
    if len(arguments) > 1 or arguments[0] not in SHELLS:
        name = " ".join(arguments)
        raise ConfigError(f"completion {name}: no such shell.{did_you_mean(name, SHELLS)} Shells: {', '.join(SHELLS)}.")
    print(files("biotune.cli.completion").joinpath("shells", f"biotune.{arguments[0]}").read_text(encoding="utf-8"), end="")
    return 0


def complete(arguments: list[str]) -> int:
    """Print the answer to a shell's script: one line with the kind (words, nospace, files or folders), then the candidates.

    Args:
        arguments: The shell, and for bash the line up to the cursor and its COMP_WORDBREAKS, for zsh the words from
            the command on, for fish the same with the last word as typed, quotes included.

    Returns:
        The exit status, 0.
    """
    # no error may be printed here: the shell would show it in the line being typed
    with suppress(BiotuneError, OSError, ValueError, IndexError):
        shell, rest = arguments[0], arguments[1:]
        if shell == "bash":
            line, breaks = rest
            typed = read_line(line, breaks)
            offer = offer_for(typed.words[1:])
            if offer.paths and "=" in typed.words[-1] and "=" not in breaks:
                offer = _listed_paths(typed.words[-1], offer.paths)
            lines = [bash_candidate(word, typed) for word in offer.words]
        elif shell == "zsh":
            offer = offer_for(rest)
            lines = [":".join((word.replace("\\", "\\\\").replace(":", "\\:"), why)) for word, why in offer.words.items()]
        else:
            offer = offer_for([*rest[:-1], read_line(rest[-1], "").words[-1]])
            lines = ["\t".join((word, why)) if why else word for word, why in offer.words.items()]
        print(offer.paths or ("nospace" if offer.open_end else "words"), *lines, sep="\n")
        sys.stdout.flush()
    return 0


def offer_for(words: Sequence[str]) -> Offer:
    """Return the candidates for the last of the words after `biotune`."""
    *typed, word = words or [""]
    if not typed:
        return _matching(word, {**_MEANINGS, "--help": "what biotune does, and its commands", "--version": "the version"})
    command, *given = typed
    if command == "data":
        verbs = {"check": "verify a copy of a dataset", "cache": EVERY["data cache"].meaning, "--help": "show the usage"}
        if not given:
            return _matching(word, verbs)
        command, given = ("data" if given[0] == "check" else "data cache"), given[1:]
    flags = EVERY[command].flags if command in EVERY else {}
    before = flags.get(SHORT.get(given[-1], given[-1])) if given else None
    if before and before.takes and not (before.optional and "=" in word):
        return _argument(command, before.takes, "", word)
    if word.startswith("-"):
        name, equals, value = word.partition("=")
        if equals and name in flags:
            return _argument(command, flags[name].takes, f"{name}=", value)
        return _matching(word, {name: flag.meaning for name, flag in flags.items()})
    if command in SCHEMAS:
        return _override(command, given, word)
    return _positional(command, given, word)


def _matching(start: str, words: dict[str, str], head: str = "", open_end: bool = False) -> Offer:
    """The words that begin with `start`; flags only once their dash is typed."""
    dashed = start.startswith("-")
    found = {head + name: why for name, why in words.items() if name.startswith(start) and (dashed or name[:1] != "-")}
    return Offer(found, open_end=open_end)


def _argument(command: str, takes: str | tuple[str, ...], head: str, value: str) -> Offer:
    """The candidates for a flag's argument."""
    if takes == "section":
        takes = tuple(dict.fromkeys(path.rpartition(".")[0] for path in _keys(command) if "." in path))
    if isinstance(takes, str):
        return Offer(paths=takes)
    return _matching(value, dict.fromkeys(takes, ""), head)


def _positional(command: str, given: Sequence[str], word: str) -> Offer:
    """The candidates for the arguments of commands without a config."""
    flags = EVERY[command].flags if command in EVERY else {}
    takers = [index for index, text in enumerate(given) if text in flags and flags[text].takes]
    others = [text for index, text in enumerate(given) if text[:1] != "-" and index - 1 not in takers]
    if command == "predict":
        return Offer(paths="files" if others else "folders")
    if command in ("report", "resume", "export", "schedules"):
        return Offer(paths="folders")
    words: Iterable[str] = ()
    if command == "list":
        words = () if others else LISTS
    elif command == "completion":
        words = () if others else SHELLS
    elif command == "help":
        every = {item.path: item.metadata["meaning"] for schema in SCHEMAS.values() for item in keys_of(schema)}
        sections = {name: why for schema in SCHEMAS.values() for name, why in sections_of(schema).items()}
        return _matching(word, {**_MEANINGS, **sections, **every})
    return _matching(word, dict.fromkeys(words, ""))


def _override(command: str, given: Sequence[str], word: str) -> Offer:
    """The candidates for KEY=VALUE or GROUP=CHOICE."""
    sign = word[: len(word) - len(word.lstrip(_SIGNS))]
    name, equals, value = word[len(sign) :].partition("=")
    keys, groups = _keys(command), groups_of(command)
    if not equals:
        return _names(sign, name, keys, groups)
    *before, last = (value.removeprefix("[") if name in SEVERAL else value).split(",")
    head = word[: len(word) - len(last)]
    multirun = "-m" in given or "--multirun" in given
    if name in groups:
        choices = {choice: remark(file) for choice, file in choices_of(name, roots(config_dir(given))).items()}
    elif name in keys:
        choices = _values(keys[name])
        if kind := keys[name].metadata["path"]:
            if not choices and not before:
                return Offer(paths=kind)
            paths = _listed_paths(last, kind, head)
            return Offer({**_matching(last, choices, head).words, **paths.words}, open_end=paths.open_end)
    elif f"{name}=" in _RUN_FOLDERS:
        return Offer(paths="folders")
    else:
        return Offer()
    rest = {choice: why for choice, why in choices.items() if choice not in before}
    return _matching(last, rest, head, open_end=multirun)


def _names(sign: str, start: str, keys: dict[str, Key], groups: Sequence[str]) -> Offer:
    """The groups, and the keys one section at a time: a list of all keys would be too long to read."""
    every = {f"{group}=": f"choose {'an' if group[0] in 'aeiou' else 'a'} {group}" for group in groups}
    every |= {f"{path}=": item.metadata["meaning"] for path, item in keys.items()}
    if "training.lr" in keys:
        every |= _RUN_FOLDERS
    found: dict[str, str] = {}
    for name, meaning in every.items():
        if name.startswith(start):
            section, dot, _ = name[len(start) :].partition(".")
            found.setdefault(sign + start + section + dot if dot else sign + name, "keys" if dot else meaning)
    return Offer(found, open_end=True)


def config_dir(given: Sequence[str]) -> str | None:
    """Return the argument of `--config-dir` among the words, or None."""
    for index, word in enumerate(given):
        name, equals, value = word.partition("=")
        if SHORT.get(name, name) == "--config-dir":
            return value if equals else given[index + 1] if index + 1 < len(given) else None
    return None


def _keys(command: str) -> dict[str, Key]:
    return {item.path: item for item in keys_of(SCHEMAS[command])}


def _values(item: Key) -> dict[str, str]:
    """The values of a key, where they can be listed."""
    if is_bool(item):
        return {"true": "", "false": ""}
    words = [show(choice) for choice in item.metadata["choices"] or item.metadata["usual"] or item.metadata["words"]]
    return {word: "default" if word == show(item.default) else "" for word in words}


def _listed_paths(value: str, kind: str, head: str = "") -> Offer:
    """Files or folders, listed here where the shell does not do it: after a comma, or together with other words."""
    if not head and "=" in value:
        head, value = value[: value.index("=") + 1], value[value.index("=") + 1 :]
    folder, slash, start = value.rpartition("/")
    found = {}
    with suppress(OSError), os.scandir((folder + slash) or ".") as entries:
        for entry in sorted(entries, key=lambda entry: entry.name):
            hidden = entry.name.startswith(".") and not start.startswith(".")
            if entry.name.startswith(start) and not hidden and (entry.is_dir() or kind == "files"):
                found[head + folder + slash + entry.name + "/" * entry.is_dir()] = ""
    return Offer(found, open_end=any(name.endswith("/") for name in found))
