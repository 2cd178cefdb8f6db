"""Tests of -q and -v: what is said, and that nothing else changes."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

SMOKE = ("run", "experiment=smoke", "backbone.weights=none")
TRAINING = r"  \S+  (?:fold \d+|all data)  seed \d+  score \d\.\d{4}  \d+ epochs  [\d.]+ s"
TABLES = ("generations.csv", "summary.csv", "confirm.csv", "test.csv", "predictions.csv")


def table(file: Path) -> list[list[str]]:
    """A table without what its times are."""
    with file.open(encoding="utf-8", newline="") as opened:
        rows = list(csv.DictReader(opened))
    return [[value for name, value in row.items() if not name.endswith("seconds")] for row in rows]


def test_quiet_and_verbose_say_less_and_more_and_change_no_table(
    biotune: Callable[..., Any], here: Path, monkeypatch: pytest.MonkeyPatch, jobs_in_this_process: None
) -> None:
    from biotune.recipes import run as recipe

    monkeypatch.setattr(recipe, "write_report", lambda run: None)  # its images cost more than the run
    normal = biotune(*SMOKE, "hydra.run.dir=normal")
    verbose = biotune(*SMOKE, "--verbose", "hydra.run.dir=verbose")
    quiet = biotune(*SMOKE, "-m", "seed=0", "-q", "hydra.sweep.dir=quiet")
    assert [(said.status, said.err) for said in (normal, verbose, quiet)] == [(0, "")] * 3
    for name in TABLES:
        assert table(here / "normal" / name) == table(here / "verbose" / name) == table(here / "quiet/0" / name)

    results = [json.loads(line) for line in (here / "verbose/journal.jsonl").read_text().splitlines()]
    trained = [line for line in verbose.out.splitlines() if re.fullmatch(TRAINING, line)]
    assert len(trained) == sum("curve" in record for record in results) > 5
    times = "~.* left|training runs? in .*"
    told = [re.sub(times, "", line) for line in normal.out.splitlines()]
    others = [re.sub(times, "", line) for line in verbose.out.splitlines() if line not in trained]
    assert [line.replace("verbose", "normal") for line in others] == told

    lines = [line for line in quiet.out.splitlines() if line.strip()]
    assert lines[0] == "job 0: experiment=smoke backbone.weights=none seed=0"
    assert lines[1].startswith("Test set")
    assert [line.split()[0] for line in lines[4:7]] == ["biotune", "full", "linear_probe"]
    assert lines[7] == "experiment=smoke tries whether all works together: its scores and advice mean nothing."
    assert lines[8] == "Files: quiet/0"
    assert lines[9].startswith("Sweep")


def test_quiet_errors_are_still_told(biotune: Callable[..., Any]) -> None:
    said = biotune("run", "-q", "training.lr=-1")
    assert said.status == 2
    assert "training.lr" in said.err


@pytest.mark.parametrize(
    "arguments", [("run", "-q", "-v"), ("run", "--json"), ("blocks", "-q"), ("list", "datasets", "-v"), ("data", "check", "-q")]
)
def test_a_flag_that_a_command_does_not_have_is_refused_in_one_line(
    biotune: Callable[..., Any], here: Path, arguments: tuple[str, ...]
) -> None:
    said = biotune(*arguments)
    assert (said.status, said.out) == (2, "")
    assert len(said.err.splitlines()) == 1
    assert arguments[-1] in said.err
    assert list(here.iterdir()) == []


def test_predictions_as_json(biotune: Callable[..., Any], here: Path) -> None:
    one_epoch = ("training.epochs=1", "test.seeds=[1]", "dataset.max_eval_per_class=1", "executor=in_process")
    assert biotune("train", "-q", "strategy=linear_probe", *one_epoch, "hydra.run.dir=out").status == 0
    Image.new("L", (16, 16)).save(here / "dark.png")
    said = biotune("predict", "out", "dark.png", "--top", "2", "--json")
    assert (said.status, said.err) == (0, "")
    first, second = json.loads(said.out)["predictions"]
    assert first["picture"] == second["picture"] == "dark.png"
    assert 1 >= first["probability"] >= second["probability"] > 0
    assert isinstance(first["class"], str)
