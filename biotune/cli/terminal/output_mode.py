"""How much a command says, and in which form. Knows nothing of what is said."""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum

from biotune.errors import ConfigError


class Voice(Enum):
    """What reaches the terminal."""

    NORMAL = "normal"
    QUIET = "quiet"  # errors, and the final lines: the result and where the files are
    VERBOSE = "verbose"  # a line for every training too
    JSON = "json"  # one JSON object, nothing else


_FLAGS = {
    "-q": Voice.QUIET,
    "--quiet": Voice.QUIET,
    "-v": Voice.VERBOSE,
    "--verbose": Voice.VERBOSE,
    "--json": Voice.JSON,
}


def take_voice(arguments: Sequence[str], *allowed: Voice) -> tuple[list[str], Voice]:
    """Take the flags that choose a voice off the arguments.

    Args:
        arguments: What follows the command.
        allowed: What the command can be told; flags for others stay where they are.

    Returns:
        The other arguments, and the voice.

    Raises:
        ConfigError: Two flags contradict each other.
    """
    taken = [argument for argument in arguments if _FLAGS.get(argument) in allowed]
    rest = [argument for argument in arguments if argument not in taken]
    voices = {_FLAGS[argument]: argument for argument in taken}
    if len(voices) > 1:
        raise ConfigError(f"{' and '.join(voices.values())} contradict each other; give one of them.")
    return rest, next(iter(voices), Voice.NORMAL)
