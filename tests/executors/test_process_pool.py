"""Trials side by side: the same numbers as in one process, and what becomes of trials and workers when something goes wrong.

The numbers are tested with real trainings, the supervision with the made-up ones of `faulty.py`.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import faulty
import numpy as np
import pytest
from faulty import alive, answer_to, calls, give, trial, wait_until
from sites import Site, children, outcome_of, site_maker

from biotune.errors import RunFolderError, WorkerError
from biotune.executors import process_pool, supervisor
from biotune.executors.process_pool import ProcessPool
from biotune.executors.slots import Slot
from biotune.trial import Trial, TrialResult

TIMEOUT = 1.5
Told = list[tuple[Trial, TrialResult]]


def ignore(_: Trial, __: TrialResult) -> None:
    pass


# --- the same numbers ---------------------------------------------------------------------------------------------------


@pytest.fixture
def make_site(load_digits: Callable[..., Any], tmp_path: Path) -> Callable[..., Site]:
    return site_maker(load_digits, tmp_path)


@pytest.mark.slow
def test_one_worker_three_workers_and_one_process_give_the_same_numbers_to_the_bit(make_site: Callable[..., Site]) -> None:
    here = outcome_of(make_site("in_process"), 0)
    assert [row[0] for row in here["rows"]] == ["ok", "ok", "ok", "failed", "ok", "ok", "ok", "pruned", "ok", "ok"]
    assert [len(row[1]) for row in here["rows"]] == [2, 2, 2, 0, 2, 1, 1, 1, 1, 1]
    assert "TrialError: the loss became" in here["rows"][3][3]
    assert [bool(row[2]) for row in here["rows"]] == [False, False, False, False, True, False, True, *[False] * 3]
    assert set(here["kept"]) == {f".kept-{name}.{kind}" for name in ("prefix", "head") for kind in ("safetensors", "csv")}
    assert here["shared"] == ["boundary-3.bin", "boundary-5.bin"], "of what these schedules have frozen at the beginning"
    assert outcome_of(make_site("process_pool", workers=1), 1) == here
    assert outcome_of(make_site("process_pool", workers=3), 3) == here


DIES_ONCE = """
import os
from pathlib import Path

from biotune.executors import worker

real = worker.run_trial


def mortal(trial, workspace, folder):
    result = real(trial, workspace, folder)
    for name, end in (("status", lambda: os._exit(3)), ("signal", lambda: os.kill(os.getpid(), 9))):
        if trial.keep == "prefix" and not (folder / name).exists():
            (folder / name).touch()
            end()
    return result


