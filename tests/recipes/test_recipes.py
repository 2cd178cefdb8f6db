"""Tests of whole commands, in this process, on the bundled digits."""

from __future__ import annotations

import json
import logging
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from safetensors.torch import load_file

from biotune.backbones.registry import build_network
from biotune.cli import main
from biotune.config.sections import BackboneConfig
from biotune.schedule.schedule_file import load_schedule
from biotune.training import finetune as loop
from biotune.training.finetune import finetune, predict
from biotune.training.workspace import Workspace

SMALL = [
    "experiment=smoke",
    "dataset.max_classes=null",
    "dataset.max_per_class=10",
    "dataset.max_eval_per_class=10",
    "evolution.folds=2",
    "evolution.generations=2",
    "training.epochs=2",
    "training.lr=0.003",
    "training.batch_size=16",
    "training.seeds=[1,4]",
    "confirm.top_k=2",
]
ALONE = "executor=in_process"
TABLES = ("generations.csv", "summary.csv", "confirm.csv", "test.csv")


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Two runs of one command, and one with another seed."""
    root = tmp_path_factory.mktemp("runs")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        patch.setattr(sys, "argv", ["biotune"])
        for name, seed in (("first", 5), ("again", 5), ("other", 6)):
            assert main(["run", *SMALL, ALONE, f"seed={seed}", f"hydra.run.dir={name}"]) == 0
        yield root


def without_times(path: Path) -> bytes:
    """A table's bytes, but for the columns that hold times."""
    lines = path.read_text().splitlines()
    names = lines[0].split(",")
    keep = [index for index, name in enumerate(names) if name != "seconds" and not name.endswith("_seconds")]
    return "\n".join(",".join(line.split(",")[index] for index in keep) for line in lines).encode()


def timeless(value: object) -> object:
    if isinstance(value, dict):
        return {name: timeless(inner) for name, inner in value.items() if not name.endswith("seconds")}
    return [timeless(inner) for inner in value] if isinstance(value, list) else value


@pytest.mark.parametrize("name", TABLES)
def test_one_seed_gives_the_same_tables_to_the_byte(runs: Path, name: str) -> None:
    assert without_times(runs / "first" / name) == without_times(runs / "again" / name)


@pytest.mark.parametrize("name", ["best_schedule.yaml", "predictions.csv", "model.json", "model.safetensors"])
def test_one_seed_gives_the_same_schedule_predictions_and_model(runs: Path, name: str) -> None:
    assert (runs / "first" / name).read_bytes() == (runs / "again" / name).read_bytes()


def test_one_seed_gives_the_same_result_plots_and_journal_but_for_times(runs: Path) -> None:
    first, again = ((runs / name) for name in ("first", "again"))
    results = [timeless(json.loads((folder / "result.json").read_text())) for folder in (first, again)]
    assert results[0] == results[1]
    journals = [
        [timeless(json.loads(line)) for line in (folder / "journal.jsonl").read_text().splitlines()]
        for folder in (first, again)
    ]
    assert journals[0] == journals[1]
    for plot in (first / "plots").iterdir():
        assert plot.read_bytes() == (again / "plots" / plot.name).read_bytes()


def test_no_table_and_no_schedule_holds_a_path_or_a_date(runs: Path) -> None:
    for name in (*TABLES, "best_schedule.yaml", "predictions.csv", "result.json", "model.json"):
        content = (runs / "first" / name).read_text()
        assert str(runs) not in content
        assert not re.search(r"\b20\d\d-[01]\d-[0-3]\d", content)
    status = (runs / "first" / "status.json").read_text()
    assert re.search(r"\b20\d\d-[01]\d-[0-3]\d", status), "the status has dates, and they are found"


@pytest.mark.parametrize("name", ["generations.csv", "summary.csv"])
def test_another_seed_gives_another_search(runs: Path, name: str) -> None:
    assert without_times(runs / "first" / name) != without_times(runs / "other" / name)


