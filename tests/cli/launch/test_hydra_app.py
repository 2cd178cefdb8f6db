"""Tests of Hydra's own flags on biotune's commands, and of help."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml
from trees import folder_tree

from biotune import __version__

COMMANDS = ["run", "train", "evaluate", "blocks"]


@pytest.mark.parametrize("command", COMMANDS)
def test_the_composed_config_is_shown_as_yaml_and_nothing_else_happens(
    biotune: Callable[..., Any], here: Path, command: str
) -> None:
    extra = ["genotypes=x.csv"] if command == "evaluate" else []
    key = "num_classes=7" if command == "blocks" else "training.lr=0.25"
    said = biotune(command, *extra, key, "--cfg", "job")
    assert (said.status, said.err) == (0, "")
    shown = yaml.safe_load(said.out)
    assert shown["num_classes"] == 7 if command == "blocks" else shown["training"]["lr"] == 0.25
    assert list(here.iterdir()) == []


def test_one_package_can_be_shown(biotune: Callable[..., Any]) -> None:
    said = biotune("run", "--cfg", "job", "--package", "evolution")
    assert said.status == 0
    assert "population_size: 20" in said.out
    assert "optimizer" not in said.out


def test_info_and_help_show_without_running(biotune: Callable[..., Any], here: Path) -> None:
    said = biotune("run", "--info")
    assert said.status == 0
    assert "pkg://biotune.configs" in said.out
    said = biotune("train", "--help")
    assert said.status == 0
    assert "strategy: full" in said.out
    assert "schedule" in said.out
    assert list(here.iterdir()) == []


@pytest.mark.parametrize("flag", ["--help", "-h", "help"])
def test_help_names_every_command(biotune: Callable[..., Any], flag: str) -> None:
    said = biotune(flag)
    assert (said.status, said.err) == (0, "")
    for command in [*COMMANDS, "list"]:
        assert f"\n  {command} " in said.out
    assert biotune().out == said.out


@pytest.mark.parametrize("flag", ["--version", "-V"])
def test_the_version_is_shown(biotune: Callable[..., Any], flag: str) -> None:
    assert biotune(flag).out == f"biotune {__version__}\n"


def test_help_imports_nothing_heavy() -> None:
    script = (
        "import sys; from biotune.cli import main; main(['--help']); main(['--version']); main(['frob']); "
        "print([name for name in ('torch', 'hydra', 'deap', 'pandas', 'numpy') if name in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)
    assert done.stderr.splitlines()[-1] == "[]"


def test_a_users_own_config_folder_works_in_a_run(biotune: Callable[..., Any], here: Path, no_pages: None) -> None:
    folder_tree(here / "ferns", {"maidenhair": 10, "bracken": 10})
    (here / "mine/dataset").mkdir(parents=True)
    (here / "mine/dataset/ferns.yaml").write_text("loader: folder\nname: ferns\nroot: ferns\n")
    said = biotune("run", "--config-dir", "mine", "dataset=ferns", "experiment=smoke", "hydra.run.dir=out")
    assert said.status == 0, said.err
    assert "ferns: 2 classes" in said.out
    assert set(pd.read_csv(here / "out/predictions.csv")["true_class"]) == {"bracken", "maidenhair"}
    assert biotune("run", "dataset=ferns").status == 2


@pytest.fixture
def no_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leaves out the runs' pages, which cost more than the runs and have tests of their own."""
    monkeypatch.setattr("biotune.recipes.run.write_report", lambda run: None)


def test_a_multirun_leaves_two_whole_runs_and_a_line_for_each(
    biotune: Callable[..., Any], here: Path, jobs_in_this_process: None, no_pages: None
) -> None:
    said = biotune("run", "-m", "experiment=smoke", "seed=1,2", "hydra.sweep.dir=sweep")
    assert (said.status, said.err) == (0, "")
    for job, seed in (("0", "1"), ("1", "2")):
        overrides = yaml.safe_load((here / "sweep" / job / ".hydra/overrides.yaml").read_text())
        assert f"seed={seed}" in overrides
        for name in ("result.json", "best_schedule.yaml", "model.safetensors", "test.csv", "status.json"):
            assert (here / "sweep" / job / name).is_file()
    first, second = (pd.read_csv(here / "sweep" / job / "generations.csv") for job in ("0", "1"))
    assert not first.drop(columns="seconds").equals(second.drop(columns="seconds"))
    comparison = said.out[said.out.index("Sweep") :]
    lines = [line for line in comparison.splitlines() if "finished" in line]
    assert len(lines) == 2
    assert "seed=1" in lines[0]
    assert "seed=2" in lines[1]


def test_a_failing_job_of_a_multirun_keeps_the_others_and_the_status_tells(
    biotune: Callable[..., Any], here: Path, monkeypatch: pytest.MonkeyPatch, jobs_in_this_process: None, no_pages: None
) -> None:
    from biotune.errors import DataError
    from biotune.recipes import run as recipe
    from biotune.recipes.run import run

    def second_one_fails(config: Any, folder: Path, *others: Any) -> Any:
        if config.seed == 1:
            raise DataError("the disk is gone.")
        return run(config, folder, *others)

    monkeypatch.setattr(recipe, "run", second_one_fails)
    said = biotune("run", "-m", "experiment=smoke", "seed=1,2", "hydra.sweep.dir=sweep")
    assert said.status == 1
    assert said.err == "biotune: the disk is gone.\n"
    assert (here / "sweep/1/result.json").is_file()


def test_the_installed_command_prints_a_line_and_its_status(tmp_path: Path) -> None:
    command = Path(sys.executable).with_name("biotune")
    if not command.is_file():
        pytest.skip("the command is not installed beside this Python")
    done = subprocess.run(
        [command, "run", "seeds=5"], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=60, env=dict(os.environ)
    )
    assert done.returncode == 2
    assert done.stderr.startswith("biotune: seeds=5: no such key.")
    assert done.stdout == ""
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "arguments",
    [
        ("seed=3", "--cfg", "job", "training.lr=0.25", "--package", "training"),
        ("--cfg=job", "seed=3", "-p", "training", "training.lr=0.25"),
    ],
)
def test_flags_may_stand_between_the_keys(biotune: Callable[..., Any], arguments: tuple[str, ...]) -> None:
    said = biotune("run", *arguments)
    assert (said.status, said.err) == (0, "")
    assert "lr: 0.25" in said.out


def test_a_single_run_composes_builds_and_decodes_once(
    biotune: Callable[..., Any], here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from hydra._internal.config_loader_impl import ConfigLoaderImpl

    from biotune.recipes import inputs

    calls: list[str] = []

    def counted(owner: Any, name: str) -> None:
        real = getattr(owner, name)
        monkeypatch.setattr(owner, name, lambda *given, **named: (calls.append(name), real(*given, **named))[1])

    for name in ("find_dataset", "load_dataset", "build_network"):
        counted(inputs, name)
    counted(ConfigLoaderImpl, "load_configuration")
    small = ["strategy=linear_probe", "training.epochs=1", "test.seeds=[1]", "dataset.max_eval_per_class=1"]
    assert biotune("train", "-q", "executor=in_process", *small, "hydra.run.dir=out").status == 0
    assert sorted(calls) == ["build_network", "find_dataset", "load_configuration", "load_dataset"]
