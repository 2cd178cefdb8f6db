"""Tests of `biotune suggest`, and of a run with a warm start, as whole commands on the bundled digits."""

from __future__ import annotations

import json
import shlex
import shutil
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from biotune.backbones.registry import build_network
from biotune.cli import main
from biotune.config.schema import SuggestConfig
from biotune.config.sections import BackboneConfig, DatasetConfig, TrainingConfig
from biotune.datasets.data import find_dataset, load_dataset
from biotune.errors import TrialError
from biotune.recipes.suggest import _tried
from biotune.schedule.schedule_file import load_schedule
from biotune.store.files import SUGGESTION, WARM_START
from biotune.strategies.suggestion import suggested
from biotune.training.finetune import Trained, finetune
from biotune.training.signals import relative_gradients
from biotune.training.workspace import Workspace
from biotune.trial import Trial

FEW = ["dataset.max_per_class=6", "dataset.max_eval_per_class=6", "executor=in_process"]
SMALL = [*FEW, "experiment=smoke", "training.epochs=1", "evolution.generations=1", "evolution.population_size=8"]
SMALL += ["evolution.elites=4", "evolution.folds=1", "dataset.max_classes=null"]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["biotune"])
    return tmp_path


def test_relative_gradients_are_those_of_autograd_and_leave_the_network_as_it_was() -> None:
    network = build_network(BackboneConfig("biotune", "glyphnet"), 10)
    data = load_dataset(find_dataset(DatasetConfig("digits", "digits", max_per_class=6)), network.preprocessing)
    workspace = Workspace.of(network, data, TrainingConfig(batch_size=16), torch.device("cpu"))
    before = {name: value.clone() for name, value in network.module.state_dict().items()}
    found = relative_gradients(workspace, 2, seed=3)
    assert found.shape == (2, len(network.blocks))
    assert (found > 0).all()
    assert relative_gradients(workspace, 5, seed=3)[:2] == pytest.approx(found)
    assert all(torch.equal(before[name], value) for name, value in network.module.state_dict().items())
    # by hand, for the stem and the first mini-batch
    probe = workspace.probes[None]
    with torch.no_grad():
        for name, parameter in network.module.get_submodule(network.head).named_parameters():
            parameter.copy_(getattr(probe, name))
    rows = np.random.default_rng(3).permutation(data.part(None).train)[:16]
    network.module.eval()
    loss = torch.nn.functional.cross_entropy(network.module(workspace.images(rows)), workspace.labels(rows))
    stem = network.module.get_submodule(network.blocks[0].modules[0])
    (weight,) = [one for one in stem.parameters() if one.ndim == 4]
    (gradient,) = torch.autograd.grad(loss, [weight])
    assert found[0, 0] == pytest.approx(float(gradient.norm() / weight.detach().norm()), rel=1e-4)


def test_a_suggestion_is_written_explained_and_trains(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["suggest", *FEW, "dataset.shift=noise", "hydra.run.dir=first"]) == 0
    said = capsys.readouterr().out
    assert "6 a class" in said
    assert "Uncertain: no earlier search" in said
    schedule = load_schedule(here / "first" / SUGGESTION)
    assert schedule.header["backbone"] == "glyphnet"
    document = json.loads((here / "first" / "result.json").read_text())
    assert all(schedule.selected) == (document["tried"]["first"] > document["tried"]["probe"])
    assert [one["lr_weight"] for one in document["blocks"].values()] == list(schedule.lr_weights)
    command = next(line for line in said.splitlines() if line.startswith("Train with it: "))
    words = shlex.split(command.removeprefix("Train with it: "))
    assert words[:3] == ["biotune", "train", "strategy=schedule"]
    assert "dataset.shift=noise" in words
    assert main([*words[1:], "training.epochs=1", "test.seeds=[1]", "hydra.run.dir=trained", "-q"]) == 0
    assert load_schedule(here / "trained" / "best_schedule.yaml").lr_weights == schedule.lr_weights


