"""Splits an unfinished command line as bash passes it, and quotes candidates as readline expects them."""

from __future__ import annotations

from dataclasses import dataclass

_ESCAPED_IN_DOUBLE_QUOTES = '$`"\\'
_SPECIAL = " \t\n\"'\\$`!*?[]{}()<>|&;#~"


@dataclass(frozen=True)
class Typed:
    """A line up to the cursor.

    Attributes:
        words: The words without their quotes; the last is the one at the cursor, and may be empty.
        replaced_from: Position in the last word from which readline replaces it.
        quote: The quote that is still open, or the empty string.
    """

    words: list[str]
    replaced_from: int
    quote: str


def read_line(line: str, breaks: str) -> Typed:
    """Split a line whose last word, and its quotes, may be unfinished.

    Args:
        line: The line up to the cursor.
        breaks: The characters at which readline begins a new word (COMP_WORDBREAKS), such as `=` and `:`.
    """
    words: list[str] = []
    word: list[tuple[str, bool]] = []  # every character of the word, and whether a quote or backslash protects it
    begun, quote, opened_at, index = False, "", 0, 0
    while index < len(line):
        character = line[index]
        following = line[index + 1 : index + 2]
        if quote and character == quote:
            quote = ""
        elif character == "\\" and following and (not quote or (quote == '"' and following in _ESCAPED_IN_DOUBLE_QUOTES)):
            word.append((following, True))
            begun, index = True, index + 1
        elif quote:
            word.append((character, True))
        elif character in "\"'":
            begun, quote, opened_at = True, character, len(word)
        elif character in " \t\n":
            if begun:
                words.append("".join(letter for letter, _ in word))
            word, begun = [], False
        else:
            word.append((character, False))
            begun = True
        index += 1
    words.append("".join(letter for letter, _ in word))
    broken_at = [place + 1 for place, (letter, protected) in enumerate(word) if letter in breaks and not protected]
    return Typed(words, opened_at if quote else max(broken_at, default=0), quote)


def bash_candidate(candidate: str, typed: Typed) -> str:
    """Return the part of a candidate that readline inserts, quoted like the typed word.

    Args:
        candidate: The complete word.
        typed: The line up to the cursor.
    """
    text = candidate[typed.replaced_from :]
    if typed.quote == "'":
        return text
    special = _ESCAPED_IN_DOUBLE_QUOTES if typed.quote else _SPECIAL
    return "".join(f"\\{letter}" if letter in special else letter for letter in text)
