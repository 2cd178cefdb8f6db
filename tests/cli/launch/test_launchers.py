"""What is checked before Hydra's launchers get to work, and what is handed to them; real sweeps are in tests/smoke."""

from __future__ import annotations

import os
import pickle
import shlex
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hydra.core.override_parser.overrides_parser import OverridesParser

from biotune.cli.launch.job import Job, Outcome
from biotune.cli.launch.launchers import Sweep, check_launcher, going_on
from biotune.cli.terminal.output_mode import OutputMode
from biotune.errors import ConfigError
from biotune.recipes.inputs import Prepared

SOURCE = SimpleNamespace(is_group=lambda group: True, list=lambda group, kind: ["basic", "joblib"])
INSTALLED = SimpleNamespace(get_sources=lambda: [SOURCE])
SMALL = ["train", "-m", "strategy=full,linear_probe", "training.epochs=1", "dataset.max_per_class=4"]


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("hydra/launcher=submitit_slurm", "is not installed. Install the extra: pip install 'biotune[submitit]'."),
        ("hydra/launcher=ray", "is not installed. Install the extra: pip install 'biotune[ray-launcher]'."),
        ("hydra/launcher=jobblib", "no such launcher. Did you mean joblib? Known: basic, joblib, ray, submitit_local"),
    ],
)
def test_one_that_is_not_there_is_refused_with_the_remedy(override: str, words: str) -> None:
    with pytest.raises(ConfigError) as refused:
        check_launcher(OverridesParser.create().parse_overrides([override]), INSTALLED)  # type: ignore[arg-type]
    assert str(refused.value).startswith(f"{override}: ")
    assert words in str(refused.value)


def test_one_that_is_there_and_other_overrides_pass() -> None:
    overrides = OverridesParser.create().parse_overrides(["hydra/launcher=joblib", "hydra.launcher.n_jobs=2", "seed=1,2"])
    check_launcher(overrides, INSTALLED)  # type: ignore[arg-type]


def test_an_unknown_one_is_one_line_and_nothing_is_written(biotune: Callable[..., Any], here: Path) -> None:
    said = biotune(*SMALL, "hydra/launcher=frob")
    assert said.status == 2
    assert said.err.startswith("biotune: hydra/launcher=frob: no such launcher.")
    assert len(said.err.splitlines()) == 1
    assert list(here.iterdir()) == []


@pytest.mark.parametrize("name", ["sweep", "a b/it's", 'quoted "one"', "back\\slash", "comma,and=equals"])
def test_the_jobs_get_the_absolute_folder_however_it_is_called(name: str, here: Path) -> None:
    sweep = Sweep("train", ("seed=1,2", "hydra.sweep.dir=other"), None, Path(name), "joblib", 2)
    typed = sweep.in_its_folder
    assert typed[0] == "seed=1,2"
    (override,) = OverridesParser.create().parse_overrides(typed[1:])
    assert (override.key_or_group, override.value()) == ("hydra.sweep.dir", str(here / name))


def test_a_job_is_sent_without_the_decoded_images_and_registers_what_configs_need() -> None:
    job = Job("train", OutputMode.NORMAL, Outcome(Prepared()))
    job.outcome.failed = True
    sent = pickle.dumps(job)
    assert len(sent) < 500
    again = pickle.loads(sent)
    assert (again.command, again.mode) == ("train", OutputMode.NORMAL)
    assert again.outcome == Outcome()


def test_a_device_that_only_the_jobs_machines_have_is_left_to_the_jobs(
    biotune: Callable[..., Any], here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("hydra_plugins.hydra_submitit_launcher", reason="the launcher submitit is not installed")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    for launcher in ([], ["hydra/launcher=submitit_local"]):  # whose jobs run here
        said = biotune(*SMALL, "device=cuda", *launcher)
        assert said.status == 2
        assert "device=cuda: there is no CUDA device on this machine" in said.err
    assert list(here.iterdir()) == []
    # a machine without Slurm: the check has passed, and the launcher's own error is one line
    monkeypatch.setenv("PATH", os.devnull)
    said = biotune(*SMALL, "device=cuda", "hydra/launcher=submitit_slurm", "hydra.sweep.dir=sweep")
    assert said.status == 1
    assert "no CUDA device" not in said.err
    (line,) = said.err.splitlines()
    assert line.startswith("biotune: hydra/launcher=submitit_slurm: RuntimeError: Could not detect")
    assert "srun" in line
    assert "Traceback" in (here / "sweep/run.log").read_text()
    assert "missing" in said.out


def test_what_an_interrupted_command_says_can_be_typed() -> None:
    sweep = Sweep("run", (), None, Path("sweeps/one"), "submitit_slurm", 4)
    assert sweep.how_to_go_on.startswith("The same command with hydra.sweep.dir=sweeps/one continues the sweep; ")
    command = sweep.how_to_go_on.partition("'")[2].rpartition("'")[0]
    assert shlex.split(command) == ["biotune", "report", "sweeps/one"]
    assert going_on("submitit_slurm") == "Jobs that Slurm has got go on; scancel ends them. "
    assert going_on("joblib") == going_on("basic") == ""
