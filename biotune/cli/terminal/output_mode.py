"""How much a command prints, and in which form; independent of the content."""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum

from biotune.errors import ConfigError


class OutputMode(Enum):
    """The amount and form of a command's output."""

    NORMAL = "normal"
    QUIET = "quiet"  # errors and the final lines: the result and the folder of its files
    VERBOSE = "verbose"  # also one line per training run
    JSON = "json"  # one JSON object, nothing else


_FLAGS = {
    "-q": OutputMode.QUIET,
    "--quiet": OutputMode.QUIET,
    "-v": OutputMode.VERBOSE,
    "--verbose": OutputMode.VERBOSE,
    "--json": OutputMode.JSON,
}


def take_output_mode(arguments: Sequence[str], *allowed: OutputMode) -> tuple[list[str], OutputMode]:
    """Remove the flags that choose an output mode from the arguments.

    Args:
        arguments: The words after the command.
        allowed: The modes that the command supports; flags of other modes stay among the arguments.

    Returns:
        The remaining arguments, and the mode.

    Raises:
        ConfigError: Two flags contradict each other.
    """
    taken = [argument for argument in arguments if _FLAGS.get(argument) in allowed]
    rest = [argument for argument in arguments if argument not in taken]
    modes = {_FLAGS[argument]: argument for argument in taken}
    if len(modes) > 1:
        raise ConfigError(f"{' and '.join(modes.values())} contradict each other; give one of them.")
    return rest, next(iter(modes), OutputMode.NORMAL)
