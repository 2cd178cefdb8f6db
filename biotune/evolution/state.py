"""The state of a search, and what every search does with it: the initial individuals, and the end of a generation."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from biotune.config.search import EvolutionConfig
from biotune.evolution.front import front_of
from biotune.evolution.generation import Generation, Outcome, costs, survivor_states
from biotune.evolution.history import History, OverFolds, Predictor
from biotune.evolution.individual import Individual, Origin
from biotune.evolution.objectives import Objectives
from biotune.evolution.population import Population
from biotune.evolution.prior import Source, prior_of
from biotune.evolution.toolbox import build_toolbox
from biotune.evolution.warm_start import EARLIER_SHARE, best_of, genes_of, warm_starts
from biotune.schedule.block import Block
from biotune.schedule.schedule import Schedule
from biotune.trial import Evaluation


class SearchState:
    """The state of one search.

    Attributes:
        rng: The search's generator, the source of all random draws.
        toolbox: BioTune's operators, on that generator.
        population: The population.
        history: All evaluations so far.
    """

    def __init__(
        self,
        settings: EvolutionConfig,
        blocks: Sequence[Block],
        seed: int,
        hall_size: int,
        over_folds: OverFolds,
        smoothed: bool,
        head_start: str,
        sources: Sequence[Source] = (),
        objectives: Objectives | None = None,
    ) -> None:
        """Start before generation 0; see `evolve` for the arguments."""
        self._settings = settings
        self._num_blocks = len(blocks)
        self._smoothed = smoothed
        self._sources = sources
        self._objectives = objectives
        self.rng = np.random.default_rng(seed)
        self.toolbox = build_toolbox(settings, self.rng, len(blocks) + 1, head_start)
        self.history = History(hall_size, over_folds, prior_of(sources))
        self.population = Population(settings, blocks, head_start)

    def initial(self) -> list[Individual]:
        """Draw the individuals of generation 0: random genes, in a seeded search warm starts before them, sources' first."""
        size = self._settings.population_size
        newborn = self.population.newborn
        earlier = [self._again(schedule) for schedule in best_of(self._sources, size // EARLIER_SHARE)]
        usual = warm_starts(self._num_blocks, self.population.orders, self._settings.fixed_threshold)
        first = usual[: size - 2 - len(earlier)] if self._settings.seeded else []
        own = [newborn(one.genes, Origin.INITIAL, self.population.manner_in_turn(one.unfreezing)) for one in first]
        drawn = size - len(earlier) - len(own)
        return earlier + own + [newborn(self.toolbox.genes(), Origin.INITIAL) for _ in range(drawn)]

    def _again(self, schedule: Schedule) -> Individual:
        """An individual with the schedule of an earlier search, as far as this search can express it."""
        genes = genes_of(schedule.lr_weights, self._settings.fixed_threshold)
        return self.population.newborn(genes, Origin.INITIAL, self.population.nearest_manner(schedule))

    def close_generation(
        self,
        number: int,
        fold: int,
        outcome: Outcome,
        evaluations: Sequence[Evaluation],
        predictor: Predictor | None = None,
    ) -> Generation:
        """Select the survivors and record the generation.

        Args:
            number: 0 for the initial one.
            fold: The fold it was evaluated on.
            outcome: The individuals considered and the survivors.
            evaluations: All evaluations of the generation.
            predictor: Ranks the hall of fame of a smoothed search; None takes the surrogate of all evaluations.
        """
        ranked = number > 0 or self._settings.mutate_first_brood
        self.population.renew(outcome.survivors, self.toolbox.rank if ranked else None)
        facts = {"generation": number, "fold": fold, **costs(evaluations)}
        record = self.history.close_generation(self.population.members, **facts)
        ranking = (predictor or self.history.surrogate()) if self._smoothed else None
        return Generation(
            number=number,
            fold=fold,
            candidates=self.population.candidates(outcome.considered),
            record=record,
            hall=self.history.best(ranking),
            observations=list(self.history.observations),
            survivors=survivor_states(self.population.members),
            random_state=dict(self.rng.bit_generator.state),
            front=None if self._objectives is None else front_of(self.history, self._objectives),
        )
