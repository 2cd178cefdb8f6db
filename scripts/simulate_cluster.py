"""Simulate a search on a cluster, by generations and asynchronously: how busy the workers are, and what is found.

The proposals are the library's own, the scores those of a tabulated task, and only the time is simulated: an event at a time,
by durations that depend on what a schedule freezes.
"""

from __future__ import annotations

import argparse
import heapq
import math
import statistics
import time
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from docs_tables import DOCS, write_between_marks
from tabulated_searchers import ONE_SEED, SEARCHERS
from tabulated_task import Simulated, Task, read_task

from biotune.config.search import EvolutionConfig
from biotune.evolution.asynchronous import AsynchronousSearch
from biotune.evolution.generation import Generation
from biotune.evolution.individual import Origin
from biotune.evolution.loop import evolve
from biotune.executors.base import NextTrial
from biotune.fitness.fitness import ScheduleFitness
from biotune.recipes.asynchronous import Driver
from biotune.schedule.schedule import Schedule
from biotune.trial import Evaluation, Status, Trial, TrialResult

TABLES = Path(__file__).parent / "tables"
RATE = 1e-3  # stated in every simulated trial; the tables know one base learning rate
# Trained blocks from the head down, of six, and the duration in parts of full fine-tuning: what comes before the first trained
# block is computed once and shared. Measured on a ResNet-50 (docs/speed.md, single fine-tunes), but for the head alone, a
# fortieth: a thirtieth was measured there, with three epochs.
TRAINED, DURATIONS = (1, 2, 4, 6), (1 / 40, 0.28, 0.93, 1.0)
SCATTER = 0.15  # standard deviation of the logarithm of a duration
STRAGGLERS, SLOWER = 0.02, 5.0  # share of trials on a slow machine, and by how much
DEATHS, RESTART = 0.01, 30.0  # share of attempts that die, and seconds until their worker is back
CANDIDATES = 2500  # children drawn for a batch, at most: the memory of a screen grows with their square
BEGIN, END = "<!-- measured by scripts/simulate_cluster.py -->", "<!-- end of simulated -->"
MATINGS = {"brood": "generations", "asynchronous": "asynchronous"}


@dataclass(frozen=True)
class Setting:
    """The size of a search for a number of workers.

    Attributes:
        workers: Number of workers.
        population: N.
        elites: E; N − E children are as many as workers, so that generations use all of them.
        generations: G.
        seeds: Number of searches.
    """

    workers: int
    population: int
    elites: int
    generations: int
    seeds: int


SETTINGS = (
    Setting(1, 20, 16, 10, 10),
    Setting(8, 24, 16, 12, 16),
    Setting(64, 128, 64, 20, 2),
    Setting(1000, 2000, 1000, 4, 1),
)


@dataclass(frozen=True)
class Outcome:
    """What a simulated search came to.

    Attributes:
        busy: Share of the workers' time that is spent on trials, until the last trial is handed out.
        busy_to_the_end: The same, with the wait for the last results.
        hours: Simulated time.
        quality: True test accuracy of the schedule that it would return.
        trials: Number of trials.
    """

    busy: float
    busy_to_the_end: float
    hours: float
    quality: float
    trials: int


class Cluster:
    """An executor of simulated workers; a single driver proposes, one trial after the other.

    Attributes:
        clock: Simulated seconds so far.
        spans: Beginning and end of each attempt that ended well.
    """

    def __init__(
        self, answers: Any, workers: int, full_seconds: float, driver_seconds: float, rng: np.random.Generator
    ) -> None:
        """Set up for one search.

        Args:
            answers: Has the results of trials, see `Simulated`.
            workers: Number of workers.
            full_seconds: Median duration of full fine-tuning.
            driver_seconds: Time that the driver takes for a proposal; for a batch it takes as long in all.
            rng: Source of durations and deaths.
        """
        self.clock = 0.0
        self.spans: list[tuple[float, float]] = []
        self._answers, self._workers = answers, workers
        self._full, self._driver, self._rng = full_seconds, driver_seconds, rng

    def run(self, trials: Sequence[Trial]) -> list[TrialResult]:
        """Run a batch as the pool does, the longest trials first; the clock goes to the end of the last one."""
        begin = self.clock + self._driver
        free = [begin] * min(self._workers, max(len(trials), 1))
        for trial in sorted(trials, key=lambda trial: trial.schedule.first_trained):
            heapq.heappush(free, self._occupy(trial, heapq.heappop(free)))
        self.clock = max(free) if trials else self.clock
        return list(self._answers.run(trials))

    def stream(self, next_trial: NextTrial) -> Iterator[tuple[Trial, TrialResult]]:
        """Run trials as they are drawn, in the order of simulated time."""
        running: list[tuple[float, int, Trial, TrialResult]] = []
        driver, begun = self.clock, 0
        while True:
            while len(running) < self._workers and (trial := next_trial()) is not None:
                driver = max(driver, self.clock) + self._driver
                (result,) = self._answers.run([trial])
                heapq.heappush(running, (self._occupy(trial, driver), begun, trial, result))
                begun += 1
            if not running:
                return
            end, _, trial, result = heapq.heappop(running)
            self.clock = max(self.clock, end)
            yield trial, result

    def recall(self, trial: Trial) -> TrialResult | None:
        """Nothing is known beforehand."""
        return None

    def close(self) -> None:
        """Nothing to release."""

    def busy(self, until: float) -> float:
        """Share of the workers' time that is spent on attempts that end well, from 0 to a time."""
        return sum(max(0.0, min(end, until) - begin) for begin, end in self.spans) / (self._workers * until)

    def _occupy(self, trial: Trial, begin: float) -> float:
        """When a worker that begins a trial is free again; up to two attempts may die."""
        usual = self._full * share_of_full(trial.schedule)
        for last in (False, False, True):
            seconds = usual * math.exp(self._rng.normal(0.0, SCATTER))
            seconds *= SLOWER if self._rng.random() < STRAGGLERS else 1.0
            if last or self._rng.random() >= DEATHS:
                break
            begin += seconds * self._rng.random() + RESTART
        self.spans.append((begin, begin + seconds))
        return begin + seconds


