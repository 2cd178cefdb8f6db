"""The search for any training loop: asked for trials and told their scores, in any order, and gone on with from its folder."""

from __future__ import annotations

import json
import math
import pickle
import random
import subprocess
import sys
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from landscape import true_fitness

import biotune
from biotune.errors import BiotuneError, ConfigError, RunFolderError, SearchError

BLOCKS = tuple(biotune.Block(f"b{index}", (f"m{index}",), parameters=10 * (index + 1)) for index in range(4))
MATINGS = ("brood", "asynchronous", "sequential")
SMALL: dict[str, Any] = {"evaluations": 16, "epochs": 6}
OF_MATING: dict[str, dict[str, Any]] = {
    "brood": {},
    "asynchronous": {"mating": "asynchronous"},
    "sequential": {"mating": "sequential", "screen": 1, "surrogate": "none", "ranking": "fitness"},
}


def score_of(trial: biotune.Trial) -> float:
    noise = zlib.crc32(f"{trial.schedule.key}@{trial.fold}".encode()) / 2**32
    return 1 - true_fitness(trial.schedule) + 0.02 * (noise - 0.5)


def walk(search: biotune.Search, workers: int = 1, seed: int = 0, most: int = 10_000) -> list[tuple[int, str, int]]:
    """Train with so many workers that end in a random order; what was asked for."""
    rng, out, asked = random.Random(seed), list[biotune.Trial](), list[tuple[int, str, int]]()
    while not search.over and len(asked) < most:
        while len(out) < workers and search.ready:
            out.append(search.ask())
            asked.append((out[-1].number, out[-1].schedule.key, out[-1].fold))
        trial = out.pop(rng.randrange(len(out)))
        search.tell(trial, score_of(trial), cost=1.0)
    return asked


@pytest.mark.parametrize("mating", MATINGS)
@pytest.mark.parametrize("workers", [1, 5])
def test_a_search_asks_until_it_is_over_and_never_twice_for_one_trial(mating: str, workers: int) -> None:
    search = biotune.Search(BLOCKS, folds=2, **SMALL, **OF_MATING[mating])
    asked = walk(search, workers)
    assert [number for number, _, _ in asked] == list(range(len(asked)))
    assert len({(key, fold) for _, key, fold in asked}) == len(asked) <= 16
    assert {fold for _, _, fold in asked} == {0, 1}
    assert search.over and not search.ready
    with pytest.raises(SearchError, match="the search is over"):
        search.ask()


@pytest.mark.parametrize("mating", MATINGS)
def test_the_same_scores_give_the_same_trials(mating: str) -> None:
    made = [biotune.Search(BLOCKS, seed=3, **SMALL, **OF_MATING[mating]) for _ in range(3)]
    first = walk(made[0])
    for _ in range(3):  # looking changes nothing
        assert made[1].ready and not made[1].over
    assert walk(made[1]) == first
    assert made[0].best == made[1].best
    assert walk(biotune.Search(BLOCKS, seed=4, **SMALL, **OF_MATING[mating])) != first


def test_by_default_it_is_the_default_search_of_a_run_for_a_plain_loop() -> None:
    search = biotune.Search(BLOCKS)
    trials = []
    while not search.over:
        trials.append(search.ask())
        search.tell(trials[-1], score_of(trials[-1]))
    # 60 evaluations, of which equal and empty schedules need no trial; heuristics first, all blocks alike at 3 λ_0
    assert 50 < len(trials) <= 60
    assert trials[0].schedule.lr_weights == pytest.approx((3.0,) * 4)
    assert {(trial.schedule.unfreezing, trial.schedule.head_start, trial.fold) for trial in trials} == {
        ("together", "fresh", 0)
    }
    assert {trial.epochs for trial in trials} == {30}
    assert trials[0].schedule.threshold == 0.3
    # better than any of the twenty that it began with
    assert true_fitness(search.best.schedule) < min(true_fitness(trial.schedule) for trial in trials[:20])


def test_orders_heads_and_folds_take_part_where_they_are_asked_for() -> None:
    search = biotune.Search(BLOCKS, unfreezing="evolved", head_start="evolved", folds=3, evaluations=30)
    asked = walk(search)
    assert {fold for _, _, fold in asked} == {0, 1, 2}
    assert any("last_to_first" in key for _, key, _ in asked) and any("probe" in key for _, key, _ in asked)