worker.run_trial = mortal
"""


@pytest.mark.slow
def test_workers_that_die_on_the_way_change_no_number(
    make_site: Callable[..., Site], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "dies_once.py").write_text(DIES_ONCE, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    site = make_site("process_pool", ["dies_once"], workers=2)
    assert outcome_of(site, 2) == outcome_of(make_site("in_process"), 0)
    assert (site.setup.folder / "status").exists() and (site.setup.folder / "signal").exists()


# --- supervision --------------------------------------------------------------------------------------------------------


class Stage:
    """A pool of made-up trainings.

    Attributes:
        folder: The run's folder.
        pool: The pool.
        told: Of every result since the last `play`.
    """

    def __init__(self, folder: Path, workers: int, timeout: float | None = None, plugins: Sequence[str] = ()) -> None:
        self.folder = folder
        self.pool = ProcessPool(faulty.setup(folder, plugins), faulty.slots(workers), timeout)
        self.told: Told = []

    def play(self, orders: Mapping[int, Sequence[str]], trials: Sequence[Trial] | None = None) -> list[TrialResult]:
        """Run four trials, seeds 0 to 3, or others, of which some go wrong."""
        give(self.folder, orders)
        self.told = []
        return self.pool.run(TRIALS if trials is None else trials, lambda *both: self.told.append(both))

    def pids(self, seed: int) -> list[int]:
        """The processes in which a trial was started, in order."""
        return [call["pid"] for call in calls(self.folder) if call["seed"] == seed]

    def all_pids(self) -> set[int]:
        return {call["pid"] for call in calls(self.folder)}


TRIALS = [trial(seed) for seed in range(4)]
WELL = [answer_to(trial) for trial in TRIALS]


@pytest.fixture
def made_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """New workers are made-up ones while a test runs."""
    monkeypatch.setattr(process_pool, "serve", faulty.serve)


@pytest.fixture(scope="module")
def _kept_stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    stage = Stage(tmp_path_factory.mktemp("stage"), 2, TIMEOUT)
    yield stage
    stage.pool.close()


@pytest.fixture
def stage(_kept_stage: Stage, made_up: None) -> Stage:
    """Two workers, which all tests share: whatever one test does to them, the next must find a pool that works."""
    return _kept_stage


@pytest.fixture
def make_stage(made_up: None, tmp_path: Path) -> Iterator[Callable[..., Stage]]:
    """Makes a stage with workers of its own."""
    stages: list[Stage] = []

    def make(workers: int, timeout: float | None = None, plugins: Sequence[str] = ()) -> Stage:
        folder = tmp_path / f"stage-{len(stages)}"
        folder.mkdir()
        stages.append(Stage(folder, workers, timeout, plugins))
        return stages[-1]

    yield make
    for stage in stages:
        stage.pool.close()


def check_all_but_one(stage: Stage, results: Sequence[TrialResult], one: int) -> TrialResult:
    """All other trials are well, and everyone's end is told once; returns the odd one's result."""
    assert [result for seed, result in enumerate(results) if seed != one] == WELL[:one] + WELL[one + 1 :]
    assert sorted(stage.told, key=lambda both: both[0].seed) == list(zip(TRIALS, results, strict=True))
    return results[one]


def failed(reason: str) -> TrialResult:
    return TrialResult("failed", (), 0.0, error=reason)


def test_results_come_in_the_order_of_the_trials_and_are_told_in_the_order_of_their_ends(stage: Stage) -> None:
    one_is_late = [trial(0), *(trial(seed) for seed in range(10, 30))]
    results = stage.play({0: ["sleeps", "works"]}, one_is_late)
    assert results == [answer_to(trial) for trial in one_is_late]
    assert [told.seed for told, _ in stage.told][-1] == 0, "it hung at first, while the other worker did all others"
    assert sorted(told.seed for told, _ in stage.told) == [0, *range(10, 30)]


def test_what_computes_most_is_begun_first(make_stage: Callable[..., Stage]) -> None:
    stage = make_stage(1)
    trials = [trial(0), trial(1, first_trained=0), trial(2), trial(3, first_trained=0)]
    assert stage.play({}, trials) == [answer_to(trial) for trial in trials]
    assert [call["seed"] for call in calls(stage.folder)] == [1, 3, 0, 2]


@pytest.mark.parametrize(
    ("fault", "reason"),
    [("raises", "ValueError: first second"), ("diverges", "DivergedError: the loss became nan in epoch 1")],
)
def test_a_trial_that_fails_twice_is_a_failed_result_with_its_reason_and_costs_no_worker(
    fault: str, reason: str, stage: Stage
) -> None:
    stage.play({})
    before = stage.all_pids()
    assert check_all_but_one(stage, stage.play({1: [fault]}), 1) == failed(reason)
    assert len(stage.pids(1)) == 2
    assert stage.all_pids() <= before


def test_a_trial_that_fails_only_once_is_well(stage: Stage) -> None:
    assert stage.play({1: ["raises", "works"], 3: ["diverges", "works"]}) == WELL
    assert len(stage.told) == 4
    assert (len(stage.pids(1)), len(stage.pids(3))) == (2, 2)


@pytest.mark.parametrize(
    ("fault", "reason"),
    [("has no memory", "MemoryError:"), ("breaks the GPU", "RuntimeError: CUDA error: device-side assert triggered")],
)
def test_a_failure_that_spoils_its_process_is_tried_again_in_a_new_one(fault: str, reason: str, stage: Stage) -> None:
    assert check_all_but_one(stage, stage.play({2: [fault]}), 2) == failed(reason)
    first, second = stage.pids(2)
    assert first != second
    assert wait_until(lambda: not alive(first) and not alive(second))
    assert stage.play({2: [fault, "works"]}) == WELL


@pytest.mark.parametrize(
    ("fault", "how"),
    [
        ("exits", "exited with status 3"),
        ("is killed", "was killed by SIGKILL"),
        ("crashes", "was killed by SIGSEGV"),
        ("leaves", "exited with status 4"),
    ],
)
def test_a_trial_of_which_three_workers_die_is_a_failed_result_that_names_how(fault: str, how: str, stage: Stage) -> None:
    assert check_all_but_one(stage, stage.play({1: [fault]}), 1) == failed(f"its worker {how}, 3 times")
    assert len(set(stage.pids(1))) == 3


@pytest.fixture
def little_memory(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A control group of 64 MB, which new workers may join."""
    root = Path("/sys/fs/cgroup")
    old = (root / "memory").is_dir()  # the first version of control groups
    group = root / ("memory" if old else "") / f"biotune-tests-{os.getpid()}"
    try:
        group.mkdir()
        (group / ("memory.limit_in_bytes" if old else "memory.max")).write_text(str(64 << 20), encoding="ascii")
    except OSError as error:
        if group.is_dir():
            group.rmdir()
        pytest.skip(f"no control group for memory can be made here: {error}")
    monkeypatch.setenv(faulty.MEMORY_GROUP, str(group))
    yield
    assert faulty.wait_until(lambda: not (group / "cgroup.procs").read_text())
    group.rmdir()


