"""A run that looks for trade-offs: its front in every file and place, its confirmation, and how it goes on."""

from __future__ import annotations

import csv
import json
import math
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

import biotune
from biotune.cli import main
from biotune.errors import SearchError
from biotune.recipes import costs
from biotune.schedule.block import Block
from biotune.schedule.schedule import Schedule

WORDS = [
    "experiment=smoke",
    "evolution.objectives=[accuracy,trainable_params,seconds]",
    "evolution.population_size=10",
    "evolution.elites=6",
    "evolution.generations=3",
    "confirm.seeds=[2,3]",
    "confirm.retrain=winner",
    "fitness.prune=predicted",
]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small run for the score, the parameters and the time of a step."""
    folder = tmp_path_factory.mktemp("traded") / "run"
    assert main(["run", *WORDS, f"hydra.run.dir={folder}"]) == 0
    return folder


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def records_of(run: Path, kind: str) -> list[dict[str, Any]]:
    lines = (run / "journal.jsonl").read_text(encoding="utf-8").splitlines()
    return [record for record in map(json.loads, lines) if record["kind"] == kind]


def trained_by(row: dict[str, str]) -> tuple[str, ...]:
    weights = {name.removeprefix("lr_weight_"): float(value) for name, value in row.items() if name.startswith("lr_weight_")}
    return tuple(name for name, weight in weights.items() if weight > 0)


def test_the_front_s_costs_are_those_of_its_schedules(run: Path) -> None:
    front = rows_of(run / "front.csv")
    sizes = json.loads((run / "result.json").read_text())["schedule"]["blocks"]
    measured = {tuple(record["blocks"]): record["seconds"] for record in records_of(run, "cost")}
    assert [row["number"] for row in front] == [str(number) for number in range(1, len(front) + 1)]
    for row in front:
        assert int(row["trainable_params"]) == sum(sizes[name]["parameters"] for name in trained_by(row))
        assert float(row["seconds"]) == measured[trained_by(row)] > 0
    points = [(-float(row["accuracy"]), int(row["trainable_params"]), float(row["seconds"])) for row in front]
    assert not any(one != other and all(a <= b for a, b in zip(one, other, strict=True)) for one in points for other in points)


def test_each_set_of_blocks_is_measured_once(run: Path) -> None:
    measured = [tuple(record["blocks"]) for record in records_of(run, "cost")]
    evaluated = {trained_by(row) for row in rows_of(run / "generations.csv") if row["status"] == "ok"}
    assert len(measured) == len(set(measured)) and set(measured) == evaluated


def test_what_stands_out_is_confirmed_and_the_front_holds_the_mean(run: Path) -> None:
    front, trials = rows_of(run / "front.csv"), rows_of(run / "confirm.csv")
    outstanding = [front[0], *(row for row in front if row["knee"] == "True")]
    outstanding += [min(front, key=lambda row, cost=cost: float(row[cost])) for cost in ("trainable_params", "seconds")]
    assert all(row["confirmed_trials"] == "2" for row in outstanding)
    for row in front:
        scores = [float(trial["macro_accuracy"]) for trial in trials if trial["schedule"] == row["schedule"]]
        assert int(row["confirmed_trials"]) == len(scores)
        if scores:
            mean = sum(scores) / 2
            assert float(row["confirmed_accuracy"]) == pytest.approx(mean)
            assert float(row["confirmed_se"]) == pytest.approx(math.sqrt(sum((score - mean) ** 2 for score in scores) / 2))
        else:
            assert row["confirmed_accuracy"] == row["confirmed_se"] == ""


def test_no_trial_is_given_up(run: Path) -> None:
    assert {row["status"] for row in rows_of(run / "generations.csv")} <= {"ok", "cached", "empty"}


def test_page_and_plots_show_the_front(run: Path) -> None:
    page = (run / "report.html").read_text(encoding="utf-8")
    assert "<h2>Trade-offs</h2>" in page and "The front dominates" in page
    assert (run / "plots" / "front-trainable-params.png").is_file() and (run / "plots" / "front-seconds.png").is_file()
    assert "NaN" not in (run / "result.json").read_text(encoding="utf-8")


def test_a_run_that_goes_on_takes_the_costs_of_its_journal(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = shutil.copytree(run, tmp_path / "again")
    for name in ("front.csv", "result.json", "generations.csv", "report.html"):
        (folder / name).unlink()
    status = json.loads((folder / "status.json").read_text())
    (folder / "status.json").write_text(json.dumps(status | {"state": "interrupted"}))

    def measured_again(*given: Any) -> Any:
        raise AssertionError("the journal holds every cost")

    monkeypatch.setattr(costs, "measure_step", measured_again)
    assert main(["resume", str(folder)]) == 0
    assert (folder / "front.csv").read_bytes() == (run / "front.csv").read_bytes()
    said = capsys.readouterr().out
    assert "objectives accuracy and trainable_params and seconds" in said
    assert "Trade-offs:" in said


def test_a_step_that_does_not_fit_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def too_large(*given: Any) -> Any:
        raise torch.cuda.OutOfMemoryError

    monkeypatch.setattr(costs, "measure_step", too_large)
    journal = SimpleNamespace(understood=lambda kind, read: {})
    nothing = SimpleNamespace(journal=journal, network=None, device=None, data=SimpleNamespace(sides=8))
    meter = costs.StepMeter(nothing, SimpleNamespace(training=None))  # type: ignore[arg-type]
    with pytest.raises(SearchError, match="a training step of b, c does not fit beside the workers"):
        meter.costs(Schedule(tuple(Block(name, (name,)) for name in "abc"), (0.0, 1.0, 1.0)))


def test_a_member_of_the_front_can_be_trained(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    last = rows_of(run / "front.csv")[-1]
    assert main(["schedules", str(run), "--write", last["number"], "member.yaml"]) == 0
    words = ["strategy=schedule", "schedule=member.yaml", f"hydra.run.dir={tmp_path / 'trained'}"]
    small = ["executor=in_process", "dataset.max_classes=3", "dataset.max_per_class=4", "training.epochs=1", "test.seeds=[3]"]
    assert main(["train", *words, *small]) == 0
    assert biotune.load_schedule(tmp_path / "trained" / "best_schedule.yaml").names
    trained = json.loads((tmp_path / "trained" / "result.json").read_text())["trainable_params"]
    assert trained == int(last["trainable_params"])


def test_a_search_with_one_objective_leaves_no_front(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    assert main(["run", "experiment=smoke", f"hydra.run.dir={folder}"]) == 0
    assert not (folder / "front.csv").exists()
    assert "front" not in json.loads((folder / "result.json").read_text())
    assert "Trade-offs" not in (folder / "report.html").read_text(encoding="utf-8")
    assert records_of(folder, "cost") == []
