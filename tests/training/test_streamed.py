"""Training on streamed images: the same results to the last bit as on decoded ones, in this process and in others."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from trees import folder_config, write_image

from biotune.backbones.registry import build_network
from biotune.config.schema import TrialsConfig
from biotune.config.sections import BackboneConfig, ExecutorConfig, TrainingConfig
from biotune.datasets.data import find_dataset, load_dataset
from biotune.datasets.splits import Resampling
from biotune.datasets.streamed import Streamed
from biotune.executors.registry import EXECUTORS
from biotune.executors.setup import Setup
from biotune.schedule.schedule import Schedule
from biotune.training.workspace import Workspace
from biotune.trial import Trial, TrialResult

BACKBONE = BackboneConfig("biotune", "glyphnet")


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two classes of twenty images, of which one class is the darker one."""
    monkeypatch.setenv("BIOTUNE_CACHE_DIR", str(tmp_path / "cache"))
    for label, name in enumerate("ab"):
        for index in range(20):
            write_image(tmp_path / "images" / name / f"{index:02d}.png", 60 + 100 * label + 2 * index, (20, 16))
    return tmp_path / "images"


def runner_on(
    root: Path, decoded: str, executor: str, max_gb: float = 1.0, views: int | None = None, **training: Any
) -> tuple[Any, Any]:
    """An executor on a tree of images, and its blocks."""
    network = build_network(BACKBONE, 2)
    dataset = folder_config(root, decoded=decoded)
    data = load_dataset(find_dataset(dataset, Resampling(2)), network.preprocessing)
    assert isinstance(data.pixels, Streamed) == (decoded == "stream")
    config = TrialsConfig(
        device="cpu",
        plugins=[],
        dataset=dataset,
        backbone=BACKBONE,
        training=TrainingConfig(**{"lr": 3e-3, "batch_size": 8, "eval_batch_size": 3, **training}),
        executor=ExecutorConfig(executor, workers=2),
    )
    config.features.max_gb, config.features.views = max_gb, views
    folders = [root.parent / f"{decoded}-{executor}-{kind}" for kind in ("run", "scratch")]
    for folder in folders:
        folder.mkdir()
    setup = Setup.of(config, data, *folders)
    return EXECUTORS[executor](setup, config, torch.device("cpu"), network), network.blocks


def results(root: Path, decoded: str, executor: str = "in_process", **training: Any) -> list[TrialResult]:
    runner, blocks = runner_on(root, decoded, executor, **training)
    head_only, half, full = (Schedule(blocks, weights) for weights in ((0.0,) * 5 + (1.0,), (0, 0, 0, 1, 1, 1), (1.0,) * 6))
    trials = [
        Trial(head_only, 0, 1, 2, 3e-3),
        Trial(half, 1, 2, 2, 3e-3),
        Trial(full, None, 3, 2, 3e-3, test=True, keep="full"),
        Trial(Schedule(blocks, (0.0,) * 5 + (1.0,), head_start="probe"), 0, 6, 1, 3e-3),
    ]
    try:
        return list(runner.run(trials, lambda trial, result: None))
    finally:
        runner.close()


def outcomes(found: list[TrialResult]) -> list[tuple[Any, ...]]:
    assert all(result.status == "ok" for result in found), found
    return [(result.curve, result.losses, result.scores) for result in found]


@pytest.mark.parametrize(
    "training",
    [{}, {"max_gb": 0.0}, {"augment": "standard"}, {"augment": "standard", "views": 2}],
    ids=["shared activations", "none shared", "augmented", "views"],
)
def test_results_are_those_of_decoded_images(root: Path, training: dict[str, Any]) -> None:
    kept, there = (outcomes(results(root, decoded, **training)) for decoded in ("cache", "stream"))
    assert there == kept
    assert len({curve for curve, _, _ in kept}) > 1, "the trials differ"


@pytest.mark.slow
def test_workers_in_other_processes_stream_too(root: Path) -> None:
    kept = outcomes(results(root, "cache"))
    assert outcomes(results(root, "stream", "process_pool")) == kept
    assert not list((root.parent / "stream-process_pool-scratch").glob("pixels*"))


def test_a_trial_whose_image_vanishes_fails_with_its_name_and_the_next_ones_go_on(root: Path) -> None:
    runner, blocks = runner_on(root, "stream", "in_process", max_gb=0.0)
    own = Trial(Schedule(blocks, (1.0,) * 6), None, 1, 1, 3e-3)
    data = runner.workspace.data
    name = data.names[data.whole.train[3]]
    content = (root / name).read_bytes()
    (root / name).unlink()
    (failed,) = runner.run([own], lambda trial, result: None)
    assert failed.status == "failed" and failed.error is not None
    assert name in failed.error and "No such file" in failed.error
    (root / name).write_bytes(content)
    (found,) = runner.run([own], lambda trial, result: None)
    assert found.status == "ok"


def test_streamed_images_are_not_copied_to_a_device(root: Path) -> None:
    network = build_network(BACKBONE, 2)
    for decoded, expected in (("cache", {"pixels"}), ("stream", set())):
        data = load_dataset(find_dataset(folder_config(root, decoded=decoded)), network.preprocessing)
        workspace = Workspace.of(network, data, TrainingConfig(), torch.device("cpu"))
        assert set(workspace._table_sizes()) == expected
        assert np.isfinite(workspace.images(data.test).numpy()).all()
