"""What the final training runs leave beside their scores."""

from __future__ import annotations

import html
import json
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from sklearn.datasets import load_digits
from trees import write_image

from biotune.backbones.network import Preprocessing
from biotune.cli import main
from biotune.config.schema import RunConfig
from biotune.config.sections import BackboneConfig, DatasetConfig, FinalModelConfig
from biotune.errors import SearchError
from biotune.recipes.final import final_trainings
from biotune.recipes.final_model import keep_final_model
from biotune.recipes.progress import SILENCE
from biotune.report.classes import worst
from biotune.report.read import read_run
from biotune.schedule.block import Block
from biotune.schedule.plan import Plan
from biotune.schedule.schedule import Schedule
from biotune.store.files import MODEL, MODEL_FACTS, PREDICTIONS
from biotune.training.model import kept_model, kept_predictions
from biotune.trial import Trial, TrialResult


@pytest.fixture(scope="module")
def probed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A linear probe of digits, trained so briefly that it makes mistakes."""
    folder = tmp_path_factory.mktemp("probed") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["biotune"])
        small = ["training.epochs=1", "test.seeds=[1]", "dataset.max_eval_per_class=10"]
        assert main(["train", "strategy=linear_probe", *small, "executor=in_process", f"hydra.run.dir={folder}", "-q"]) == 0
    return folder


def test_images_that_have_no_files_are_kept_where_the_model_is_surely_wrong(probed: Path) -> None:
    table = pd.read_csv(probed / "predictions.csv", dtype=str)
    wrong = table[table.true_class != table.predicted_class].copy()
    wrong["probability"] = wrong.probability.astype(float)
    surest = wrong.sort_values("probability", ascending=False, kind="stable").head(12)
    assert len(surest) == 12
    kept = {path.name: np.asarray(Image.open(path)) for path in (probed / "mistakes").iterdir()}
    assert set(kept) == {f"{row}.png" for row in surest.index}
    originals = load_digits().images
    for row, name in surest.picture.items():
        grey = Image.fromarray(np.clip(originals[int(name)] * (255 / 16), 0, 255).astype(np.uint8))
        expected = np.asarray(grey.resize((16, 16), Image.Resampling.BICUBIC))
        np.testing.assert_array_equal(kept[f"{row}.png"], np.stack([expected] * 3, axis=-1))


def test_the_page_shows_them(probed: Path) -> None:
    assert (probed / "report.html").read_text(encoding="utf-8").count("data:image/jpeg;base64,") == 12


def test_the_curves_of_the_final_training_runs_are_kept(probed: Path) -> None:
    trials = [json.loads(line) for line in (probed / "journal.jsonl").read_text(encoding="utf-8").splitlines()]
    (trained,) = (one for one in trials if one.get("kind") == "trial" and "/test/" in one["key"])
    numbers = [trained["train_losses"][0], trained["losses"][0], trained["curve"][0]]
    assert (probed / "curves.csv").read_text(encoding="utf-8").splitlines() == [
        "strategy,seed,epoch,train_loss,val_loss,val_macro_accuracy",
        ",".join(["linear_probe", "1", "1", *map(repr, numbers)]),
    ]


def test_the_result_holds_the_advice_of_the_page(probed: Path) -> None:
    advice = json.loads((probed / "result.json").read_text(encoding="utf-8"))["advice"]
    assert [one["rule"] for one in advice if one["key"] == "final.temperature"] == ["calibration"]  # one epoch, hardly sure
    assert all(set(one) == {"rule", "key", "value", "text"} for one in advice)
    page = html.unescape((probed / "report.html").read_text(encoding="utf-8"))
    assert all(one["text"] in page for one in advice)


@pytest.mark.parametrize("decoded", ["cache", "stream"])
def test_images_with_files_are_kept_too_and_shown_when_the_files_are_gone(
    decoded: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BIOTUNE_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    for index in range(60):  # nothing tells the classes apart
        write_image(tmp_path / "images" / "ab"[index % 2] / f"{index:02d}.png", 40 + index, (300, 200))
    options = ["dataset=folder", "dataset.root=images", f"dataset.decoded={decoded}", "dataset.image_size=256"]
    small = ["training.epochs=1", "test.seeds=[1]", "executor=in_process", "hydra.run.dir=run", "-q"]
    assert main(["train", "strategy=linear_probe", *options, *small]) == 0
    shutil.rmtree(tmp_path / "images")
    mistakes = worst(read_run(tmp_path / "run"))
    assert mistakes and all(one.thumbnail for one in mistakes)
    sizes = {Image.open(path).size for path in (tmp_path / "run" / "mistakes").iterdir()}
    assert sizes == {(224, 224)}


@pytest.mark.parametrize(
    ("scores_by_seed", "chosen"),
    [({1: 0.5, 2: 0.8, 3: 0.6}, 2), ({1: 0.9, 2: 0.8, 3: 0.7}, 1), ({4: 0.5, 3: 0.8, 1: 0.8}, 3)],
    ids=["the best", "the best comes first", "the first of equals"],
)
def test_the_final_model_is_the_one_that_validation_data_prefer(
    scores_by_seed: dict[int, float], chosen: int, tmp_path: Path
) -> None:
    finals = []
    for seed, score in scores_by_seed.items():
        trial = Trial(Schedule((Block("head", ("head",)),), (1.0,)), None, seed, 3, 0.01, test=True, keep=f"seed{seed}")
        # the test split would have another one, and the last epoch too
        result = TrialResult("ok", (0.1, score, 0.4), 1.0, {"macro_accuracy": 1.0 - score})
        finals.append((trial, result))
        kept_model(tmp_path, f"seed{seed}").write_bytes(b"weights of seed %d" % seed)
        table = f"picture,true_class,predicted_class,probability\nof-seed-{seed},cat,cat,0.9\n"
        kept_predictions(tmp_path, f"seed{seed}").write_text(table)
    preprocessing = Preprocessing(16, 16, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
    session = SimpleNamespace(
        folder=tmp_path,
        config=SimpleNamespace(dataset=DatasetConfig("toy", "toy"), backbone=BackboneConfig("toy", "toy")),
        network=SimpleNamespace(preprocessing=preprocessing),
        data=SimpleNamespace(classes=("cat", "dog"), value_range=None),
    )
    entry = keep_final_model(session, FinalModelConfig(), finals)  # type: ignore[arg-type]
    assert (entry["model"], entry["seeds"]) == ("best", [chosen])
    assert (tmp_path / MODEL).read_bytes() == b"weights of seed %d" % chosen
    assert f"of-seed-{chosen}," in (tmp_path / PREDICTIONS).read_text()
    facts = json.loads((tmp_path / MODEL_FACTS).read_text())
    assert facts["seed"] == chosen
    assert facts["training"] == next(trial.key for trial, _ in finals if trial.seed == chosen)


def finals_of(tmp_path: Path, scores: dict[str, list[float | None]], own: list[str]) -> tuple[str, dict[str, Any], list[Trial]]:
    """Train plans whose final models validate as told, None for a failed one; by name."""
    plans = {name: Plan(Schedule((Block("head", ("head",)),), (1.0 + at,))) for at, name in enumerate(scores)}
    names = {plan.schedule.key: name for name, plan in plans.items()}
    asked: list[Trial] = []

    def run(trials: list[Trial]) -> list[TrialResult]:
        asked.extend(trials)
        told = [scores[names[trial.schedule.key]][trial.seed - 1] for trial in trials]
        return [
            TrialResult("failed", (), 0.0, error="no memory") if score is None else TrialResult("ok", (score,), 1.0)
            for score in told
        ]

    config = RunConfig()
    config.test.seeds = [1, 2]
    session = SimpleNamespace(folder=tmp_path, executor=SimpleNamespace(run=run))
    baselines = {name: plan for name, plan in plans.items() if name not in own}
    returned, finals = final_trainings(
        session,  # type: ignore[arg-type]
        config,
        {name: plans[name] for name in own},
        baselines,
        0.01,
        SILENCE,
    )
    return returned, dict(finals), asked


@pytest.mark.parametrize(
    ("scores", "returned"),
    [
        ({"a": [0.7, 0.8], "b": [0.9, 0.1]}, "b"),
        ({"a": [0.7, 0.8], "b": [0.8, 0.75]}, "a"),
        ({"a": [None, None], "b": [0.1, None]}, "b"),
        ({"a": [0.7, None], "b": [0.6, 0.69]}, "a"),
    ],
    ids=["the best model's", "the first of equals", "one that failed is none", "one of its models is enough"],
)
def test_of_several_finalists_that_is_returned_whose_model_validates_best(
    scores: dict[str, list[float | None]], returned: str, tmp_path: Path
) -> None:
    found, finals, asked = finals_of(tmp_path, {**scores, "full": [0.95, 0.95]}, ["a", "b"])
    assert found == returned, "full was no finalist"
    assert {name: len(pairs) for name, pairs in finals.items()} == {"a": 2, "b": 2, "full": 2}
    assert [trial.keep is not None for trial in asked] == [True] * 4 + [False] * 2, (
        "models that cannot be returned are not kept"
    )


def test_if_the_models_of_all_finalists_fail_nothing_is_returned(tmp_path: Path) -> None:
    with pytest.raises(SearchError, match="every final training run of a failed, the first one: no memory"):
        finals_of(tmp_path, {"a": [None, None], "b": [None, None], "full": [0.9, 0.9]}, ["a", "b"])
