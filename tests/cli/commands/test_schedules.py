"""`biotune schedules`: lists what no other schedule beats, and writes schedules that can be trained."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from made_up import make_run

import biotune as library

Command = Callable[..., Any]
BLOCKS = tuple(library.Block(f"b{at}", (f"b{at}",), 10**at) for at in range(3))


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run with six evaluations, too few for a regression."""
    return make_run(tmp_path / "run", generations=0, candidates=6)


def listed(said: str) -> list[dict]:
    return json.loads(said)["schedules"]


def rows_of(folder: Path, name: str = "generations.csv") -> list[dict[str, str]]:
    with (folder / name).open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_a_search_with_one_objective_lists_what_none_beats_in_score_and_share(biotune: Command, run: Path) -> None:
    found = [(float(row["val_accuracy"]), float(row["trainable_share"])) for row in rows_of(run)]
    front = [one for one in found if not any(other[0] > one[0] and other[1] <= one[1] for other in found)]
    said = biotune("schedules", str(run), "--json")
    assert said.status == 0
    own = [(one["predicted"], one["trainable_share"]) for one in listed(said.out)]
    assert own == [pytest.approx(pair) for pair in sorted(front, reverse=True)]
    assert [one["number"] for one in listed(said.out)] == list(range(1, len(front) + 1))
    table = biotune("schedules", str(run)).out
    assert f"{len(front)} of {len(front)} schedules" in table and f"{100 * min(front)[1]:.1f} %" in table


def test_with_enough_evaluations_scores_are_predicted(biotune: Command, tmp_path: Path) -> None:
    folder = make_run(tmp_path / "long", generations=5)
    measured = {float(row["val_accuracy"]) for row in rows_of(folder)}
    found = listed(biotune("schedules", str(folder), "--json").out)
    assert found and not {one["predicted"] for one in found} & measured
    shares = [one["trainable_share"] for one in found]
    assert shares == sorted(shares, reverse=True) and len(set(shares)) == len(shares)


def test_untrained_candidates_and_elites_that_are_carried_over_are_no_evaluations(biotune: Command, run: Path) -> None:
    before = listed(biotune("schedules", str(run), "--json").out)
    table = pd.read_csv(run / "generations.csv")
    failed = table.tail(1).assign(status="failed", fitness=-1.0, trainable_share=1e-9, lr_weight_layer0=7.0)
    carried = [table.assign(status="cached", origin="elite", fitness=0.0)] * 3
    pd.concat([table, failed, *carried]).to_csv(run / "generations.csv", index=False)
    assert listed(biotune("schedules", str(run), "--json").out) == before


def test_only_small_shares_are_shown_where_that_is_asked_for(biotune: Command, run: Path) -> None:
    every = listed(biotune("schedules", str(run), "--json").out)
    middle = sorted(one["trainable_share"] for one in every)[len(every) // 2]
    found = listed(biotune("schedules", str(run), "--json", "--max-share", repr(middle)).out)
    assert found == [one for one in every if one["trainable_share"] <= middle]


def test_a_schedule_is_written_exactly_with_the_search_s_learning_rate(biotune: Command, run: Path, here: Path) -> None:
    last = listed(biotune("schedules", str(run), "--json").out)[-1]
    said = biotune("schedules", str(run), "--write", str(last["number"]), "member.yaml")
    assert (said.status, said.out.strip()) == (0, "member.yaml")
    written, best = library.load_schedule(here / "member.yaml"), library.load_schedule(run / "best_schedule.yaml")
    (row,) = (row for row in rows_of(run) if row["individual"] == last["schedule"])
    assert written.lr_weights == tuple(float(row[f"lr_weight_{name}"]) for name in best.names)
    assert written.blocks == best.blocks and written.header["base_lr"] == best.header["base_lr"]


def with_front(run: Path) -> None:
    names = library.load_schedule(run / "best_schedule.yaml").names
    facts = "number,schedule,accuracy,macs,knee,confirmed_accuracy,confirmed_se,confirmed_trials"
    columns = [*facts.split(","), *(f"lr_weight_{name}" for name in names), "unfreezing", "head_start"]
    weights = ",".join("0.1" if name == names[0] else "0.0" for name in names)
    lines = [f"1,41,0.9,2000000,False,0.875,0.0125,6,{weights},together,probe"]
    lines += [f"2,full,0.8,1000000,True,,,0,{weights.replace('0.1', '0.30000000000000004')},together,fresh"]
    (run / "front.csv").write_text("\n".join([",".join(columns), *lines]) + "\n", encoding="utf-8")


def test_a_search_for_trade_offs_lists_its_front_with_costs_knee_and_confirmation(
    biotune: Command, run: Path, here: Path
) -> None:
    with_front(run)
    lines = [line.split() for line in biotune("schedules", str(run)).out.splitlines()]
    assert ["1", "41", "0.9000", "87.5", "±", "1.2", "%", "2", "M"] in lines
    assert ["2", "full", "0.8000", "–", "1", "M", "knee"] in lines
    assert biotune("schedules", str(run), "--write", "2", "two.yaml").status == 0
    assert library.load_schedule(here / "two.yaml").lr_weights[0] == 0.30000000000000004
    assert biotune("schedules", str(run), "--write", "1", "one.yaml").status == 0
    assert library.load_schedule(here / "one.yaml").head_start == "probe"


def test_a_search_of_one_s_own_loop_is_listed_too(biotune: Command, here: Path) -> None:
    def score(trial: library.Trial) -> float:
        return 0.5 + 0.1 * sum(trial.schedule.selected)

    library.search(score, BLOCKS, 12, folder=here / "own")
    found = listed(biotune("schedules", "own", "--json").out)
    assert found[-1]["trainable_share"] == pytest.approx(1 / 111, abs=0.1)
    assert biotune("schedules", "own", "--write", "1", "mine.yaml").status == 0
    assert "base_lr" not in library.load_schedule(here / "mine.yaml").header


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--max-share", "0"], "--max-share 0: must be greater than 0 and at most 1."),
        (["--write", "99", "new.yaml"], "--write 99: must be a number of the list"),
        (["--write", "1", "there.yaml"], "there.yaml: exists already; name a new file."),
        (["--write", "1", "no/new.yaml"], "no/new.yaml: cannot be written"),
        (["--write", "1"], "expected 2 arguments"),
    ],
)
def test_wrong_words_are_one_line(biotune: Command, run: Path, here: Path, words: list[str], said: str) -> None:
    (here / "there.yaml").write_text("mine")
    found = biotune("schedules", str(run), *words)
    assert found.status == 2 and said in found.err and len(found.err.splitlines()) == 1
    assert (here / "there.yaml").read_text() == "mine"


def test_what_is_no_search_is_one_line(biotune: Command, run: Path, tmp_path: Path) -> None:
    trained = make_run(tmp_path / "trained", command="train")
    assert "makes no search" in biotune("schedules", str(trained)).err
    assert "no such folder" in biotune("schedules", "nowhere").err
    begun = shutil.copytree(run, tmp_path / "begun")
    (begun / "best_schedule.yaml").unlink()
    assert f"'biotune resume {begun}' goes on" in biotune("schedules", str(begun)).err
    (run / "front.csv").write_text("number,schedule\n1,2\n", encoding="utf-8")
    damaged = biotune("schedules", str(run))
    assert "front.csv: is damaged" in damaged.err and len(damaged.err.splitlines()) == 1
