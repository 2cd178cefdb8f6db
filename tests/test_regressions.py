"""What once went silently wrong, from end to end."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from biotune.backbones.network import Preprocessing
from biotune.cli import main
from biotune.config.schema import DataConfig
from biotune.config.sections import DatasetConfig
from biotune.datasets.data import find_dataset, load_dataset
from biotune.datasets.loaders.folder import load as load_folder
from biotune.errors import DataError, RunFolderError
from biotune.evolution.history import History
from biotune.evolution.individual import Individual
from biotune.recipes import run as recipe
from biotune.recipes.resuming import pin_config
from biotune.schedule.block import Block
from biotune.schedule.genotype import decode
from biotune.schedule.schedule import Schedule
from biotune.store.journal import Journal
from biotune.trial import Evaluation, TrialResult

TINY = Preprocessing(8, 8, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))


def tree(root: Path, colours: dict[str, int], mtime: int = 1_000_000_000) -> Path:
    """Six images a class of one grey, all files of equal size and time, as a reproducible archive unpacks them."""
    for name, grey in colours.items():
        (root / name).mkdir(parents=True)
        for index in range(6):
            file = root / name / f"{index}.bmp"
            Image.fromarray(np.full((8, 8, 3), grey, dtype=np.uint8)).save(file)
            os.utime(file, (mtime, mtime))
    return root


def test_trees_of_equal_names_sizes_and_times_do_not_share_images(tmp_path):
    roots = [tree(tmp_path / "a", {"x": 0, "y": 255}), tree(tmp_path / "b", {"x": 255, "y": 0})]
    loaded = [load_dataset(find_dataset(DatasetConfig("folder", "folder", str(root))), TINY) for root in roots]
    first_of_x = [data.pixels[np.flatnonzero(data.labels == 0)[0]].max() for data in loaded]
    assert first_of_x == [0, 255]
    assert loaded[0].fingerprint != loaded[1].fingerprint


def test_a_image_changed_within_its_size_and_time_is_decoded_anew(tmp_path):
    root = tree(tmp_path / "a", {"x": 0, "y": 255})
    before = load_dataset(find_dataset(DatasetConfig("folder", "folder", str(root))), TINY)
    for file in (root / "x").iterdir():
        Image.fromarray(np.full((8, 8, 3), 77, dtype=np.uint8)).save(file)
        os.utime(file, (1_000_000_000, 1_000_000_000))
    after = load_dataset(find_dataset(DatasetConfig("folder", "folder", str(root))), TINY)
    assert before.pixels[before.labels == 0].max() == 0
    assert after.pixels[after.labels == 0].min() == 77


def test_a_passing_read_error_is_not_remembered_as_a_broken_image(tmp_path, monkeypatch):
    from biotune.datasets.loaders import folder

    root = tree(tmp_path / "a", {"x": 0, "y": 255})
    config = DatasetConfig("folder", "folder", str(root), skip_broken=True)
    whole = folder.open_image

    def fails_once(path):
        if path.name == "3.bmp":
            raise PermissionError(13, "Permission denied")
        return whole(path)

    monkeypatch.setattr(folder, "open_image", fails_once)
    with pytest.raises(DataError, match=r"3\.bmp cannot be read .*Permission denied"):
        load_dataset(find_dataset(config), TINY)
    monkeypatch.setattr(folder, "open_image", whole)
    assert load_dataset(find_dataset(config), TINY).skipped == ()


@pytest.mark.parametrize("names", [("train", "valid", "test"), ("Training", "Validation", "Testing"), ("TRAIN", "dev", "TEST")])
def test_split_folders_are_known_by_their_common_names(tmp_path, names):
    for name in names:
        tree(tmp_path / name, {"x": 0, "y": 255})
    source = load_folder(DatasetConfig("folder", "folder", str(tmp_path)))
    assert source.classes == ("x", "y")
    assert {split: int((source.splits == split).sum()) for split in ("train", "val", "test")} == dict.fromkeys(
        ("train", "val", "test"), 12
    )


def test_a_class_may_be_called_train(tmp_path):
    tree(tmp_path, {"bike": 0, "bus": 100, "train": 255})
    assert load_folder(DatasetConfig("folder", "folder", str(tmp_path))).classes == ("bike", "bus", "train")


def test_two_folders_for_one_split_are_refused(tmp_path):
    tree(tmp_path / "val", {"x": 0, "y": 1})
    tree(tmp_path / "valid", {"x": 0, "y": 1})
    with pytest.raises(DataError, match="val and valid both mean val"):
        load_folder(DatasetConfig("folder", "folder", str(tmp_path)))


def test_ties_at_the_edge_of_the_hall_of_fame_go_to_the_older():
    blocks = (Block("body", ("body",)), Block("head", ("head",)))
    history = History(2, min)
    survivors = []
    for number, (gene, score) in enumerate(((0.6, 0.2), (0.7, 0.2), (0.8, 0.1))):
        individual = Individual(np.array([gene, gene, 0.1]), np.zeros(3), number, "initial")
        individual.receive(Evaluation(score, "ok", (1 - score,)), 0)
        history.remember(decode(individual.genes.tolist(), blocks), individual)
        survivors.append(individual)
    history.close_generation(survivors)
    assert [entry.number for entry in history.best()] == [2, 0]


def test_a_failing_baseline_does_not_cost_the_result(tmp_path, monkeypatch):
    from biotune.executors.in_process import InProcess

    whole = InProcess._run_one

    def fails_for_full(self, trial):
        if trial.test and trial.schedule.lr_weights == (1.0,) * 6:
            return TrialResult("failed", (), 0.0, error="MemoryError: out of memory")
        return whole(self, trial)

    monkeypatch.setattr(InProcess, "_run_one", fails_for_full)
    assert main(["run", "experiment=smoke", f"hydra.run.dir={tmp_path / 'run'}"]) == 0
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert set(result["baselines"]) == {"linear_probe"}
    rows = list(csv.DictReader((tmp_path / "run" / "test.csv").open()))
    told = {row["strategy"]: bool(row["macro_accuracy"]) for row in rows}
    assert told.items() >= {"biotune": True, "full": False, "linear_probe": True, "lp_ft": False}.items()
    assert (tmp_path / "run" / "report.html").is_file()


def test_the_schedule_is_there_even_if_the_final_trainings_fail(tmp_path, monkeypatch):
    def fails(*arguments):
        raise RuntimeError("no memory left")

    monkeypatch.setattr(recipe, "final_trainings", fails)
    assert main(["run", "experiment=smoke", f"hydra.run.dir={tmp_path / 'run'}"]) == 1
    assert (tmp_path / "run" / "best_schedule.yaml").is_file()


def test_a_journal_of_other_settings_is_refused(tmp_path):
    journal, begun = Journal(tmp_path), DataConfig(DatasetConfig("digits", "digits"))
    pin_config(journal, begun, tmp_path)
    pin_config(journal, begun, tmp_path)
    with pytest.raises(RunFolderError, match=r"other settings \(dataset.shift=none, now blur\)"):
        pin_config(journal, DataConfig(DatasetConfig("digits", "digits", shift="blur")), tmp_path)
    assert [record["kind"] for record in journal.records()] == ["header", "pin"]


def test_jobs_of_a_sweep_cannot_share_a_folder(tmp_path, capsys):
    arguments = ["run", "-m", "experiment=smoke", "seed=1,2", "hydra.sweep.subdir=same", f"hydra.sweep.dir={tmp_path / 's'}"]
    assert main(arguments) == 2
    assert "hydra.sweep.subdir=same: would put all jobs into one folder" in capsys.readouterr().err
    assert not (tmp_path / "s").exists()


@pytest.mark.parametrize("base_lr", [-1.0, 0.0, float("nan"), float("inf")])
def test_a_base_rate_that_is_no_positive_number_is_refused(base_lr):
    from torch import nn

    from biotune.errors import ScheduleError

    schedule = Schedule((Block("head", ("0",)),), (1.0,))
    with pytest.raises(ScheduleError, match="base_lr=.*must be a positive number"):
        schedule.apply(nn.Sequential(nn.Linear(2, 2)), base_lr=base_lr)


@pytest.mark.slow
def test_a_run_that_is_asked_to_terminate_says_so_in_its_status(tmp_path):
    long = ["experiment=smoke", "evolution.generations=1000", f"hydra.run.dir={tmp_path / 'run'}"]
    command = [sys.executable, "-m", "biotune", "run", *long]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    journal = tmp_path / "run" / "journal.jsonl"
    until = time.monotonic() + 300
    while not (journal.is_file() and journal.read_text().count('"trial"') >= 2):
        assert process.poll() is None and time.monotonic() < until
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    _, error = process.communicate(timeout=300)
    assert process.returncode == 130
    assert error.strip() == f"biotune: interrupted. 'biotune resume {tmp_path / 'run'}' goes on from here."
    assert json.loads((tmp_path / "run" / "status.json").read_text())["state"] == "interrupted"


@pytest.fixture
def failing(monkeypatch):
    """Makes the trainings fail for which a test says so; returns the list of those that were asked for."""
    from biotune.executors.in_process import InProcess

    def install(fails):
        asked = []

        def run_one(self, trial):
            asked.append(trial)
            return TrialResult("failed", (), 0.0, error="planted") if fails(asked) else TrialResult("ok", (0.5,), 0.1)

        monkeypatch.setattr(InProcess, "_run_one", run_one)
        return asked

    return install


def test_one_failing_child_does_not_stop_a_sequential_search(tmp_path, failing, monkeypatch):
    # the fifth training is the first one after the initial population of four: a whole batch of its own
    asked = failing(lambda asked: len(asked) == 5)
    monkeypatch.setattr(recipe, "confirm", lambda *arguments: pytest.fail("searched to the end"))
    arguments = ["experiment=smoke", "evolution=published", "evolution.exploitation=false", "evolution.generations=2"]
    arguments.append("confirm.baselines=[]")
    with pytest.raises(pytest.fail.Exception, match="searched to the end"):
        main(["run", *arguments, f"hydra.run.dir={tmp_path / 'run'}"])
    assert len(asked) > 5
    rows = list(csv.DictReader((tmp_path / "run" / "generations.csv").open()))
    assert [row["status"] for row in rows].count("failed") >= 1
    assert {row["generation"] for row in rows} == {"0", "1", "2"}


def test_a_generation_that_mostly_fails_stops_the_search_and_leaves_its_table(tmp_path, failing, capsys):
    failing(lambda asked: len(asked) > 1)
    assert main(["run", "experiment=smoke", "confirm.baselines=[]", f"hydra.run.dir={tmp_path / 'run'}"]) == 1
    assert "3 of 4 candidates failed, more than fitness.max_failed_share=0.5 allows" in capsys.readouterr().err
    assert len((tmp_path / "run" / "generations.csv").read_text().splitlines()) == 5


@pytest.mark.parametrize(("share", "code"), [(0.5, 1), (1.0, 0)])
def test_the_share_of_failures_counts_for_given_genotypes_too(tmp_path, failing, share, code):
    failing(lambda asked: True)
    (tmp_path / "g.csv").write_text("stem,layer1,layer2,layer3,layer4,head,threshold\n0,0,0,0,0.5,0.9,0.2\n")
    arguments = [f"genotypes={tmp_path / 'g.csv'}", "executor=in_process", "evolution.folds=1"]
    arguments.append(f"fitness.max_failed_share={share}")
    assert main(["evaluate", *arguments, f"hydra.run.dir={tmp_path / 'run'}"]) == code
    [row] = csv.DictReader((tmp_path / "run" / "evaluations.csv").open())
    assert (row["status"], float(row["fitness"])) == ("failed", 1.0)
