"""Trials in actors of a Ray cluster: what differs from worker processes of this machine. The contract holds the rest."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import faulty
import numpy as np
import pytest
from faulty import answer_to, calls, give, trial
from rays import local_ray
from sites import Site, outcome_of, site_maker

from biotune.config.sections import ExecutorConfig
from biotune.errors import WorkerError
from biotune.executors import actor
from biotune.executors.actor import Shipped, TrialActor, file_digest, folder_of
from biotune.executors.ray_pool import RayPool
from biotune.trial import TrialResult

ray = pytest.importorskip("ray")
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def own_ray() -> Iterator[None]:
    with local_ray():
        yield


@pytest.fixture
def make_pool(own_ray: None, tmp_path: Path) -> Iterator[Callable[..., RayPool]]:
    """Pools of made-up trainings in the run's folder `tmp_path`; keyword arguments go to `ExecutorConfig`."""
    pools: list[RayPool] = []

    def make(**settings: Any) -> RayPool:
        given = ExecutorConfig("ray", **{"workers": 2, "cpus": 0.5, **settings})
        pools.append(RayPool(faulty.setup(tmp_path), given, None, actor=faulty.FaultyActor))
        give(tmp_path, {})
        return pools[-1]

    yield make
    for pool in pools:
        pool.close()


def run(pool: RayPool, *seeds: int) -> list[TrialResult]:
    return pool.run([trial(seed) for seed in seeds], lambda *_: None)


def failed(reason: str) -> TrialResult:
    return TrialResult("failed", (), 0.0, error=reason)


def test_actors_that_die_lose_no_trial_but_one_that_kills_three(make_pool: Callable[..., RayPool], tmp_path: Path) -> None:
    pool = make_pool()
    give(tmp_path, {1: ["is killed", "exits", "works"], 2: ["is killed"]})
    assert run(pool, 0, 1, 2, 3) == [
        answer_to(trial(0)),
        answer_to(trial(1)),
        failed("its worker was killed or has crashed, 3 times"),
        answer_to(trial(3)),
    ]
    assert [call["seed"] for call in calls(tmp_path)].count(1) == 3
    pids = [call["pid"] for call in calls(tmp_path) if call["seed"] == 2]
    assert len(set(pids)) == 3
    assert run(pool, 7) == [answer_to(trial(7))]


def test_a_trial_that_hangs_is_tried_once_more_in_a_new_actor(make_pool: Callable[..., RayPool], tmp_path: Path) -> None:
    pool = make_pool(trial_timeout=2.0)
    give(tmp_path, {1: ["sleeps", "works"], 2: ["sleeps"]})
    found = run(pool, 0, 1, 2)
    assert found == [answer_to(trial(0)), answer_to(trial(1)), failed("it took longer than executor.trial_timeout=2 seconds")]


def test_a_failure_that_spoils_its_process_is_tried_again_in_a_new_one(
    make_pool: Callable[..., RayPool], tmp_path: Path
) -> None:
    pool = make_pool()
    give(tmp_path, {2: ["breaks the GPU", "works"]})
    assert run(pool, 1, 2, 3) == [answer_to(trial(seed)) for seed in (1, 2, 3)]
    first, second = (call["pid"] for call in calls(tmp_path) if call["seed"] == 2)
    assert first != second


def test_what_actors_print_reaches_the_runs_log_that_of_dead_ones_too(
    make_pool: Callable[..., RayPool], tmp_path: Path
) -> None:
    pool = make_pool(workers=1)
    give(tmp_path, {1: ["speaks"], 2: ["crashes", "works"]})
    run(pool, 1, 2)
    pool.close()  # a process that has just died may be there for a moment, and its output is fetched in the end
    said = (tmp_path / "run.log").read_text(encoding="utf-8")
    assert said.count("a word on stdout") == said.count("a word on stderr") == said.count("a word of native code") == 1
    assert "Segmentation fault" in said or "SIGSEGV" in said


def test_actors_are_kept_and_no_more_are_started_than_there_are_trials(
    make_pool: Callable[..., RayPool], tmp_path: Path
) -> None:
    pool = make_pool()
    run(pool, 1)
    run(pool, 2)
    assert len({call["pid"] for call in calls(tmp_path)}) == 1
    assert {call["threads"] for call in calls(tmp_path)} == {"1"}


def test_torch_comes_after_the_number_of_its_threads(make_pool: Callable[..., RayPool], tmp_path: Path) -> None:
    run(make_pool(threads=3), 1)
    assert [(call["threads"], call["torch came first"]) for call in calls(tmp_path)] == [("3", False)]