def test_the_best_is_smoothed_by_the_regression() -> None:
    search = biotune.Search(BLOCKS, evaluations=30)
    with pytest.raises(SearchError, match="no trial has been told a score"):
        search.best  # noqa: B018
    trial = search.ask()
    search.tell(trial, 0.25)
    assert (search.best.score, search.best.evaluations, search.best.schedule) == (0.25, 1, trial.schedule)
    walk(search)
    # a noise of ±0.01 is averaged out: the prediction is nearer to the truth than that
    assert search.best.score == pytest.approx(1 - true_fitness(search.best.schedule), abs=0.02)


@pytest.mark.parametrize("form", ["trial", "number", "pickled"])
def test_trials_are_told_in_any_order_by_themselves_or_by_number(form: str) -> None:
    search = biotune.Search(BLOCKS, **SMALL)
    out = [search.ask() for _ in range(4)]
    for trial in reversed(out):
        sent = {"trial": trial, "number": trial.number, "pickled": pickle.loads(pickle.dumps(trial))}[form]
        search.tell(sent, 0.1 * trial.number)
    assert search.best.schedule == out[3].schedule


def test_an_asynchronous_search_waits_for_half_of_the_first_individuals() -> None:
    search = biotune.Search(BLOCKS, population_size=8, elites=4, generations=2, mating="asynchronous")
    out = []
    while search.ready:
        out.append(search.ask())
    assert len(out) == 8
    with pytest.raises(SearchError, match="8 trials are out, tell one of them first"):
        search.ask()
    for trial in out[:4]:
        search.tell(trial, score_of(trial))
    assert search.ready and search.ask().number == 8


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "nan": ({"score": math.nan}, "the score is nan; must be a finite number"),
    "infinite": ({"score": -math.inf}, "the score is -inf"),
    "text": ({"score": "high"}, "the score is 'high'"),
    "truth": ({"score": True}, "the score is True"),
    "nothing": ({}, "trial 0: has no score"),
    "both": ({"score": 0.5, "error": "broken"}, "a score and an error"),
}


@pytest.mark.parametrize("kind", WRONG)
def test_a_wrong_score_is_one_line_and_changes_nothing(kind: str, tmp_path: Path) -> None:
    search = biotune.Search(BLOCKS, folder=tmp_path, **SMALL)
    trial = search.ask()
    arguments, said = WRONG[kind]
    with pytest.raises(SearchError, match=said) as raised:
        search.tell(trial, **arguments)
    assert "\n" not in str(raised.value)
    search.tell(trial, np.float32(0.5))
    assert search.best.score == 0.5


def test_what_is_not_out_cannot_be_told() -> None:
    search, other = biotune.Search(BLOCKS, **SMALL), biotune.Search(BLOCKS[:2], **SMALL)
    trial = search.ask()
    search.ask()
    with pytest.raises(SearchError, match="trial 1 has another schedule here"):
        other.ask()
        other.ask()
        strange = search.ask()
        strange.number = 1
        other.tell(strange, 0.5)
    search.tell(trial, 0.5)
    with pytest.raises(SearchError, match="trial 0 is told already"):
        search.tell(0, 0.5)
    for number in (99, -1, True, "one"):
        with pytest.raises(SearchError, match="is none of this search"):
            search.tell(number, 0.5)  # type: ignore[arg-type]


SETTINGS: list[tuple[dict[str, Any], str]] = [
    ({"elite": 3}, r"elite: is no setting of a search\. Did you mean elites"),
    ({"max_hours": 1}, "max_hours: is a key of 'biotune run' alone"),
    ({"resplit": True}, "resplit: is a key of 'biotune run' alone"),
    ({"elites": 30}, "elites=30: must be smaller than population_size=20"),
    ({"elites": 2.5}, "elites=2.5: must be an integer"),
    ({"folds": "auto"}, "folds=auto: is computed"),
    ({"folds": 0}, "folds=0: must be at least 1"),
    ({"spread": 1}, "spread=1: must be true or false"),
    ({"algorithm": "best"}, "algorithm='best': must be one of biotune, random"),
    ({"algorithm": "random", "screen": 5, "surrogate": "gp"}, "screen=5: needs algorithm=biotune"),
    ({"algorithm": "random", "head_start": "evolved"}, "head_start=evolved: needs algorithm=biotune"),
    ({"evaluations": 3}, "evaluations=3: must be an integer of at least 4"),
    ({"evaluations": 60, "generations": 2}, "sets the sizes of the search, as generations does"),
    ({"evaluations": 60, "exploitation": True, "spread": False}, "evaluations=60: goes with exploitation=False"),
    ({"seed": -1}, "seed=-1: must be at least 0"),
    ({"epochs": 0}, "epochs=0: must be at least 1"),
    ({"prune": "always"}, "prune=always: must be one of none, median, predicted"),
    ({"blocks": ()}, "blocks: must be a sequence of biotune.Block"),
    ({"blocks": ["stem"]}, "blocks: must be a sequence of biotune.Block"),
    ({"blocks": BLOCKS[:1] * 2}, "blocks: b0 is the name of two blocks"),
]


