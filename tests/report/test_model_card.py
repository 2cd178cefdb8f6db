"""The card of an exported model: its header is read by the Hub's library, and its figures are those of the run's tables."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml
from made_up import change_json, make_run

from biotune.report.model_card import Exported, render_card
from biotune.report.read import read_run

FACTS: dict[str, Any] = {"resize": 70, "crop": 64, "interpolation": "bilinear", "mean": [0.1, 0.2, 0.3], "std": [0.4, 0.5, 0.6]}
FACTS |= {"value_range": None, "temperature": 1.0}


def card(folder: Path, kind: str = "safetensors", licence: str | None = None, **changes: Any) -> str:
    call = "torchvision.models.resnet18(num_classes=3)"
    exported = Exported(kind, "torchvision", call, "torchvision IMAGENET1K_V1", licence, FACTS | changes, 3.2e-7)
    return render_card(read_run(folder), exported)


def header_of(text: str) -> dict[str, Any]:
    assert text.startswith("---\n")
    found: dict[str, Any] = yaml.safe_load(text.split("---\n")[1])
    return found


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A made-up run whose final model is that of seed 1."""
    folder = make_run(tmp_path / "run")
    change_json(folder / "model.json", seed=1)
    return folder


def test_the_header_is_one_that_the_hub_reads(run: Path, tmp_path: Path) -> None:
    hub = pytest.importorskip("huggingface_hub")
    (tmp_path / "README.md").write_text(card(run, licence="cc-by-4.0"), encoding="utf-8")
    data = hub.ModelCard.load(tmp_path / "README.md").data
    assert (data.library_name, data.license, data.pipeline_tag) == ("torchvision", "cc-by-4.0", "image-classification")
    assert data.datasets == ["digits"]
    tested = pd.read_csv(run / "test.csv")
    (own,) = tested[(tested["strategy"] == "biotune") & (tested["seed"] == 1)].to_dict("records")
    found = {result.metric_type: result.metric_value for result in data.eval_results}
    assert found == {name: own[name] for name in ("macro_accuracy", "accuracy", "average_precision", "kappa", "f1")}
    assert data.metrics == list(found)


@pytest.mark.parametrize(("kind", "library"), [("onnx", "onnx"), ("torchscript", "pytorch"), ("timm", "timm")])
def test_the_header_names_what_loads_the_model(kind: str, library: str, run: Path) -> None:
    header = header_of(card(run, kind))
    assert header["library_name"] == library
    assert kind in header["tags"]
    assert header["license"] == "unknown"


@pytest.mark.parametrize("name", ["folder", "table", "hf"])
def test_images_of_ones_own_and_their_place_are_not_published(run: Path, name: str) -> None:
    config = yaml.safe_load((run / ".hydra/config.yaml").read_text())
    config["dataset"] = {"name": name, "root": "/home/me/secret"}
    (run / ".hydra/config.yaml").write_text(yaml.safe_dump(config))
    (run / ".hydra/overrides.yaml").write_text("[dataset.root=/home/me/secret]\n")
    text = card(run)
    assert "secret" not in text and "/home" not in text
    assert "datasets" not in header_of(text)
    assert "| data | images of one's own, 3 classes |" in text


def test_a_dataset_of_the_hub_is_named_as_the_hub_names_it(run: Path) -> None:
    config = yaml.safe_load((run / ".hydra/config.yaml").read_text())
    config["dataset"] = {"name": "hf", "hub": "me/birds"}
    (run / ".hydra/config.yaml").write_text(yaml.safe_dump(config))
    assert header_of(card(run))["datasets"] == ["me/birds"]


def test_every_final_training_run_has_a_row_and_the_exported_one_is_marked(run: Path) -> None:
    tested = pd.read_csv(run / "test.csv")
    lines = card(run).splitlines()
    for row in tested[tested["strategy"] == "biotune"].to_dict("records"):
        mark = " (this model)" if row["seed"] == 1 else ""
        names = ("val_macro_accuracy", "macro_accuracy", "accuracy", "average_precision", "kappa", "f1")
        assert f"| {row['seed']}{mark} | {' | '.join(f'{row[name]:.4f}' for name in names)} |" in lines
    assert "| seed | val_macro_accuracy | macro_accuracy | accuracy | average_precision | kappa | f1 |" in lines
    confirmed = json.loads((run / "result.json").read_text())["confirmed"]["macro_accuracy"]
    assert lines[-1].endswith(f"accuracy was {confirmed['mean']:.4f} ± {confirmed['sd']:.4f} (training runs: 2).")


