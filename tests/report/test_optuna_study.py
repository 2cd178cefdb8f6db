"""A search as a study of Optuna: what Optuna reads back is what the run's folder says."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from made_up import make_run

import biotune
from biotune.cli import main
from biotune.evolution.rows import SUMMARY_COLUMNS
from biotune.schedule.genotype import decode

optuna = pytest.importorskip("optuna", reason="optuna is not installed")
from biotune.optuna import ScheduleSampler, suggest_schedule  # noqa: E402

ARCHIVED = Path(__file__).parents[1] / "archive/0.1.0/finished"
BLOCKS = tuple(biotune.Block(name, (f"net.{name}",), 10) for name in ("stem", "middle", "head"))
CURVES = {0: (0.25, 0.5, 0.375), 1: (0.5, 0.25)}
SEARCH: dict[str, Any] = {"evaluations": 12, "unfreezing": "evolved", "epochs": 4, "surrogate": "none", "screen": 1}


def written(folder: Path, storage: str, capsys: pytest.CaptureFixture[str]) -> str:
    """What the command says of the study."""
    assert main(["report", str(folder), "--optuna", storage]) == 0
    said, page = capsys.readouterr().out.splitlines()
    assert page == str(folder / "report.html")
    return said


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A search whose trials 1, 6, 11 fail, whose trials 2, 7, 12 are pruned, and that is not over."""
    folder = tmp_path_factory.mktemp("searched") / "mine"
    search = biotune.Search(BLOCKS, folder=folder, ranking="fitness", **SEARCH)
    while search.ready:
        trial = search.ask()
        if trial.number % 5 == 1:
            search.tell(trial, error="diverged")
            continue
        for epoch, score in enumerate(CURVES[trial.number % 2]):
            trial.report(epoch, score + trial.number / 1000)
        search.tell(trial, pruned=trial.number % 5 == 2, cost=float(trial.number))
        if trial.number == 10:
            break
    search.close()
    return folder


@pytest.fixture(scope="module")
def stored(searched: Path) -> tuple[str, str]:
    """A storage with its study, and what was said; making one takes SQLite seconds."""
    storage, said = f"sqlite:///{searched.parent / 'runs.db'}", io.StringIO()
    with contextlib.redirect_stdout(said):
        assert main(["report", str(searched), "--optuna", storage]) == 0
    line, page = said.getvalue().splitlines()
    assert page == str(searched / "report.html")
    return storage, line


def test_a_search_becomes_a_study_with_a_trial_for_each_evaluation(searched: Path, stored: tuple[str, str]) -> None:
    storage, said = stored
    rows = list(csv.DictReader((searched / "generations.csv").open()))
    made = [row for row in rows if row["origin"] != "elite"]  # elites carry their scores over
    assert said == f"study mine: {len(made)} trials"
    study = optuna.load_study(study_name="mine", storage=storage)
    assert study.direction.name == "MAXIMIZE"
    asked = [json.loads(line) for line in (searched / "journal.jsonl").read_text().splitlines()]
    numbers = {one["schedule"]: one["trial"] for one in asked if one["kind"] == "asked"}
    assert len(study.trials) == len(made) > 8
    for trial, row in zip(study.trials, made, strict=True):
        schedule = suggest_schedule(trial, BLOCKS, unfreezing="evolved")
        if schedule.is_empty:
            assert (trial.state.name, trial.user_attrs["error"]) == ("FAIL", "trains no block")
            continue
        number = numbers[schedule.key]  # exactly the schedule that was asked for
        assert trial.state.name == {1: "FAIL", 2: "PRUNED"}.get(number % 5, "COMPLETE")
        assert {name: str(trial.user_attrs[name]) for name in ("generation", "fold", "origin", "status")} == {
            name: row[name] for name in ("generation", "fold", "origin", "status")
        }
        assert [trial.user_attrs[f"lr_weight_{name}"] for name in ("stem", "middle", "head")] == list(schedule.lr_weights)
        if trial.state.name == "FAIL":
            assert (trial.value, trial.intermediate_values, trial.user_attrs["error"]) == (None, {}, "diverged")
            continue
        curve = [score + number / 1000 for score in CURVES[number % 2]]
        assert trial.intermediate_values == dict(enumerate(curve))
        assert trial.value == pytest.approx(max(curve)) and trial.user_attrs["seconds"] == number
    assert {trial.state.name for trial in study.trials} == {"COMPLETE", "FAIL", "PRUNED"}