@pytest.mark.parametrize(("settings", "said"), SETTINGS)
def test_wrong_settings_are_one_line(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said) as raised:
        biotune.Search(**{"blocks": BLOCKS, **settings})
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("evaluations", [4, 7, 20, 60, 61, 83])
@pytest.mark.parametrize("algorithm", ["biotune", "random", "genetic", "cma_es", "optuna"])
def test_a_search_makes_as_many_evaluations_as_are_asked_for(evaluations: int, algorithm: str, tmp_path: Path) -> None:
    if algorithm == "optuna":
        pytest.importorskip("optuna")
    search = biotune.Search(BLOCKS, evaluations=evaluations, algorithm=algorithm, folder=tmp_path, prune="none")
    while not search.over:
        search.tell(search.ask(), 0.5)
    assert pd.read_csv(tmp_path / "summary.csv")["evaluations"].sum() == evaluations


def test_a_folder_from_before_a_key_existed_goes_on(tmp_path: Path) -> None:
    expected = walk(biotune.Search(BLOCKS, **SMALL))
    begun = biotune.Search(BLOCKS, folder=tmp_path, **SMALL)
    first = walk(begun, most=5)
    begun.close()
    journal = tmp_path / "journal.jsonl"
    records = [json.loads(line) for line in journal.read_text().splitlines()]
    del records[1]["value"]["settings"]["sampler"]
    journal.write_text("".join(json.dumps(record) + "\n" for record in records))
    assert first + walk(biotune.Search(BLOCKS, folder=tmp_path, **SMALL)) == expected


def test_failed_trials_count_as_the_worst_whatever_the_scores_are(tmp_path: Path) -> None:
    # scores far below 0: a failure that counted as 1 − fitness = 0 would be the best of all
    search = biotune.Search(BLOCKS, evaluations=40, folder=tmp_path)
    failed = set()
    while not search.over:
        trial = search.ask()
        if trial.number % 3 == 0:
            failed.add(trial.schedule.key)
            search.tell(trial, error="CUDA error:\nout of memory")
        else:
            search.tell(trial, 40 * (score_of(trial) - 1.5))
    assert search.best.schedule.key not in failed
    table = pd.read_csv(tmp_path / "generations.csv")
    last = table[table["generation"] == table["generation"].max()]
    lost = last["status"] == "failed"
    assert last[~lost]["fitness"].max() > 1
    assert lost.sum() == 0 or last[lost]["fitness"].min() >= last[~lost]["fitness"].max()
    told = [json.loads(line) for line in (tmp_path / "journal.jsonl").read_text().splitlines()]
    assert {one["error"] for one in told if one["kind"] == "told"} == {None, "CUDA error: out of memory"}


@pytest.mark.parametrize(("scale", "shift"), [(100.0, 0.0), (1.0, -5.0), (1000.0, -3000.0)])
def test_scores_of_any_size_are_searched(scale: float, shift: float) -> None:
    search = biotune.Search(BLOCKS, evaluations=40, prune="none")
    first = []
    while not search.over:
        trial = search.ask()
        first.append(true_fitness(trial.schedule))
        search.tell(trial, scale * score_of(trial) + shift)
    assert true_fitness(search.best.schedule) < min(first[:13])
    assert search.best.score == pytest.approx(scale * (1 - true_fitness(search.best.schedule)) + shift, abs=0.03 * scale)


class Curves:
    """Trials that learn exponentially towards their score, and those that were given up."""

    def __init__(self, scale: float = 1.0, shift: float = 0.0) -> None:
        self.scale, self.shift = scale, shift
        self.stopped: dict[int, int] = {}
        self.epochs = 0

    def __call__(self, trial: biotune.Trial) -> float:
        for epoch in range(trial.epochs):
            reached = score_of(trial) * (1 - 0.5 ** (epoch + 1))
            trial.report(epoch, self.scale * reached + self.shift)
            self.epochs += 1
            if trial.should_stop():
                self.stopped[trial.number] = epoch
                break
        return max(trial.scores)