def test_a_trial_that_allocates_until_it_is_killed_is_a_failed_result(
    little_memory: None, make_stage: Callable[..., Stage]
) -> None:
    stage = make_stage(2)
    assert stage.play({1: ["fills the memory", "works"]}) == WELL
    assert check_all_but_one(stage, stage.play({1: ["fills the memory"]}), 1) == failed(
        "its worker was killed by SIGKILL, 3 times"
    )


def test_a_trial_is_well_if_the_third_worker_lives(stage: Stage) -> None:
    assert stage.play({1: ["exits", "is killed", "works"]}) == WELL
    assert len(set(stage.pids(1))) == 3


def test_deaths_are_the_machines_and_do_not_count_as_failures(stage: Stage) -> None:
    assert stage.play({1: ["exits", "raises", "exits", "works"]}) == WELL
    assert len(stage.told) == 4
    assert stage.play({1: ["exits", "raises", "exits", "raises"]})[1] == failed("ValueError: first second")
    assert len(stage.told) == 4


def test_a_trial_that_hangs_twice_is_a_failed_result_that_names_the_key(stage: Stage) -> None:
    result = check_all_but_one(stage, stage.play({1: ["sleeps"]}), 1)
    assert result == failed("it took longer than executor.trial_timeout=1.5 seconds")
    first, second = stage.pids(1)
    assert not alive(first) and not alive(second)


@pytest.mark.parametrize("fault", ["sleeps", "spins", "stands still"])
def test_a_trial_that_hangs_once_is_well_in_a_new_process(fault: str, stage: Stage) -> None:
    started = time.monotonic()
    assert stage.play({1: [fault, "works"]}) == WELL
    assert time.monotonic() - started > TIMEOUT
    first, second = stage.pids(1)
    assert first != second and not alive(first)


def test_a_very_long_timeout_is_a_timeout_like_any_other(make_stage: Callable[..., Stage]) -> None:
    stage = make_stage(1, 1e9)
    assert stage.play({}, [trial(0)]) == [answer_to(trial(0))]