def test_a_base_rate_that_is_found_makes_the_run_that_is_told_it(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["biotune"])
    monkeypatch.chdir(runs)
    auto = ["training.lr=auto", "training.lr_grid=[1e-9,0.003,1e-8]"]
    assert main(["run", *SMALL, "seed=5", *auto, "hydra.run.dir=found"]) == 0
    for name in TABLES:
        assert without_times(runs / "found" / name) == without_times(runs / "first" / name)
    assert (runs / "found/best_schedule.yaml").read_bytes() == (runs / "first/best_schedule.yaml").read_bytes()
    assert json.loads((runs / "found/result.json").read_text())["base_lr"] == 0.003
    trials = [json.loads(line) for line in (runs / "found/journal.jsonl").read_text().splitlines()]
    tried = [one["key"].rsplit("/lr")[-1] for one in trials if one["kind"] == "trial"][:6]
    assert sorted(map(float, tried)) == [1e-9, 1e-9, 1e-8, 1e-8, 0.003, 0.003]  # both training seeds each


def test_a_strategy_finds_a_base_rate_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["biotune"])
    monkeypatch.chdir(tmp_path)
    few = [word for word in SMALL if word.startswith(("dataset.", "training.")) and not word.startswith("training.lr=")]
    few.append(ALONE)
    seeds = [word for word in few if word.startswith("training.seeds=")]  # of the choice alone
    few = [word for word in few if word not in seeds]
    grid = [*seeds, "strategy=linear_probe", "training.lr=auto", "training.lr_grid=[1e-9,0.03]"]
    assert main(["train", *few, *grid, "test.seeds=[1]", "hydra.run.dir=found"]) == 0
    assert main(["train", *few, "strategy=linear_probe", "training.lr=0.03", "test.seeds=[1]", "hydra.run.dir=told"]) == 0
    assert without_times(tmp_path / "found/test.csv") == without_times(tmp_path / "told/test.csv")
    assert yaml.safe_load((tmp_path / "found/best_schedule.yaml").read_text())["base_lr"] == 0.03


def test_baselines_depend_on_training_seeds_alone(runs: Path) -> None:
    first, other = (pd.read_csv(runs / name / "test.csv").drop(columns="seconds") for name in ("first", "other"))
    for strategy in ("full", "linear_probe"):
        pd.testing.assert_frame_equal(first[first.strategy == strategy], other[other.strategy == strategy])


def test_floats_read_back_exactly_and_agree_between_files(runs: Path) -> None:
    folder = runs / "first"
    schedule = yaml.safe_load((folder / "best_schedule.yaml").read_text())
    result = json.loads((folder / "result.json").read_text())
    for name, block in schedule["blocks"].items():
        assert result["schedule"]["blocks"][name]["lr_weight"] == block["lr_weight"]
        assert block["lr"] == block["lr_weight"] * 0.003
    tests = pd.read_csv(folder / "test.csv", dtype=str)  # not every pandas parses floats exactly by default
    own = tests[tests.strategy == "biotune"]
    assert result["test"]["macro_accuracy"]["values"] == own["macro_accuracy"].map(float).tolist()
    confirm = pd.read_csv(folder / "confirm.csv")
    means = confirm.groupby(confirm["schedule"].astype(str))["macro_accuracy"].mean()
    assert result["confirmed"]["macro_accuracy"]["mean"] == pytest.approx(means[result["confirmed"]["chosen"]], abs=1e-12)


def test_the_final_models_predictions_are_its_test_score(runs: Path) -> None:
    folder = runs / "first"
    predictions = pd.read_csv(folder / "predictions.csv", dtype={"true_class": str, "predicted_class": str})
    recall = (predictions.true_class == predictions.predicted_class).groupby(predictions.true_class).mean()
    facts = json.loads((folder / "model.json").read_text())
    tests = pd.read_csv(folder / "test.csv")
    row = tests[(tests.strategy == "biotune") & (tests.seed == facts["seed"])].iloc[0]
    assert recall.mean() == pytest.approx(row.macro_accuracy, abs=1e-12)
    assert len(predictions) == 100