@pytest.mark.parametrize("prune", ["predicted", "median", "none"])
@pytest.mark.parametrize(("scale", "shift"), [(1.0, 0.0), (1.0, -3.0)])
def test_pruning_spares_epochs_of_trials_that_cannot_win(prune: str, scale: float, shift: float, tmp_path: Path) -> None:
    curves = Curves(scale, shift)
    search = biotune.search(curves, BLOCKS, 40, epochs=8, prune=prune, folder=tmp_path)
    assert bool(curves.stopped) == (prune != "none")
    assert all(2 <= epoch < 7 for epoch in curves.stopped.values())  # neither the first two epochs nor the last one
    statuses = pd.read_csv(tmp_path / "generations.csv").drop_duplicates("individual")["status"]
    assert (statuses == "pruned").sum() == len(curves.stopped)
    assert true_fitness(search.best.schedule) < 0.3


def test_a_trial_is_not_stopped_while_its_blocks_join() -> None:
    blocks = [biotune.Block(f"b{index}", (f"m{index}",)) for index in range(6)]
    search = biotune.Search(blocks, evaluations=60, epochs=8, unfreezing="last_to_first", prune="median")
    stopped = []
    while not search.over:
        trial = search.ask()
        joined = sum(trial.schedule.selected) - 1
        final = zlib.crc32(trial.schedule.key.encode()) / 2**32
        for epoch in range(8):
            trial.report(epoch, final * (epoch + 1) / 8)
            if trial.should_stop():
                stopped.append((epoch, joined))
                break
        search.tell(trial)
    assert any(joined > 2 for _, joined in stopped)
    assert all(epoch >= max(2, joined) for epoch, joined in stopped)


def test_a_score_counts_as_it_is_told_and_reports_must_be_in_order() -> None:
    search = biotune.Search(BLOCKS, **SMALL)
    trial = search.ask()
    trial.report(0, 0.9)
    for epoch, said in ((0, "epoch 0 is reported where 1 is the next"), (2, "epoch 2 is reported where 1 is the next")):
        with pytest.raises(SearchError, match=said):
            trial.report(epoch, 0.5)
    with pytest.raises(SearchError, match="the score is nan"):
        trial.report(1, math.nan)
    search.tell(trial, 0.4)  # such as the score of an average of weights
    assert search.best.score == pytest.approx(0.4)
    other = search.ask()
    for epoch in range(6):
        other.report(epoch, 0.1 * epoch)
    with pytest.raises(SearchError, match=r"has 6 epochs; give Search\(epochs=…\)"):
        other.report(6, 0.9)
    search.tell(other)  # the best that was reported
    assert search.best.score == pytest.approx(0.5)


def test_an_objective_that_fails_ends_the_search_unless_it_is_caught() -> None:
    def objective(trial: biotune.Trial) -> float:
        if trial.number % 4 == 1:
            raise RuntimeError("diverged")
        return score_of(trial)

    with pytest.raises(RuntimeError, match="diverged"):
        biotune.search(objective, BLOCKS, 16)
    with pytest.raises(RuntimeError, match="diverged"):
        biotune.search(objective, BLOCKS, 16, catch=(KeyError, ValueError))
    assert biotune.search(objective, BLOCKS, 16, catch=RuntimeError).over
    with pytest.raises(SearchError, match="the score is nan"):
        biotune.search(lambda trial: math.nan, BLOCKS, 16)


@pytest.mark.parametrize("mating", ["brood", "asynchronous"])
@pytest.mark.parametrize("workers", [1, 3])
def test_a_search_goes_on_from_its_folder_wherever_it_was_left(mating: str, workers: int, tmp_path: Path) -> None:
    def begun(name: str) -> biotune.Search:
        return biotune.Search(BLOCKS, folds=2, folder=tmp_path / name, **SMALL, **OF_MATING[mating])

    whole = begun("whole")
    asked = walk(whole, workers)
    files = ("generations.csv", "summary.csv", "best_schedule.yaml")
    for most in range(1, len(asked), 4):
        with begun(f"cut{most}") as cut:
            before = walk(cut, workers, most=most)
        with begun(f"cut{most}") as later:
            told = {key for key in before} - {(one.number, one.schedule.key, one.fold) for one in later._waiting}
            again = walk(later, workers if workers == 1 else 1)
            assert not told & set(again)
            if workers == 1:  # one after the other, the cut makes no difference
                assert sorted(told | set(again)) == sorted(asked)
                assert later.best == whole.best
                assert all(
                    (tmp_path / "whole" / one).read_bytes() == (tmp_path / f"cut{most}" / one).read_bytes() for one in files
                )
    with begun("whole") as finished:
        assert finished.over and finished.best == whole.best


