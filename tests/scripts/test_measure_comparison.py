"""The documentation's comparison: what is said of made-up rows."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

SCRIPTS = Path(__file__).parents[2] / "scripts"


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(SCRIPTS))
    spec = importlib.util.spec_from_file_location("measure_comparison", SCRIPTS / "measure_comparison.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules.pop("measure_default", None)
    spec.loader.exec_module(module)
    return module


def row(strategy: str, seed: int, test: float, val: float) -> dict:
    costs = {"trainable_share": 0.25, "trainings": 5, "epochs": 60}
    return {"strategy": strategy, "seed": seed, "test_macro_accuracy": test, "val_macro_accuracy": val, **costs}


ROWS = [
    row("full", 1, 0.50, 0.60),
    row("full", 2, 0.60, 0.70),
    row("lora", 1, 0.40, 0.65),
    row("lora", 2, 0.90, 0.70),
    row("biotune", 1, 0.70, 0.99),
    row("biotune", 2, 0.80, 0.99),
]


def test_the_baseline_is_chosen_by_validation_not_by_test_and_is_never_biotune(script: ModuleType) -> None:
    assert script.chosen_baseline(ROWS) == {1: 0.40, 2: 0.60}  # the tie goes to the first
    assert script.chosen_baseline([row("full", 1, float("nan"), 0.9), row("lora", 1, 0.3, 0.1)]) == {1: 0.3}


def test_the_table_is_ranked_and_holds_paired_differences(script: ModuleType) -> None:
    lines = script.table("made up", ROWS)
    assert [line.split("|")[1].strip() for line in lines[4:7]] == ["biotune", "lora", "full"]
    assert "+0.2000 (+0.2000 to +0.2000)" in lines[4]
    assert "25 % | 5 | 60" in lines[4]
    assert any("biotune's one model over that: +0.2500" in line for line in lines)
    assert any(line.startswith("Over lora, ") and "biotune is +0.1000" in line for line in lines)


def test_a_strategy_that_failed_on_a_hard_seed_is_compared_over_the_others_and_counted(script: ModuleType) -> None:
    hard = [row("full", 3, 0.10, 0.10), row("lora", 3, float("nan"), float("nan")), row("biotune", 3, 0.20, 0.20)]
    lines = script.table("made up", [*ROWS, *hard])
    assert [line.split("|")[2].strip() for line in lines[4:7]] == ["0.7500 ± 0.0707", "0.6500 ± 0.3536", "0.5500 ± 0.0707"]
    assert any(line.startswith("2 of 3 seeds on which all have a score, each") for line in lines)
    assert "Failed: lora on 1 of 3 seeds." in lines
