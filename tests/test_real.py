"""The original MNIST through the real command; `make test-real` fetches it first."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1] / "data" / "mnist"
SHORT = [
    *("dataset.max_per_class=10", "dataset.max_eval_per_class=20", "backbone=glyphnet"),
    *("evolution.population_size=4", "evolution.generations=2", "evolution.elites=1"),
    *("training.epochs=8", "training.seeds=[1]", "training.batch_size=32"),
    *("confirm.top_k=2", "confirm.seeds=[2]", "test.seeds=[3,4]"),
]


def biotune(*arguments: str) -> subprocess.CompletedProcess[str]:
    assert (ROOT / "MNIST" / "raw").is_dir(), "run 'make test-real', which fetches MNIST first"
    command = [sys.executable, "-m", "biotune", *arguments, "dataset=mnist", f"dataset.root={ROOT}"]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=280)


@pytest.mark.network
def test_the_copy_is_whole() -> None:
    done = biotune("data", "check", "page=null")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "60,000" in done.stdout and "10,000" in done.stdout and "the copy is complete" in done.stdout


@pytest.mark.network
def test_a_short_search_is_far_above_chance(tmp_path: Path) -> None:
    done = biotune("run", *SHORT, f"hydra.run.dir={tmp_path / 'run'}")
    assert done.returncode == 0, done.stdout + done.stderr
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert result["test"]["macro_accuracy"]["mean"] > 0.6, "chance is 0.1"
    assert (tmp_path / "run" / "predictions.csv").read_text().count("\n") == 201