def test_the_returned_schedule_is_that_of_the_finalist_whose_model_validates_best(runs: Path) -> None:
    for name in ("first", "other"):
        tests = pd.read_csv(runs / name / "test.csv")
        result = json.loads((runs / name / "result.json").read_text())
        returned = result["returned"]
        confirm = pd.read_csv(runs / name / "confirm.csv")
        trials = confirm.groupby("schedule").size()
        assert returned["finalists"] == (trials == trials.max()).sum() > 1
        usual = {"linear_probe", "lp_ft"} & set(confirm["schedule"])  # full is tested without having been confirmed
        may_win = tests[tests.strategy.isin(["biotune", *usual]) | tests.strategy.str.startswith("schedule_")]
        assert returned["val_macro_accuracy"] == may_win["val_macro_accuracy"].max()
        own = tests[tests.strategy == "biotune"]
        assert own["val_macro_accuracy"].max() == returned["val_macro_accuracy"]
        assert result["test"]["macro_accuracy"]["values"] == own["macro_accuracy"].tolist()
        weights = [block["lr_weight"] for block in result["schedule"]["blocks"].values()]
        assert list(load_schedule(runs / name / "best_schedule.yaml").lr_weights) == weights
        assert json.loads((runs / name / "model.json").read_text())["seed"] == returned["seed"]


def test_the_status_tells_that_it_finished_and_with_what(runs: Path) -> None:
    status = json.loads((runs / "first/status.json").read_text())
    assert (status["command"], status["state"], status["error"]) == ("run", "finished", None)
    assert status["started"] <= status["finished"]
    assert status["versions"].keys() >= {"python", "biotune", "torch"}
    assert status["device"]


def test_no_model_sees_the_test_split_before_the_search_is_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    phases: list[tuple[bool, str, set[int]]] = []
    testing = [False]
    test_rows: set[int] = set()
    predict_before, images, train = predict, Workspace.images, finetune

    def watched_predict(workspace: Workspace, rows: np.ndarray, *entry: object) -> object:
        phases.append((testing[0], "predict", set(rows.tolist())))
        return predict_before(workspace, rows, *entry)  # type: ignore[arg-type]

    def watched_images(workspace: Workspace, rows: np.ndarray) -> object:
        phases.append((testing[0], "images", set(rows.tolist())))
        return images(workspace, rows)

    def watched_training(trial: object, workspace: Workspace) -> object:
        testing[0] = trial.test  # type: ignore[attr-defined]
        test_rows.update(workspace.data.test.tolist())
        return train(trial, workspace)  # type: ignore[arg-type]

    monkeypatch.setattr(loop, "predict", watched_predict)
    monkeypatch.setattr(Workspace, "images", watched_images)
    monkeypatch.setattr(loop, "finetune", watched_training)
    monkeypatch.setattr(sys, "argv", ["biotune"])
    monkeypatch.chdir(tmp_path)
    assert main(["run", *SMALL, "evolution.generations=1", "confirm.top_k=1", "hydra.run.dir=out"]) == 0
    assert len(test_rows) == 100
    searching = [rows for final, _, rows in phases if not final]
    assert len(searching) > 40
    assert not any(rows & test_rows for rows in searching)
    order = [final for final, _, _ in phases]
    assert order == sorted(order), "the final trainings come last"
    scored = [rows for final, kind, rows in phases if final and kind == "predict" and rows & test_rows]
    finals = pd.read_csv(tmp_path / "out" / "test.csv").drop_duplicates("seconds")
    assert len(finals) >= 3, "full, linear_probe, and an evolved schedule or a baseline that is returned"
    assert scored == [test_rows] * len(finals), "each is scored once"
    assert len(finals) <= 4 and ", 4 final)" in capsys.readouterr().out, "an evolved schedule, lp_ft, linear_probe and full"


