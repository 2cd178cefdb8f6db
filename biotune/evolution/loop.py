"""The generation loop (BioTune, section 2): hands out schedules, takes back evaluations, yields generations.

The caller owns the pace: `for generation in evolve(...)` may stop, write and show whatever it likes in between.
"""

from __future__ import annotations

import copy
import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from deap import base

from biotune.config.schema import EvolutionConfig
from biotune.evolution.decoding import constrain, express
from biotune.evolution.history import HallEntry, History, OverFolds
from biotune.evolution.individual import Genes, Individual, by_fitness
from biotune.evolution.operators import ORDERS
from biotune.evolution.searchers import SEARCHERS, Searcher
from biotune.evolution.surrogate import FEWEST, Observation, Surrogate, most_promising
from biotune.evolution.toolbox import Bred, breed, build_toolbox
from biotune.evolution.warm_start import warm_starts
from biotune.schedule.block import Block
from biotune.schedule.schedule import TOGETHER, Schedule
from biotune.trial import Evaluation

Evaluate = Callable[[Sequence[Schedule], int], list[Evaluation]]
_FEWEST_IN_POOL = 3  # two parents and a prototype; with fewer left, newcomers are random


@dataclass(frozen=True)
class Candidate:
    """One candidate considered in a generation, as it stood there.

    Attributes:
        individual: Serial number of the genotype.
        origin: initial, elite, probe, child or newcomer.
        genes: Importances in forward order, threshold last.
        schedule: What they decode to.
        evaluation: Its fitness and cost; an elite that was not evaluated anew shows its last one at no cost.
        fold: The fold the fitness was measured on.
        kept: Whether it is in the population after this generation.
    """

    individual: int
    origin: str
    genes: tuple[float, ...]
    schedule: Schedule
    evaluation: Evaluation
    fold: int
    kept: bool


@dataclass(frozen=True)
class Generation:
    """One finished generation.

    Attributes:
        number: 0 for the initial one.
        fold: The fold it worked on.
        candidates: All candidates considered: elites, their probes, then the others.
        record: The logbook's line: statistics of the survivors and counts.
        hall: The best distinct schedules seen so far, best first.
        observations: Every evaluation of a trained candidate so far, for a regression.
        survivors: State of the population: number, extinction factor and momentum of each, best first.
        random_state: State of the generator after this generation.
    """

    number: int
    fold: int
    candidates: list[Candidate]
    record: dict[str, Any]
    hall: list[HallEntry]
    observations: list[Observation]
    survivors: list[dict[str, Any]]
    random_state: dict[str, Any]


def most_candidates(settings: EvolutionConfig) -> int:
    """The most evaluations of a generation after the initial one: 2E + N − E, plus E where the fold changes."""
    n, e = settings.population_size, settings.elites
    probes = 2 * e if settings.exploitation else 0
    again = e if settings.reevaluate_elites and settings.folds > 1 else 0
    return probes + n - e + again


def most_evaluations(settings: EvolutionConfig) -> int:
    """The most evaluations of a search: N + G (2E + N − E), plus E a generation where the fold changes."""
    return settings.population_size + settings.generations * most_candidates(settings)


def evolve(
    settings: EvolutionConfig,
    blocks: Sequence[Block],
    evaluate: Evaluate,
    seed: int,
    hall_size: int = 10,
    over_folds: OverFolds = statistics.fmean,
    smoothed: bool = False,
) -> Iterator[Generation]:
    """Run the search, yielding generation 0 to G.

    Args:
        settings: Sizes and switches.
        blocks: The network's blocks in forward order.
        evaluate: Called with a whole batch of schedules and the fold; answers in order.
        seed: Seed of the search's own numpy Generator.
        hall_size: Distinct schedules to remember, at least 1.
        over_folds: How the fitness values of one schedule on several folds become the one it is ranked by; the
            published procedure takes the luckiest (`min`).
        smoothed: Rank the hall of fame by a regression over all evaluations instead.
    """
    history = History(hall_size, over_folds)
    search = _Search(settings, tuple(blocks), evaluate, np.random.default_rng(seed), history, smoothed)
    yield search.initial()
    for number in range(1, settings.generations + 1):
        yield search.step(number)


