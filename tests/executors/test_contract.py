"""What every executor promises, whatever it runs trials on: a new one gets all these tests by one line in `EXECUTORS`.

The training runs are the made-up ones of `faulty.py`; that true ones give the same numbers everywhere is tested with each
executor.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import faulty
import pytest
from faulty import answer_to, calls, give, trial
from rays import local_ray

from biotune.config.sections import ExecutorConfig
from biotune.errors import RunFolderError
from biotune.executors import process_pool, registry
from biotune.executors.base import NextTrial, OnResult, Runner
from biotune.executors.in_process import InProcess
from biotune.executors.process_pool import ProcessPool
from biotune.executors.ray_pool import RayPool
from biotune.executors.recorded import Recorded
from biotune.store.journal import Journal
from biotune.trial import Trial, TrialResult

TRIALS = [trial(seed) for seed in range(4)]
WELL = [answer_to(one) for one in TRIALS]


def in_process(folder: Path) -> Runner:
    return InProcess(faulty.build(faulty.setup(folder), "cpu"), folder)


def process_pool_of(workers: int) -> Callable[[Path], Runner]:
    return lambda folder: ProcessPool(faulty.setup(folder), faulty.slots(workers), None)


def ray_of(workers: int) -> Callable[[Path], Runner]:
    def make(folder: Path) -> Runner:
        settings = ExecutorConfig("ray", workers=workers, cpus=0.5)
        return RayPool(faulty.setup(folder), settings, None, actor=faulty.FaultyActor)

    return make


class RecordedInProcess:
    """`Recorded` is told of its listener apart from the trials."""

    def __init__(self, folder: Path) -> None:
        self.recorded = Recorded(in_process(folder), Journal(folder))

    def run(self, trials: Sequence[Trial], on_result: OnResult) -> list[TrialResult]:
        self.recorded.on_result = on_result
        return self.recorded.run(trials)

    def stream(self, next_trial: NextTrial) -> Iterator[tuple[Trial, TrialResult]]:
        return self.recorded.stream(next_trial)

    def close(self) -> None:
        self.recorded.close()


EXECUTORS: dict[str, Callable[[Path], Runner]] = {
    "in_process": in_process,
    "process_pool, one worker": process_pool_of(1),
    "process_pool, two workers": process_pool_of(2),
    "ray, one worker": ray_of(1),
    "ray, two workers": ray_of(2),
    "recorded": RecordedInProcess,
}
# a cluster takes many seconds to start
NAMES = [pytest.param(name, marks=[pytest.mark.slow] if name.startswith("ray") else []) for name in EXECUTORS]


@pytest.fixture(scope="module")
def _cluster() -> Iterator[None]:
    with local_ray():
        yield


def made(name: str, folder: Path, request: pytest.FixtureRequest) -> Play:
    """An executor by its name above."""
    if name.startswith("ray"):
        request.getfixturevalue("_cluster")
    return Play(folder, EXECUTORS[name](folder))


class Play:
    """An executor, and what it has told.

    Attributes:
        folder: Where orders lie and calls are noted.
        executor: The executor.
        told: Trial and result, in the order told.
    """

    def __init__(self, folder: Path, executor: Runner) -> None:
        self.folder, self.executor = folder, executor
        self.told: list[tuple[Trial, TrialResult]] = []

    def run(self, trials: Sequence[Trial], orders: Mapping[int, Sequence[str]] = {}) -> list[TrialResult]:  # noqa: B006
        give(self.folder, orders)
        self.told = []
        return self.executor.run(trials, lambda *both: self.told.append(both))

    def stream(self, trials: Sequence[Trial], orders: Mapping[int, Sequence[str]] = {}) -> list[tuple[Trial, TrialResult]]:  # noqa: B006
        give(self.folder, orders)
        left = iter(trials)
        return list(self.executor.stream(lambda: next(left, None)))


@pytest.fixture(scope="module", params=NAMES)
def _kept(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[], Play]]:
    """Workers take a while to start: one executor of each kind serves all tests that leave it whole."""
    started: list[Play] = []
    folder = tmp_path_factory.mktemp("executor")

    def get() -> Play:
        if not started:
            started.append(made(request.param, folder, request))
        return started[0]

    yield get
    for play in started:
        play.executor.close()


@pytest.fixture(autouse=True)
def _made_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process_pool, "serve", faulty.serve)
    monkeypatch.setattr("biotune.executors.in_process.run_trial", faulty.run_trial)


@pytest.fixture
def play(_kept: Callable[[], Play]) -> Play:
    return _kept()


@pytest.fixture(params=NAMES)
def fresh(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Play]:
    """An executor for this test alone."""
    play = made(request.param, tmp_path, request)
    yield play
    play.executor.close()


def test_every_executor_of_the_registry_is_held_to_the_contract() -> None:
    assert {name.partition(",")[0] for name in EXECUTORS} == {*registry.EXECUTORS, "recorded"}


def test_results_come_in_the_order_of_the_trials_and_each_is_told_once(play: Play) -> None:
    backwards = [trial(seed) for seed in (13, 12, 11, 10)]
    results = play.run(backwards)
    assert results == [answer_to(one) for one in backwards]
    assert sorted(play.told, key=lambda both: -both[0].seed) == list(zip(backwards, results, strict=True))


def test_no_trials_are_no_results(play: Play) -> None:
    assert play.run([]) == []
    assert play.told == []


def test_equal_trials_have_equal_results_in_both_places(play: Play) -> None:
    results = play.run([trial(20), trial(21), trial(20)])
    assert results == [answer_to(trial(20)), answer_to(trial(21)), answer_to(trial(20))]


def test_batches_follow_one_another(play: Play) -> None:
    assert [play.run([trial(seed)]) for seed in (30, 31)] == [[answer_to(trial(seed))] for seed in (30, 31)]


@pytest.mark.parametrize(
    ("seed", "fault", "reason"),
    [
        (40, "raises", "ValueError: first second"),
        (41, "diverges", "DivergedError: the loss became nan in epoch 1"),
        (42, "has no memory", "MemoryError:"),
    ],
)
def test_a_trial_that_fails_again_and_again_is_a_result_and_costs_no_other(
    play: Play, seed: int, fault: str, reason: str
) -> None:
    trials = [trial(seed - 30), trial(seed), trial(seed + 10)]
    results = play.run(trials, {seed: [fault]})
    assert [result.status for result in results] == ["ok", "failed", "ok"]
    assert (results[0], results[2]) == (answer_to(trials[0]), answer_to(trials[2]))
    assert (results[1].curve, results[1].scores) == ((), {})
    assert results[1].error is not None and results[1].error.startswith(reason)
    assert sorted(told.seed for told, _ in play.told) == [one.seed for one in trials]


def test_a_trial_that_fails_once_is_well(play: Play) -> None:
    assert play.run([trial(60), trial(61)], {60: ["raises", "works"]}) == [answer_to(trial(60)), answer_to(trial(61))]
    assert [call["seed"] for call in calls(play.folder)].count(60) == 2


def test_a_run_folder_that_cannot_be_written_ends_the_batch_and_is_no_trials_fault(fresh: Play) -> None:
    with pytest.raises(RunFolderError, match="No space left on device"):
        fresh.run(TRIALS, {1: ["cannot write"]})
    assert 1 not in [told.seed for told, _ in fresh.told]


def test_an_interrupt_ends_the_batch_and_the_executor_can_be_closed(fresh: Play) -> None:
    def interrupt(told: Trial, result: TrialResult) -> None:
        raise KeyboardInterrupt

    give(fresh.folder, {})
    with pytest.raises(KeyboardInterrupt):
        fresh.executor.run(TRIALS, interrupt)
    fresh.executor.close()


def test_closing_twice_or_before_anything_has_run_is_no_error(fresh: Play) -> None:
    fresh.executor.close()
    fresh.executor.close()
    assert multiprocessing.active_children() == []


def test_all_executors_give_the_same_results(play: Play) -> None:
    assert play.run(TRIALS) == WELL


def by_seed(streamed: Sequence[tuple[Trial, TrialResult]]) -> list[tuple[Trial, TrialResult]]:
    return sorted(streamed, key=lambda both: both[0].seed)


def test_a_stream_gives_each_trial_with_its_result(play: Play) -> None:
    trials = [trial(seed) for seed in range(100, 107)]
    assert by_seed(play.stream(trials)) == [(one, answer_to(one)) for one in trials]
    assert play.stream([]) == []


def test_a_stream_draws_only_what_can_begin_and_asks_again_after_a_result(play: Play) -> None:
    """Each trial but the first ones is drawn on the result of another."""
    give(play.folder, {})
    drawn: list[int] = []
    ended: list[int] = []

    def next_trial() -> Trial | None:
        if len(drawn) < 2 or (len(ended) >= 2 and len(drawn) < 6):
            drawn.append(110 + len(drawn))
            return trial(drawn[-1])
        return None

    most_out = 0
    for one, result in play.executor.stream(next_trial):
        most_out = max(most_out, len(drawn) - len(ended))
        assert result == answer_to(one)
        ended.append(one.seed)
    assert sorted(ended) == drawn == list(range(110, 116))
    assert most_out <= 2  # no executor here has more slots


def test_in_a_stream_a_trial_that_fails_is_a_result_and_costs_no_other(play: Play) -> None:
    trials = [trial(seed) for seed in (120, 121, 122)]
    found = by_seed(play.stream(trials, {120: ["raises"], 122: ["raises", "works"]}))
    assert [result.status for _, result in found] == ["failed", "ok", "ok"]
    assert found[0][1].error is not None and found[0][1].error.startswith("ValueError: first second")


def test_a_stream_that_is_left_ends_nothing_but_itself(play: Play) -> None:
    give(play.folder, {})
    seeds = iter(range(130, 140))
    for one, result in play.executor.stream(lambda: trial(next(seeds))):
        assert result == answer_to(one)
        break
    later = [trial(seed) for seed in (141, 142)]
    assert play.run(later) == [answer_to(one) for one in later]
    assert by_seed(play.stream([trial(143)])) == [(trial(143), answer_to(trial(143)))]


def test_a_run_folder_that_cannot_be_written_ends_a_stream(fresh: Play) -> None:
    with pytest.raises(RunFolderError, match="No space left on device"):
        fresh.stream(TRIALS, {1: ["cannot write"]})
