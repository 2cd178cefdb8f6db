"""The flags that completion offers for each command, and what follows them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple


class Flag(NamedTuple):
    """A flag.

    Attributes:
        meaning: What it does.
        takes: The words that can follow it; or `files`, `folders`, or `section` for a section of the config.
        optional: Whether what follows may be left out.
    """

    meaning: str
    takes: str | tuple[str, ...] = ""
    optional: bool = False


_HYDRA = {
    "--help": Flag("show the config and its choices"),
    "--cfg": Flag("show the composed config and stop", ("job", "hydra", "all")),
    "--package": Flag("with --cfg: only one section", "section"),
    "--resolve": Flag("with --cfg: resolve interpolations"),
    "--config-dir": Flag("also look for configs in a folder", "folders"),
    "--info": Flag("show how the config is composed", ("all", "config", "defaults", "defaults-tree", "searchpath"), True),
}
_JOBS = {"--multirun": Flag("one job for every combination of comma-separated values"), "-m": Flag("the same as --multirun")}
_LOUDNESS = {
    "--quiet": Flag("only errors, the result and where the files are"),
    "-q": Flag("the same as --quiet"),
    "--verbose": Flag("a line for every training"),
    "-v": Flag("the same as --verbose"),
}
_JSON = {"--json": Flag("one JSON object instead of a table")}
_HELP = {"--help": Flag("how to use it")}
_TRAINING = {**_HYDRA, **_JOBS, **_LOUDNESS}

FLAGS: dict[str, dict[str, Flag]] = {
    "run": _TRAINING,
    "train": _TRAINING,
    "evaluate": _TRAINING,
    "blocks": {**_HYDRA, **_JSON},
    "data": {**_HYDRA, **_JSON},
    "data cache": {"--clear": Flag("remove decoded images"), **_JSON},
    "list": {"--config-dir": _HYDRA["--config-dir"], **_JSON},
    "help": _JSON,
    "predict": {
        "--csv": Flag("also write all of it to a CSV file", "files"),
        "--top": Flag("classes to show an image", ("1", "3", "5")),
        "--device": Flag("where to compute", ("auto", "cpu", "cuda", "mps")),
        "--plugins": Flag("modules to import first", ()),
        **_JSON,
        **_HELP,
    },
    "report": {"--out": Flag("where to write the page", "files"), **_HELP},
    "completion": _HELP,
}
LONG = {"-c": "--cfg", "-p": "--package", "-cd": "--config-dir", "-i": "--info"}


def config_dir(given: Sequence[str]) -> str | None:
    """The user's own folder of configs, where the words name one."""
    for index, word in enumerate(given):
        name, equals, value = word.partition("=")
        if name in ("--config-dir", "-cd"):
            return value if equals else given[index + 1] if index + 1 < len(given) else None
    return None
