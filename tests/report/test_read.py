"""A folder is read whole or refused in one line that names what is wrong with it."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path

import pandas as pd
import pytest
from made_up import change_json, change_table, make_run

from biotune.errors import RunFolderError
from biotune.report.read import read_finished_run, read_rows, read_run
from biotune.report.run import write_report
from biotune.report.statistics import summarise


@pytest.fixture
def folder(a_run: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(a_run, tmp_path / "run"))


def refusal(folder: Path) -> str:
    with pytest.raises(RunFolderError) as caught:
        read_finished_run(folder)
    text = str(caught.value)
    assert len(text.splitlines()) == 1
    return text


def test_a_run_is_read_with_everything_in_it(a_run: Path) -> None:
    run = read_finished_run(a_run)
    assert list(run.scores) == ["biotune", "full", "linear_probe"]
    assert run.parameters is not None
    assert run.parameters["layer1"] == 200
    assert run.search is not None
    assert len(run.search.generations) == 24
    assert run.search.confirmed is not None
    assert run.search.confirmed.values == (0.8, 0.81)
    assert run.classes == ("ant", "bee", "cat")


def test_a_single_fine_tune_has_no_search(tmp_path: Path) -> None:
    run = read_finished_run(make_run(tmp_path / "trained", command="train"))
    assert run.search is None
    assert list(run.scores) == ["full"]


def test_classes_called_na_or_null_stay_texts(tmp_path: Path) -> None:
    run = read_run(make_run(tmp_path / "run", classes=["NA", "null", "007"]))
    assert set(run.predictions["true_class"]) == {"NA", "null", "007"}


@pytest.mark.parametrize(
    "name",
    ["result.json", "summary.csv", "generations.csv", "confirm.csv", "test.csv", "predictions.csv", "best_schedule.yaml"]
    + ["model.json", ".hydra/config.yaml", ".hydra/overrides.yaml"],
)
def test_every_missing_file_is_named(folder: Path, name: str) -> None:
    (folder / name).unlink()
    assert name in refusal(folder)


@pytest.mark.parametrize(
    "name", ["status.json", "result.json", "summary.csv", "generations.csv", "confirm.csv", "test.csv", "predictions.csv"]
)
@pytest.mark.parametrize("left", [0.0, 0.4, 0.98])
def test_every_truncated_file_is_named(folder: Path, name: str, left: float) -> None:
    content = (folder / name).read_bytes()
    (folder / name).write_bytes(content[: int(len(content) * left)])
    text = refusal(folder)
    assert name in text
    assert "damaged" in text


def test_a_table_cut_at_a_line_is_noticed(folder: Path) -> None:
    lines = (folder / "generations.csv").read_text().splitlines(keepends=True)
    (folder / "generations.csv").write_text("".join(lines[:-8]))
    assert "generations.csv: is damaged" in refusal(folder)
    lines = (folder / "test.csv").read_text().splitlines(keepends=True)
    shutil.copy(folder / "summary.csv", folder / "generations.csv")
    (folder / "test.csv").write_text("".join(lines[:-1]))
    assert "test.csv: is damaged" in refusal(folder)


def test_a_word_where_a_number_belongs_is_named_by_line_and_column(folder: Path) -> None:
    change_table(folder / "summary.csv", best_fitness=["0.1", "0.2", "much", "0.3"])
    assert "summary.csv: is damaged (line 4: best_fitness is no number)" in refusal(folder)


def test_bytes_that_are_no_text_are_refused(folder: Path) -> None:
    (folder / "predictions.csv").write_bytes(b"\xff\xfe\x00\n")
    assert "predictions.csv: is damaged (no UTF-8 text)" in refusal(folder)


@pytest.mark.parametrize("state", ["running", "failed", "interrupted"])
def test_an_unfinished_run_is_refused_with_its_state(folder: Path, state: str) -> None:
    change_json(folder / "status.json", state=state)
    assert f"not finished (its state is {state})" in refusal(folder)


def test_other_folders_are_refused(folder: Path, tmp_path: Path) -> None:
    assert "no such folder" in refusal(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    assert "is no run's folder" in refusal(tmp_path / "empty")
    assert "is a file" in refusal(folder / "test.csv")
    assert f"holds 1 runs and is none itself; name them, as in {folder}" in refusal(tmp_path)
    change_json(folder / "status.json", command="evaluate")
    assert "comes from 'biotune evaluate'" in refusal(folder)


def test_results_of_the_wrong_shape_are_damage_not_a_traceback(folder: Path) -> None:
    change_json(folder / "result.json", test={"macro_accuracy": 0.9})
    assert "result.json: is damaged" in refusal(folder)
    change_json(folder / "result.json", test=None)
    assert "result.json: is damaged" in refusal(folder)


def fail(folder: Path, method: str, row: int) -> None:
    """Make a final training run of a method a failed one, as a run would have left it."""
    table = pd.read_csv(folder / "test.csv")
    place = table.index[table["strategy"] == method][row]
    table.loc[place, [name for name in table.columns if name not in ("strategy", "seed", "epochs", "seconds")]] = math.nan
    table.to_csv(folder / "test.csv", index=False)
    result = json.loads((folder / "result.json").read_text())
    for scores in (result["test"], *result["baselines"].values()):
        for score in scores.values():
            del score["values"][row]
    change_json(folder / "result.json", **result)


def test_failed_final_training_runs_are_counted_and_their_seed_is_left_out_for_all(folder: Path) -> None:
    fail(folder, "full", 2)
    run = read_finished_run(folder)
    assert run.failed == {"biotune": 0, "full": 1, "linear_probe": 0}
    assert len(run.test) == 8
    assert "Failed final training runs: 1 of full fine-tuning; means are over the seeds that all" in write_report(
        run
    ).read_text(encoding="utf-8")
    rows = read_rows(folder, "run")
    assert len(rows) == 9
    found = summarise(rows)
    assert found["strategies"]["full"]["failed"] == 1
    assert len(found["strategies"]["biotune"]["test"]["macro_accuracy"]["values"]) == 2


def test_finalists_that_are_not_returned_are_no_methods_of_a_run(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run")
    before = read_rows(folder, "run")
    table = pd.read_csv(folder / "test.csv")
    others = [table[table["strategy"] == "full"].assign(strategy=name) for name in ("schedule_12", "lp_ft")]
    pd.concat([table, *others]).to_csv(folder / "test.csv", index=False)
    assert read_rows(folder, "run") == before
    assert list(read_run(folder).scores) == ["biotune", "full", "linear_probe"]