class Forgetful:
    """The journal of a search that is not resumed."""

    def records(self) -> list[dict[str, Any]]:
        """None."""
        return []

    def append(self, record: dict[str, Any]) -> None:
        """Forget it."""


def share_of_full(schedule: Schedule) -> float:
    """Duration in parts of full fine-tuning, see `DURATIONS`."""
    trained = 6 * (len(schedule.blocks) - schedule.first_trained) / len(schedule.blocks)
    return float(np.interp(trained, TRAINED, DURATIONS))


def settings_for(size: Setting, mating: str) -> EvolutionConfig:
    """The default search in a size, on one split, as the tables know no more."""
    children = size.population - size.elites
    screen = SEARCHERS["default"].settings.screen
    return replace(
        SEARCHERS["default"].settings,
        population_size=size.population,
        elites=size.elites,
        generations=size.generations,
        mating=mating,
        screen=screen if mating == "asynchronous" else max(2, min(screen, CANDIDATES // children)),
    )


def simulate(task: Task, size: Setting, mating: str, given: argparse.Namespace, seed: int) -> Outcome:
    """Search once."""
    settings = settings_for(size, mating)
    answers = Simulated(task, settings.num_folds, np.random.default_rng([seed, 1]))
    durations = np.random.default_rng([seed, 2])
    cluster = Cluster(answers, size.workers, given.full_seconds, given.driver_seconds, durations)
    fitness = ScheduleFitness(cluster, ONE_SEED, 1, RATE, task.name)
    ranked: dict[str, Any] = {"hall_size": 3, "smoothed": True}
    generations: Iterator[Generation]
    if mating == "asynchronous":
        search = AsynchronousSearch(settings, task.blocks, seed, **ranked)
        generations = Driver(search, fitness, cluster, Forgetful()).generations()  # type: ignore[arg-type]
    else:
        generations = evolve(settings, task.blocks, fitness, seed, **ranked)
    *_, last = generations
    handed_out = max(begin for begin, _ in cluster.spans)
    return Outcome(
        cluster.busy(handed_out),
        cluster.busy(cluster.clock),
        cluster.clock / 3600,
        task.quality(last.hall[0].schedule),
        fitness.trainings,
    )


_TASKS: dict[tuple[Path, str], Task] = {}


def simulate_in_worker(path: Path, size: Setting, mating: str, given: argparse.Namespace, seed: int) -> Outcome:
    """A search in a worker process, which fits the task once."""
    if (path, given.model) not in _TASKS:
        _TASKS[path, given.model] = read_task(path, given.model)
    return simulate(_TASKS[path, given.model], size, mating, given, seed)


def seconds_per_proposal(evaluations: int, in_flight: int, proposals: int = 40) -> tuple[float, float]:
    """Median and largest processor time from telling a result until the next proposal is there, with made-up scores.

    Args:
        evaluations: Number of evaluations before.
        in_flight: Number of schedules that are out.
        proposals: Number of proposals that are timed.
    """
    children = max(in_flight, 4)
    generations = -(-(in_flight + proposals) // children)
    settings = settings_for(Setting(in_flight, 2 * children, children, generations, 1), "asynchronous")
    search = AsynchronousSearch(settings, read_blocks(), 0, hall_size=3, smoothed=True)
    rng = np.random.default_rng(0)

    def evaluation(schedule: Schedule) -> Evaluation:
        lack = 0.2 + 0.01 * sum(abs(math.log10(weight)) if weight else 0.5 for weight in schedule.lr_weights)
        return Evaluation(lack + rng.normal(0.0, 0.02), Status.OK, (1 - lack,), 1.0, 1, 1)

    state = search._state  # the evaluations before are put into the history: to walk there would take as many proposals
    for _ in range(evaluations - 2 * children):
        one = state.population.newborn(state.toolbox.genes(), Origin.INITIAL)
        schedule = state.population.schedule_of(one)
        one.receive(evaluation(schedule), 0)
        state.history.remember(schedule, one)
    out = deque(proposal for _ in range(2 * children) if (proposal := search.ask()) is not None)
    for _ in range(2 * children - in_flight):
        search.tell(out[0].number, evaluation(out.popleft().schedule))
    times = []
    for _ in range(proposals):
        begin = time.process_time()
        search.tell(out[0].number, evaluation(out.popleft().schedule))
        if (proposal := search.ask()) is not None:
            out.append(proposal)
        times.append(time.process_time() - begin)
    return statistics.median(times), max(times)


def read_blocks() -> tuple[Any, ...]:
    """The ten blocks of a made-up network."""
    from biotune.schedule.block import Block

    return tuple(Block(f"b{number}", (f"b{number}",)) for number in range(10))


def table(outcomes: dict[tuple[Setting, str], list[Outcome]]) -> list[str]:
    """A row for each number of workers and kind of search."""
    lines = [
        "| workers | search | trials | searches | busy | busy to the end | hours | true test macro accuracy |",
        "|---:|---|---:|---:|---:|---:|---:|---|",
    ]
    for (size, mating), own in outcomes.items():
        mean = {name: statistics.fmean(getattr(one, name) for one in own) for name in vars(own[0])}
        lines.append(
            f"| {size.workers:,} | {MATINGS[mating]} | {mean['trials']:,.0f} | {len(own)} | {mean['busy']:.1%} | "
            f"{mean['busy_to_the_end']:.1%} | {mean['hours']:.2f} | {mean_and_error([one.quality for one in own])} |"
        )
    return lines


def mean_and_error(values: Sequence[float]) -> str:
    """Mean and standard error; of one value only itself."""
    if len(values) == 1:
        return f"{values[0]:.4f}"
    return f"{statistics.fmean(values):.4f} ± {statistics.stdev(values) / math.sqrt(len(values)):.4f}"


def main() -> None:
    """Simulate, and print or write the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--task", default="noise", help="name of a table in scripts/tables")
    parser.add_argument("--model", default="gp", choices=("gp", "trees"), help="what the table is smoothed by")
    parser.add_argument(
        "--workers", type=int, nargs="+", default=[size.workers for size in SETTINGS], help="numbers of workers"
    )
    parser.add_argument("--seeds", type=int, help="searches for each row, instead of the usual numbers")
    parser.add_argument("--full-seconds", type=float, default=600.0, help="median duration of full fine-tuning")
    parser.add_argument("--driver-seconds", type=float, default=0.1, help="what a proposal takes")
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--proposals", action="store_true", help="measure what a proposal takes, too")
    parser.add_argument("--docs", action="store_true", help="write the tables into docs/evidence/cluster.md")
    given = parser.parse_args()
    path = next(TABLES.glob(f"{given.task}.csv*"))
    sizes = [replace(size, seeds=given.seeds or size.seeds) for size in SETTINGS if size.workers in given.workers]
    with ProcessPoolExecutor(given.processes) as pool:
        futures = {
            (size, mating): [pool.submit(simulate_in_worker, path, size, mating, given, seed) for seed in range(size.seeds)]
            for size in sizes
            for mating in MATINGS
        }
        outcomes = {key: [future.result() for future in own] for key, own in futures.items()}
    lines = table(outcomes)
    if given.proposals:
        lines += [
            "",
            "| evaluations | in flight | processor time of a proposal, median | largest of 40 |",
            "|---:|---:|---:|---:|",
        ]
        for evaluations in (100, 1_000, 10_000):
            for in_flight in (8, 64, 1_000):
                if in_flight < evaluations:
                    median, largest = seconds_per_proposal(evaluations, in_flight)
                    lines.append(f"| {evaluations:,} | {in_flight:,} | {median:.3f} s | {largest:.2f} s |")
    print("\n".join(lines))
    if given.docs:
        write_between_marks(DOCS / "evidence" / "cluster.md", "\n".join(lines), BEGIN, END)


if __name__ == "__main__":
    main()
