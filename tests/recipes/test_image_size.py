"""Images that are no squares: a whole command on them, its cache, its predictions, and networks that take none."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from trees import folder_tree

from biotune.backbones.registry import build_network
from biotune.cli import main
from biotune.config.schema import RunConfig
from biotune.config.sections import BackboneConfig, DatasetConfig
from biotune.datasets.cache import entries
from biotune.errors import ConfigError
from biotune.recipes.inputs import check_size
from biotune.training.model import load_model

FEW = ["executor=in_process", "training.epochs=1", "training.batch_size=4", "test.seeds=[1]", "training.augment=randaugment"]


@pytest.mark.parametrize("decoded", ["cache", "stream"])
def test_a_training_run_on_rectangles_keeps_a_model_that_predicts_on_them(
    decoded: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["biotune"])
    monkeypatch.setenv("BIOTUNE_CACHE_DIR", str(tmp_path / "cache"))
    folder_tree(tmp_path / "images", {"cat": 6, "dog": 6})
    own = ["dataset=folder", "dataset.root=images", "dataset.image_size=[16,24]", f"dataset.decoded={decoded}"]
    assert main(["train", "strategy=full", *own, *FEW, "hydra.run.dir=run"]) == 0
    facts = json.loads(Path("run/model.json").read_text(encoding="utf-8"))
    assert facts["preprocessing"]["crop"] == [16, 24]
    (entry,) = entries()
    assert entry.geometry.startswith("16×24 from 16×24, bicubic")
    rows = pd.read_csv("run/predictions.csv")
    model = load_model("run")
    seen: list[torch.Size] = []
    model.module.register_forward_pre_hook(lambda _, given: seen.append(given[0].shape))
    found = model.probabilities([Path("images") / name for name in rows["picture"]])
    assert seen[0][1:] == (3, 16, 24)
    np.testing.assert_allclose(found.max(1).values, rows["probability"], atol=1e-5)


def test_a_size_that_a_network_does_not_take_is_refused_and_one_that_it_expects_is_not_tried(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    network = build_network(BackboneConfig("biotune", "glyphnet", "none"), 2)
    tried: list[torch.Size] = []
    network.module.register_forward_pre_hook(lambda _, given: tried.append(given[0].shape))
    config = RunConfig(backbone=BackboneConfig("biotune", "glyphnet"))
    for size in (None, network.preprocessing.crop, f"[{network.preprocessing.crop},{network.preprocessing.crop}]"):
        config.dataset = DatasetConfig(image_size=size)  # type: ignore[arg-type]
        check_size(network, config)
    assert tried == []
    config.dataset = DatasetConfig(image_size="[9,40]")
    check_size(network, config)
    assert tried == [(2, 3, 9, 40)] and network.module.training

    def refuse(*_: object) -> None:
        raise AssertionError("Wrong image height!")

    monkeypatch.setattr(type(network.module), "forward", refuse)
    with pytest.raises(ConfigError, match=r"^dataset.image_size=\[9,40\]: glyphnet does not take .* 9 × 40 pixels \(Wrong"):
        check_size(network, config)