def test_a_killed_process_leaves_a_search_that_goes_on(tmp_path: Path) -> None:
    code = (
        "import biotune, os, sys\n"
        "blocks = [biotune.Block(f'b{i}', (f'm{i}',), 10 * (i + 1)) for i in range(4)]\n"
        f"search = biotune.Search(blocks, evaluations=16, epochs=6, folder={str(tmp_path)!r})\n"
        "for number in range(5):\n"
        "    search.tell(search.ask(), 0.1 * number)\n"
        "print(search.ask().schedule.key, 'torch' in sys.modules, flush=True)\n"
        "os._exit(9)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    key, _, with_torch = done.stdout.strip().rpartition(" ")
    assert (done.returncode, with_torch) == (9, "False")
    with biotune.Search(BLOCKS, folder=tmp_path, **SMALL) as search:
        trial = search.ask()
        assert (trial.number, trial.schedule.key) == (5, key)
        assert search.best.score == pytest.approx(0.4)


def test_a_folder_belongs_to_one_search_with_its_settings(tmp_path: Path) -> None:
    search = biotune.Search(BLOCKS, folder=tmp_path / "a", **SMALL)
    refused: list[tuple[dict[str, Any], str]] = [
        ({}, "another process, or another Search in this one, is working on it"),
        ({"seed": 5}, r"was begun with other settings \(seed=0, now 5\)"),
        ({"blocks": BLOCKS[:3]}, r"block b3=\[m3\], now missing"),
        ({"blocks": BLOCKS[::-1]}, "another order of the blocks"),
        ({"prune": "median"}, "prune=none, now median"),
    ]
    for change, said in refused:
        with pytest.raises(RunFolderError, match=said):
            biotune.Search(**{"blocks": BLOCKS, "folder": tmp_path / "a", **SMALL, **change})
        search.close()
    with pytest.raises(SearchError, match="its folder was closed"):
        search.ask()
    assert json.loads((tmp_path / "a" / "status.json").read_text())["state"] == "interrupted"
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "status.json").write_text('{"command": "run"}')
    with pytest.raises(RunFolderError, match="holds a run of 'biotune run'"):
        biotune.Search(BLOCKS, folder=tmp_path / "run")
    (tmp_path / "file").write_text("")
    with pytest.raises(RunFolderError, match="cannot be made or written"):
        biotune.Search(BLOCKS, folder=tmp_path / "file")


def test_a_finished_search_can_be_lengthened(tmp_path: Path) -> None:
    settings: dict[str, Any] = {"population_size": 8, "elites": 4, "folder": tmp_path}
    walk(biotune.Search(BLOCKS, generations=2, **settings))
    with pytest.raises(BiotuneError, match="generations=2, now 1"):
        biotune.Search(BLOCKS, generations=1, **settings)
    longer = biotune.Search(BLOCKS, generations=4, **settings)
    assert not longer.over
    walk(longer)
    assert list(pd.read_csv(tmp_path / "summary.csv")["generation"]) == [0, 1, 2, 3, 4]
    assert json.loads((tmp_path / "status.json").read_text())["state"] == "finished"


def test_a_damaged_or_foreign_journal_is_one_line(tmp_path: Path) -> None:
    with biotune.Search(BLOCKS, folder=tmp_path, **SMALL) as search:
        search.tell(search.ask(), 0.5)
    journal = tmp_path / "journal.jsonl"
    whole = journal.read_text()
    journal.write_text(whole.replace('"schedule": "', '"schedule": "9', 1))
    with pytest.raises(RunFolderError, match="differs from the journalled one, at trial 0"):
        biotune.Search(BLOCKS, folder=tmp_path, **SMALL)
    journal.write_text(whole.replace('"curve": [0.5]', '"curve": 1'))
    with pytest.raises(RunFolderError, match="the record of trial 0 is damaged"):
        biotune.Search(BLOCKS, folder=tmp_path, **SMALL)
    journal.write_text(whole)
    biotune.Search(BLOCKS, folder=tmp_path, **SMALL).close()


def test_the_best_schedule_of_a_folder_can_be_applied(tmp_path: Path) -> None:
    search = biotune.Search(BLOCKS, folder=tmp_path, **SMALL)
    walk(search)
    schedule = biotune.load_schedule(tmp_path / "best_schedule.yaml")
    assert schedule == search.best.schedule and schedule.blocks == BLOCKS
    table = pd.read_csv(tmp_path / "generations.csv")
    assert table["trainable_share"].between(0, 1).all() and table["seconds"].max() == 1.0


def test_a_search_says_how_far_it_is() -> None:
    search = biotune.Search(BLOCKS, **SMALL)
    search.tell(search.ask(), 0.5)
    search.ask()
    assert repr(search) == "<Search of 4 blocks, at most 16 evaluations: 1 trials told>"
