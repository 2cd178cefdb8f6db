"""`biotune compare` as a whole, in this process, on a few digits."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest

from biotune.cli import main
from biotune.config.checks import check
from biotune.config.schema import CompareConfig
from biotune.config.sections import DatasetConfig, TrainingConfig
from biotune.errors import ConfigError
from biotune.recipes import compare as comparing
from biotune.recipes.base_rate import choose

FEW = [
    "experiment=smoke",
    "training.epochs=2",
    "test.seeds=[1,2]",
    "compare.lr_factors=[1,3]",
    "strategies=[full,linear_probe,l2_sp,surgical,biotune]",
]
WITHOUT_TIMES = ["strategy", "seed", "base_lr", "test_macro_accuracy", "test_kappa", "trainable_share", "trainings", "epochs"]


@pytest.fixture(scope="module")
def compared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    root = tmp_path_factory.mktemp("compared")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        patch.setattr(sys, "argv", ["biotune"])
        assert main(["compare", *FEW, "hydra.run.dir=whole"]) == 0
        yield root


def table(folder: Path) -> pd.DataFrame:
    return pd.read_csv(folder / "comparison.csv")


def test_a_row_a_strategy_a_seed_with_scores_and_costs(compared: Path) -> None:
    rows = table(compared / "whole")
    assert list(zip(rows["strategy"], rows["seed"], strict=True)) == [
        (name, seed) for name in ("full", "linear_probe", "l2_sp", "surgical", "biotune") for seed in (1, 2)
    ]
    assert rows["test_macro_accuracy"].between(0, 1).all()
    assert set(rows["base_lr"]) <= {0.001, 0.003}
    by_name = rows.set_index(["strategy", "seed"])
    assert by_name.loc[("full", 1), "trainings"] == 3  # two rates, then the final one
    assert by_name.loc[("surgical", 1), "trainings"] == 2 * 6 + 1
    assert by_name.loc[("biotune", 1), "trainings"] > 3
    assert set(by_name.loc["biotune", "base_lr"]) == {0.001}  # the search chose the rates; its base is not tuned again
    assert by_name.loc[("full", 1), "trainable_share"] == 1.0
    assert by_name.loc[("linear_probe", 1), "trainable_share"] < 0.05


def test_the_result_holds_means_and_paired_differences(compared: Path) -> None:
    result = json.loads((compared / "whole" / "result.json").read_text())
    rows = table(compared / "whole").set_index(["strategy", "seed"])["test_macro_accuracy"]
    entry = result["strategies"]["l2_sp"]
    assert entry["test"]["macro_accuracy"]["values"] == [rows["l2_sp", 1], rows["l2_sp", 2]]
    assert entry["over_full"]["mean"] == pytest.approx((rows["l2_sp"] - rows["full"]).mean())


def test_of_several_final_training_runs_the_one_that_validates_best_counts(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["biotune"])
    few = ["experiment=smoke", "training.epochs=2", "test.seeds=[1,2]", "compare.tune_lr=false", "strategies=[full]"]
    assert main(["compare", *few, "compare.restarts=4", "hydra.run.dir=several"]) == 0
    rows = table(Path("several"))
    assert list(rows["trainings"]) == [4, 4]
    for row in rows.itertuples():
        lines = Path(f"several/seed-{row.seed}/journal.jsonl").read_text(encoding="utf-8").splitlines()
        finals = [record for record in map(json.loads, lines) if record["kind"] == "trial"]
        assert len({tuple(final["curve"]) for final in finals}) == 4  # each has a seed of its own
        best = max(finals, key=lambda final: max(final["curve"]))
        assert row.val_macro_accuracy == pytest.approx(max(best["curve"]))
        assert row.test_macro_accuracy == pytest.approx(best["scores"]["macro_accuracy"])


def test_of_a_searchs_finalists_the_one_whose_model_validates_best_counts(compared: Path) -> None:
    rows = table(compared / "whole").set_index(["strategy", "seed"])
    for seed in (1, 2):
        lines = (compared / "whole" / f"seed-{seed}" / "journal.jsonl").read_text(encoding="utf-8").splitlines()
        trials = [record for record in map(json.loads, lines) if record["kind"] == "trial"]
        last = max(at for at, record in enumerate(trials) if "/test/" not in record["key"])  # of the confirmation
        probes = [
            record
            for record in trials[:last]
            if record["key"].startswith("-|-|-|-|-|1.0 probe@all") and "lr0.001" in record["key"]
        ]
        finals = trials[last + 1 :] + [record for record in probes if "/test/" in record["key"]]  # it had been trained before
        confirm = pd.read_csv(compared / "whole" / f"seed-{seed}" / "confirm.csv")
        assert len(finals) == confirm["schedule"].nunique() > 1
        best = max(finals, key=lambda final: max(final["curve"]))
        assert rows.loc[("biotune", seed), "val_macro_accuracy"] == max(best["curve"])
        assert rows.loc[("biotune", seed), "test_macro_accuracy"] == best["scores"]["macro_accuracy"]


def test_split_seeds_vary(compared: Path) -> None:
    pinned = []
    for seed in (1, 2):
        lines = (compared / "whole" / f"seed-{seed}" / "journal.jsonl").read_text().splitlines()
        pinned += [json.loads(line) for line in lines if '"data"' in line and '"pin"' in line]
    assert len({json.dumps(record, sort_keys=True) for record in pinned}) == len(pinned)


def test_interrupted_it_goes_on_and_ends_the_same(compared: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    trained = []
    original = choose

    def interrupt(session, plans, *rest):
        trained.append(len(plans))
        if len(trained) == 7:  # within the second seed
            raise KeyboardInterrupt
        return original(session, plans, *rest)

    monkeypatch.setattr(comparing, "choose", interrupt)
    assert main(["compare", *FEW, "hydra.run.dir=broken"]) == 130
    assert json.loads((compared / "broken" / "status.json").read_text())["state"] == "interrupted"
    assert len(table(compared / "broken")) == 7
    monkeypatch.undo()
    monkeypatch.chdir(compared)
    assert main(["resume", "broken"]) == 0
    assert "7 rows are known already" in capsys.readouterr().out
    pd.testing.assert_frame_equal(table(compared / "broken")[WITHOUT_TIMES], table(compared / "whole")[WITHOUT_TIMES])


def test_a_finished_comparison_is_made_longer_by_a_strategy(compared: Path) -> None:
    before = table(compared / "whole")
    longer = "strategies=[full,linear_probe,l2_sp,surgical,biotune,layer_decay]"
    assert main(["resume", "whole", longer]) == 0
    after = table(compared / "whole")
    pd.testing.assert_frame_equal(after[: len(before)], before)
    assert set(after["strategy"][len(before) :]) == {"layer_decay"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"strategies": ["linear_probe"]}, r"strategies=\[linear_probe\]: must hold full"),
        ({"strategies": ["full", "schedule"]}, r"the strategy schedule and schedule=FILE go together"),
        ({"schedule": "x.yaml"}, r"the strategy schedule and schedule=FILE go together"),
    ],
)
def test_what_cannot_be_compared_is_refused(change: dict, message: str) -> None:
    config = CompareConfig(dataset=DatasetConfig("digits", "digits"), training=TrainingConfig(), **change)
    config.backbone.name, config.backbone.library = "glyphnet", "biotune"
    config.evolution.algorithm, config.executor.name = "biotune", "in_process"
    with pytest.raises(ConfigError, match=message):
        check(config)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["strategies=[full,lorra]"], "lorra: no such strategy. Did you mean lora?"),
        (["compare.tune_seeds=[1]"], "compare.tune_seeds=[1]: must be fresh"),
        (["test.seeds=[]"], "test.seeds=[]: must name at least one"),
    ],
)
def test_bad_input_is_one_line_before_anything_is_written(tmp_path, monkeypatch, capsys, overrides, message) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["biotune"])
    assert main(["compare", "experiment=smoke", "test.seeds=[1]", *overrides]) == 2
    said = capsys.readouterr().err
    assert message in said and "Traceback" not in said
    assert list(tmp_path.iterdir()) == []
