"""The parser of flags: bad input raises a `ConfigError`, which is printed as one line, instead of ending the process."""

from __future__ import annotations

import argparse
from typing import Any, NoReturn

from biotune.errors import ConfigError


class Parser(argparse.ArgumentParser):
    """An argparse parser that raises an error where argparse would print the usage and exit.

    Args:
        prog: The command as typed, such as `biotune report`.
        help_shows: What `--help` shows, for the remedy in error messages; empty for a parser without `--help`.
        **settings: Passed on to argparse.
    """

    def __init__(self, prog: str, *, help_shows: str = "the usage", **settings: Any) -> None:
        super().__init__(prog, **settings)
        self.help_shows = help_shows

    def error(self, message: str) -> NoReturn:
        """Reject the command line.

        Raises:
            ConfigError: Always.
        """
        remedy = f" '{self.prog} --help' shows {self.help_shows}." if self.help_shows else f" Usage: {self.usage}"
        raise ConfigError(f"{message}.{remedy}")
