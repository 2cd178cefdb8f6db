"""Run folders that earlier versions left: they are reported, resumed and made longer as their own version would have done it.

A version's folder holds `finished` and `interrupted`, the same run whole and stopped in generation 1 in the middle of a line,
`lengthened`, the tables that the version itself made of the finished one by `evolution.generations=3`, and `facts.json`, the
machine that all this was made on (see `support/golden.py`). Plots, pages and weights are left out, for their size. The run:

    biotune run experiment=smoke seed=3 dataset.max_classes=null evolution.folds=2 evolution.generations=2
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import golden
import pandas as pd
import pytest
import yaml

from biotune.cli import main
from biotune.config.sections import DatasetConfig
from biotune.datasets.loaders.digits import load as load_digits
from biotune.trial import key_with_lr

HERE = Path(__file__).parent
VERSIONS = sorted(path.name for path in HERE.iterdir() if (path / "finished").is_dir())
TABLES = golden.KEPT["run"]


@pytest.fixture(params=VERSIONS)
def version(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A version's folder; commands run in an empty one."""
    monkeypatch.chdir(tmp_path)
    return HERE / request.param


def copied(folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(folder, tmp_path / "run"))


def assert_tables(found: Path, kept: Path, machine: Path) -> None:
    """The tables are to the byte what a version kept, or within the tolerance on another machine; columns may have joined."""
    to_the_byte = golden.made_here(machine)
    texts = golden.texts(kept, TABLES)
    for name, text in golden.texts(found, TABLES).items():
        golden.assert_same(name, golden.with_columns_of(texts[name], name, text), texts[name], to_the_byte)


def test_there_are_archived_folders() -> None:
    assert "0.1.0" in VERSIONS


def test_a_finished_run_gets_a_page_and_is_left_as_it_is(version: Path, tmp_path: Path) -> None:
    run = copied(version / "finished", tmp_path)
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    assert main(["report", str(run)]) == 0
    page = (run / "report.html").read_text(encoding="utf-8")
    scores = pd.read_csv(run / "test.csv").set_index("strategy").macro_accuracy
    for score in scores:
        assert f"{100 * score:.1f}" in page, "each strategy's score in per cent"
    assert {path: path.read_bytes() for path in before} == before


def test_finished_and_interrupted_runs_are_reported_side_by_side(version: Path, tmp_path: Path) -> None:
    run = copied(version / "finished", tmp_path)
    other = Path(shutil.copytree(run, tmp_path / "other"))
    assert main(["report", str(run), str(other), "--out", str(tmp_path / "both.html")]) == 0
    assert (tmp_path / "both.html").stat().st_size > 1000


def test_a_finished_run_is_not_run_again(version: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = copied(version / "finished", tmp_path)
    assert main(["resume", str(run)]) == 2
    assert "has finished" in capsys.readouterr().err


def test_an_interrupted_run_ends_in_the_tables_of_a_whole_one(version: Path, tmp_path: Path) -> None:
    run = copied(version / "interrupted", tmp_path)
    begun = (run / "journal.jsonl").read_text().splitlines()[:-1]
    assert main(["resume", str(run), "-q"]) == 0
    assert_tables(run, version / "finished", version / "facts.json")
    assert (run / "journal.jsonl").read_text().splitlines()[: len(begun)] == begun
    assert json.loads((run / "status.json").read_text())["state"] == "finished"


def test_a_finished_run_is_made_longer(version: Path, tmp_path: Path) -> None:
    run = copied(version / "finished", tmp_path)
    assert main(["resume", str(run), "evolution.generations=3", "-q"]) == 0
    assert_tables(run, version / "lengthened", version / "facts.json")


def test_a_resumed_runs_model_predicts_what_the_version_predicted(version: Path, tmp_path: Path) -> None:
    """Of images as files, by `model.json` and the weights that are trained here."""
    run = copied(version / "interrupted", tmp_path)
    assert main(["resume", str(run), "-q"]) == 0
    facts, expected = (json.loads((folder / "model.json").read_text()) for folder in (run, version / "finished"))
    # this version left the learning rate out of a trial's key where it was training.lr
    expected["training"] = key_with_lr(
        expected["training"], yaml.safe_load((version / "finished/.hydra/config.yaml").read_text())["training"]["lr"]
    )
    assert facts == expected
    digits = load_digits(DatasetConfig("digits", "digits"))
    kept = pd.read_csv(version / "finished/predictions.csv").head(8)
    files = [str(tmp_path / f"{row}.png") for row in kept.picture]
    for row, file in zip(kept.picture, files, strict=True):
        digits.read(row).save(file)
    assert main(["predict", str(run), *files, "--top", "1", "--csv", str(tmp_path / "found.csv")]) == 0
    found = pd.read_csv(tmp_path / "found.csv")
    assert found["class"].tolist() == kept.predicted_class.tolist()
    assert found.probability.tolist() == pytest.approx(kept.probability.tolist(), abs=golden.TOLERANCE)
