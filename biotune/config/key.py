"""What a configuration key is, and how the keys of a schema are listed. Knows no key and no config library."""

import dataclasses
import inspect
import types
import typing
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from biotune.errors import did_you_mean

MISSING = "???"


def key(
    default: Any,
    meaning: str,
    *,
    ge: float | None = None,
    gt: float | None = None,
    le: float | None = None,
    lt: float | None = None,
    choices: tuple[str | int, ...] = (),
    usual: tuple[str, ...] = (),
    words: tuple[str, ...] = (),
    path: str = "",
) -> Any:
    """A configuration key.

    Args:
        default: Its default.
        meaning: Its meaning with the unit, one sentence.
        ge: Least value allowed; the bounds of a list hold for every entry.
        gt: The value must be greater.
        le: Greatest value allowed.
        lt: The value must be less.
        choices: The only values allowed.
        usual: Values worth offering where others are allowed too.
        words: Texts that are allowed where the value is a number otherwise.
        path: `files` or `folders` where the value is the path of one.
    """
    bounds = {"ge": ge, "gt": gt, "le": le, "lt": lt}
    metadata: dict[str, Any] = {"meaning": meaning, "choices": choices, "usual": usual, "words": words, "path": path}
    metadata |= {name: bound for name, bound in bounds.items() if bound is not None}
    if isinstance(default, list):
        return field(default_factory=lambda: list(default), metadata=metadata)
    return field(default=default, metadata=metadata)


@dataclass(frozen=True)
class Key:
    """One key of a schema, as error messages and help describe it."""

    path: str
    type: Any
    default: Any
    metadata: typing.Mapping[str, Any]

    @property
    def must_be(self) -> str:
        """The rule for the key's type in words."""
        inner, optional = _unwrap(self.type)
        words = {int: "an integer", float: "a number", bool: "true or false", str: "a text"}
        lists = {
            list[int]: "a list of integers like [1,2,3]",
            list[float]: "a list of numbers like [0.1,1,10]",
            list[str]: "a list of names like [one,two]",
        }
        text = lists[inner] if inner in lists else words[inner]
        return " or ".join([text, *self.metadata["words"], *(["null"] if optional else [])])

    def is_no_word(self, value: Any) -> bool:
        """Whether a text stands where only a number, or another text, may stand."""
        return bool(self.metadata["words"]) and isinstance(value, str) and value not in self.metadata["words"]


def keys_of(schema: type, prefix: str = "") -> Iterator[Key]:
    """Every key of a schema class with its dotted path, in declared order."""
    hints = typing.get_type_hints(schema)
    for item in dataclasses.fields(schema):
        path = prefix + item.name
        if dataclasses.is_dataclass(hints[item.name]):
            yield from keys_of(hints[item.name], path + ".")
        else:
            factory = item.default_factory
            default = item.default if factory is dataclasses.MISSING else factory()
            yield Key(path, hints[item.name], default, item.metadata)


def sections_of(schema: type) -> dict[str, str]:
    """The sections of a schema class, each with what it is about."""
    hints = typing.get_type_hints(schema)
    return {name: inspect.getdoc(hint) or "" for name, hint in hints.items() if dataclasses.is_dataclass(hint)}


def near_keys(name: str, paths: Iterable[str], others: Iterable[str] = ()) -> str:
    """A sentence with the keys that end like a name, or else with what is spelt like it; empty where nothing is near.

    Args:
        name: What was typed, such as `lr`.
        paths: Dotted paths of keys.
        others: Names other than keys that may be meant.
    """
    known = list(paths)
    same_leaf = [path for path in known if path.rpartition(".")[2] == name.rpartition(".")[2]]
    return f" Did you mean {' or '.join(same_leaf)}?" if same_leaf else did_you_mean(name, [*known, *others])


def is_bool(item: Key) -> bool:
    """Whether a key is true or false."""
    return _unwrap(item.type)[0] is bool


def show(value: Any) -> str:
    """A value as it is typed on the command line."""
    if isinstance(value, list):
        return "[" + ",".join(show(entry) for entry in value) + "]"
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return str(value)


def _unwrap(hint: Any) -> tuple[Any, bool]:
    if isinstance(hint, types.UnionType) or typing.get_origin(hint) is typing.Union:
        inner = [part for part in typing.get_args(hint) if part is not type(None)]
        # what is a number or a word is described as a number
        return float if float in inner else inner[0], type(None) in typing.get_args(hint)
    return hint, False
