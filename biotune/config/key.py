"""Defines configuration keys and lists the keys of a schema. Independent of the schemas and of config libraries."""

import dataclasses
import inspect
import math
import re
import types
import typing
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from biotune.errors import did_you_mean

MISSING = "???"

TWO_SIDES = "[HEIGHT,WIDTH] such as [96,160]"
Sides = int | tuple[int, int]  # of a square, or height and width


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
    pair: bool = False,
    sides: bool = False,
) -> Any:
    """Declare a configuration key as a field of a dataclass.

    Args:
        default: Its default.
        meaning: Its meaning in one sentence, with the unit.
        ge: Smallest allowed value; the bounds of a list apply to every entry.
        gt: The value must be greater than this.
        le: Largest allowed value.
        lt: The value must be less than this.
        choices: The only allowed values; empty allows any.
        usual: Values that completion offers where others are allowed too.
        words: Texts that are allowed in place of a number.
        path: `files` or `folders` where the value is a path, else empty.
        pair: Whether the value is auto or two ascending numbers with a comma between them.
        sides: Whether the value is one length, or `[HEIGHT,WIDTH]`; the bounds apply to both.

    Returns:
        A `dataclasses.field` with these facts as its metadata.
    """
    bounds = {"ge": ge, "gt": gt, "le": le, "lt": lt}
    metadata: dict[str, Any] = {"meaning": meaning, "choices": choices, "usual": usual, "words": words}
    metadata |= {"path": path, "pair": pair, "sides": sides}
    metadata |= {name: bound for name, bound in bounds.items() if bound is not None}
    if isinstance(default, list):
        return field(default_factory=lambda: list(default), metadata=metadata)
    return field(default=default, metadata=metadata)


@dataclass(frozen=True)
class Key:
    """One key of a schema, as error messages and help describe it.

    Attributes:
        path: The dotted key.
        type: Its type annotation.
        default: Its default; `MISSING` where it must be given.
        metadata: The arguments of `key` by name; bounds only where they are set.
    """

    path: str
    type: Any
    default: Any
    metadata: typing.Mapping[str, Any]

    @property
    def must_be(self) -> str:
        """The rule for the key's type in words, such as `an integer or null`."""
        inner, optional = _unwrap(self.type)
        words = {int: "an integer", float: "a number", bool: "true or false", str: "a text"}
        lists = {
            list[int]: "a list of integers like [1,2,3]",
            list[float]: "a list of numbers like [0.1,1,10]",
            list[str]: "a list of names like [one,two]",
        }
        text = lists[inner] if inner in lists else words[inner]
        text = f"{text} or {TWO_SIDES}" if self.metadata["sides"] else text
        return " or ".join([text, *self.metadata["words"], *(["null"] if optional else [])])

    def is_no_word(self, value: Any) -> bool:
        """Return whether a value is a text that is not among the allowed words."""
        return bool(self.metadata["words"]) and isinstance(value, str) and value not in self.metadata["words"]


def keys_of(schema: type, prefix: str = "") -> Iterator[Key]:
    """Yield every key of a schema class with its dotted path, in the order of declaration.

    Args:
        schema: A dataclass whose fields are keys or sections.
        prefix: Put before every path.
    """
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
    """Return the sections of a schema class, each with its docstring."""
    hints = typing.get_type_hints(schema)
    return {name: inspect.getdoc(hint) or "" for name, hint in hints.items() if dataclasses.is_dataclass(hint)}


def near_keys(name: str, paths: Iterable[str], others: Iterable[str] = ()) -> str:
    """Return a sentence that suggests the keys with the same last part as a name, or else those spelt like it; empty for none.

    Args:
        name: The name as typed, such as `lr`.
        paths: Dotted paths of keys.
        others: Other names that may be meant, such as commands.
    """
    known = list(paths)
    same_leaf = [path for path in known if path.rpartition(".")[2] == name.rpartition(".")[2]]
    return f" Did you mean {' or '.join(same_leaf)}?" if same_leaf else did_you_mean(name, [*known, *others])


def numbers_of(text: str) -> tuple[float, float] | None:
    """Read `LOW,HIGH`, also in brackets; None if it is anything else or the numbers do not ascend."""
    parts = text.strip().removeprefix("[").removesuffix("]").split(",")
    try:
        low, high = map(float, parts)
    except ValueError:
        return None
    return (low, high) if -math.inf < low < high < math.inf else None


def sides_of(text: str) -> tuple[int, int] | None:
    """Read `[HEIGHT,WIDTH]`; None if it is anything else."""
    found = re.fullmatch(r"\s*\[\s*(\d+)\s*,\s*(\d+)\s*\]\s*", text, re.ASCII)
    return (int(found[1]), int(found[2])) if found else None


def height_and_width(sides: Sides) -> tuple[int, int]:
    """Both sides in pixels, also of a square."""
    return (sides, sides) if isinstance(sides, int) else sides


def is_bool(item: Key) -> bool:
    """Return whether a key's value is true or false."""
    return _unwrap(item.type)[0] is bool


def show(value: Any) -> str:
    """Return a value as typed on the command line."""
    if isinstance(value, list):
        return "[" + ",".join(show(entry) for entry in value) + "]"
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return str(value)


def _unwrap(hint: Any) -> tuple[Any, bool]:
    if isinstance(hint, types.UnionType) or typing.get_origin(hint) is typing.Union:
        inner = [part for part in typing.get_args(hint) if part is not type(None)]
        # a key that takes a number or a word is described as a number
        return float if float in inner else inner[0], type(None) in typing.get_args(hint)
    return hint, False
