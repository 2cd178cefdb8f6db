"""Augmented views that are drawn once: what is drawn, what training sees, and that keeping what it needs changes no result."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from biotune.backbones.network import Preprocessing
from biotune.backbones.registry import build_network
from biotune.backbones.state import copy_state
from biotune.config.sections import BackboneConfig, TrainingConfig
from biotune.datasets.data import Data, Part
from biotune.schedule.schedule import Schedule
from biotune.training.augment import standard
from biotune.training.changes import augmentations
from biotune.training.finetune import Trained, finetune
from biotune.training.probe import features_of
from biotune.training.views import Views
from biotune.training.workspace import Workspace
from biotune.trial import Trial

CPU = torch.device("cpu")
PREPROCESSING = Preprocessing(16, 16, (0.4, 0.5, 0.6), (0.2, 0.25, 0.3))
LoadDigits = Callable[..., Data]
IMAGES = 7


def views(count: int = 3, seed: int = 5, augment: str = "standard") -> Views:
    return Views(IMAGES, count, seed, augmentations(augment, PREPROCESSING, CPU))


def images(rows: list[int]) -> Tensor:
    """(B, 3, 16, 16) images that depend on their row alone."""
    found = torch.randn(IMAGES, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    return found[[row % IMAGES for row in rows]]


def made(own: Views, *rows: int) -> Tensor:
    return own.change(images(list(rows)), np.array(rows))


@pytest.mark.parametrize("augment", ["standard", "trivialaugment"])
def test_a_view_depends_on_seed_image_and_its_number_alone(augment: str) -> None:
    together = made(views(augment=augment), 2, 9, 16, 23, 10)  # image 2 as it is, its three views, and one of image 3
    assert torch.equal(together[0], images([2])[0])
    for place, row in enumerate((2, 9, 16, 23, 10)):
        assert torch.equal(together[place], made(views(count=8, augment=augment), row)[0])
        if row >= IMAGES:
            assert not torch.equal(together[place], made(views(seed=6, augment=augment), row)[0])
    assert len({one.numpy().tobytes() for one in together}) == 5


def test_a_view_is_a_draw_of_the_usual_augmentation() -> None:
    draws = np.random.default_rng((5, 2, 3))
    torch.testing.assert_close(made(views(), 2 + 3 * IMAGES), standard(images([2]), draws))


def test_every_view_of_an_image_is_drawn_equally_often() -> None:
    rows = np.tile(np.arange(IMAGES), 3000)
    drawn = views().draw(rows, np.random.default_rng(0))
    assert np.array_equal(views().images_of(drawn), rows)
    counts = np.bincount(drawn, minlength=4 * IMAGES)
    assert (counts[:IMAGES] == 0).all()  # never as it is
    assert np.abs(counts[IMAGES:] - 1000).max() < 130  # 5 standard deviations of a binomial count, √(3000 · 1/3 · 2/3) = 26


def test_the_rows_of_all_views_ascend_behind_those_of_the_images() -> None:
    assert views(count=2).with_all(np.array([1, 4])).tolist() == [1, 4, 8, 11, 15, 18]


def noise(size: int = 16) -> Data:
    """Six images to train, three to validate, three to test."""
    pixels = np.random.default_rng(0).integers(0, 256, (12, size, size, 3), dtype=np.uint8)
    part = Part(np.arange(6), np.arange(6, 9))
    names = tuple(str(row) for row in range(12))
    return Data("noise", ("a", "b"), pixels, np.arange(12) % 2, names, part, (part,), np.arange(9, 12), "noise")


def workspace_of(data: Data, folder: Path, max_gb: float, chain: bool = True, **more: Any) -> Workspace:
    torch.manual_seed(0)
    network = build_network(BackboneConfig("biotune", "glyphnet"), len(data.classes))
    network = network if chain else replace(network, steps=None)
    settings = {"lr": 0.03, "batch_size": 32, "precision": "fp32", "optimizer": "sgd", "augment": "standard", "patience": 50}
    places = {name: more.pop(name) for name in ("views", "seed", "final") if name in more}
    return Workspace.of(network, data, TrainingConfig(**settings | more), CPU, folder, max_gb, **places)


def train(workspace: Workspace, first: int, epochs: int = 3, **more: Any) -> Trained:
    blocks = workspace.network.blocks
    schedule = Schedule(blocks, tuple(float(index >= first) for index in range(len(blocks))))
    return finetune(Trial(schedule, 0, 1, epochs, 0.03, **more), workspace)


def seen_in_training(workspace: Workspace, part: nn.Module, run: Callable[[], object]) -> list[bytes]:
    """Each image's input of a module in training mode, in order."""
    seen: list[bytes] = []

    def look(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        if module.training:
            seen.extend(one.contiguous().numpy().tobytes() for one in inputs[0].detach())

    handle = part.register_forward_pre_hook(look)
    run()
    handle.remove()
    return seen


@pytest.mark.parametrize("augment", ["standard", "randaugment"])
@pytest.mark.parametrize("first", [1, 3, 5], ids=["layer1", "layer3", "head"])
@pytest.mark.parametrize("chain", [True, False], ids=["chain", "no chain"])
def test_trained_weights_and_losses_are_the_same_whether_activations_of_views_are_kept(
    chain: bool, first: int, augment: str, load_digits: LoadDigits, tmp_path: Path
) -> None:
    found = []
    for max_gb in (0.0, 1.0):
        workspace = workspace_of(load_digits(), tmp_path, max_gb, chain, views=2, augment=augment)
        result = train(workspace, first).result
        found.append((result.losses, result.train_losses, copy_state(workspace.network.module)))
    assert [one.name for one in tmp_path.glob("*.bin")] == [f"boundary-{first}.bin"]
    for own, expected in zip(found[1][:2], found[0][:2], strict=True):
        assert own == pytest.approx(expected, rel=1e-4)
    moved = [name for name, value in found[0][2].items() if not torch.equal(value, workspace.initial[name])]
    assert "head.weight" in moved
    for name, value in found[0][2].items():
        torch.testing.assert_close(found[1][2][name], value, atol=1e-4, rtol=0, msg=name)


@pytest.mark.parametrize("first", [0, 5], ids=["from images", "from activations"])
def test_epochs_draw_from_so_many_views_of_each_image(first: int, tmp_path: Path) -> None:
    workspace = workspace_of(noise(), tmp_path, 1.0, views=3)
    network = workspace.network.module
    part = network.get_submodule("stem" if first == 0 else "head")
    seen = seen_in_training(workspace, part, lambda: train(workspace, first, 30))
    assert len(seen) == 6 * 30
    # 18 views, none of which 30 epochs miss, and not the images as they are
    assert len(set(seen)) == 18
    if first == 0:
        as_they_are = {one.contiguous().numpy().tobytes() for one in workspace.images(np.arange(6))}
        assert not as_they_are & set(seen)
        anew = workspace_of(noise(), tmp_path, 0.0)
        assert len(set(seen_in_training(anew, anew.network.module.get_submodule("stem"), lambda: train(anew, 0, 30)))) == 180


def test_the_views_are_those_of_the_seed_of_the_run_for_every_training_seed_and_fold(tmp_path: Path) -> None:
    found = []
    for seed, training_seed in ((0, 1), (0, 2), (1, 1)):
        workspace = workspace_of(noise(), tmp_path, 0.0, views=2, seed=seed)
        stem = workspace.network.module.get_submodule("stem")
        blocks = workspace.network.blocks
        trial = Trial(Schedule(blocks, (1.0,) * len(blocks)), None, training_seed, 20, 0.03)
        found.append(seen_in_training(workspace, stem, lambda trial=trial, own=workspace: finetune(trial, own)))
    assert set(found[0]) == set(found[1]) and found[0] != found[1]
    assert not set(found[0]) & set(found[2])


def test_validation_and_the_probe_see_images_as_they_are(load_digits: LoadDigits, tmp_path: Path) -> None:
    data = load_digits()
    plain = workspace_of(data, tmp_path / "none", 0.0, augment="none")
    viewed = workspace_of(data, tmp_path, 1.0, views=2)
    rows = data.whole.train[:40]
    torch.testing.assert_close(features_of(viewed, rows), features_of(plain, rows), rtol=1e-4, atol=1e-5)
    # with a learning rate that moves nothing, validation is that of the initial weights
    losses = [
        finetune(Trial(Schedule(own.network.blocks, (0.0,) * 5 + (1.0,)), 0, 1, 1, 1e-12), own).result.losses[0]
        for own in (plain, viewed)
    ]
    assert losses[1] == pytest.approx(losses[0], rel=1e-5)


def test_room_is_counted_for_all_views_and_the_images(tmp_path: Path) -> None:
    # by hand: nine images for training and validation, each with 4 views, are 45 rows of 80 float32 in front of the head
    size = 9 * 5 * 80 * 4
    assert workspace_of(noise(), tmp_path, (size - 1) / 1e9, views=4).features is None
    workspace = workspace_of(noise(), tmp_path, size / 1e9, views=4)
    train(workspace, 5)
    (file,) = tmp_path.glob("*.bin")
    assert (file.name, file.stat().st_size) == ("boundary-5.bin", size)


@pytest.mark.parametrize(
    ("final", "distinct"),
    [({}, 2 * 6), ({"augment": "randaugment"}, 20 * 6), ({"mixup": 0.2}, 20 * 6), ({"augment": "none"}, 6)],
    ids=["as the search", "another policy", "blended", "none"],
)
def test_final_training_runs_take_the_views_where_they_augment_alike(
    final: dict[str, Any], distinct: int, tmp_path: Path
) -> None:
    settings = TrainingConfig(
        **{"lr": 0.03, "batch_size": 32, "precision": "fp32", "augment": "standard", "patience": 50} | final
    )
    workspace = workspace_of(noise(), tmp_path, 0.0, views=2, final=settings)
    stem = workspace.network.module.get_submodule("stem")
    seen = seen_in_training(workspace, stem, lambda: train(workspace, 0, 20, test=True))
    assert len(set(seen)) == distinct
