"""The parser of flags: bad input is a `ConfigError`, so that it is one line and nothing leaves the process."""

from __future__ import annotations

import argparse
from typing import Any, NoReturn

from biotune.errors import ConfigError


class Parser(argparse.ArgumentParser):
    """An argparse parser that raises where argparse would print the usage and exit.

    Args:
        prog: The command as it is typed, such as `biotune report`.
        help_shows: What its `--help` shows, for the error's remedy.
        **settings: Passed on to argparse.
    """

    def __init__(self, prog: str, *, help_shows: str = "the usage", **settings: Any) -> None:
        super().__init__(prog, **settings)
        self.help_shows = help_shows

    def error(self, message: str) -> NoReturn:
        """Refuse the command line.

        Raises:
            ConfigError: Always.
        """
        raise ConfigError(f"{message}. '{self.prog} --help' shows {self.help_shows}.")
