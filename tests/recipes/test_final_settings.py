"""Settings that only final training runs have: which trials they reach, and where they are told."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from biotune.cli import main

LONGER = ["test.training.epochs=3", "test.training.patience=9"]
OWN = [*LONGER, "test.training.augment=standard"]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Runs with the same search: with the settings, with some of them and without; and a comparison with them."""
    place = tmp_path_factory.mktemp("final")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        patch.setattr(sys, "argv", ["biotune"])
        for name, own in (("rich", OWN), ("longer", LONGER), ("plain", [])):
            assert main(["run", "experiment=smoke", *own, f"hydra.run.dir={name}"]) == 0
        few = ["strategies=[full,linear_probe]", "test.seeds=[1]", "compare.lr_factors=[1,3]"]
        assert main(["compare", "experiment=smoke", *few, *OWN, "hydra.run.dir=compared"]) == 0
        yield place


def trials(folder: Path) -> list[dict[str, Any]]:
    lines = (folder / "journal.jsonl").read_text(encoding="utf-8").splitlines()
    return [record for record in map(json.loads, lines) if record["kind"] == "trial"]


def test_the_search_is_the_same_and_every_final_training_run_has_them(root: Path) -> None:
    rich, plain = ({trial["key"]: trial for trial in trials(root / name)} for name in ("rich", "plain"))
    searched = {key: trial["curve"] for key, trial in plain.items() if "/test" not in key}
    assert searched == {key: trial["curve"] for key, trial in rich.items() if "/test" not in key}
    finals = {key: trial for key, trial in rich.items() if "/test" in key}
    assert len(finals) == len(plain) - len(searched) > 0
    assert all("/epochs3/" in key and len(trial["curve"]) == 3 for key, trial in finals.items())
    rows = pd.read_csv(root / "rich/test.csv")
    assert set(rows["strategy"]) >= {"biotune", "full", "linear_probe"}
    assert set(rows["epochs"]) == {3}


def test_final_training_runs_see_augmented_images_where_they_alone_are_to(root: Path) -> None:
    rich, longer = ({one["key"]: one["losses"] for one in trials(root / name)} for name in ("rich", "longer"))
    assert rich.keys() == longer.keys()
    assert {key for key in rich if rich[key] != longer[key]} == {key for key in rich if "/test" in key}


def test_a_comparison_gives_them_to_every_strategy_but_not_to_the_choice_of_learning_rates(root: Path) -> None:
    found = trials(root / "compared/seed-1")
    keys = [trial["key"] for trial in found]
    assert sum("/test" in key for key in keys) == 2 and len(keys) == 6
    assert all(("/epochs3/" in key) == ("/test" in key) for key in keys)


@pytest.mark.parametrize("name", ["rich", "compared"])
def test_the_result_and_the_page_state_them(root: Path, name: str) -> None:
    document = json.loads((root / name / "result.json").read_text(encoding="utf-8"))
    assert document["final_training"] == {"epochs": 3, "augment": "standard", "patience": 9}
    text = " ".join(re.sub(r"<[^>]+>", "", (root / name / "report.html").read_text(encoding="utf-8")).split())
    assert "settings of their own (test.training): epochs=3, patience=9, augment=standard." in text


def test_without_them_nothing_is_said(root: Path) -> None:
    assert "final_training" not in json.loads((root / "plain/result.json").read_text(encoding="utf-8"))
    assert "test.training" not in (root / "plain/report.html").read_text(encoding="utf-8").replace("test.training=", "")


def test_they_must_not_change_when_a_run_is_resumed(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["resume", str(root / "rich"), "evolution.generations=3", "test.training.epochs=4"]) == 2
    assert "test.training.epochs=3, now 4" in capsys.readouterr().err