class _Search:
    """The state of one search between two generations."""

    def __init__(
        self,
        settings: EvolutionConfig,
        blocks: tuple[Block, ...],
        evaluate: Evaluate,
        rng: np.random.Generator,
        history: History,
        smoothed: bool,
    ) -> None:
        self._settings = settings
        self._blocks = blocks
        self._evaluate = evaluate
        self._rng = rng
        self._toolbox: base.Toolbox = build_toolbox(settings, rng, len(blocks) + 1)
        searcher = SEARCHERS.get(settings.algorithm)
        self._searcher = None if searcher is None else searcher(rng, len(blocks) + 1)
        self._history = history
        self._smoothed = smoothed
        self._observations: list[Observation] = []
        self._fitted: tuple[int, Surrogate] | None = None
        self._population: list[Individual] = []
        self._fold = 0
        self._born_so_far = 0
        self._latest: list[Individual] = []
        self._considered: list[Individual] = []
        self._evaluated: list[Evaluation] = []

    def initial(self) -> Generation:
        """Generation 0: warm_starts where the search is seeded, random genes else."""
        size = self._settings.population_size
        first = warm_starts(len(self._blocks))[: size - 2] if self._settings.seeded else []
        genes = [*first, *(self._toolbox.genes() for _ in range(size - len(first)))]
        # by turns, so that as many begin with the one order as with the other
        individuals = [self._newborn(own, "initial", ORDERS[place % len(ORDERS)]) for place, own in enumerate(genes)]
        self._latest = individuals
        self._measure(individuals)
        return self._close(0, individuals)

    def step(self, number: int) -> Generation:
        """A later generation: probes beside the elites, then children, or what another searcher proposes."""
        fold_before, self._fold = self._fold, number % self._settings.folds
        self._considered, self._evaluated = [], []
        elites = self._population[: self._settings.elites]
        again = self._exploit(elites, fold_changed=self._fold != fold_before)
        if self._searcher is not None:
            places = len(self._population) - len(elites)
            return self._close(number, elites + self._propose(self._searcher, places, again))
        mate = self._mate_brood if self._settings.mating == "brood" else self._mate_sequentially
        children = mate(len(self._population) - len(elites))
        return self._close(number, elites + children)

    def _exploit(self, elites: list[Individual], fold_changed: bool) -> int:
        """Step 1: probe each elite along one selected block, in one batch with the elites' re-evaluation; how many of these."""
        again = elites if fold_changed and self._settings.reevaluate_elites else []
        probes: list[tuple[Individual, list[Individual]]] = []
        for elite in elites:
            pair: list[Individual] = []
            if self._searcher is None and self._settings.exploitation and not self._decode(elite).is_empty:
                pair = [self._newborn(genes, "probe", elite.unfreezing) for genes in self._toolbox.probe(elite.genes)]
            probes.append((elite, pair))
        carried = [elite for elite in elites if elite not in again]
        for elite in elites:
            elite.origin = "elite"
        for elite in carried:
            elite.evaluation = _at_no_cost(elite.evaluation)
        self._measure([*again, *(probe for _, pair in probes for probe in pair)])
        self._considered = [_snapshot(elite) for elite in elites] + [probe for _, pair in probes for probe in pair]
        for elite, pair in probes:
            better = min(pair, key=by_fitness, default=elite)
            if better.score < elite.score:
                elite.genes, elite.number = better.genes, better.number
                elite.fold, elite.evaluation = better.fold, better.evaluation
                elite.fitness.values = better.fitness.values
        return len(again)

    def _propose(self, searcher: Searcher, places: int, spent: int) -> list[Individual]:
        """Another searcher's generation, at the cost of BioTune's; the best of it survive."""
        genes = searcher.propose(self._population, self._latest, most_candidates(self._settings) - spent)
        self._latest = [self._newborn(own, "child") for own in genes]
        self._measure(self._latest)
        self._considered += self._latest
        return sorted(self._latest, key=by_fitness)[:places]

    def _mate_brood(self, count: int) -> list[Individual]:
        """Steps 2 and 3: all children drawn, then evaluated in one batch."""
        ranks = range(len(self._population))
        surrogate = self._surrogate() if self._settings.screen > 1 else None
        if surrogate is None:
            children = [self._child(*self._toolbox.select(ranks)) for _ in range(count)]
        else:
            drawn = [self._bred(*self._toolbox.select(ranks)) for _ in range(count * self._settings.screen)]
            schedules = [self._express(constrain(self._settings, one.genes), one.unfreezing) for one in drawn]
            known = {one.schedule.key for one in self._observations if one.fold == self._fold}
            chosen = most_promising(surrogate, schedules, known, count)
            children = [self._born(drawn[position]) for position in chosen]
        self._measure(children)
        self._considered += children
        return children

    def _mate_sequentially(self, count: int) -> list[Individual]:
        """The published loop: a parent strictly worse than its child leaves the mating pool."""
        pool = list(range(len(self._population)))
        children: list[Individual] = []
        for _ in range(count):
            if len(pool) < _FEWEST_IN_POOL:
                child = self._newborn(self._toolbox.genes(), "newcomer", ORDERS[self._born_so_far % len(ORDERS)])
                parents: tuple[int, ...] = ()
            else:
                first, second, prototype = self._toolbox.select(pool)
                child = self._child(first, second, prototype)
                parents = (first, second)
            self._measure([child])
            pool = [rank for rank in pool if rank not in parents or self._population[rank].score <= child.score]
            children.append(child)
        self._considered += children
        return children

    def _child(self, first: int, second: int, prototype: int) -> Individual:
        return self._born(self._bred(first, second, prototype))

    def _bred(self, first: int, second: int, prototype: int) -> Bred:
        return breed(self._toolbox, self._population[first], self._population[second], self._population[prototype])

    def _born(self, bred: Bred) -> Individual:
        child = self._newborn(bred.genes, "child", bred.unfreezing)
        child.momentum = bred.momentum
        return child

    def _newborn(self, genes: Genes, origin: str, unfreezing: str = TOGETHER) -> Individual:
        self._born_so_far += 1
        own = constrain(self._settings, genes)
        return Individual(own, np.zeros_like(genes), self._born_so_far - 1, origin, unfreezing=unfreezing)

    def _decode(self, individual: Individual) -> Schedule:
        return self._express(individual.genes, individual.unfreezing)

    def _express(self, genes: Genes, unfreezing: str) -> Schedule:
        return express(self._settings, genes, self._blocks, unfreezing)

    def _surrogate(self) -> Surrogate | None:
        """The regression over all evaluations so far, fitted once between two of them."""
        count = len(self._observations)
        if count >= FEWEST and (self._fitted is None or self._fitted[0] != count):
            self._fitted = count, Surrogate(self._observations)
        return None if self._fitted is None else self._fitted[1]

    def _measure(self, individuals: Sequence[Individual]) -> None:
        if not individuals:
            return
        evaluations = self._evaluate([self._decode(individual) for individual in individuals], self._fold)
        for individual, evaluation in zip(individuals, evaluations, strict=True):
            individual.receive(evaluation, self._fold)
            schedule = self._decode(individual)
            self._history.remember(schedule, individual)
            if evaluation.scores and evaluation.status != "failed":
                self._observations.append(Observation(schedule, self._fold, evaluation.fitness))
        self._evaluated += evaluations

    def _close(self, number: int, survivors: list[Individual]) -> Generation:
        """Step 4: survival, sorting and extinction factors."""
        self._considered = self._considered or survivors
        self._population = sorted(survivors, key=by_fitness)
        if number > 0 or self._settings.mutate_first_brood:
            factors = self._toolbox.rank([individual.score for individual in self._population])
            for individual, factor in zip(self._population, factors, strict=True):
                individual.extinction = factor
        statuses = [evaluation.status for evaluation in self._evaluated]
        record = self._history.close_generation(
            self._population,
            generation=number,
            fold=self._fold,
            evaluations=len(statuses),
            trainings=sum(evaluation.trainings for evaluation in self._evaluated),
            cache_hits=statuses.count("cached"),
            saved=sum(len(evaluation.scores) - evaluation.trainings for evaluation in self._evaluated if evaluation.scores),
            pruned=statuses.count("pruned"),
            failures=statuses.count("failed"),
            seconds=sum(evaluation.seconds for evaluation in self._evaluated),
        )
        kept = {individual.number for individual in self._population}
        return Generation(
            number,
            self._fold,
            [self._as_candidate(individual, individual.number in kept) for individual in self._considered],
            record,
            self._history.best(self._surrogate() if self._smoothed else None),
            list(self._observations),
            [_state(individual) for individual in self._population],
            dict(self._rng.bit_generator.state),
        )

    def _as_candidate(self, individual: Individual, kept: bool) -> Candidate:
        evaluation = individual.evaluation or Evaluation(float("nan"), "failed")
        genes = tuple(individual.genes.tolist())
        schedule = self._decode(individual)
        return Candidate(individual.number, individual.origin, genes, schedule, evaluation, individual.fold, kept)


def _at_no_cost(evaluation: Evaluation | None) -> Evaluation | None:
    """What an elite carries over: the same scores, answered from memory."""
    if evaluation is None:
        return None
    status = "cached" if evaluation.status == "ok" else evaluation.status
    return Evaluation(evaluation.fitness, status, evaluation.scores, error=evaluation.error)


def _snapshot(individual: Individual) -> Individual:
    """The individual as it stands, before a probe may replace its genes."""
    return replace(individual, fitness=copy.deepcopy(individual.fitness))


def _state(individual: Individual) -> dict[str, Any]:
    return {
        "individual": individual.number,
        "fitness": individual.score,
        "extinction": individual.extinction,
        "momentum": individual.momentum.tolist(),
    }
