"""The command line: sub-commands on top of Hydra. No other folder imports Hydra.

Heavy libraries are imported only once the command is known, so that help and completion are instant.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from biotune import __version__
from biotune.cli.registry import COMMANDS, COMPLETE, COMPLETE_ENTRY, FIRST_SCREEN, NO_HYDRA_COMPLETION, load
from biotune.errors import BiotuneError, did_you_mean

_BAD_INPUT = 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a sub-command.

    Args:
        arguments: The words after the program's name; by default those of the command line.

    Returns:
        The exit status: 0, 1 for a run that failed, 2 for bad input, 130 after Ctrl-C.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        return _dispatch(given)
    except BiotuneError as error:
        for line in str(error).splitlines():
            print(f"biotune: {line}", file=sys.stderr)
        return _BAD_INPUT
    except KeyboardInterrupt as stop:
        print(f"biotune: interrupted. {stop}".rstrip(), file=sys.stderr)
        return 130
    except BrokenPipeError:
        # the reader of the pipe, such as head, has closed it
        sys.stderr.close()
        return 0


def _dispatch(given: list[str]) -> int:
    command = given[0] if given else "--help"
    if command in ("-h", "--help") or given == ["help"]:
        print(FIRST_SCREEN, end="")
        return 0
    if command in ("-V", "--version"):
        print(f"biotune {__version__}")
        return 0
    if command in ("-sc", "--shell-completion"):
        raise BiotuneError(NO_HYDRA_COMPLETION)
    if command in COMMANDS and COMMANDS[command].entry is None:
        from biotune.cli.launch.hydra_app import run_command

        return run_command(command, given[1:])
    entry = COMPLETE_ENTRY if command == COMPLETE else COMMANDS[command].entry if command in COMMANDS else None
    if entry is not None:
        status: int = load(entry)(given[1:])
        return status
    raise BiotuneError(f"{command}: no such command.{did_you_mean(command, COMMANDS)} Commands: {', '.join(COMMANDS)}.")
