"""The final model: a soup, an ensemble, a temperature; what is refused; and that the run's files tell it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from sklearn.datasets import load_digits
from sklearn.metrics import classification_report, recall_score

import biotune
from biotune.cli import main
from biotune.executors.recorded import Recorded
from biotune.recipes import final_model

SMALL = ["executor=in_process", "device=cpu", "dataset.max_per_class=12", "dataset.max_eval_per_class=8"]
SMALL += ["training.epochs=2", "training.lr=0.003", "training.batch_size=32", "strategy=full"]
PROBE = "training.head_start=probe"
TWO = "test.seeds=[1,2]"


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Folders of `biotune train` by its overrides, each trained once."""
    place = tmp_path_factory.mktemp("trained")

    def train(*overrides: str, name: str | None = None) -> Path:
        folder = place / (name or "-".join(overrides).translate(str.maketrans("=[],.", "_____")))
        if not folder.exists():
            assert main(["train", *SMALL, *overrides, f"hydra.run.dir={folder}", "-q"]) == 0
        return folder

    return train


def images(folder: Path) -> list[Path]:
    """A few digits as files, prepared as the dataset prepares them."""
    folder.mkdir(exist_ok=True)
    files = []
    for index in range(20):
        values = np.clip(load_digits().images[index] * (255 / 16), 0, 255).astype(np.uint8)
        files.append(folder / f"{index}.png")
        Image.fromarray(values).resize((16, 16), Image.Resampling.BICUBIC).save(files[-1])
    return files


def entry_of(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "result.json").read_text())["final"]


def table_of(folder: Path) -> pd.DataFrame:
    return pd.read_csv(folder / "predictions.csv", dtype={"true_class": str, "predicted_class": str})


def accept(monkeypatch: pytest.MonkeyPatch, *scores: float) -> None:
    """Make the models validate as told, the best single one first."""
    told = iter(scores)
    monkeypatch.setattr(final_model, "macro_accuracy", lambda *given: next(told))


