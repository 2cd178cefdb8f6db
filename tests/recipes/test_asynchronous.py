"""The way of an asynchronous search through executor and journal: interrupted anywhere, it goes on to the same generations."""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from biotune.config.search import EvolutionConfig
from biotune.errors import RunFolderError
from biotune.evolution.asynchronous import AsynchronousSearch
from biotune.evolution.generation import Generation
from biotune.executors.base import NextTrial, OnResult
from biotune.executors.recorded import Recorded
from biotune.fitness.fitness import Economy, ScheduleFitness
from biotune.recipes import tables
from biotune.recipes.asynchronous import Driver
from biotune.schedule.block import Block
from biotune.store.files import JOURNAL
from biotune.store.journal import Journal
from biotune.trial import Trial, TrialResult

BLOCKS = tuple(Block(f"b{index}", (f"b{index}",)) for index in range(4))
SETTINGS: dict[str, Any] = {
    "algorithm": "biotune",
    "mating": "asynchronous",
    "population_size": 8,
    "elites": 5,
    "generations": 3,
    "folds": 2,
    "spread": True,
    "exploitation": False,
    "reevaluate_elites": False,
}
SCREENED = {"surrogate": "gp", "screen": 5, "ranking": "predicted"}


class Killed(BaseException):
    """Stands for the end of the process."""


def answer(trial: Trial) -> TrialResult:
    chance = zlib.crc32(trial.key.encode()) / 2**32
    if chance < 0.1:
        return TrialResult("failed", (), 0.5, error="diverged")
    return TrialResult("ok", (chance / 2, chance), 1.0 + chance)


class Workers:
    """Slots whose trials end in an order of their own: by a hash of their keys, the first ones drawn first.

    Attributes:
        ran: The keys of the trials that ended.
    """

    def __init__(self, slots: int, most: int | None = None) -> None:
        """`most` is the number of trials that end before the process is killed."""
        self.slots, self.most = slots, most
        self.ran: list[str] = []

    def run(self, trials: Sequence[Trial], on_result: OnResult) -> list[TrialResult]:
        raise AssertionError("an asynchronous search has no batches")

    def stream(self, next_trial: NextTrial) -> Iterator[tuple[Trial, TrialResult]]:
        running: list[Trial] = []
        while True:
            while len(running) < self.slots and (trial := next_trial()) is not None:
                assert trial.key not in {one.key for one in running}
                running.append(trial)
            if not running:
                return
            ended = min(running, key=lambda trial: zlib.crc32(trial.key.encode()[::-1]))
            running.remove(ended)
            if len(self.ran) == self.most:
                raise Killed
            self.ran.append(ended.key)
            yield ended, answer(ended)

    def close(self) -> None:
        pass


def search(
    folder: Path, workers: Workers, seeds: tuple[int, ...] = (1,), told: Callable[..., None] | None = None, **changes: Any
) -> tuple[list[dict[str, Any]], ScheduleFitness]:
    """Search until it is over or killed; the journal records of the generations, and the fitness."""
    settings = EvolutionConfig(**{**SETTINGS, **changes})
    journal = Journal(folder)
    found: list[Generation] = []
    try:
        executor = Recorded(workers, journal, told or (lambda trial, result: None))
        fitness = ScheduleFitness(executor, seeds, 2, 1e-3, "data", Economy("median"))
        driver = Driver(AsynchronousSearch(settings, BLOCKS, 3), fitness, executor, journal)
        for generation in driver.generations():
            found.append(generation)
    except Killed:
        pass
    finally:
        journal.close()
    return [json.loads(json.dumps(tables.journal_record(one))) for one in found], fitness


@pytest.mark.parametrize("slots", [1, 2, 6])
def test_every_proposal_is_trained_once_and_every_generation_closed(slots: int, tmp_path: Path) -> None:
    workers = Workers(slots)
    found, fitness = search(tmp_path, workers)
    assert [one["number"] for one in found] == [0, 1, 2, 3]
    assert [one["record"]["evaluations"] for one in found] == [8, 3, 3, 3]
    assert len(workers.ran) == len(set(workers.ran)) == fitness.trainings == sum(one["record"]["trainings"] for one in found)


