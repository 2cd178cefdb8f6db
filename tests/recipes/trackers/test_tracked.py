"""Whole commands with a tracker: nothing but what is sent differs, whatever the tracker does."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from biotune.cli import main
from biotune.config.schema import RunConfig
from biotune.recipes.progress import SILENCE
from biotune.recipes.trackers.tracked import tracked
from biotune.training import finetune as loop

SMALL = ["experiment=smoke", "training.lr=0.003", "training.epochs=2", "evolution.generations=2"]
TABLES = ("generations.csv", "summary.csv", "confirm.csv", "test.csv")
WHOLE = ("best_schedule.yaml", "predictions.csv", "model.safetensors", "model.json")
NOWHERE = ["tracker=mlflow", "tracker.mlflow.uri=http://127.0.0.1:9"]  # a port that nobody listens to
Command = Callable[..., int]


@pytest.fixture
def biotune(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Command:
    monkeypatch.setattr(sys, "argv", ["biotune"])
    monkeypatch.chdir(tmp_path)
    return lambda *words: main(list(words))


@pytest.fixture(scope="module")
def untracked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run without a tracker."""
    folder = tmp_path_factory.mktemp("untracked") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["biotune"])
        assert main(["run", *SMALL, f"hydra.run.dir={folder}"]) == 0
    return folder


def trials(folder: Path) -> list[str]:
    lines = [json.loads(line) for line in (folder / "journal.jsonl").read_text().splitlines()]
    return [line["key"] for line in lines if line["kind"] == "trial"]


def timeless(folder: Path) -> str:
    """The tables of a run, its result and the keys of its trials, but for times."""
    tables = []
    for name in TABLES:
        head, *rows = (line.split(",") for line in (folder / name).read_text().splitlines())
        kept = [index for index, column in enumerate(head) if not column.endswith("seconds")]
        tables += [",".join(row[index] for index in kept) for row in [head, *rows]]
    result = re.sub(r'"seconds": [\d.]+', "", (folder / "result.json").read_text())
    return "\n".join([*tables, result, *trials(folder)])


def assert_same(one: Path, other: Path) -> None:
    assert timeless(one) == timeless(other)
    for name in WHOLE:
        assert (one / name).read_bytes() == (other / name).read_bytes(), name


def tensorboard(folder: Path) -> tuple[list[str], dict[str, list[tuple[int, float]]]]:
    """The runs that TensorBoard shows of a command, and the series of the command's own."""
    from tensorboard.backend.event_processing.event_multiplexer import EventMultiplexer

    found = EventMultiplexer(size_guidance={"scalars": 0}).AddRunsFromDirectory(str(folder / "tensorboard")).Reload()
    own = {name: found.Scalars("search", name) for name in found.Runs()["search"]["scalars"]}
    series = {name: [(event.step, event.value) for event in values] for name, values in own.items()}
    return sorted(run for run in found.Runs() if run != "search"), series


def complete(folder: Path) -> list[str]:
    return json.loads((folder / "trackers.json").read_text())["complete"]


def test_without_a_tracker_there_is_nothing_between(tmp_path: Path, untracked: Path) -> None:
    with tracked("run", RunConfig(), tmp_path, SILENCE) as progress:
        assert progress is SILENCE
    assert not (untracked / "trackers.json").exists()
    assert "tracker" not in json.dumps(json.loads((untracked / "journal.jsonl").read_text().splitlines()[1]))


def test_a_run_sends_every_training_run_and_generation_and_is_otherwise_the_same(
    biotune: Command, untracked: Path, tmp_path: Path
) -> None:
    pytest.importorskip("tensorboard")
    assert biotune("run", *SMALL, "tracker=tensorboard", "hydra.run.dir=run") == 0
    assert_same(tmp_path / "run", untracked)
    runs, series = tensorboard(tmp_path / "run")
    assert len(runs) == len(set(trials(tmp_path / "run")))
    summary = [line.split(",") for line in (tmp_path / "run/summary.csv").read_text().splitlines()]
    best = [float(line[summary[0].index("best_fitness")]) for line in summary[1:]]
    assert series["best_fitness"] == [(number, pytest.approx(value)) for number, value in enumerate(best)]
    result = json.loads((tmp_path / "run/result.json").read_text())
    assert series["result/test/macro_accuracy"] == [(0, pytest.approx(result["test"]["macro_accuracy"]["mean"]))]
    assert complete(tmp_path / "run") == ["tensorboard"]


