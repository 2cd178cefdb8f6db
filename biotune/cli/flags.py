"""The flags that commands share: their meanings and arguments."""

from __future__ import annotations

from typing import NamedTuple

from biotune.cli.terminal.output_mode import OutputMode


class Flag(NamedTuple):
    """A flag.

    Attributes:
        meaning: One line for completion and help.
        takes: The words that can follow it, or `files`, `folders`, or `section` for a section of the config; empty for none.
        optional: Whether its argument may be left out.
    """

    meaning: str
    takes: str | tuple[str, ...] = ""
    optional: bool = False


HELP = {"--help": Flag("show the usage")}
CONFIG_DIR = {"--config-dir": Flag("also look for configs in a folder", "folders")}
COMPOSING = {  # Hydra's flags, which every command with a config has
    "--help": Flag("show the config and its choices"),
    "--cfg": Flag("show the composed config and stop", ("job", "hydra", "all")),
    "--package": Flag("with --cfg: only one section", "section"),
    "--resolve": Flag("with --cfg: resolve interpolations"),
    **CONFIG_DIR,
    "--info": Flag("show how the config is composed", ("all", "config", "defaults", "defaults-tree", "searchpath"), True),
}
MULTIRUN = {"--multirun": Flag("one job per combination of comma-separated values"), "-m": Flag("the same as --multirun")}
SHORT = {"-c": "--cfg", "-p": "--package", "-cd": "--config-dir", "-i": "--info"}  # accepted, but not offered by completion

OF_MODE: dict[OutputMode, dict[str, Flag]] = {
    OutputMode.QUIET: {
        "--quiet": Flag("only errors, the result and the folder of its files"),
        "-q": Flag("the same as --quiet"),
    },
    OutputMode.VERBOSE: {"--verbose": Flag("one line per training run"), "-v": Flag("the same as --verbose")},
    OutputMode.JSON: {"--json": Flag("one JSON object instead of a table")},
}