def test_one_worker_and_the_next_time_give_the_same(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    assert search(tmp_path / "a", Workers(1))[0] == search(tmp_path / "b", Workers(1))[0]
    assert (tmp_path / "a" / JOURNAL).read_bytes() == (tmp_path / "b" / JOURNAL).read_bytes()


@pytest.mark.parametrize("seeds", [(1,), (1, 2, 3)])
@pytest.mark.parametrize("slots", [1, 2, 6])
def test_a_search_killed_after_any_trial_goes_on_to_the_generations_of_its_journal(
    slots: int, seeds: tuple[int, ...], tmp_path: Path
) -> None:
    (tmp_path / "whole").mkdir()
    whole, fitness = search(tmp_path / "whole", Workers(slots), seeds)
    for most in range(0, fitness.trainings, 5):
        folder = tmp_path / str(most)
        folder.mkdir()
        before, _ = search(folder, killed := Workers(slots, most), seeds)
        again, resumed = search(folder, later := Workers(slots), seeds)
        assert len(before) < 4 and len(again) == 4
        assert again[: len(before)] == before, most
        # what had ended before is not trained again
        assert set(killed.ran).isdisjoint(later.ran) and len(killed.ran) + len(later.ran) == resumed.trainings
        if slots == 1:
            assert again == whole, most


@pytest.mark.parametrize("slots", [1, 3])
def test_a_journal_torn_at_any_line_goes_on(slots: int, tmp_path: Path) -> None:
    (tmp_path / "whole").mkdir()
    whole, _ = search(tmp_path / "whole", Workers(slots))
    lines = (tmp_path / "whole" / JOURNAL).read_bytes().splitlines(keepends=True)
    for count in range(1, len(lines) + 1):
        folder = tmp_path / str(count)
        folder.mkdir()
        (folder / JOURNAL).write_bytes(b"".join(lines[:count]))
        told = sum(b'"told"' in line for line in lines[:count])
        again, _ = search(folder, Workers(slots))
        closed = sum(told >= total for total in (8, 11, 14, 17))
        assert len(again) == 4 and again[:closed] == whole[:closed], count


def test_a_search_is_resumed_with_another_number_of_workers_and_may_be_lengthened(tmp_path: Path) -> None:
    before, _ = search(tmp_path, Workers(4, 13), **SCREENED)
    assert 2 <= len(before) < 4
    again, _ = search(tmp_path, Workers(1), **SCREENED)
    assert again[: len(before)] == before and len(again) == 4
    longer, _ = search(tmp_path, Workers(2), **SCREENED, generations=5)
    assert longer[:4] == again and len(longer) == 6
    once_more, _ = search(tmp_path, nothing_left := Workers(2), **SCREENED, generations=5)
    assert once_more == longer and nothing_left.ran == []


def test_the_journal_holds_the_order_and_the_listener_hears_of_every_result_once(tmp_path: Path) -> None:
    heard: list[str] = []
    search(tmp_path, Workers(2, 9), told=lambda trial, result: heard.append(trial.key))
    kinds = [json.loads(line) for line in (tmp_path / JOURNAL).read_bytes().splitlines()]
    order = [(one["kind"], one["individual"]) for one in kinds if one["kind"] in ("asked", "told")]
    assert order[:2] == [("asked", 0), ("asked", 1)]
    assert all(order.index(("asked", number)) < place for place, (kind, number) in enumerate(order) if kind == "told")
    ended, heard = heard, []
    search(tmp_path, Workers(2), told=lambda trial, result: heard.append(trial.key))
    assert heard[: len(ended)] == ended and len(heard) == len(set(heard))


def test_another_search_than_the_journal_s_is_refused(tmp_path: Path) -> None:
    search(tmp_path, Workers(2, 9))
    path = tmp_path / JOURNAL
    path.write_bytes(
        path.read_bytes().replace(
            b'"kind": "asked", "individual": 4, "fold": 0', b'"kind": "asked", "individual": 4, "fold": 1'
        )
    )
    with pytest.raises(RunFolderError, match="at individual 4. Were biotune, torch, numpy or DEAP updated"):
        search(tmp_path, Workers(2))


def test_equal_schedules_in_flight_are_trained_once(tmp_path: Path) -> None:
    """Where all blocks train at one rate and nothing freezes, every individual is the same schedule."""
    alike = {"rates": False, "freezing": False}
    found, fitness = search(tmp_path, workers := Workers(6), **alike)
    assert fitness.trainings == len(workers.ran) == 2  # one for each fold
    assert [one["record"]["evaluations"] for one in found] == [8, 3, 3, 3]
    # The trial on fold 1 ends first, by its hash: 1, 3, 5 and 7 are known, and so are the children 9, 11, 13 and 15 at once.
    # 16 is on fold 0 again, whose trial ends last.
    assert [one["record"]["cache_hits"] for one in found] == [7, 2, 3, 3]
    order = [[one["individual"] for one in generation["candidates"] if one["origin"] != "elite"] for generation in found]
    assert order == [[1, 3, 5, 7, 9, 11, 13, 15], [0, 2, 4], [6, 8, 10], [12, 14, 16]]


def test_empty_schedules_need_no_worker(tmp_path: Path) -> None:
    found, fitness = search(tmp_path, workers := Workers(2), fixed_threshold=1.0)
    assert fitness.trainings == 0 and workers.ran == []
    assert [one["record"]["evaluations"] for one in found] == [8, 3, 3, 3]
    assert {one["status"] for generation in found for one in generation["candidates"]} == {"empty"}
    again, _ = search(tmp_path, Workers(2), fixed_threshold=1.0)
    assert again == found
