"""What a recipe tells while it works. A terminal implements it; recipes never know one."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from biotune.evolution.generation import Generation
from biotune.trial import Trial, TrialResult


class Progress(Protocol):
    """Receives what happens, as it happens; no call returns anything or changes what is computed."""

    def header(self, title: str, facts: Iterable[tuple[str, str]]) -> None:
        """What will run, on what, and how much of it at most."""
        ...

    def line(self, text: str, style: str = "") -> None:
        """One line on what goes on."""
        ...

    def decoding(self, done: int, total: int) -> None:
        """So many of so many images are decoded."""
        ...

    def begin(self, phase: str, at_most: int) -> None:
        """A phase of so many training runs at most begins."""
        ...

    def begin_generation(self, number: int, of: int, candidates: int, seeds: int) -> None:
        """A generation of so many candidates at most begins, each with so many training seeds."""
        ...

    def trained(self, trial: Trial, result: TrialResult) -> None:
        """One more trial is done, or was answered from the journal."""
        ...

    def generation(self, generation: Generation, of: int, trainings: int, at_most: int) -> None:
        """A generation is over; of at most so many training runs of the search so many are done."""
        ...

    def end(self) -> None:
        """The phase is over."""
        ...


class Silence:
    """Says nothing: for callers without a terminal."""

    def header(self, title: str, facts: Iterable[tuple[str, str]]) -> None:
        """Nothing."""

    def line(self, text: str, style: str = "") -> None:
        """Nothing."""

    def decoding(self, done: int, total: int) -> None:
        """Nothing."""

    def begin(self, phase: str, at_most: int) -> None:
        """Nothing."""

    def begin_generation(self, number: int, of: int, candidates: int, seeds: int) -> None:
        """Nothing."""

    def trained(self, trial: Trial, result: TrialResult) -> None:
        """Nothing."""

    def generation(self, generation: Generation, of: int, trainings: int, at_most: int) -> None:
        """Nothing."""

    def end(self) -> None:
        """Nothing."""


SILENCE = Silence()
