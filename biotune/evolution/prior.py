"""What earlier searches predict: the mean function of the surrogate of a search with a warm start.

A search of another task, or of another network, knows what similar schedules were worth there. A Gaussian process fitted to
its evaluations is taken as the mean function of this search's process, times a coefficient that is fitted by the marginal
likelihood (Rasmussen and Williams, *Gaussian Processes for Machine Learning*, 2006, section 2.7). Among the values of the
coefficient is 0: earlier searches that predict nothing here are left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from biotune.evolution.surrogate import FEWEST, Floats, Observation, Surrogate
from biotune.schedule.schedule import Schedule


@dataclass(frozen=True)
class Source:
    """An earlier search or schedule, matched to the blocks of this search.

    Attributes:
        name: The path that was given.
        backbone: The name of its network; empty where it is not known.
        dataset: The name of its dataset; empty where it is not known.
        blocks: The number of blocks of its network.
        schedules: Its best schedules, best first.
        observations: Its evaluations, in their order; none for a schedule file.
    """

    name: str
    backbone: str
    dataset: str
    blocks: int
    schedules: tuple[Schedule, ...]
    observations: tuple[Observation, ...] = ()

    @property
    def in_words(self) -> str:
        """What was taken, for the header."""
        network = f"{self.backbone or 'a network'} with {self.blocks} blocks{f' on {self.dataset}' if self.dataset else ''}"
        schedules = "1 schedule" if len(self.schedules) == 1 else f"{len(self.schedules)} schedules"
        return f"{self.name}: {network}; {schedules}, {len(self.observations)} evaluations"


class Prior:
    """The mean function that earlier searches give, in units of their standard deviation; smaller is better."""

    def __init__(self, sources: Sequence[Source]) -> None:
        """Fit one process to the evaluations of all sources that have at least `FEWEST`.

        Each source's fitness is divided by its standard deviation about the means of its folds, which are fitted: neither
        the difficulty of its task nor the spread of its scores matters.
        """
        pooled: list[Observation] = []
        for number, source in enumerate(one for one in sources if len(one.observations) >= FEWEST):
            pooled += _standardised(source.observations, number)
        self._surrogate = Surrogate(pooled) if pooled else None

    @property
    def is_empty(self) -> bool:
        """Whether no source has enough evaluations."""
        return self._surrogate is None

    def mean(self, schedules: Sequence[Schedule]) -> Floats:
        """Return the (N,) mean function at N schedules, at least one; 0 is what the sources' schedules had on average."""
        if self._surrogate is None:
            return np.zeros(len(schedules))
        found: Floats = self._surrogate.predict(schedules) - self._surrogate.middle
        return found


def prior_of(sources: Sequence[Source]) -> Prior | None:
    """The mean function of a search, or None where no source has enough evaluations."""
    prior = Prior(sources) if sources else None
    return None if prior is None or prior.is_empty else prior


def _standardised(observations: Sequence[Observation], source: int) -> list[Observation]:
    """Fitness values about 0 with a standard deviation of 1; every fold of every source gets a number of its own."""
    folds = np.array([one.fold for one in observations])
    values = np.array([one.fitness for one in observations])
    for fold in set(folds.tolist()):
        values[folds == fold] -= values[folds == fold].mean()
    scale = float(values.std()) or 1.0
    offset = source * 1_000_000
    return [
        Observation(one.schedule, offset + one.fold, value / scale)
        for one, value in zip(observations, values.tolist(), strict=True)
    ]
