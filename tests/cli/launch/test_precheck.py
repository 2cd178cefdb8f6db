"""Tests of what a command line is checked for before Hydra runs."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from biotune.cli.launch.hydra_app import _with_implied_strategy
from biotune.cli.launch.precheck import flags_first, precheck
from biotune.errors import BiotuneError, ConfigError, RunFolderError
from biotune.store.files import LOCK
from biotune.store.journal import Journal


def test_a_command_line_in_order_passes_and_writes_nothing(here: Path) -> None:
    assert precheck("run", ["experiment=smoke"]).single is not None
    assert precheck("run", ["-m", "experiment=smoke", "seed=1,2"]).single is None
    assert list(here.iterdir()) == []


def test_a_folder_that_holds_a_run_is_refused_and_left_alone(here: Path, snapshot: Callable[[Path], Any]) -> None:
    (here / "taken/.hydra").mkdir(parents=True)
    (here / "taken/.hydra/config.yaml").write_text("seed: 0\n")
    (here / "sweep/0").mkdir(parents=True)
    journal = Journal(here / "sweep/0")
    journal.pin("config", {"seed": 7})  # the first job of another sweep
    journal.close()
    (here / "sweep/0" / LOCK).touch()
    before = snapshot(here)
    with pytest.raises(RunFolderError, match=r"hydra\.run\.dir=.*taken: already holds a run"):
        precheck("run", ["experiment=smoke", "hydra.run.dir=taken"])
    with pytest.raises(RunFolderError, match=r"sweep/0: was begun with other settings \(seed=7, now 1"):
        precheck("run", ["-m", "experiment=smoke", "seed=1,2", "hydra.sweep.dir=sweep"])
    assert snapshot(here) == before


def test_a_run_must_keep_the_folder_it_is_recognised_by(here: Path) -> None:
    with pytest.raises(ConfigError, match=r"hydra\.output_subdir=None: must stay \.hydra"):
        precheck("run", ["experiment=smoke", "hydra.output_subdir=null"])
    assert list(here.iterdir()) == []


def test_an_empty_folder_that_is_there_already_is_taken(here: Path) -> None:
    (here / "empty").mkdir()
    assert precheck("run", ["experiment=smoke", "hydra.run.dir=empty"]).prepared is not None
    assert list((here / "empty").iterdir()) == []


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="an administrator may write everywhere")
def test_a_folder_without_permission_is_refused(here: Path) -> None:
    (here / "locked").mkdir(mode=0o500)
    with pytest.raises(RunFolderError, match="Permission denied"):
        precheck("run", ["experiment=smoke", "hydra.run.dir=locked/run"])


def test_showing_the_config_needs_no_data() -> None:
    precheck("run", ["dataset=folder", "dataset.root=/nowhere", "--cfg", "job"])
    with pytest.raises(BiotuneError):
        precheck("run", ["dataset=folder", "dataset.root=/nowhere"])


def test_no_network_is_asked_for_a_backbone_of_a_dataset_that_is_missing() -> None:
    with pytest.raises(BiotuneError, match=r"dataset\.root"):
        precheck("run", ["backbone=resnet50", "dataset=folder", "dataset.root=/nowhere"])


@pytest.mark.parametrize(
    ("typed", "passed"),
    [
        (["schedule=a.yaml"], ["schedule=a.yaml", "strategy=schedule"]),
        (["-m", "schedule=a.yaml", "seed=1,2"], ["-m", "schedule=a.yaml", "strategy=schedule", "seed=1,2"]),
        (["schedule=a.yaml", "strategy=schedule"], ["schedule=a.yaml", "strategy=schedule"]),
        (["schedule=a.yaml", "strategy=full"], ["schedule=a.yaml", "strategy=full"]),
        (["schedule=null"], ["schedule=null"]),
        (["seed=1"], ["seed=1"]),
    ],
)
def test_a_schedule_file_alone_says_which_strategy_is_meant(typed: list[str], passed: list[str]) -> None:
    assert _with_implied_strategy(typed) == passed


def test_a_value_that_cannot_be_resolved_names_its_key() -> None:
    with pytest.raises(ConfigError, match=r"dataset\.root"):
        precheck("run", ["dataset.root=${nothing}"])


LONG = "x" * 300


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["hydra.run.dir=file"], r"^hydra\.run\.dir=file: cannot be written: .*file is a file\. Choose another folder\.$"),
        (["hydra.run.dir=dangling/run"], "dangling is a link to nothing"),
        ([f"hydra.run.dir={LONG}"], "File name too long"),
        (["hydra.run.dir=odd"], r"odd/\.hydra is a file"),
        (["-m", "hydra.sweep.dir=file"], r"^hydra\.sweep\.dir=file: the folder 0 of a job cannot be written: .*file is a file"),
        (["-m", "hydra.sweep.subdir=${hydra.job.num}" + LONG], "the folder 0xxx.*File name too long"),
        (["-m", "hydra.sweep.subdir=${hydra.job.nom}"], r"^hydra\.sweep\.subdir: cannot be resolved"),
    ],
)
def test_a_folder_that_cannot_be_made_is_refused_before_anything_is_loaded(
    arguments: list[str], message: str, here: Path, snapshot: Callable[[Path], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    (here / "file").touch()
    (here / "dangling").symlink_to("nowhere")
    (here / "odd").mkdir()
    (here / "odd/.hydra").touch()
    before = snapshot(here)
    monkeypatch.setattr("biotune.recipes.inputs.Prepared.check", lambda *_: pytest.fail("inputs were loaded"))
    with pytest.raises(BiotuneError, match=message) as refused:
        precheck("run", flags_first("run", ["experiment=smoke", *arguments]))
    assert "\n" not in str(refused.value)
    assert snapshot(here) == before


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="there is no /proc")
@pytest.mark.parametrize("arguments", [["hydra.run.dir=/proc/x"], ["-m", "hydra.sweep.dir=/proc/x"]])
def test_a_folder_on_a_file_system_that_makes_none_is_refused(arguments: list[str], here: Path) -> None:
    with pytest.raises(RunFolderError, match=r"cannot be written: .* in /proc\."):
        precheck("run", flags_first("run", ["experiment=smoke", *arguments]))


def test_a_cache_folder_that_cannot_be_made_is_refused_before_anything_is_loaded(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (here / "file").touch()
    monkeypatch.setenv("BIOTUNE_CACHE_DIR", str(here / "file"))
    monkeypatch.setattr("biotune.recipes.inputs.Prepared.check", lambda *_: pytest.fail("inputs were loaded"))
    with pytest.raises(RunFolderError, match=r"the cache folder .*file cannot be written \(.*\)\. Set BIOTUNE_CACHE_DIR"):
        precheck("run", ["experiment=smoke"])
    assert [path.name for path in here.iterdir()] == ["file"]
