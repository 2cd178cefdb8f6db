"""The errors that users see: one line each, with the key or file, the rule and the remedy. Imports no other module."""

from collections.abc import Iterable
from difflib import get_close_matches


class BiotuneError(Exception):
    """An error that the user can fix; its text is one line for a terminal."""


class ConfigError(BiotuneError):
    """A key is unknown, has a wrong type or lies out of bounds, or two keys disagree."""


class DataError(BiotuneError):
    """A dataset is missing, incomplete, unreadable or too small for the settings."""


class BackboneError(BiotuneError):
    """A network, its weights or its partition into blocks does not fit."""


class ScheduleError(BiotuneError):
    """A genotype or a schedule file is malformed or does not fit the network."""


class RunFolderError(BiotuneError):
    """A run's folder cannot be written, is in use, or has unexpected content."""


class WorkerError(BiotuneError):
    """The worker processes cannot be set up."""


class TrialError(BiotuneError):
    """A training run failed, for example because its loss is not finite."""


class SearchError(BiotuneError):
    """The search cannot continue, for example because too many training runs fail."""


def one_line(text: object) -> str:
    """Join the lines of a text into one, so that a message never loses its later lines."""
    return " ".join(str(text).split())


def did_you_mean(name: str, names: Iterable[str]) -> str:
    """A sentence with the most similar of `names`; empty if none is similar. Case is ignored."""
    spellings = {candidate.lower(): candidate for candidate in names}
    near = [spellings[match] for match in get_close_matches(name.lower(), list(spellings), n=3, cutoff=0.6)]
    return f" Did you mean {' or '.join(near)}?" if near else ""


_LONGEST_SHOWN = 60


def shown(value: object) -> str:
    """Format a value for a message. Nested values are named by their type, because YAML aliases can make their text endless."""
    if isinstance(value, int) and abs(value) >= 10**_LONGEST_SHOWN:
        return "a giant integer"  # str() raises an error on thousands of digits
    if value is None or isinstance(value, int | float | str):
        return repr(value) if len(repr(value)) <= _LONGEST_SHOWN else repr(value)[: _LONGEST_SHOWN - 1] + "…"
    return f"a {type(value).__name__}"
