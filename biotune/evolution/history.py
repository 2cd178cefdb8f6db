"""The history of a search: all evaluations, the surrogate fitted to them, and DEAP's Statistics, Logbook and HallOfFame."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
from deap import tools

from biotune.evolution.individual import Fitness, Individual
from biotune.evolution.surrogate import FEWEST, LARGEST, Floats, MeanFunction, Observation, Surrogate
from biotune.schedule.schedule import Schedule
from biotune.trial import WORST, Status

OverFolds = Callable[[Sequence[float]], float]
_UNTRAINED = (Status.EMPTY, Status.FAILED)


class Predictor(Protocol):
    """Predicts the fitness of schedules, as the surrogate does."""

    def predict(self, schedules: Sequence[Schedule]) -> Floats:
        """Return (N,) fitness values of N schedules, at least one; smaller is better."""
        ...


@dataclass(eq=False)
class HallEntry:
    """One distinct schedule of the hall of fame.

    Attributes:
        schedule: The schedule.
        number: Serial number of the first individual that decoded to it.
        by_fold: Its fitness on each fold it was evaluated on.
        fitness: DEAP's fitness by which it is ranked, aggregated over the folds.
    """

    schedule: Schedule
    number: int
    by_fold: dict[int, float]
    fitness: Fitness

    @property
    def score(self) -> float:
        """The fitness by which it is ranked; smaller is better."""
        return float(self.fitness.values[0])


def _by_score(entry: HallEntry) -> tuple[float, int]:
    return entry.score, entry.number


def same_schedule(one: HallEntry, other: HallEntry) -> bool:
    """DEAP's `similar`: two entries are the same if their schedules are, even if their frozen genes differ."""
    return one.schedule.key == other.schedule.key