def test_a_run_that_was_interrupted_sends_the_rest_when_it_is_resumed(
    biotune: Command, untracked: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("tensorboard")
    left, real = iter(range(6)), loop.finetune

    def until_interrupted(*given: object) -> object:
        if next(left, None) is None:
            raise KeyboardInterrupt
        return real(*given)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(loop, "finetune", until_interrupted)
        assert biotune("run", *SMALL, "tracker=tensorboard", "hydra.run.dir=run") == 130
    assert complete(tmp_path / "run") == []
    assert biotune("resume", "run") == 0
    assert_same(tmp_path / "run", untracked)
    runs, series = tensorboard(tmp_path / "run")
    assert len(runs) == len(set(trials(tmp_path / "run")))
    assert [step for step, _ in series["mean_fitness"]] == [0, 1, 2]


def test_a_finished_run_is_sent_to_a_tracker_that_is_chosen_later(
    biotune: Command, untracked: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("tensorboard")
    assert biotune("run", *SMALL, "hydra.run.dir=run") == 0
    assert biotune("resume", "run") != 0
    assert biotune("resume", "run", "tracker=tensorboard") == 0
    assert_same(tmp_path / "run", untracked)
    runs, _ = tensorboard(tmp_path / "run")
    assert len(runs) == len(set(trials(tmp_path / "run")))
    capsys.readouterr()
    assert biotune("resume", "run") != 0, "it has received everything"
    assert "has finished" in capsys.readouterr().err


def test_a_tracker_that_cannot_be_reached_is_said_once_and_again_in_the_end_and_changes_nothing(
    biotune: Command, untracked: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("mlflow")
    assert biotune("run", *SMALL, *NOWHERE, "hydra.run.dir=run", "-q") == 0
    assert_same(tmp_path / "run", untracked)
    said = [line for line in capsys.readouterr().err.splitlines() if "tracker=mlflow" in line]
    assert 1 <= len(said) <= 2  # the first one is about the search, if that is not over by then
    assert "MlflowException" in said[0]
    assert f"'biotune resume {tmp_path / 'run'}' sends the rest." in said[-1]
    assert complete(tmp_path / "run") == []


def test_a_folder_in_which_a_tracker_cannot_write_changes_nothing(
    biotune: Command, untracked: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("tensorboard")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "tensorboard").write_text("a file stands where the folder should be")
    assert biotune("run", *SMALL, "tracker=tensorboard", "hydra.run.dir=run", "-q") == 0
    assert_same(tmp_path / "run", untracked)
    assert "tracker=tensorboard: NotADirectoryError" in capsys.readouterr().err
    (tmp_path / "run" / "tensorboard").unlink()
    assert biotune("resume", "run") == 0
    assert len(tensorboard(tmp_path / "run")[0]) == len(set(trials(tmp_path / "run")))


def test_a_comparison_keeps_its_seeds_apart(biotune: Command, tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    words = ["strategies=[full,biotune]", "test.seeds=[1,2]", "tracker=tensorboard", "hydra.run.dir=run"]
    assert biotune("compare", *SMALL, *words) == 0
    runs, series = tensorboard(tmp_path / "run")
    made = [trials(tmp_path / f"run/seed-{seed}") for seed in (1, 2)]
    assert len(runs) == len(made[0]) + len(made[1])
    assert [step for step, _ in series["seed-2/best_fitness"]] == [0, 1, 2]
    assert [run for run in runs if run.startswith("trials/seed-1-full-")]


@pytest.mark.parametrize("package", ["tensorboard", "mlflow", "wandb"])
def test_a_package_that_is_missing_is_said_before_any_work(
    package: str, biotune: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("biotune.recipes.trackers.registry.find_spec", lambda name: None)
    assert biotune("run", *SMALL, f"tracker={package}", "hydra.run.dir=run") != 0
    needed = f"tracker={package}: needs the extra '{package}': pip install 'biotune[{package}]'."
    assert capsys.readouterr().err == f"biotune: {needed}\n"
    assert not (tmp_path / "run").exists()
