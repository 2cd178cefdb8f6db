"""Which rules a run's folder trips, and with which numbers and keys."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml
from made_up import change_json, change_table, dump, make_run

from biotune.report.advice import advise
from biotune.report.read import read_run
from biotune.report.rules import Advice
from biotune.report.run import write_report


def advice_of(folder: Path) -> dict[str, Advice]:
    return {one.rule: one for one in advise(read_run(folder))}


def set_config(folder: Path, **sections: dict[str, Any]) -> None:
    config = yaml.safe_load((folder / ".hydra/config.yaml").read_text(encoding="utf-8"))
    for name, keys in sections.items():
        config[name] = config.get(name, {}) | keys
    dump(folder / ".hydra/config.yaml", config)


def set_curves(folder: Path, accuracy: list[float], val_loss: float = 0.5, train_loss: float = 0.4) -> None:
    """The same curve for every method and seed; the validation loss falls a little every epoch."""
    rows = [
        {"strategy": name, "seed": seed, "epoch": epoch, "train_loss": train_loss, "val_loss": val_loss - epoch / 1000}
        | {"val_macro_accuracy": value}
        for name in ("biotune", "full")
        for seed in range(3)
        for epoch, value in enumerate(accuracy, 1)
    ]
    pd.DataFrame(rows).to_csv(folder / "curves.csv", index=False)


def test_a_folder_of_an_earlier_version_trips_only_rules_of_what_it_holds(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run", tests=600)
    found = advice_of(folder)
    assert not set(found) & {"epochs", "overfitting", "confirmation", "cheaper", "end_of_grid", "wide_prediction"}


@pytest.mark.parametrize(("command", "key"), [("run", "test.training.epochs"), ("train", "training.epochs")])
def test_rising_final_curves_ask_for_more_epochs(command: str, key: str, tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run", command=command)
    set_curves(folder, [0.5, 0.6, 0.7, 0.8])
    assert "epochs" not in advice_of(folder)  # of the default 30 epochs: they ended early
    set_config(folder, training={"epochs": 4})
    assert (advice_of(folder)["epochs"].key, advice_of(folder)["epochs"].value) == (key, 8)
    set_config(folder, test={"training": {"epochs": 40}})
    assert "epochs" not in advice_of(folder)
    set_curves(folder, [0.9, 0.6, 0.7, 0.8])
    set_config(folder, test={"training": {"epochs": None}})
    assert "epochs" not in advice_of(folder)


def test_losses_are_compared_where_they_are_the_same_function(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run")
    set_curves(folder, [0.5, 0.6], val_loss=1.2)
    assert advice_of(folder)["overfitting"].key == "training.augment"
    for setting in ({"label_smoothing": 0.1}, {"mixup": 0.2}, {"class_weights": "balanced"}):
        set_config(folder, training={"label_smoothing": 0.0, "mixup": 0.0, "class_weights": "none"} | setting)
        assert "overfitting" not in advice_of(folder), setting
    set_config(folder, training={"class_weights": "none"}, test={"training": {"label_smoothing": 0.1}})
    assert "overfitting" not in advice_of(folder)


def test_evolved_learning_rates_that_lean_on_a_bound(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run", blocks=3)
    schedule = yaml.safe_load((folder / "best_schedule.yaml").read_text(encoding="utf-8"))
    for name in schedule["blocks"]:
        schedule["blocks"][name] |= {"frozen": False, "importance": 0.97, "lr_weight": 10**0.94, "lr": 1e-3 * 10**0.94}
    dump(folder / "best_schedule.yaml", schedule)
    found = advice_of(folder)["learning_rates"]
    assert (found.key, found.value) == ("training.lr", 0.0087)
    confirmed = json.loads((folder / "result.json").read_text(encoding="utf-8"))["confirmed"]
    change_json(folder / "result.json", confirmed=confirmed | {"strategy": "full"})
    assert "learning_rates" not in advice_of(folder)


def test_a_returned_baseline_at_the_end_of_its_learning_rates(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run", complete=True)
    set_config(folder, confirm={"lr_factors": [0.3, 1.0, 3.0]})
    assert "end_of_grid" not in advice_of(folder)  # an evolved schedule is returned
    confirmed = json.loads((folder / "result.json").read_text(encoding="utf-8"))["confirmed"]
    change_json(folder / "result.json", confirmed=confirmed | {"chosen": "full", "strategy": "full"})
    found = advice_of(folder)["end_of_grid"]
    assert (found.key, found.value) == ("training.lr", 0.003)
    set_config(folder, confirm={"lr_factors": [0.3, 1.0, 3.0, 10.0]})
    assert "end_of_grid" not in advice_of(folder)


def test_an_automatic_learning_rate_at_the_end_of_its_grid(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run", command="train")
    set_config(folder, training={"lr": "auto", "lr_grid": [1e-3, 1e-2]})
    change_json(folder / "result.json", base_lr=1e-2)
    assert advice_of(folder)["end_of_grid"].value == pytest.approx(3e-2)
    set_config(folder, training={"lr_grid": [1e-3, 1e-2, 1e-1]})
    assert "end_of_grid" not in advice_of(folder)


def test_calibration_and_classes_come_from_the_predictions(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run", tests=600)
    change_table(folder / "predictions.csv", probability=0.8)  # and 80 % are right
    assert not set(advice_of(folder)) & {"calibration", "recall", "few_images", "test_images"}
    change_table(folder / "predictions.csv", probability=0.99)
    assert advice_of(folder)["calibration"].key == "final.temperature"
    change_json(folder / "result.json", final={"temperature": 1.2})
    assert "calibration" not in advice_of(folder)
    table = pd.read_csv(folder / "predictions.csv")
    table.loc[table["true_class"] == "bee", "predicted_class"] = "ant"
    table.to_csv(folder / "predictions.csv", index=False)
    assert "Class bee is missed more often than found (recall 0 of 200)" in advice_of(folder)["recall"].text


def test_confirming_scores_that_cannot_be_told_apart_and_a_probe_that_is_as_good(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run", tests=600, complete=True)
    confirmed = json.loads((folder / "result.json").read_text(encoding="utf-8"))["confirmed"]

    def scored(schedule: str, values: list[float]) -> dict[str, Any]:
        spread = {"mean": math.fsum(values) / len(values), "sd": 0.0, "values": values}
        return {"schedule": schedule, "strategy": schedule, "trainable_params": 1, "macro_accuracy": spread}

    pair = [scored("full", [0.84, 0.80, 0.84, 0.80]), scored("linear_probe", [0.80, 0.80, 0.80, 0.80])]
    own = {"chosen": "full", "strategy": "full", "best": "full", "standard_error": 0.0115, "finalists": pair}
    change_json(folder / "result.json", confirmed=confirmed | own)
    found = advice_of(folder)
    assert (found["confirmation"].key, found["confirmation"].value) == ("confirm.seeds", None)
    assert "cheaper" not in found  # 2 points behind
    set_config(folder, evolution={"resplit": True})
    assert advice_of(folder)["confirmation"].value == 6
    change_json(folder / "result.json", confirmed=confirmed | own | {"standard_error": 0.021})
    assert advice_of(folder)["cheaper"].value == "linear_probe"


def test_a_wide_prediction_is_told_where_the_test_set_is_not_to_blame(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run", tests=600)
    confirmed = json.loads((folder / "result.json").read_text(encoding="utf-8"))["confirmed"]
    wide = {"predicted": {"macro_accuracy": {"mean": 0.8, "low": 0.7, "high": 0.9}}}
    change_json(folder / "result.json", confirmed=confirmed | wide)
    set_config(folder, dataset={"max_per_class": 12})
    assert advice_of(folder)["wide_prediction"].key == "dataset.max_per_class"
    small = make_run(tmp_path / "small", tests=60)
    change_json(small / "result.json", confirmed=confirmed | wide)
    assert set(advice_of(small)) & {"test_images", "wide_prediction"} == {"test_images"}


def test_the_page_has_a_box_of_all_advice_and_none_without(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run", tests=600)
    change_table(folder / "predictions.csv", probability=0.99)
    page = write_report(read_run(folder)).read_text(encoding="utf-8")
    for one in advise(read_run(folder)):
        assert one.text in page
    assert page.count("What to do next") == 1
    trained = make_run(tmp_path / "trained", tests=600, command="train")
    change_table(trained / "predictions.csv", probability=0.8)
    assert advise(read_run(trained)) == []
    assert "What to do next" not in write_report(read_run(trained)).read_text(encoding="utf-8")