def test_without_a_timeout_a_long_trial_is_waited_for(make_stage: Callable[..., Stage], tmp_path: Path) -> None:
    stage = make_stage(1)
    assert stage.play({0: ["naps"]}, [trial(0)]) == [answer_to(trial(0))]
    assert len(stage.pids(0)) == 1


def test_all_at_once_harm_only_themselves(stage: Stage) -> None:
    wrong = {
        0: ["exits"],
        2: ["raises", "works"],
        3: ["sleeps", "raises"],
        5: ["breaks the GPU", "exits", "works"],
        6: ["is killed", "works"],
        8: ["has no memory", "raises"],
    }
    trials = [trial(seed) for seed in range(10)]
    results = stage.play(wrong, trials)
    expected = [answer_to(trial) for trial in trials]
    expected[0] = failed("its worker exited with status 3, 3 times")
    expected[3] = expected[8] = failed("ValueError: first second")
    assert results == expected
    assert sorted(told.seed for told, _ in stage.told) == list(range(10))


def test_a_stream_survives_all_at_once_too(stage: Stage) -> None:
    give(stage.folder, {0: ["exits"], 2: ["raises", "works"], 3: ["sleeps", "raises"], 6: ["is killed", "works"]})
    left = iter([trial(seed) for seed in range(8)])
    found = dict(stage.pool.stream(lambda: next(left, None)))
    expected = {trial(seed): answer_to(trial(seed)) for seed in range(8)}
    expected[trial(0)] = failed("its worker exited with status 3, 3 times")
    expected[trial(3)] = failed("ValueError: first second")
    assert found == expected


def test_in_a_stream_a_late_trial_keeps_no_worker_waiting(make_stage: Callable[..., Stage]) -> None:
    stage = make_stage(2)
    give(stage.folder, {0: ["naps"]})
    drawn: list[int] = []

    def next_trial() -> Trial | None:
        if len(drawn) == 6:
            return None
        drawn.append(len(drawn))
        return trial(drawn[-1])

    ended = []
    for one, _ in stage.pool.stream(next_trial):
        ended.append(one.seed)
        assert len(drawn) - len(ended) <= 2, "no trial is drawn before a worker is free for it"
    assert ended[-1] == 0 and sorted(ended) == drawn == [0, 1, 2, 3, 4, 5]


def test_workers_of_a_stream_that_was_left_are_not_waited_for(stage: Stage) -> None:
    give(stage.folder, {0: ["sleeps"]})
    seeds = iter([0, 11])
    assert next(iter(stage.pool.stream(lambda: trial(next(seeds))))) == (trial(11), answer_to(trial(11)))
    assert stage.play({}) == WELL


def test_an_answer_counts_though_its_worker_dies_right_after_it(
    make_stage: Callable[..., Stage], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process_pool, "serve", faulty.serve_one_and_die)
    stage = make_stage(1)
    assert stage.play({}) == WELL
    assert len(stage.told) == 4


def test_a_worker_that_dies_while_idle_is_replaced(stage: Stage) -> None:
    stage.play({})
    before = {child.pid for child in multiprocessing.active_children()}
    for pid in before:
        os.kill(pid, signal.SIGKILL)
    assert wait_until(lambda: not any(alive(pid) for pid in before))
    assert stage.play({}) == WELL
    assert not stage.all_pids() & before


def test_a_folder_that_cannot_be_written_is_an_error_of_the_folder(stage: Stage) -> None:
    with pytest.raises(RunFolderError) as raised:
        stage.play({1: ["cannot write"]})
    assert str(raised.value) == "runs/7: cannot be written (No space left on device)."
    assert len(stage.pids(1)) == 1
    assert stage.play({}) == WELL


