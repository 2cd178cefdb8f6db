"""`biotune report` and what a multirun leaves beside its jobs."""

from __future__ import annotations

import json
import platform
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from made_up import change_json, make_run

from biotune.cli.launch.sweep import summarise_sweep
from biotune.store.lock import sole_user


def test_a_page_is_rebuilt_from_the_folder_alone(biotune: Callable[..., Any], here: Path) -> None:
    run = make_run(here / "out")
    said = biotune("report", "out")
    assert (said.status, said.out, said.err) == (0, "out/report.html\n", "")
    page = (run / "report.html").read_bytes()
    shutil.rmtree(run / "plots")
    assert biotune("report", "out", "--out", "elsewhere.html").out == "elsewhere.html\n"
    assert (here / "elsewhere.html").read_bytes() == page
    assert (run / "plots/schedule.svg").is_file()


def test_several_runs_share_a_page_in_the_working_folder(biotune: Callable[..., Any], here: Path) -> None:
    for name in ("one", "two"):
        make_run(here / name)
    said = biotune("report", "one", "two")
    assert (said.status, said.out) == (0, "report-2-runs.html\n")
    assert "2 runs side by side" in (here / "report-2-runs.html").read_text(encoding="utf-8")
    assert not (here / "one/report.html").exists()


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["nowhere"], "biotune: nowhere: no such folder; give a run's folder."),
        (["good", "good/"], "is named twice; name each run once."),
        (["good", "cut"], "biotune: cut/summary.csv: is damaged (its last line is cut off)."),
        (["good", "--output"], "unrecognized arguments: --output. 'biotune report --help' shows the usage."),
        ([], "'biotune report --help' shows the usage."),
        (["good", "--out", "no/such/page.html"], "biotune: no/such/page.html: cannot be written"),
    ],
)
def test_bad_input_is_one_line_and_status_2(biotune: Callable[..., Any], here: Path, arguments: list[str], line: str) -> None:
    make_run(here / "good")
    make_run(here / "cut")
    text = (here / "cut/summary.csv").read_text()
    (here / "cut/summary.csv").write_text(text[:-9])
    said = biotune("report", *arguments)
    assert said.status == 2
    assert line in said.err
    assert len(said.err.splitlines()) == 1
    assert said.out == ""


def test_a_sweep_leaves_a_table_and_a_page_over_what_has_finished(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for job in range(11):
        make_run(here / "sweep" / str(job), generations=1, seed=job, overrides=["x=1", f"seed={job}"])
    change_json(here / "sweep/3/status.json", state="failed", error="the disk is gone.")
    (here / "sweep/3/result.json").unlink()
    change_json(here / "sweep/4/result.json", failed={"biotune": 0, "full": 2, "linear_probe": 1})
    assert summarise_sweep(here / "sweep") == 1
    table = pd.read_csv(here / "sweep/sweep.csv")
    assert table["job"].tolist() == list(range(11))
    assert table["overrides"][10] == "x=1 seed=10"
    result = json.loads((here / "sweep/10/result.json").read_text())
    assert table["test_macro_accuracy"][10] == result["test"]["macro_accuracy"]["mean"]
    assert table["state"].value_counts().to_dict() == {"finished": 10, "failed": 1}
    assert (table["failed"][4], table["failed"][5]) == (3, 0)
    assert table["error"][3] == "the disk is gone."
    page = (here / "sweep/sweep.html").read_text(encoding="utf-8")
    assert "10 runs side by side" in page
    assert "job 10" in page
    assert "job 3" not in page
    said = capsys.readouterr().out
    assert "the disk is gone." in said
    assert str(here / "sweep/sweep.html") in said


def test_a_sweep_of_what_has_no_page_leaves_its_table(here: Path) -> None:
    for job in range(2):
        make_run(here / "sweep" / str(job), generations=0)
        change_json(here / "sweep" / str(job) / "status.json", command="evaluate")
    assert summarise_sweep(here / "sweep") == 0
    assert (here / "sweep/sweep.csv").is_file()
    assert not (here / "sweep/sweep.html").exists()


MULTIRUN = """\
hydra:
  sweep:
    dir: {place}
    subdir: ${{hydra.job.num}}
  overrides:
    task:
    - x=1
    - seed=7,8,9
"""


def test_a_sweeps_folder_gives_its_table_and_page_whatever_became_of_the_command(
    biotune: Callable[..., Any], here: Path
) -> None:
    make_run(here / "sweep/0", generations=1, seed=7, overrides=["x=1", "seed=7"])
    make_run(here / "sweep/1", generations=1, seed=8, overrides=["x=1", "seed=8"])
    change_json(here / "sweep/1/status.json", state="running", host=platform.node())
    (here / "sweep/1/result.json").unlink()
    (here / "sweep/multirun.yaml").write_text(MULTIRUN.format(place=here / "sweep"))
    said = biotune("report", "sweep")
    assert (said.status, said.err) == (1, "")
    assert "Page: sweep/sweep.html" in said.out
    table = pd.read_csv(here / "sweep/sweep.csv")
    assert table["overrides"].tolist() == ["x=1 seed=7", "x=1 seed=8", "x=1 seed=9"]
    assert table["state"].tolist() == ["finished", "interrupted", "missing"]
    assert table["error"][1] == "its process was ended before it could write why."
    # on another machine that cannot be told
    change_json(here / "sweep/1/status.json", host="node17")
    biotune("report", "sweep")
    table = pd.read_csv(here / "sweep/sweep.csv")
    assert (table["state"][1], table["error"][1]) == ("running", "on node17, as far as its folder tells.")
    with sole_user(here / "sweep/1"):
        biotune("report", "sweep")
    table = pd.read_csv(here / "sweep/sweep.csv")
    assert table["state"][1] == "running"
    assert pd.isna(table["error"][1])
    # a sweep without the record of its command, and the page elsewhere
    shutil.rmtree(here / "sweep/1")
    (here / "sweep/multirun.yaml").unlink()
    said = biotune("report", "sweep", "--out", "page.html")
    assert said.status == 0
    assert pd.read_csv(here / "sweep/sweep.csv")["state"].tolist() == ["finished"]
    assert "job 0" in (here / "page.html").read_text(encoding="utf-8")


@pytest.mark.parametrize("content", ["", "- 1\n", "hydra: 3\n", "hydra: {sweep: {}}\n", "a: [", "\x00"])
def test_a_damaged_record_of_a_sweeps_command_leaves_the_jobs_that_have_begun(
    biotune: Callable[..., Any], here: Path, content: str
) -> None:
    make_run(here / "sweep/0", generations=1)
    (here / "sweep/multirun.yaml").write_text(content)
    assert biotune("report", "sweep").status == 0
    assert pd.read_csv(here / "sweep/sweep.csv")["state"].tolist() == ["finished"]


def test_a_sweep_beside_other_folders_is_refused(biotune: Callable[..., Any], here: Path) -> None:
    make_run(here / "one")
    make_run(here / "sweep/0")
    said = biotune("report", "one", "sweep")
    assert (said.status, said.out) == (2, "")
    assert said.err == "biotune: sweep: is a sweep; name it alone, or its jobs.\n"
