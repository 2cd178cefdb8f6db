"""A search for trade-offs that a program asks and tells: costs that are told, the front, and the folder that keeps both."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pytest
from landscape import true_fitness

import biotune
from biotune.errors import ConfigError, RunFolderError, SearchError
from biotune.schedule.block import Block

SIZED = tuple(Block(f"b{at}", (f"b{at}",), 10**at) for at in range(4))
UNSIZED = tuple(Block(f"b{at}", (f"b{at}",)) for at in range(4))
PARAMS, SECONDS = ["accuracy", "trainable_params"], ["accuracy", "seconds"]
TWO = ["accuracy", "memory", "seconds"]
SMALL: dict[str, Any] = {"evaluations": 16, "seed": 5}


def size(trial: biotune.Trial) -> int:
    return sum(block.parameters or 0 for block, on in zip(SIZED, trial.schedule.selected, strict=True) if on)


def walk(search: biotune.Search, cost: Any = lambda trial: None, most: int = 1000) -> list[str]:
    """Tell at most so many trials; returns their keys."""
    keys: list[str] = []
    while not search.over and len(keys) < most:
        trial = search.ask()
        keys.append(trial.schedule.key)
        search.tell(trial, 1 - true_fitness(trial.schedule), cost=cost(trial))
    return keys


def beats(one: biotune.Best, other: biotune.Best) -> bool:
    own, its = ([-best.score, *best.costs.values()] for best in (one, other))
    return own != its and all(a <= b for a, b in zip(own, its, strict=True))


def check_front(front: list[biotune.Best]) -> None:
    assert len(front) > 1
    assert not any(beats(one, other) for one in front for other in front)
    assert [one.score for one in front] == sorted((one.score for one in front), reverse=True)
    assert sum(one.knee for one in front) == (len(front) > 2)


def test_sizes_of_blocks_need_not_be_told() -> None:
    search = biotune.Search(SIZED, objectives=PARAMS, **SMALL)
    keys = walk(search)
    check_front(search.front)
    sizes = {key: sum(10**at for at, part in enumerate(key.split(" ")[0].split("|")) if part != "-") for key in keys}
    assert all(one.costs == {"trainable_params": sizes[one.schedule.key]} for one in search.front)
    assert search.best.score == pytest.approx(search.front[0].score)


def test_sizes_that_no_block_states_are_told() -> None:
    search = biotune.Search(UNSIZED, objectives=PARAMS, **SMALL)
    told = walk(search, cost=size)
    with pytest.raises(SearchError, match="the blocks do not state their sizes"):
        biotune.search(lambda trial: 0.5, UNSIZED, 4).front  # noqa: B018
    costs = [(one.schedule.key, one.costs["trainable_params"]) for one in search.front if one.schedule.key in told]
    assert costs and all(
        cost == sum(10**at for at, p in enumerate(key.split(" ")[0].split("|")) if p != "-") for key, cost in costs
    )


def test_a_number_is_the_only_cost_and_several_are_a_mapping(tmp_path: Path) -> None:
    one = biotune.Search(UNSIZED, objectives=SECONDS, folder=tmp_path / "one", **SMALL)
    walk(one, cost=lambda trial: 2.0 + sum(trial.schedule.selected))
    check_front(one.front)
    assert {best.costs["seconds"] for best in one.front} <= {3.0, 4.0, 5.0, 6.0}
    with (tmp_path / "one" / "generations.csv").open() as file:
        assert {float(row["seconds"]) for row in csv.DictReader(file) if row["status"] == "ok"} <= {3.0, 4.0, 5.0, 6.0}
    two = biotune.Search(UNSIZED, objectives=TWO, **SMALL)
    walk(two, cost=lambda trial: {"memory": float(size(trial)), "seconds": 1.0})
    assert all(set(best.costs) == {"memory", "seconds"} and best.costs["seconds"] == 1.0 for best in two.front)


def test_seconds_that_are_not_told_are_those_since_the_trial_was_asked_for() -> None:
    search = biotune.Search(UNSIZED, objectives=SECONDS, **SMALL)
    walk(search)
    assert all(0 <= best.costs["seconds"] < 60 for best in search.front)


@pytest.mark.parametrize(
    ("objectives", "cost", "said"),
    [
        (TWO, 3.0, "cost=3.0 is one number; give a mapping with memory and seconds"),
        (TWO, None, "lacks its memory"),
        (TWO, {"macs": 1.0}, "'macs' is no cost to tell; known are memory, seconds"),
        (SECONDS, -1.0, "must be a finite number of at least 0"),
        (SECONDS, float("nan"), "must be a finite number of at least 0"),
        (SECONDS, "long", "must be a finite number of at least 0"),
        (["accuracy"], {"memory": 1.0}, "'memory' is no cost to tell; known are seconds"),
    ],
)
def test_wrong_costs_are_one_line_and_change_nothing(objectives: list[str], cost: Any, said: str) -> None:
    search = biotune.Search(UNSIZED, objectives=objectives, **SMALL)
    trial = search.ask()
    with pytest.raises(SearchError, match=said):
        search.tell(trial, 0.5, cost=cost)
    search.tell(trial, error="out of memory")  # which has no cost


def test_without_objectives_the_front_is_that_of_the_trained_share() -> None:
    search = biotune.Search(SIZED, **SMALL)
    with pytest.raises(SearchError, match="no trial has been told a score yet"):
        search.front  # noqa: B018
    trial = search.ask()
    search.tell(trial, 0.75)
    assert [(one.score, one.costs) for one in search.front] == [(0.75, {"trainable_share": size(trial) / 1111})]
    walk(search)
    check_front(search.front)


def test_no_trial_of_a_search_for_trade_offs_is_stopped() -> None:
    search = biotune.Search(SIZED, objectives=PARAMS, epochs=6, **SMALL)
    while not search.over:
        trial = search.ask()
        for epoch in range(6):
            trial.report(epoch, 0.1 * true_fitness(trial.schedule))
            assert not trial.should_stop()
        search.tell(trial)


@pytest.mark.parametrize("told", [1, 7, 13])
def test_a_search_goes_on_with_the_costs_that_were_told(told: int, tmp_path: Path) -> None:
    def cost(trial: biotune.Trial) -> dict[str, float]:
        return {"memory": float(size(trial)), "seconds": 0.5 * sum(trial.schedule.selected)}

    whole = biotune.Search(UNSIZED, objectives=TWO, folder=tmp_path / "whole", **SMALL)
    every = walk(whole, cost)
    with biotune.Search(UNSIZED, objectives=TWO, folder=tmp_path / "parts", **SMALL) as first:
        begun = walk(first, cost, told)
    second = biotune.Search(UNSIZED, objectives=TWO, folder=tmp_path / "parts", **SMALL)
    assert begun + walk(second, cost) == every
    assert second.front == whole.front
    tables = [(tmp_path / name / "front.csv").read_text() for name in ("whole", "parts")]
    assert tables[0] == tables[1]
    rows = list(csv.DictReader(tables[0].splitlines()))
    assert [float(row["memory"]) for row in rows] == [one.costs["memory"] for one in whole.front]


def test_a_folder_belongs_to_its_objectives_and_a_damaged_cost_is_one_line(tmp_path: Path) -> None:
    with biotune.Search(UNSIZED, objectives=SECONDS, folder=tmp_path, **SMALL) as search:
        walk(search, lambda trial: 1.0, 2)
    with pytest.raises(RunFolderError, match=r"objectives=\[accuracy,seconds\], now \[accuracy\]"):
        biotune.Search(UNSIZED, folder=tmp_path, **SMALL)
    journal = tmp_path / "journal.jsonl"
    journal.write_text(journal.read_text().replace('"costs": {"seconds": 1.0}', '"costs": {"seconds": "x"}'))
    with pytest.raises(RunFolderError, match="the record of trial 0 is damaged"):
        biotune.Search(UNSIZED, objectives=SECONDS, folder=tmp_path, **SMALL)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"objectives": ["accuracy", "carbon"]}, "carbon is no cost; must be of trainable_params, macs, seconds, memory"),
        ({"objectives": ["seconds", "accuracy"]}, "must be accuracy, then at most two of"),
        ({"objectives": ["accuracy", "seconds", "seconds"]}, "must not repeat seconds"),
        ({"objectives": "seconds"}, "must be a list of names"),
        ({"objectives": SECONDS, "mating": "asynchronous"}, "needs mating=brood"),
        ({"objectives": SECONDS, "algorithm": "random"}, "needs algorithm=biotune, not random"),
    ],
)
def test_wrong_objectives_are_one_line(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError) as error:
        biotune.Search(UNSIZED, **settings)
    assert said in str(error.value) and "evolution" not in str(error.value)