def test_a_run_that_fails_says_so_in_a_line_in_the_status_and_in_the_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["biotune"])
    monkeypatch.chdir(tmp_path)

    def explode(*arguments: object) -> None:
        raise ZeroDivisionError("a bug\nof two lines")

    monkeypatch.setattr("biotune.recipes.search.evolve", explode)
    assert main(["run", "experiment=smoke", "hydra.run.dir=out"]) == 1
    error = capsys.readouterr().err
    assert error.splitlines() == [f"biotune: ZeroDivisionError: a bug of two lines The traceback is in {tmp_path}/out/run.log."]
    status = json.loads((tmp_path / "out/status.json").read_text())
    assert (status["state"], status["error"]) == ("failed", "ZeroDivisionError: a bug of two lines")
    assert "Traceback" in (tmp_path / "out/run.log").read_text()


def test_ctrl_c_leaves_an_interrupted_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["biotune"])
    monkeypatch.chdir(tmp_path)
    train, calls = finetune, []

    def interrupted(*arguments: object) -> object:
        calls.append(1)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return train(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(loop, "finetune", interrupted)
    assert main(["run", "experiment=smoke", "hydra.run.dir=out"]) == 130
    assert "interrupted" in capsys.readouterr().err
    assert json.loads((tmp_path / "out/status.json").read_text())["state"] == "interrupted"
    kinds = [json.loads(line)["kind"] for line in (tmp_path / "out/journal.jsonl").read_text().splitlines()]
    assert kinds.count("trial") == 3


def test_evaluate_gives_a_row_a_genotype_and_fold_and_mean_fitness(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["biotune"])
    monkeypatch.chdir(tmp_path)
    names = "stem,layer1,layer2,layer3,layer4,head,threshold"
    # all at W = 1; head alone at W = 10; the same schedule again by another genotype; nothing selected
    rows = ["0.5," * 6 + "0.1", "0," * 5 + "1,0.5", "0.2," * 5 + "1,0.7", "0.1," * 6 + "0.9"]
    Path("g.csv").write_text("\n".join([names, *rows]) + "\n")
    small = [item for item in SMALL if item.startswith(("dataset.", "training.", "evolution.folds")) and "null" not in item]
    assert main(["evaluate", "genotypes=g.csv", *small, ALONE, "training.seeds=[1]", "hydra.run.dir=out"]) == 0
    table = pd.read_csv("out/evaluations.csv")
    assert table[["genotype", "fold"]].to_numpy().tolist() == [[i, k] for i in range(4) for k in range(2)]
    fitness = table.pivot(index="genotype", columns="fold", values="fitness")
    assert (fitness.loc[1] == fitness.loc[2]).all(), "one schedule, one fitness"
    assert (fitness.loc[3] == 1).all()
    assert table[table.genotype == 2].status.tolist() == ["cached"] * 2
    assert table[table.genotype == 3].status.tolist() == ["empty"] * 2
    assert table[table.genotype == 0].trainable_share.tolist() == [1.0, 1.0]
    assert table.loc[2, "lr_weight_head"] == pytest.approx(10.0)
    result = json.loads(Path("out/result.json").read_text())
    assert result["fitness"] == pytest.approx(fitness.mean(axis=1).tolist(), abs=1e-12)


@pytest.mark.parametrize("given", ["strategy=linear_probe", "schedule={runs}/first/best_schedule.yaml"])
def test_train_trains_the_blocks_of_its_strategy_or_schedule_and_no_other(
    runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: str
) -> None:
    monkeypatch.setattr(sys, "argv", ["biotune"])
    few = ["dataset.max_per_class=10", "dataset.max_eval_per_class=10", "training.epochs=1", "test.seeds=[1,2]", ALONE]
    assert main(["train", given.format(runs=runs), *few, f"hydra.run.dir={tmp_path}/out"]) == 0
    result = json.loads((tmp_path / "out/result.json").read_text())
    before = build_network(BackboneConfig("biotune", "glyphnet"), 10)
    after = load_file(tmp_path / "out/model.safetensors")
    for block in before.blocks[:-1]:  # the head is a fresh one in any case
        frozen = result["schedule"]["blocks"][block.name]["frozen"]
        if given == "strategy=linear_probe":
            assert frozen
        for name, value in before.module.state_dict().items():
            if name.startswith(f"{block.name}.") and not name.endswith("num_batches_tracked"):
                assert torch.equal(value, after[name]) == frozen, name
    assert len(result["test"]["macro_accuracy"]["values"]) == 2
    assert not list((tmp_path / "out").glob(".kept*"))


def test_no_log_handler_is_left_behind(runs: Path) -> None:
    assert not [handler for handler in logging.getLogger("biotune").handlers if isinstance(handler, logging.FileHandler)]


def fingerprint(folder: Path) -> str:
    """Of images and splits, as a command has noted it."""
    records = [json.loads(line) for line in (folder / "journal.jsonl").read_text().splitlines()]
    (value,) = [record["value"] for record in records if record["kind"] == "pin" and record["name"] == "data"]
    return str(value)


@pytest.mark.parametrize("command", ["evaluate", "compare"])
def test_a_command_works_on_the_splits_that_it_is_told_to(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["biotune"])
    monkeypatch.chdir(tmp_path)
    (tmp_path / "genotypes.csv").write_text("stem,layer1,layer2,layer3,layer4,head,threshold\n0,0,0,0,0,0.9,0.2\n")
    tiny = ["dataset.max_per_class=4", "dataset.max_eval_per_class=4", "training.epochs=1", "executor=in_process"]
    own = {
        "evaluate": ["genotypes=genotypes.csv"],
        "compare": ["strategies=[full]", "test.seeds=[0]", "compare.tune_lr=false"],
    }[command]
    found = []
    for resplit in ("true", "false", "true"):
        folder = tmp_path / f"{len(found)}"
        splits = ["evolution.folds=2", f"evolution.resplit={resplit}"]
        assert main([command, *own, *tiny, *splits, f"hydra.run.dir={folder}"]) == 0
        found.append(fingerprint(folder / "seed-0" if command == "compare" else folder))
    assert found[0] == found[2] != found[1]


@pytest.mark.parametrize("command", ["run", "train", "compare", "evaluate"])
def test_each_command_says_how_the_weights_were_found_in_their_file(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["biotune"])
    weights = build_network(BackboneConfig("biotune", "glyphnet"), 10).module.state_dict()
    torch.save({"state_dict": {f"model.{name}": value for name, value in weights.items()}}, tmp_path / "w.ckpt")
    (tmp_path / "genes.csv").write_text("stem,layer1,layer2,layer3,layer4,head,threshold\n0,0,0,0,0,1,0.5\n")
    own = {
        "run": [*SMALL, "evolution.generations=1", "training.seeds=[1]", "confirm.top_k=0"],
        "train": ["strategy=linear_probe"],
        "compare": ["strategies=[full]", "test.seeds=[1]"],
        "evaluate": [f"genotypes={tmp_path / 'genes.csv'}"],
    }[command]
    quick = ["dataset.max_per_class=5", "dataset.max_eval_per_class=5", "training.epochs=1", "training.lr=0.01"]
    given = [*own, *quick, ALONE, f"backbone.weights={tmp_path / 'w.ckpt'}", f"hydra.run.dir={tmp_path / 'folder'}"]
    assert main([command, *given]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert f"remark: backbone.weights={tmp_path / 'w.ckpt'}: its names are read without the prefix model." in said