class History:
    """All evaluations, Statistics, Logbook and HallOfFame of one search.

    Attributes:
        prior: The mean function of the surrogate, from earlier searches; None without a warm start from any.
        observations: Every evaluation of a trained candidate so far, pruned ones included.
        logbook: DEAP's Logbook, one row per generation.
        hall: DEAP's HallOfFame, the best distinct schedules.
        limits: The smallest and the largest fitness that a candidate can have: 0 and 1, or what was measured beyond. Candidates
            that were not or could not be trained have the largest.
    """

    def __init__(self, hall_size: int, over_folds: OverFolds, prior: MeanFunction | None = None) -> None:
        """Create an empty history.

        Args:
            hall_size: Number of distinct schedules in the hall of fame, at least 1.
            over_folds: Aggregates the fitness values of one schedule on several folds into the one by which it is ranked.
            prior: The mean function of the surrogate, from earlier searches.
        """
        self.prior = prior
        self.observations: list[Observation] = []
        self.limits = (0.0, WORST)
        self._untrained: list[Individual] = []
        self._fitted: tuple[int, Surrogate] | None = None
        self.logbook = tools.Logbook()
        self.hall = tools.HallOfFame(maxsize=hall_size, similar=same_schedule)
        self._over_folds = over_folds
        self._entries: dict[str, HallEntry] = {}
        self._estimated: dict[str, HallEntry] = {}  # those that were pruned wherever they were evaluated
        over_fitness = tools.Statistics(key=lambda individual: individual.score)
        over_fitness.register("best_fitness", np.min)
        over_fitness.register("mean_fitness", np.mean)
        over_fitness.register("worst_fitness", np.max)
        over_fitness.register("sd_fitness", np.std)
        over_genes = tools.Statistics(key=lambda individual: individual.genes)
        over_genes.register("diversity", _mean_sd_of_genes)
        self._statistics = tools.MultiStatistics(fitness=over_fitness, genes=over_genes)

    def remember(self, schedule: Schedule, individual: Individual) -> None:
        """Record an evaluation.

        Empty, failed and pruned candidates make no entry in the hall of fame, but pruning on a further fold counts in one. A
        pruned one can only be ranked by a surrogate, see `best`.

        Args:
            schedule: The schedule of the individual.
            individual: An individual that has received its evaluation.
        """
        evaluation = individual.evaluation
        if evaluation is not None and evaluation.scores and evaluation.status != Status.FAILED:
            self.observations.append(Observation(schedule, individual.fold, evaluation.fitness))
        self._widen_limits(individual)
        entry = self._entries.get(schedule.key)
        if evaluation is not None and evaluation.status == Status.PRUNED and entry is not None:
            # the estimate counts where the fold has no measurement: else a lucky fold alone would decide the rank
            entry.by_fold.setdefault(individual.fold, individual.score)
            entry.fitness.values = (self._over_folds(list(entry.by_fold.values())),)
        elif evaluation is not None and evaluation.status == Status.PRUNED:
            one = HallEntry(schedule, individual.number, {individual.fold: individual.score}, Fitness((individual.score,)))
            self._estimated.setdefault(schedule.key, one)
        if evaluation is None or evaluation.status not in (Status.OK, Status.CACHED):
            return
        if entry is None:
            self._estimated.pop(schedule.key, None)
            entry = self._entries[schedule.key] = HallEntry(schedule, individual.number, {}, Fitness((WORST,)))
        entry.by_fold[individual.fold] = individual.score
        entry.fitness.values = (self._over_folds(list(entry.by_fold.values())),)

    def _widen_limits(self, individual: Individual) -> None:
        """Take an evaluation beyond the limits into them: untrained candidates stay the worst."""
        evaluation = individual.evaluation
        if evaluation is None:
            return
        if evaluation.status in _UNTRAINED:
            self._untrained.append(individual)
        else:
            low, high = self.limits
            self.limits = (min(low, evaluation.fitness), max(high, evaluation.fitness))
        for one in self._untrained if self.limits[1] > WORST else ():
            known = one.evaluation
            if known is not None and known.status in _UNTRAINED and known.fitness < self.limits[1]:
                one.receive(replace(known, fitness=self.limits[1]), one.fold)

    def surrogate(self) -> Surrogate | None:
        """Return the surrogate fitted to all evaluations so far, fitted again after new ones; None while there are too few."""
        count = len(self.observations)
        if count < FEWEST:
            return None
        if self._fitted is None or self._fitted[0] != count:
            self._fitted = count, Surrogate(self.observations, LARGEST, self.prior)
        return self._fitted[1]

    def known(self, fold: int | None) -> set[str]:
        """Return the canonical keys of the schedules whose fitness on a fold is known, or on any fold for None."""
        return {one.schedule.key for one in self.observations if fold is None or one.fold == fold}

    def close_generation(self, survivors: Sequence[Individual], **facts: Any) -> dict[str, Any]:
        """Write a generation's row into the logbook and rank the hall of fame again.

        Args:
            survivors: The population after the generation.
            **facts: Further values of the row.

        Returns:
            The row.
        """
        compiled = self._statistics.compile(survivors)
        values = {name: float(value) for chapter in compiled.values() for name, value in chapter.items()}
        self.logbook.record(**facts, **values)
        # HallOfFame.update alone would not notice that a re-evaluated schedule has become worse; and among equals it drops
        # the earlier ones, so the best and oldest come first
        self.hall.clear()
        self.hall.update(sorted(self._entries.values(), key=_by_score))
        return dict(self.logbook[-1])

    def every(self, estimated: bool) -> list[HallEntry]:
        """Return an entry for each schedule that was trained, the oldest first.

        Args:
            estimated: Whether those are among them that were pruned wherever they were evaluated.
        """
        entries = [*self._entries.values(), *(self._estimated.values() if estimated else ())]
        return sorted(entries, key=lambda entry: entry.number)

    def best(self, surrogate: Predictor | None = None) -> list[HallEntry]:
        """Return the hall of fame, best first; the older of two equals comes first.

        Args:
            surrogate: Ranks all schedules seen by its prediction, pruned ones too: it knows how good they were predicted to be,
                and their scores are no luckier for having been given up. None ranks by the measured fitness.
        """
        if surrogate is None or not self._entries:
            return sorted(self.hall, key=_by_score)
        entries = [*self._entries.values(), *self._estimated.values()]
        guesses = surrogate.predict([entry.schedule for entry in entries])
        ranked = sorted(zip(guesses.tolist(), entries, strict=True), key=lambda pair: (pair[0], pair[1].number))
        return [entry for _, entry in ranked[: self.hall.maxsize]]


def _mean_sd_of_genes(genes: Sequence[Any]) -> float:
    return float(np.mean(np.std(np.stack(genes), axis=0)))