def test_what_is_tried_are_one_training_run_with_it_and_one_of_the_probe(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    noise = [*FEW, "dataset.shift=noise", "training.seeds=[1]"]
    assert main(["suggest", *noise[:-1], "suggest.max_seconds=0", "hydra.run.dir=votes"]) == 0
    assert "Not tried: suggest.max_seconds=0." in " ".join(capsys.readouterr().out.split())
    votes = load_schedule(here / "votes" / SUGGESTION)
    assert all(votes.selected) and "tried" not in json.loads((here / "votes" / "result.json").read_text())
    assert main(["suggest", *noise, "hydra.run.dir=tried"]) == 0
    tried = json.loads((here / "tried" / "result.json").read_text())["tried"]
    assert tried["first"] > tried["probe"] + 0.1  # so that each is told from the other below
    own = [*noise[:-1], "test.seeds=[1]", "strategy=schedule", "training.head_start=fresh"]
    assert main(["train", *own, "schedule=votes/suggestion.yaml", "hydra.run.dir=first", "-q"]) == 0
    (told,) = pd.read_csv(here / "first" / "test.csv")["val_macro_accuracy"]
    assert tried["first"] == pytest.approx(told)
    fitted = [*own[:-2], "strategy=linear_probe", "training.head_start=probe"]
    assert main(["train", *fitted, "hydra.run.dir=probe", "-q"]) == 0
    (told,) = pd.read_csv(here / "probe" / "test.csv")["val_macro_accuracy"]
    assert tried["probe"] == pytest.approx(told)
    chosen = load_schedule(here / "tried" / SUGGESTION)
    assert chosen.lr_weights == votes.lr_weights
    capsys.readouterr()
    assert main(["suggest", *noise, "suggest.max_seconds=1e-9", "hydra.run.dir=long"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "Not tried: training once may take" in said and "more than suggest.max_seconds=1e-09" in said
    assert load_schedule(here / "long" / SUGGESTION).lr_weights == votes.lr_weights


def test_where_training_with_it_diverges_the_probe_is_suggested(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def diverges(trial: Trial, workspace: Workspace) -> Trained:
        if all(trial.schedule.selected):
            raise TrialError("the loss became inf in epoch 1")
        return finetune(trial, workspace)

    monkeypatch.setattr("biotune.recipes.suggest.finetune", diverges)
    assert main(["suggest", *FEW, "dataset.shift=noise", "hydra.run.dir=diverged"]) == 0
    assert json.loads((here / "diverged" / "result.json").read_text())["tried"]["first"] == 0
    assert load_schedule(here / "diverged" / SUGGESTION).selected == (False,) * 5 + (True,)


def test_a_head_that_is_kept_is_not_set_against_a_probe() -> None:
    network = build_network(BackboneConfig("biotune", "glyphnet"), 10)
    network.fresh_head = False
    data = load_dataset(find_dataset(DatasetConfig("digits", "digits", max_per_class=6)), network.preprocessing)
    workspace = Workspace.of(network, data, TrainingConfig(batch_size=16), torch.device("cpu"))
    votes = suggested(network.blocks, np.ones((1, len(network.blocks))), 100, 10, fresh_head=False)
    told = _tried(votes, workspace, SuggestConfig())
    assert told.schedule == votes.schedule and told.tried is None
    assert told.certainty.endswith("Not tried: a head that is kept has no linear probe beside it.")


def test_a_run_starts_from_an_earlier_one_and_a_suggestion_counts_both(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main(["run", *SMALL, "dataset.shift=invert", "hydra.run.dir=earlier"]) == 0
    capsys.readouterr()
    assert main(["run", *SMALL, "evolution.warm_start=[earlier]", "hydra.run.dir=next"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "warm start earlier: glyphnet with 6 blocks on digits;" in said
    kept = json.loads((here / "next" / WARM_START).read_text())
    assert kept["sources"][0]["observations"]
    (here / "elsewhere").mkdir()
    shutil.copytree(here / "earlier", here / "elsewhere" / "earlier")
    assert main(["suggest", *FEW, "suggest.runs=[earlier,next]", "hydra.run.dir=both"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "weight 1.00" in said  # the same network and number of images
    assert "From 2 earlier schedules" in said
    shutil.rmtree(here / "earlier")
    assert main(["resume", "next", "evolution.generations=2"]) == 0