def test_what_is_printed_lands_in_the_log_and_not_here(
    make_stage: Callable[..., Stage], capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PYTHONUNBUFFERED", raising=False)  # which would hide that a killed worker flushes nothing
    stage = make_stage(1)
    stage.play({2: ["speaks"]})
    log = (stage.folder / "run.log").read_text(encoding="utf-8")
    for words in ("a word on stdout", "a word on stderr", "a word of native code"):
        assert words in log
    assert capfd.readouterr() == ("", "")


def test_a_crash_in_native_code_leaves_its_last_words_in_the_log(make_stage: Callable[..., Stage]) -> None:
    stage = make_stage(1)
    assert stage.play({0: ["crashes", "works"]}, [trial(0)]) == [answer_to(trial(0))]
    log = (stage.folder / "run.log").read_text(encoding="utf-8")
    assert "Segmentation fault" in log and "faulty.py" in log


def test_an_interrupt_from_the_terminal_is_not_for_the_workers(stage: Stage) -> None:
    stage.play({})
    before = {child.pid for child in multiprocessing.active_children()}
    for pid in before:
        os.kill(pid, signal.SIGINT)
    assert stage.play({}) == WELL
    assert stage.all_pids() <= before


def test_workers_are_kept_from_batch_to_batch(make_stage: Callable[..., Stage]) -> None:
    stage = make_stage(2)
    seen: set[int] = set()
    for _ in range(3):
        assert stage.play({}) == WELL
        seen |= stage.all_pids()
    assert seen == {child.pid for child in multiprocessing.active_children()} & seen
    assert len(seen) <= 2


def test_no_trials_start_no_worker(make_stage: Callable[..., Stage]) -> None:
    before = children()
    stage = make_stage(2)
    assert stage.play({}, []) == []
    assert stage.told == []
    assert children() == before


def test_no_more_workers_are_started_than_there_are_trials(make_stage: Callable[..., Stage]) -> None:
    before = children()
    stage = make_stage(5)
    assert stage.play({}, TRIALS[:1]) == WELL[:1]
    assert children() - before == 1
    assert stage.play({}, TRIALS[:2]) == WELL[:2]
    assert children() - before == 2


def test_each_worker_has_its_slots_environment_before_torch_is_imported(made_up: None, tmp_path: Path) -> None:
    slots = [Slot("cuda:0", {"OMP_NUM_THREADS": "3", "CUDA_VISIBLE_DEVICES": name}) for name in ("7", "GPU-ab")]
    pool = ProcessPool(faulty.setup(tmp_path), slots, TIMEOUT)
    # the worker that hangs first keeps the other one from doing both
    give(tmp_path, {0: ["sleeps", "works"], 1: ["sleeps", "works"]})
    try:
        pool.run([trial(0), trial(1)], ignore)
    finally:
        pool.close()
    found = calls(tmp_path)
    assert {call["gpus"] for call in found} == {"7", "GPU-ab"}
    assert {call["threads"] for call in found} == {"3"}
    assert {call["device"] for call in found} == {"cuda:0"}
    assert not any(call["torch came first"] for call in found)


# --- set-up -------------------------------------------------------------------------------------------------------------


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], list[str]]:
    """Writes a plugin, found in the folder one stands in, and returns the value of `plugins`."""
    monkeypatch.chdir(tmp_path)

    def write(text: str) -> list[str]:
        (tmp_path / "my_birds.py").write_text(text, encoding="utf-8")
        return ["my_birds"]

    return write


def test_a_plugin_that_cannot_be_imported_is_told_in_one_line(
    make_stage: Callable[..., Stage], plugin: Callable[[str], list[str]]
) -> None:
    stage = make_stage(2, None, plugin("raise ValueError('no birds\\n  today')"))
    with pytest.raises(WorkerError) as raised:
        stage.play({})
    assert "plugins=my_birds" in str(raised.value)
    assert "ValueError: no birds today" in str(raised.value)
    assert "\n" not in str(raised.value)
    assert stage.told == []