def test_a_second_time_the_study_is_replaced_and_that_of_another_is_left(
    searched: Path, stored: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    storage, first = stored
    assert written(searched, storage, capsys) == f"{first}, in the place of an earlier one"
    (summary,) = optuna.get_all_study_summaries(storage)
    assert summary.n_trials == int(first.split()[2])
    twin = shutil.copytree(searched, tmp_path / "mine")
    assert main(["report", str(twin), "--optuna", storage]) == 2
    assert capsys.readouterr().err == (
        f"biotune: {twin}: the storage has another study named mine; give another storage, or another name to the folder.\n"
    )
    assert len(optuna.load_study(study_name="mine", storage=storage).trials) == summary.n_trials


def test_optunas_samplers_go_on_from_a_study(stored: tuple[str, str]) -> None:
    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.TPESampler(seed=0))
    study.add_trials(optuna.load_study(study_name="mine", storage=stored[0]).trials)
    before = len(study.trials)
    study.optimize(lambda trial: float(suggest_schedule(trial, BLOCKS, unfreezing="evolved").selected[-1]), n_trials=2)
    assert len(study.trials) == before + 2
    study.sampler = ScheduleSampler(BLOCKS, evaluations=12)  # begins a search of its own
    study.optimize(lambda trial: float(suggest_schedule(trial, BLOCKS).selected[-1]), n_trials=1)
    assert study.trials[-1].params == pytest.approx({f"importance_{block.name}": 0.7386 for block in BLOCKS}, abs=1e-4)


def test_a_run_becomes_a_study_too_that_of_an_earlier_version_as_well(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, storage = shutil.copytree(ARCHIVED, tmp_path / "old"), f"sqlite:///{tmp_path / 'runs.db'}"
    said = written(run, storage, capsys)
    rows = list(csv.DictReader((run / "generations.csv").open()))
    names = [name.removeprefix("importance_") for name in rows[0] if name.startswith("importance_")]
    study = optuna.load_study(study_name="old", storage=storage)
    assert said == f"study old: {len(study.trials)} trials"
    blocks = [biotune.Block(name, (name,)) for name in names]
    by_individual = {(int(row["individual"]), int(row["fold"])): row for row in reversed(rows)}
    assert len(study.trials) == len(by_individual)
    with_curve = 0
    for trial in study.trials:
        row = by_individual[trial.user_attrs["individual"], trial.user_attrs["fold"]]
        genes = [float(row[f"importance_{name}"]) for name in names] + [float(row["threshold"])]
        assert suggest_schedule(trial, blocks, fixed_threshold=None) == decode(genes, blocks)
        if row["status"] in ("ok", "cached"):
            assert trial.value == 1 - float(row["fitness"])
            if trial.intermediate_values:
                with_curve += 1
                assert max(trial.intermediate_values.values()) <= 1
        else:
            assert trial.state.name != "COMPLETE"
    records = [json.loads(line) for line in (run / "journal.jsonl").read_text().splitlines()]
    assert with_curve > 5 and any(record["kind"] == "trial" for record in records)
    first = next(trial for trial in study.trials if trial.user_attrs["status"] == "ok")
    assert set(SUMMARY_COLUMNS[:2]) <= set(first.user_attrs)


@pytest.mark.parametrize(
    ("folder", "storage", "line"),
    [
        ("run", "runs.db", "--optuna runs.db: must be the URL of a storage, such as sqlite:///runs.db."),
        ("run", "sqlite:////no/such/runs.db", "--optuna: the storage cannot be opened (OperationalError: "),
        ("run", "nonsense://secret@x", "--optuna: the storage cannot be opened ("),
        ("train", "sqlite:///runs.db", "holds no search; --optuna takes runs of 'biotune run' and folders of biotune.Search."),
        ("run", "sqlite:///runs.db", "made: is damaged (KeyError: 'epochs')."),
    ],
)
def test_what_cannot_be_written_is_one_line(
    folder: str, storage: str, line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    make_run(tmp_path / "made", command=folder)
    assert main(["report", "made", "--optuna", storage]) == 2
    said = capsys.readouterr()
    assert line in said.err and len(said.err.splitlines()) == 1 and said.out == "" and "secret" not in said.err
    assert not (tmp_path / "made/report.html").exists()


def test_without_optuna_one_line_names_the_extra(
    a_run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("biotune.report.optuna_study.find_spec", lambda name: None)
    assert main(["report", str(a_run), "--optuna", "sqlite:///x.db"]) == 2
    assert capsys.readouterr().err == "biotune: --optuna: needs the extra 'optuna': pip install 'biotune[optuna]'.\n"


@pytest.mark.slow
@pytest.mark.skipif(find_spec("optuna_dashboard") is None, reason="optuna-dashboard is not installed")
def test_the_dashboard_shows_it(stored: tuple[str, str]) -> None:
    storage, count = stored[0], int(stored[1].split()[2])
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-c", "from optuna_dashboard._cli import main; main()", storage, "--port", str(port)]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        (study,) = _asked(f"http://127.0.0.1:{port}/api/studies")["study_summaries"]
        shown = _asked(f"http://127.0.0.1:{port}/api/studies/{study['study_id']}")
    finally:
        server.terminate()
        server.wait(30)
    assert (study["study_name"], study["directions"]) == ("mine", ["maximize"])
    assert len(shown["trials"]) == count
    assert {trial["state"] for trial in shown["trials"]} == {"Complete", "Fail", "Pruned"}
    assert {param["name"] for param in shown["trials"][0]["params"]} >= {"importance_stem", "unfreezing"}


def _asked(url: str) -> Any:
    for _ in range(240):
        try:
            with urllib.request.urlopen(url, timeout=30) as answer:
                return json.load(answer)
        except OSError:  # not up yet
            time.sleep(0.25)
    raise AssertionError(f"{url} does not answer")