def test_as_many_actors_as_the_nodes_have_room_for(make_pool: Callable[..., RayPool]) -> None:
    assert len(make_pool(workers=None, cpus=1.5)._free) == 2, "four CPUs"
    assert len(make_pool(workers=None, cpus=None, threads=4)._free) == 1


def test_what_no_node_has_is_said_at_once(make_pool: Callable[..., RayPool]) -> None:
    with pytest.raises(WorkerError, match=r"no node of the Ray cluster has 64 CPUs and 0 GPUs for a worker; its nodes have 4"):
        make_pool(workers=None, cpus=64)


def test_a_cluster_that_is_not_there_is_said_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray, "is_initialized", lambda: False)

    def init(**options: object) -> None:
        raise ConnectionError("Could not find any running Ray instance.\nStart one.")

    monkeypatch.setattr(ray, "init", init)
    with pytest.raises(WorkerError, match=r"^executor.address=auto: no Ray cluster can be joined there: Could not find[^\n]*$"):
        RayPool(faulty.setup(tmp_path), ExecutorConfig("ray", address="auto"), None)


def test_an_address_where_nothing_listens_is_said_within_seconds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and does not listen
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(
            WorkerError, match=rf"^executor.address={address}: no Ray cluster can be joined there: [^\n]*refused"
        ):
            RayPool(faulty.setup(tmp_path), ExecutorConfig("ray", address=address), None)


def test_closing_leaves_nothing_on_the_node(make_pool: Callable[..., RayPool], tmp_path: Path) -> None:
    pool = make_pool()
    run(pool, 1, 2)
    place = folder_of(pool._shipped.run)
    assert place.is_dir()
    pool.close()
    assert not place.exists()


# --- what reaches a node ------------------------------------------------------------------------------------------------


def test_files_of_one_size_are_told_apart_by_their_content(tmp_path: Path) -> None:
    one, other, same = (tmp_path / name for name in ("one", "other", "same"))
    content = np.random.default_rng(0).integers(0, 256, 10_000_000, dtype=np.uint8)
    for path in (one, same):
        path.write_bytes(content.tobytes())
    content[-1] ^= 1
    other.write_bytes(content.tobytes())
    assert file_digest(one) == file_digest(same) != file_digest(other)
    for size in (0, 1, 100):
        (tmp_path / "small").write_bytes(b"x" * size)
        assert len(file_digest(tmp_path / "small")) == 64


def test_cleaning_returns_what_no_message_has_brought(tmp_path: Path) -> None:
    for name, text in (("12.log", "Segmentation fault\n"), ("13.log", "")):
        (tmp_path / "own").mkdir(exist_ok=True)
        (tmp_path / "own" / name).write_text(text)
    assert actor.clean(tmp_path / "own") == "Segmentation fault\n"
    assert not (tmp_path / "own").exists()
    assert actor.clean(tmp_path / "own") == ""


def test_folders_of_runs_whose_actors_are_gone_are_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(actor.tempfile, "gettempdir", lambda: str(tmp_path))  # type: ignore[attr-defined]
    for run, pid in (("dead", 2**22 + 1), ("alive", os.getpid())):
        folder_of(run).mkdir()
        (folder_of(run) / f"{pid}.log").touch()
    shipped = Shipped(faulty.setup(tmp_path), "own", "host")
    assert TrialActor._folder_on_this_node(None, shipped) == folder_of("own")  # type: ignore[arg-type]
    assert not folder_of("dead").exists() and folder_of("alive").exists()


# --- the same numbers ---------------------------------------------------------------------------------------------------


@pytest.fixture
def make_site(load_digits: Callable[..., Any], tmp_path: Path) -> Callable[..., Site]:
    return site_maker(load_digits, tmp_path)


class FarActor(TrialActor):
    """An actor on a node that sees neither the driver's images nor its folders."""

    def hello(self, pixels: Path | None, digest: str) -> actor.Message:
        found = super().hello(pixels, "another")
        assert not found.content.pixels
        return found

    def set_up(self, shipped: Shipped, shared: list[Any]) -> actor.Message:
        return super().set_up(replace(shipped, host="another"), shared)


@pytest.mark.parametrize("kind", [TrialActor, FarActor])
def test_actors_and_one_process_give_the_same_numbers_to_the_bit(
    kind: type[TrialActor], own_ray: None, make_site: Callable[..., Site], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(RayPool.__init__, "__defaults__", (0.0, kind))
    here = outcome_of(make_site("in_process"), 0)
    there = outcome_of(make_site("ray", workers=2), 0)
    if kind is FarActor:
        assert there.pop("shared") == [] and here.pop("shared"), "activations lie on the node"
    assert there == here