@pytest.mark.parametrize(
    ("text", "how"),
    [
        ("import os; os._exit(5)", "exited with status 5"),
        ("import os; os.kill(os.getpid(), 9)", "was killed by SIGKILL"),
        ("raise SystemExit(6)", "exited with status 6"),
    ],
)
def test_workers_that_die_at_their_set_up_are_not_started_for_ever(
    text: str, how: str, make_stage: Callable[..., Stage], plugin: Callable[[str], list[str]]
) -> None:
    stage = make_stage(2, None, plugin(text))
    with pytest.raises(WorkerError) as raised:
        stage.play({})
    assert how in str(raised.value)
    assert "\n" not in str(raised.value)


def test_two_deaths_at_the_set_up_are_forgiven(make_stage: Callable[..., Stage], plugin: Callable[[str], list[str]]) -> None:
    dies_twice = """
import os
for name in "ab":
    try:
        os.close(os.open(name, os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        continue
    os._exit(5)
"""
    assert make_stage(1, None, plugin(dies_twice)).play({}) == WELL


def test_deaths_at_the_set_up_are_counted_anew_after_their_error(
    make_stage: Callable[..., Stage], plugin: Callable[[str], list[str]]
) -> None:
    dies_five_times = """
import os
for name in "abcde":
    try:
        os.close(os.open(name, os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        continue
    os._exit(5)
"""
    stage = make_stage(1, None, plugin(dies_five_times))
    with pytest.raises(WorkerError):
        stage.play({})
    assert stage.play({}) == WELL


def test_images_that_cannot_be_written_for_the_workers_are_told_in_one_line(
    make_site: Callable[..., Site], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = make_site("process_pool")

    def full(*arguments: object, **options: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "save", full)
    with pytest.raises(RunFolderError, match=r"pixels\.npy: cannot be written: .*No space left on device.*\. Free"):
        site.start()


def test_a_worker_that_the_system_does_not_start_is_told_in_one_line(
    make_stage: Callable[..., Stage], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(process: object) -> None:
        raise BlockingIOError(11, "Resource temporarily unavailable")

    stage = make_stage(1)
    with monkeypatch.context() as patch:
        patch.setattr("multiprocessing.process.BaseProcess.start", refuse)
        with pytest.raises(WorkerError, match="cannot be started.*Resource temporarily unavailable.*executor.workers"):
            stage.play({})
    assert stage.play({}) == WELL


def test_workers_that_hang_at_their_set_up_are_replaced_and_not_for_ever(
    make_stage: Callable[..., Stage], plugin: Callable[[str], list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisor, "SETUP_SECONDS", 0.5)
    with pytest.raises(WorkerError, match="the last one hung"):
        make_stage(1, None, plugin("import time\ntime.sleep(1000)")).play({})


def test_workers_that_die_before_they_read_their_set_up_are_told_as_such(
    make_stage: Callable[..., Stage], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process_pool, "serve", faulty.die_at_the_hello)
    stage = make_stage(1)
    # more than a pipe holds, as the names of a large dataset are
    stage.pool = ProcessPool(faulty.setup(stage.folder, data="x" * 10_000_000), faulty.slots(1))
    try:
        with pytest.raises(WorkerError, match="exited with status 3"):
            stage.play({})
    finally:
        stage.pool.close()


# --- the end ------------------------------------------------------------------------------------------------------------


def test_after_close_no_worker_is_left_and_another_pool_works(make_stage: Callable[..., Stage]) -> None:
    before = children()
    stage = make_stage(2)
    stage.play({})
    pids = stage.all_pids()
    stage.pool.close()
    assert children() == before
    assert not any(alive(pid) for pid in pids)
    stage.pool.close()
    assert make_stage(1).play({}) == WELL


@pytest.mark.parametrize("error", [KeyboardInterrupt, RunFolderError("disk full")])
def test_a_batch_that_is_broken_off_leaves_a_pool_that_works_or_can_be_closed_at_once(
    error: BaseException | type[BaseException], make_stage: Callable[..., Stage]
) -> None:
    def break_off(_: Trial, __: TrialResult) -> None:
        raise error

    stage = make_stage(2)
    give(stage.folder, {0: ["sleeps"]})
    with pytest.raises(type(error) if isinstance(error, BaseException) else error):
        stage.pool.run(TRIALS, break_off)
    assert stage.play({}) == WELL, "no answer of the batch before is taken for one of this"
    give(stage.folder, {0: ["spins"]})
    with pytest.raises(type(error) if isinstance(error, BaseException) else error):
        stage.pool.run(TRIALS, break_off)
    left = stage.all_pids()
    started = time.monotonic()
    stage.pool.close()
    assert time.monotonic() - started < 5
    assert not any(alive(pid) for pid in left)


def test_workers_end_by_themselves_when_the_drivers_process_is_killed(tmp_path: Path) -> None:
    give(tmp_path, {0: ["sleeps"], 1: ["spins"]})
    script = f"import faulty, pathlib; faulty.drive(pathlib.Path({str(tmp_path)!r}))"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(faulty.__file__).parent), *sys.path])}
    with subprocess.Popen([sys.executable, "-c", script], env=environment) as driver:
        try:
            assert wait_until(lambda: len(calls(tmp_path)) == 2)
            workers = [call["pid"] for call in calls(tmp_path)]
            assert all(alive(pid) for pid in workers)
        finally:
            driver.kill()
    assert wait_until(lambda: not any(alive(pid) for pid in workers), 5)


