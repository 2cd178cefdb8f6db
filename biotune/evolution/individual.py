"""The individual of the search: genes with momentum, manner of training, extinction factor and DEAP's fitness."""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple

import numpy as np
from deap import base
from numpy.typing import NDArray

from biotune.schedule.schedule import FRESH, TOGETHER
from biotune.trial import Evaluation

Genes = NDArray[np.float64]


class Fitness(base.Fitness):
    """DEAP's fitness with one objective, minimised."""

    weights = (-1.0,)


class Origin(StrEnum):
    """How a candidate was made; tables and journals hold the plain text."""

    INITIAL = "initial"
    ELITE = "elite"
    PROBE = "probe"
    CHILD = "child"
    NEWCOMER = "newcomer"


class Manner(NamedTuple):
    """The categorical genes: how a schedule is trained, besides its blocks and learning rates.

    Attributes:
        unfreezing: The order in which the blocks join, see `Schedule`.
        head_start: Where the head starts from, see `Schedule`.
    """

    unfreezing: str = TOGETHER
    head_start: str = FRESH


PLAIN = Manner()


@dataclass(eq=False)
class Individual:
    """One member of the population.

    Attributes:
        genes: (n,) in [0, 1], one importance per block and the threshold last.
        momentum: (n,) the v of BioTune, section 2; unbounded.
        number: Serial number of the genotype within the run; lower means older.
        origin: How it was made.
        extinction: e of the last ranking, 0 for the best and 1 for the worst.
        fitness: DEAP's fitness, valid once `evaluation` is set.
        evaluation: The result of the fitness function; None before it is evaluated.
        fold: The fold of that evaluation; −1 before.
        manner: Its categorical genes.
    """

    genes: Genes
    momentum: Genes
    number: int
    origin: Origin
    extinction: float = 0.0
    fitness: Fitness = field(default_factory=Fitness)
    evaluation: Evaluation | None = None
    fold: int = -1
    manner: Manner = PLAIN

    @property
    def score(self) -> float:
        """The fitness Φ; smaller is better."""
        return float(self.fitness.values[0])

    def receive(self, evaluation: Evaluation, fold: int) -> None:
        """Store the result of the fitness function on a fold."""
        self.evaluation = evaluation
        self.fold = fold
        self.fitness.values = (evaluation.fitness,)


def by_fitness(individual: Individual) -> tuple[float, int]:
    """Sorting key: best first; the older of two equals comes first."""
    return individual.score, individual.number
