"""The real commands, in processes of their own, on a tiny copy of CUB-200-2011 with a ResNet of random weights."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import yaml
from trees import cub_tree

PLOTS = ("schedule", "scores", "confusion", "fitness", "importance", "cost", "confirmation")
LEFT_BY_A_RUN = {
    ".hydra/config.yaml",
    ".hydra/overrides.yaml",
    "status.json",
    "journal.jsonl",
    "generations.csv",
    "summary.csv",
    "best_schedule.yaml",
    "result.json",
    "confirm.csv",
    "test.csv",
    "predictions.csv",
    "model.safetensors",
    "model.json",
    "report.html",
    *(f"plots/{name}.{kind}" for name in PLOTS for kind in ("png", "svg")),
}
BIRDS = ["dataset=cub", "dataset.root=birds", "backbone.weights=none"]
CUB = [*BIRDS, "dataset.image_size=32", "backbone=resnet18"]
FIFTY = [*BIRDS, "dataset.image_size=64", "backbone=resnet50"]


def biotune(root: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "BIOTUNE_CACHE_DIR": str(root / "cache"), "OMP_NUM_THREADS": "1"}
    script = "import sys; from biotune.cli import main; sys.exit(main())"
    return subprocess.run(
        [sys.executable, "-c", script, *arguments],
        cwd=root,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("smoke")
    cub_tree(root / "birds", classes=4, train=8, test=3)
    return root


@pytest.fixture(scope="module")
def run(workplace: Path) -> subprocess.CompletedProcess[str]:
    return biotune(workplace, "run", "experiment=smoke", *CUB, "hydra.run.dir=out")


def files_below(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_run_finishes_and_leaves_every_file(workplace: Path, run: subprocess.CompletedProcess[str]) -> None:
    assert run.returncode == 0, run.stderr
    assert run.stderr == ""
    out = workplace / "out"
    assert set(files_below(out)) >= LEFT_BY_A_RUN
    assert not [name for name in files_below(out) if Path(name).name.startswith(".kept")]
    assert json.loads((out / "status.json").read_text())["state"] == "finished"
    assert len(pd.read_csv(out / "predictions.csv")) == 9, "three test images of each of three classes"
    assert pd.read_csv(out / "test.csv").strategy.tolist()[:3] == ["biotune", "full", "linear_probe"]
    blocks = yaml.safe_load((out / "best_schedule.yaml").read_text())["blocks"]
    assert list(blocks) == ["stem", "layer1", "layer2", "layer3", "layer4", "head"]


@pytest.mark.slow
def test_a_run_of_a_resnet_50_finishes_too(workplace: Path) -> None:
    done = biotune(workplace, "run", "experiment=smoke", *FIFTY, "hydra.run.dir=fifty")
    assert done.returncode == 0, done.stderr
    assert set(files_below(workplace / "fifty")) >= LEFT_BY_A_RUN


def test_a_run_into_its_folder_is_refused_and_leaves_it_untouched(
    workplace: Path, run: subprocess.CompletedProcess[str]
) -> None:
    before = files_below(workplace / "out")
    again = biotune(workplace, "run", "experiment=smoke", "hydra.run.dir=out")
    assert again.returncode == 2
    assert len(again.stderr.splitlines()) == 1
    assert "already holds a run" in again.stderr
    assert files_below(workplace / "out") == before


@pytest.mark.slow
def test_the_found_schedule_can_be_trained_by_its_file_alone(workplace: Path, run: subprocess.CompletedProcess[str]) -> None:
    few = [*CUB, "executor=in_process", "training.epochs=1", "training.batch_size=8", "test.seeds=[3]", "dataset.max_classes=3"]
    done = biotune(workplace, "train", "schedule=out/best_schedule.yaml", *few, "hydra.run.dir=trained")
    assert done.returncode == 0, done.stderr
    assert "strategy=schedule" in yaml.safe_load((workplace / "trained/.hydra/overrides.yaml").read_text())
    result = json.loads((workplace / "trained/result.json").read_text())
    searched = json.loads((workplace / "out/result.json").read_text())
    assert result["strategy"] == "schedule"
    assert result["schedule"]["blocks"] == searched["schedule"]["blocks"]
    assert (workplace / "trained/model.safetensors").is_file()
    assert len(pd.read_csv(workplace / "trained/test.csv")) == 1
