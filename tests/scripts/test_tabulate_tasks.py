"""Tests of the script that tabulates tasks."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pandas as pd
import pytest

from biotune.schedule.block import Block
from biotune.schedule.genotype import decode

SCRIPT = Path(__file__).parents[2] / "scripts" / "tabulate_tasks.py"
BLOCKS = [Block(name, (name,)) for name in ("stem", "layer1", "layer2", "layer3", "layer4", "head")]


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("tabulate_tasks", SCRIPT)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["tabulate_tasks"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def test_a_heuristics_genotype_decodes_to_its_rates(script: ModuleType) -> None:
    weights = decode(script.genes_of([0.0, 0.1, 1.0, 5.0, 10.0, 0.0]), BLOCKS).lr_weights
    assert weights == pytest.approx([0.0, 0.1, 1.0, 5.0, 10.0, 0.0], rel=1e-3)
    assert weights[0] == weights[5] == 0.0


def test_the_usual_heuristics_are_there_and_all_differ(script: ModuleType) -> None:
    schedules = {named.kind: decode(named.genes, BLOCKS) for named in script.heuristics(6)}
    assert schedules["linear_probe"].selected == (False,) * 5 + (True,)
    decayed = schedules["layer_decay"].lr_weights
    assert [later / earlier for earlier, later in zip(decayed, decayed[1:], strict=False)][-3:] == pytest.approx(
        [2.0] * 3, rel=1e-3
    )
    every = [decode(named.genes, BLOCKS) for named in script.heuristics(6)]
    assert not any(schedule.is_empty for schedule in every)
    assert len({schedule.key for schedule in every}) == len(every)


def test_perturbations_stay_near_and_train_something(script: ModuleType) -> None:
    rng = np.random.default_rng(1)
    parent = script.genes_of([0.0, 0.0, 1.0, 1.0, 5.0, 5.0])
    children = [script.perturbed(parent, rng) for _ in range(300)]
    schedules = [decode(child, BLOCKS) for child in children]
    assert not any(schedule.is_empty for schedule in schedules)
    turned = [sum(a != b for a, b in zip(s.selected, (False, False, True, True, True, True), strict=True)) for s in schedules]
    assert 0.7 < np.mean(turned) < 1.4  # one block in six of six
    steps = [np.log10(s.lr_weights[4] / 5.0) for s in schedules if s.selected[4]]
    assert 0.15 < np.std(steps) < 0.35  # 0.12 along the gene is 0.24 decades, less what is clipped


def test_the_best_are_those_that_validate_best_on_all_data(script: ModuleType) -> None:
    known = [script.Named("random", (float(index),)) for index in range(3)]
    scores = [("all", 0, 0.5), ("all", 0, 0.7), ("all", 1, 0.65), ("fold0", 2, 0.99), ("all", 2, 0.1)]
    rows = [{"data": data, "genotype": genotype, "val_accuracy": score} for data, genotype, score in scores]
    assert [named.genes for named in script.best_genotypes(rows, known)] == [(1.0,), (0.0,), (2.0,)]


def test_the_small_preset_fills_a_table_and_goes_on_where_it_stopped(
    script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["tabulate_tasks.py", "--small", "--tasks", "invert", "--out", str(tmp_path)])
    script.main()
    content = (tmp_path / "invert.csv").read_bytes()
    table = pd.read_csv(tmp_path / "invert.csv")
    assert len(table) == 8 * 3 and set(table["data"]) == {"fold0", "fold1", "all"}
    assert table.loc[table["data"] == "all", "test_accuracy"].between(0.05, 1).all()
    assert table.loc[table["data"] != "all", "test_accuracy"].isna().all()
    assert set(table["kind"]) == {"full", "random"}  # 8 leave no room for more
    from biotune.executors.in_process import InProcess

    monkeypatch.setattr(InProcess, "run", lambda *given: pytest.fail("trained again"))
    script.main()
    assert (tmp_path / "invert.csv").read_bytes() == content


def test_with_manners_each_genotype_is_trained_on_three_splits_and_tested(
    script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = ["--small", "--manners", "--tasks", "invert", "--out", str(tmp_path)]
    monkeypatch.setattr(sys, "argv", ["tabulate_tasks.py", *arguments])
    script.main()
    table = pd.read_csv(tmp_path / "invert_manners.csv")
    assert len(table) == 8 * 3 and set(table["data"]) == {"split0", "split1", "split2"}
    assert table["test_accuracy"].between(0.05, 1).all()
    assert set(table["unfreezing"]) == {"together", "last_to_first"} and set(table["head_start"]) == {"fresh", "probe"}
    assert (table.groupby("genotype")[["unfreezing", "head_start"]].nunique() == 1).all(axis=None)


def test_a_child_keeps_its_parents_manner_five_times_in_six(script: ModuleType) -> None:
    rng = np.random.default_rng(0)
    parent = script.Named("random", script.genes_of([1.0] * 6), script.Manner("last_to_first", "probe"))
    children = [script.child_of(parent, rng, True) for _ in range(2000)]
    kept = np.mean([one.manner.unfreezing == "last_to_first" for one in children])
    assert kept == pytest.approx(1 - 1 / 12, abs=0.02)  # one in six is drawn anew, of two
    assert all(script.child_of(parent, rng, False).manner == parent.manner for _ in range(20))