def test_an_ensemble_averages_the_models_of_all_seeds(
    trained: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    accept(monkeypatch, 0.5, 0.5)
    both = trained(TWO, "final.model=ensemble")
    singles = [trained("test.seeds=[1]"), trained("test.seeds=[2]")]
    kept = load_file(both / "model.safetensors")
    for at, single in enumerate(singles):
        for name, value in load_file(single / "model.safetensors").items():
            assert kept.pop(f"members.{at}.{name}").equal(value)
    assert not kept
    files = images(tmp_path / "images")
    expected = sum(biotune.load_model(single).probabilities(files) for single in singles) / 2
    torch.testing.assert_close(biotune.load_model(both).probabilities(files), expected, rtol=0, atol=1e-6)
    entry, table = entry_of(both), table_of(both)
    assert (entry["model"], entry["seeds"], entry["val_of_best"]) == ("ensemble", [1, 2], 0.5)
    test = json.loads((both / "result.json").read_text())["test"]["macro_accuracy"]["values"]
    assert test == [json.loads((single / "result.json").read_text())["test"]["macro_accuracy"]["mean"] for single in singles]
    own = recall_score(table.true_class, table.predicted_class, average="macro")
    assert entry["test"]["macro_accuracy"] == pytest.approx(own)
    assert "The final model averages the probabilities of 2 models" in (both / "report.html").read_text()


def test_a_soup_has_the_mean_of_the_weights(trained: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    accept(monkeypatch, 0.5, 0.6)
    soup = load_file(trained(TWO, PROBE, "final.model=soup") / "model.safetensors")
    parts = [load_file(trained(f"test.seeds=[{seed}]", PROBE) / "model.safetensors") for seed in (1, 2)]
    assert soup.keys() == parts[0].keys()
    weights = [name for name in soup if not name.endswith(("running_mean", "running_var", "num_batches_tracked"))]
    for name in weights:
        torch.testing.assert_close(soup[name], (parts[0][name] + parts[1][name]) / 2)
    assert any(not parts[0][name].equal(parts[1][name]) for name in weights)


@pytest.mark.parametrize(("model", "more"), [("ensemble", ()), ("soup", (PROBE,))])
def test_an_average_that_validates_worse_is_refused(
    model: str, more: tuple[str, ...], trained: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    accept(monkeypatch, 0.75, 0.7499)
    refused = trained(TWO, *more, f"final.model={model}", name=f"refused-{model}")
    said = (
        f"final.model={model}: the {model} of 2 models validates at 0.7499, worse than the best of them at 0.7500, which is "
        "kept."
    )
    assert said in " ".join(capsys.readouterr().out.split())
    assert said in (refused / "report.html").read_text()
    entry = entry_of(refused)
    assert (entry["model"], entry["remarks"]) == ("best", [said])
    (seed,) = entry["seeds"]
    usual = trained(f"test.seeds=[{seed}]", *more)
    kept, expected = (load_file(folder / "model.safetensors") for folder in (refused, usual))
    assert all(kept[name].equal(value) for name, value in expected.items())
    pd.testing.assert_frame_equal(table_of(refused), table_of(usual))


def test_a_temperature_changes_probabilities_and_no_class(trained: Callable[..., Path], tmp_path: Path) -> None:
    functional = pytest.importorskip("torchmetrics.functional.classification")
    plain, scaled = trained("test.seeds=[1]"), trained("test.seeds=[1]", "final.temperature=true")
    before, after, entry = table_of(plain), table_of(scaled), entry_of(scaled)
    assert before.predicted_class.tolist() == after.predicted_class.tolist()
    temperature = entry["temperature"]
    assert temperature != 1.0
    files = images(tmp_path / "images")
    raw = biotune.load_model(plain).probabilities(files)
    expected = (raw.log() / temperature).softmax(1)
    torch.testing.assert_close(biotune.load_model(scaled).probabilities(files), expected, rtol=0, atol=1e-6)
    assert entry["ece_before"] == pytest.approx(entry_of(plain)["ece"], abs=1e-6)
    for table, error in ((before, entry["ece_before"]), (after, entry["ece"])):
        right = torch.tensor((table.true_class == table.predicted_class).to_numpy())
        confidence = torch.tensor(table.probability.to_numpy())
        # the calibration error of "is the prediction right" as a question of its own
        own = functional.multiclass_calibration_error(
            torch.stack([confidence, (1 - confidence) / 1000], 1), (~right).long(), num_classes=2, n_bins=15, norm="l1"
        )
        assert error == pytest.approx(float(own), abs=1e-5)
    assert entry["ece"] < entry["ece_before"]
    assert f"divided by a temperature of {temperature:.2f}" in (scaled / "report.html").read_text()
    assert json.loads((plain / "model.json").read_text())["format"] == 1
    assert json.loads((scaled / "model.json").read_text())["format"] == 2, "an older version would not apply it"


def test_scores_of_each_class_stand_in_a_table_and_in_the_result(trained: Callable[..., Path]) -> None:
    folder = trained("test.seeds=[1]")
    table, rows = table_of(folder), pd.read_csv(folder / "classes.csv", dtype={"class": str})
    expected = classification_report(table.true_class, table.predicted_class, output_dict=True, zero_division=0)
    assert rows["class"].tolist() == [str(digit) for digit in range(10)]
    for row in rows.to_dict("records"):
        own = expected[row.pop("class")]
        assert row == pytest.approx({"f1": own["f1-score"], **{name: own[name] for name in ("precision", "recall", "support")}})
    assert entry_of(folder)["classes"]["3"]["recall"] == pytest.approx(expected["3"]["recall"])


def test_an_interrupted_run_makes_the_same_ensemble_and_an_extended_one_keeps_it(
    trained: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    accept(monkeypatch, 0.5, 0.5)
    whole = trained(TWO, "final.model=ensemble")
    status = json.loads((whole / "status.json").read_text()) | {"state": "interrupted"}
    names = ("model.safetensors", "model.json", "predictions.csv", "classes.csv", "result.json")
    before = {name: (whole / name).read_bytes() for name in names}
    for name in before:  # the training runs are journalled, and their models are gone
        (whole / name).unlink()
    for scores in ((0.5, 0.5), ()):
        (whole / "status.json").write_text(json.dumps(status))
        accept(monkeypatch, *scores)
        assert main(["resume", str(whole), "-q"]) == 0
        assert {name: (whole / name).read_bytes() for name in names} == before
        monkeypatch.setattr(Recorded, "repeat", None)  # nothing is trained for a model that is there
