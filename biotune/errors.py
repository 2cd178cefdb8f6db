"""The errors that users see: one line each, naming the key or file, the rule and the remedy. Knows no other module."""

from collections.abc import Iterable
from difflib import get_close_matches


class BiotuneError(Exception):
    """Something the user can mend; its text is one line fit for a terminal."""


class ConfigError(BiotuneError):
    """A key is unknown, has a wrong type or lies out of bounds, or two keys disagree."""


class DataError(BiotuneError):
    """A dataset is missing, incomplete, unreadable or too small for what is asked of it."""


class BackboneError(BiotuneError):
    """A network, its weights or its partition into blocks does not fit."""


class ScheduleError(BiotuneError):
    """A genotype or a schedule file is malformed or does not fit the network."""


class RunFolderError(BiotuneError):
    """A run's folder cannot be written, is taken, or holds something unexpected."""


class WorkerError(BiotuneError):
    """The worker processes cannot be set up."""


class TrialError(BiotuneError):
    """A training run went wrong in itself, such as a loss that is no number."""


class SearchError(BiotuneError):
    """The search cannot go on, for example because too many training runs fail."""


def one_line(text: object) -> str:
    """Fold a text of several lines into one, so that no message is ever cut at its first line."""
    return " ".join(str(text).split())


def did_you_mean(name: str, names: Iterable[str]) -> str:
    """A sentence with the nearest of `names`, empty when none is near; case is ignored."""
    spellings = {candidate.lower(): candidate for candidate in names}
    near = [spellings[match] for match in get_close_matches(name.lower(), list(spellings), n=3, cutoff=0.6)]
    return f" Did you mean {' or '.join(near)}?" if near else ""


_LONGEST_SHOWN = 60


def shown(value: object) -> str:
    """A value as a message shows it. Nested values go by their kind: YAML's aliases can make their text endless."""
    if isinstance(value, int) and abs(value) >= 10**_LONGEST_SHOWN:
        return "a giant integer"  # str() refuses to spell out thousands of digits
    if value is None or isinstance(value, int | float | str):
        return repr(value) if len(repr(value)) <= _LONGEST_SHOWN else repr(value)[: _LONGEST_SHOWN - 1] + "…"
    return f"a {type(value).__name__}"