REAL_DRIVER = """
import multiprocessing
import pathlib

import torch

from biotune.backbones.registry import build_network
from biotune.config.schema import TrialsConfig
from biotune.config.sections import BackboneConfig, DatasetConfig, ExecutorConfig, TrainingConfig
from biotune.datasets.data import find_dataset, load_dataset
from biotune.executors.setup import Setup
from biotune.executors.process_pool import ProcessPool
from biotune.schedule.schedule import Schedule
from biotune.trial import Trial

if __name__ == "__main__":
    here = pathlib.Path.cwd()
    backbone = BackboneConfig("biotune", "glyphnet")
    network = build_network(backbone, 10)
    dataset = DatasetConfig("digits", "digits", max_per_class=4, max_eval_per_class=4)
    data = load_dataset(find_dataset(dataset, Resampling(2)), network.preprocessing)
    training = TrainingConfig(lr=1e-3, batch_size=8, patience=10**6)
    executor = ExecutorConfig("process_pool", workers=1)
    config = TrialsConfig(device="cpu", dataset=dataset, backbone=backbone, training=training, executor=executor)
    full = Schedule(network.blocks, (1.0,) * 6)
    pool = ProcessPool.of(Setup.of(config, data, here, here), config, torch.device("cpu"), network)

    def tell(*_):
        print(*[child.pid for child in multiprocessing.active_children()], flush=True)

    pool.run([Trial(full, 0, 1, 1, 1e-3), Trial(full, 0, 2, 10**6, 1e-3)], tell)
"""


@pytest.mark.slow
def test_a_worker_in_mid_training_ends_by_itself_when_the_drivers_process_is_killed(tmp_path: Path) -> None:
    (tmp_path / "driver.py").write_text(REAL_DRIVER, encoding="utf-8")
    with subprocess.Popen([sys.executable, "driver.py"], cwd=tmp_path, stdout=subprocess.PIPE, text=True) as driver:
        try:
            assert driver.stdout is not None
            # told of the first trial's end, after which the endless second one begins
            (worker,) = [int(word) for word in driver.stdout.readline().split()]
            time.sleep(1)
            assert alive(worker)
        finally:
            driver.kill()
        assert wait_until(lambda: not alive(worker), 5)
