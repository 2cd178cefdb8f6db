"""What a tracker is told: plain values, the same in every session of a run, so that what is known is not sent again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

FINISHED, FAILED, INTERRUPTED = "finished", "failed", "interrupted"


@dataclass(frozen=True)
class ParentRun:
    """The run of a command, to which its training runs belong.

    Attributes:
        id: Its identity, kept in the run's folder.
        name: A name for readers.
        command: The command.
        settings: The composed config: dotted key → number, or text as typed.
    """

    id: str
    name: str
    command: str
    settings: Mapping[str, str | int | float]


@dataclass(frozen=True)
class ChildRun:
    """A training run that has ended.

    Attributes:
        id: Equal in all sessions of a run for equal trials, and for no others.
        name: A name for readers.
        settings: Its schedule and what else distinguishes it from others.
        curves: Name → values after each epoch.
        scores: Name → value.
        status: ok, pruned or failed.
        error: The reason of a failure, one line.
        seconds: Wall-clock time.
    """

    id: str
    name: str
    settings: Mapping[str, str | int | float]
    curves: Mapping[str, tuple[float, ...]]
    scores: Mapping[str, float]
    status: str
    error: str | None
    seconds: float


@dataclass(frozen=True)
class GenerationRow:
    """The statistics of a generation.

    Attributes:
        number: 0 for the initial one.
        values: Name → value; in a comparison the names begin with the seed.
    """

    number: int
    values: Mapping[str, float]


@dataclass(frozen=True)
class End:
    """The end of a session.

    Attributes:
        state: finished, failed or interrupted.
        scores: Name → number of `result.json`; empty unless it has finished.
        files: What to keep with the run; empty unless it has finished.
    """

    state: str
    scores: Mapping[str, float] = field(default_factory=dict)
    files: tuple[Path, ...] = ()


Event = ChildRun | GenerationRow | End
