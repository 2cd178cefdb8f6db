"""The progress events of a recipe. A terminal implements the protocol; recipes know no terminal."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from biotune.evolution.generation import Generation
from biotune.trial import Trial, TrialResult


class Progress(Protocol):
    """Receives progress events; no call returns a value or changes a result."""

    def header(self, title: str, facts: Iterable[tuple[str, str]]) -> None:
        """Show the title of the command and the facts about its inputs and size."""
        ...

    def line(self, text: str, style: str = "") -> None:
        """Show one line of text."""
        ...

    def decoding(self, done: int, total: int) -> None:
        """`done` of `total` images are decoded."""
        ...

    def begin_seed(self, seed: int, number: int, of: int) -> None:
        """A comparison begins with a seed, the one at position `number` of `of`; each has its own splits and generations."""
        ...

    def begin_strategy(self, name: str) -> None:
        """A comparison begins with a strategy, for the present seed."""
        ...

    def begin(self, phase: str, at_most: int) -> None:
        """A phase of at most `at_most` training runs begins."""
        ...

    def begin_generation(self, number: int, of: int, candidates: int, seeds: int) -> None:
        """Generation `number` of `of` begins, with at most `candidates` candidates and `seeds` training seeds each."""
        ...

    def trained(self, trial: Trial, result: TrialResult) -> None:
        """A trial has ended, or was answered from the journal."""
        ...

    def generation(self, generation: Generation, of: int, trainings: int, at_most: int) -> None:
        """A generation has ended; `trainings` of at most `at_most` training runs of the search are done."""
        ...

    def end(self) -> None:
        """The phase has ended."""
        ...


class Silence:
    """Ignores all progress events: for callers without a terminal."""

    def header(self, title: str, facts: Iterable[tuple[str, str]]) -> None:
        """Nothing."""

    def line(self, text: str, style: str = "") -> None:
        """Nothing."""

    def decoding(self, done: int, total: int) -> None:
        """Nothing."""

    def begin_seed(self, seed: int, number: int, of: int) -> None:
        """Nothing."""

    def begin_strategy(self, name: str) -> None:
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