def test_the_score_of_another_finalist_is_not_shown_as_that_of_what_is_returned(run: Path) -> None:
    assert "When it was confirmed" in card(run)
    returned = {"schedule": "5", "strategy": "biotune", "seed": 1, "val_macro_accuracy": 0.9, "finalists": 2, "models": 6}
    change_json(run / "result.json", returned=returned)
    assert "When it was confirmed" not in card(run)


def test_a_model_made_of_several_is_no_seeds_and_has_scores_of_its_own(run: Path) -> None:
    scores = dict.fromkeys(("macro_accuracy", "accuracy", "average_precision", "kappa", "f1"), 0.8125)
    final = {"model": "ensemble", "seeds": [1, 2], "val_macro_accuracy": 0.9, "val_of_best": 0.85, "test": scores}
    change_json(run / "result.json", final={**final, "temperature": 1.5, "ece": 0.02, "ece_before": 0.08})
    text = card(run, temperature=1.5)
    assert "(this model)" not in text and "this model is that of" not in text
    assert "The final model averages the probabilities of 2 models: 90.0 % macro accuracy" in text
    (entry,) = header_of(text)["model-index"]
    assert {metric["value"] for metric in entry["results"][0]["metrics"]} == {0.8125}
    assert "the softmax of the logits divided by 1.5, the temperature" in text
    assert "the temperature." not in card(run)


def test_the_schedule_is_a_row_per_block(run: Path) -> None:
    schedule = read_run(run).schedule
    lines = card(run).splitlines()
    at = lines.index("| block | multiple |")
    expected = [
        f"| {block.name} | {f'{weight:.2f}' if weight else 'frozen'} |"
        for block, weight in zip(schedule.blocks, schedule.lr_weights, strict=True)
    ]
    assert lines[at + 2 : at + 2 + len(expected)] == expected


def test_the_lines_that_load_it_and_the_preprocessing_are_stated(run: Path) -> None:
    text = card(run, value_range=[0, 4095])
    assert "\nmodel = torchvision.models.resnet18(num_classes=3).eval()\nmodel.load_state_dict(" in text
    assert "0 is black and 4095 white" in text
    assert "shorter side to 70 pixels with the bilinear filter" in text
    assert "subtract the mean (0.1, 0.2, 0.3), divide by the standard deviation (0.4, 0.5, 0.6)" in text
    assert "at most 3e-07 of the largest one" in text
    assert "| licence of these weights | unknown |" in text


def test_the_preprocessing_of_images_that_are_no_squares_is_stated(run: Path) -> None:
    text = card(run, resize=[48, 80], crop=[40, 72])
    assert "float32 of shape (N, 3, 40, 72)" in text
    assert "so that it just covers 48 × 80 pixels (height × width)" in text
    assert "Crop the centre, 40 × 72 pixels (height × width)." in text


def test_a_run_of_train_has_a_card_too(tmp_path: Path) -> None:
    text = card(make_run(tmp_path / "run", command="train"))
    assert "| method | full fine-tuning |" in text
    assert "When it was confirmed" not in text and "(this model)" not in text
    assert "model-index" not in header_of(text)


def test_a_name_with_markup_stays_in_its_place(run: Path) -> None:
    config = yaml.safe_load((run / ".hydra/config.yaml").read_text())
    config["dataset"]["name"] = "birds: {{ 7*7 }} 'and' \"cats\" & dogs"
    (run / ".hydra/config.yaml").write_text(yaml.safe_dump(config))
    text = card(run)
    assert header_of(text)["datasets"] == [config["dataset"]["name"]]
    assert f"# glyphnet fine-tuned on {config['dataset']['name']}\n" in text
