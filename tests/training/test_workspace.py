"""Shared activations in whole trainings: they change no result, and there are none where the beginning is not fixed."""

from __future__ import annotations

import errno
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

from biotune.backbones.network import Network, Preprocessing
from biotune.backbones.registry import build_network
from biotune.backbones.state import copy_state
from biotune.config.sections import BackboneConfig, TrainingConfig
from biotune.datasets.data import Data, Part
from biotune.errors import RunFolderError
from biotune.executors.in_process import InProcess
from biotune.schedule.block import Block
from biotune.schedule.genotype import decode
from biotune.schedule.schedule import Schedule
from biotune.strategies.hooks import Hooks
from biotune.training import finetune as loop
from biotune.training.finetune import _train_epoch, batch_rows, finetune
from biotune.training.parts import parts_of
from biotune.training.placement import Placement
from biotune.training.workspace import Workspace
from biotune.trial import Trial

LR = 3e-3  # the base learning rate of trials

CPU = torch.device("cpu")
LoadDigits = Callable[..., Data]


def glyphnet(data: Data, folder: Path, max_gb: float = 0.0, **training: Any) -> Workspace:
    network = build_network(BackboneConfig("biotune", "glyphnet"), len(data.classes))
    settings = TrainingConfig(**{"lr": 3e-3, "batch_size": 32, "precision": "fp32", **training})
    return Workspace.of(network, data, settings, CPU, folder, max_gb)


def trained_from(workspace: Workspace, first: int, **more: Any) -> Trial:
    blocks = workspace.network.blocks
    weights = tuple(0.0 if index < first else 1.0 for index in range(len(blocks)))
    return Trial(
        Schedule(blocks, weights), more.pop("fold", None), 1, more.pop("epochs", 4), workspace.training.base_lr, **more
    )


def one_image(data: Data, rows: np.ndarray) -> float:
    """How far one image moves the mean recall of the classes at most."""
    counts = np.bincount(data.labels[rows], minlength=len(data.classes))
    return 1 / (len(data.classes) * counts.min())


def noise(size: int) -> Data:
    rng = np.random.default_rng(0)
    part = Part(np.arange(6), np.arange(6, 8))
    pixels = rng.integers(0, 256, (10, size, size, 3), dtype=np.uint8)
    names = tuple(str(row) for row in range(10))
    return Data("noise", ("a", "b"), pixels, np.arange(10) % 2, names, part, (part,), np.array([8, 9]), "noise")


class Skips(nn.Module):
    """A network of a user's own: its third layer and its head read the first layer past the second."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.stem, self.down = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 6, 3, stride=2, padding=1)
        self.mix, self.norm, self.head = nn.Conv2d(10, 8, 1), nn.BatchNorm2d(8), nn.Linear(12, 10)
        self.scale = nn.Parameter(torch.ones(1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        fine = torch.relu(self.stem(x))
        coarse = nn.functional.interpolate(torch.relu(self.down(fine)), scale_factor=2.0)
        mixed = self.norm(self.mix(torch.cat([fine, coarse], 1))) * self.scale
        mixed = nn.functional.dropout(mixed, 0.1, self.training)
        return self.head(torch.cat([mixed.mean((2, 3)), fine.amax((2, 3))], 1))


class TestWholeTrainings:
    # by hand, numbers for each image of 16 × 16 pixels: of the first layer 4 × 16 × 16, of the second 6 × 8 × 8, of the mix's
    # normalisation 8 × 16 × 16; in front of the head the second layer is no longer read
    @pytest.mark.parametrize(("first", "kept"), [(1, 1024), (2, 1024 + 384), (3, 1024 + 2048)], ids=["down", "mix", "head"])
    def test_a_network_of_ones_own_with_skips_past_the_boundary_trains_the_same(
        self, first: int, kept: int, load_digits: LoadDigits, tmp_path: Path
    ) -> None:
        data, found = load_digits(), []
        rows = (
            Block("stem", ("stem",)),
            Block("down", ("down",)),
            Block("mix", ("mix", "norm", "scale")),
            Block("head", ("head",)),
        )
        preprocessing = build_network(BackboneConfig("biotune", "glyphnet"), 10).preprocessing
        for max_gb in (0.0, 1.0):
            network = Network(Skips(), rows, "head", preprocessing, {})
            training = TrainingConfig(lr=0.05, batch_size=32, precision="fp32", optimizer="sgd")
            workspace = Workspace.of(network, data, training, CPU, tmp_path, max_gb)
            result = finetune(trained_from(workspace, first), workspace).result
            found.append((result.losses, copy_state(network.module)))
        (file,) = tmp_path.glob("*.bin")
        assert file.stat().st_size == 4 * kept * (len(data.whole.train) + len(data.whole.val))
        assert found[1][0] == pytest.approx(found[0][0], rel=1e-5)
        assert not torch.equal(found[0][1]["head.weight"], workspace.initial["head.weight"])
        for name, value in found[0][1].items():
            torch.testing.assert_close(found[1][1][name], value, atol=1e-6, rtol=1e-4, msg=name)

    @pytest.mark.parametrize("first", [1, 3, 5], ids=["layer1", "layer3", "head"])
    def test_a_network_that_is_no_chain_shares_too(self, first: int, load_digits: LoadDigits, tmp_path: Path) -> None:
        data, found = load_digits(), []
        for max_gb in (0.0, 1.0):
            network = replace(build_network(BackboneConfig("biotune", "glyphnet"), 10), steps=None)
            training = TrainingConfig(lr=3e-3, batch_size=32, precision="fp32")
            workspace = Workspace.of(network, data, training, CPU, tmp_path, max_gb)
            found.append(finetune(trained_from(workspace, first), workspace).result)
        assert [one.name for one in tmp_path.glob("*.bin")] == [f"boundary-{first}.bin"]
        assert found[1].curve == pytest.approx(found[0].curve, abs=one_image(data, data.whole.val) + 1e-9)
        assert found[1].losses == pytest.approx(found[0].losses, rel=1e-3)

    @pytest.mark.parametrize("first", [1, 3, 5], ids=["layer1", "layer3", "head"])
    def test_a_curve_is_the_same_with_shared_activations_and_what_is_frozen_stays(
        self, first: int, load_digits: LoadDigits, tmp_path: Path
    ) -> None:
        data = load_digits()
        alone, sharing = glyphnet(data, tmp_path), glyphnet(data, tmp_path, 1.0)
        for fold in (None, 0):
            expected = finetune(trained_from(alone, first, fold=fold), alone).result.curve
            found = finetune(trained_from(sharing, first, fold=fold), sharing).result.curve
            assert found == pytest.approx(expected, abs=one_image(data, data.part(fold).val) + 1e-9)
        assert (tmp_path / f"boundary-{first}.bin").is_file()
        state = sharing.network.module.state_dict()
        frozen = {block.modules[0] for block in sharing.network.blocks[:first]}
        for name, value in state.items():
            # whole blocks with their running statistics and counters, and nothing but them
            stays = name.partition(".")[0] in frozen
            assert torch.equal(value, sharing.initial[name]) == stays, name

    @pytest.mark.parametrize("optimizer", ["sgd", "adam"])
    @pytest.mark.parametrize("first", [1, 3, 5], ids=["layer1", "layer3", "head"])
    def test_trained_weights_are_the_same_with_shared_activations(
        self, first: int, optimizer: str, load_digits: LoadDigits, tmp_path: Path
    ) -> None:
        states = []
        for sharing in (0.0, 1.0):
            rate = 0.03 if optimizer == "sgd" else 3e-3
            workspace = glyphnet(load_digits(), tmp_path, sharing, optimizer=optimizer, lr=rate)
            # one trained block among frozen ones behind the first, too
            weights = [0.0] * first + [1.0] + [0.0, 1.0, 0.0, 2.0][first - 5 :] * (first < 5)
            schedule = Schedule(workspace.network.blocks, tuple(weights))
            finetune(Trial(schedule, 0, 1, 2, LR), workspace)
            states.append({name: value.clone() for name, value in workspace.network.module.state_dict().items()})
        moved = {name for name, value in states[0].items() if not torch.equal(value, workspace.initial[name])}
        assert {name.partition(".")[0] for name in moved} >= {workspace.network.blocks[first].name, "head"}
        for name, value in states[0].items():
            torch.testing.assert_close(states[1][name], value, atol=1e-4, rtol=0, msg=lambda text, name=name: f"{name}: {text}")

    def test_test_images_are_not_read_before_a_trial_asks_for_test_scores(
        self, load_digits: LoadDigits, tmp_path: Path
    ) -> None:
        data, seen = load_digits(), set[int]()

        class Watched:
            def __getitem__(self, rows: np.ndarray) -> np.ndarray:
                seen.update(rows.tolist())
                return data.pixels[rows]

        pixels: Any = Watched()
        workspace = glyphnet(replace(data, pixels=pixels), tmp_path, 1.0)
        for first in (0, 1, 3, 5):
            finetune(trained_from(workspace, first, epochs=1), workspace)
        assert seen == set(data.whole.train.tolist()) | set(data.whole.val.tolist())
        seen.clear()
        finetune(trained_from(workspace, 3, epochs=1, test=True), workspace)
        assert seen == set(data.test.tolist()), "the others come from the activations that are there"

    def test_a_disk_without_room_is_no_failed_candidate(
        self, load_digits: LoadDigits, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        workspace = glyphnet(load_digits(), tmp_path, 1.0)

        def full(**_: Any) -> Any:
            raise OSError(errno.ENOSPC, "No space left on device")

        with monkeypatch.context() as patch:
            patch.setattr("biotune.training.activations.tempfile.mkstemp", full)
            with pytest.raises(RunFolderError, match=r"No space left.*BIOTUNE_CACHE_DIR.*features\.max_gb"):
                InProcess(workspace, Path("none")).run([trained_from(workspace, 5, epochs=1)], lambda *_: None)
        [result] = InProcess(workspace, Path("none")).run([trained_from(workspace, 5, epochs=1)], lambda *_: None)
        assert result.status == "ok"

    def test_training_the_stem_keeps_no_activations(self, load_digits: LoadDigits, tmp_path: Path) -> None:
        workspace = glyphnet(load_digits(), tmp_path, 1.0)
        assert workspace.features is not None
        finetune(trained_from(workspace, 0, epochs=1), workspace)
        assert list(tmp_path.iterdir()) == []

    def test_only_the_boundary_that_is_used_is_computed(self, load_digits: LoadDigits, tmp_path: Path) -> None:
        workspace = glyphnet(load_digits(), tmp_path, 1.0)
        finetune(trained_from(workspace, 3, epochs=1), workspace)
        assert [path.name for path in tmp_path.glob("*.bin")] == ["boundary-3.bin"]

    def test_activations_are_those_of_the_initial_weights_whatever_was_trained_before(
        self, load_digits: LoadDigits, tmp_path: Path
    ) -> None:
        stored = []
        for name, before in (("fresh", False), ("after another", True)):
            (tmp_path / name).mkdir()
            workspace = glyphnet(load_digits(), tmp_path / name, 1.0)
            if before:
                finetune(trained_from(workspace, 0, epochs=1), workspace)
            finetune(trained_from(workspace, 3, epochs=1), workspace)
            stored.append((tmp_path / name / "boundary-3.bin").read_bytes())
        assert stored[0] == stored[1]

    def test_test_scores_come_from_the_images_and_are_the_same(self, load_digits: LoadDigits, tmp_path: Path) -> None:
        data = load_digits()
        alone, sharing = glyphnet(data, tmp_path), glyphnet(data, tmp_path, 1.0)
        expected, found = (finetune(trained_from(space, 3, test=True), space).result.scores for space in (alone, sharing))
        assert found["accuracy"] == pytest.approx(expected["accuracy"], abs=1 / len(data.test) + 1e-9)

    def test_activations_on_the_device_give_the_curve_of_mapped_ones(self, load_digits: LoadDigits, tmp_path: Path) -> None:
        data = load_digits()
        mapped, resident = (glyphnet(data, tmp_path, 1.0) for _ in range(2))
        resident.placement.on_device = frozenset(resident._table_sizes())
        curves = [finetune(trained_from(space, 3), space).result.curve for space in (mapped, resident)]
        assert curves[0] == curves[1]


class TestWhereNothingIsFixed:
    @pytest.mark.parametrize("max_gb", [0.0, 1e-9])
    def test_without_room_nothing_is_shared(self, max_gb: float, load_digits: LoadDigits, tmp_path: Path) -> None:
        assert glyphnet(load_digits(), tmp_path, max_gb).features is None

    def test_unasked_nothing_is_shared(self, load_digits: LoadDigits, tmp_path: Path) -> None:
        assert glyphnet(load_digits(), tmp_path).features is None

    def test_images_that_are_drawn_anew_each_epoch_have_no_activations(self, load_digits: LoadDigits, tmp_path: Path) -> None:
        workspace = glyphnet(load_digits(), tmp_path, 1.0, augment="standard")
        assert workspace.features is None
        finetune(trained_from(workspace, 5, epochs=1), workspace)
        assert list(tmp_path.iterdir()) == []

    def test_a_network_that_reads_the_images_behind_its_first_block_has_none(
        self, load_digits: LoadDigits, tmp_path: Path
    ) -> None:
        network = replace(build_network(BackboneConfig("biotune", "glyphnet"), 10), steps=None)
        own = network.module.forward
        network.module.forward = lambda x: own(x) + x.mean()
        training = TrainingConfig(batch_size=32)
        workspace = Workspace.of(network, load_digits(), training, CPU, tmp_path, 1.0)
        assert workspace.features is None
        finetune(trained_from(workspace, 5, epochs=1), workspace)
        assert list(tmp_path.iterdir()) == []

    def blocks_kept(self, network: Network, size: int, folder: Path) -> list[int] | None:
        training = TrainingConfig(frozen_norm="train", precision="fp32")
        workspace = Workspace.of(network, noise(size), training, CPU, folder, 1.0)
        return workspace.features and [one.block for one in workspace.features.boundaries]

    @pytest.mark.parametrize("name", ["glyphnet", "resnet18", "resnet50"])
    def test_running_statistics_that_go_on_moving_leave_nothing_to_share(self, name: str, tmp_path: Path) -> None:
        library = "biotune" if name == "glyphnet" else "torchvision"
        network = build_network(BackboneConfig(library, name, "none"), 2)
        assert self.blocks_kept(network, 16 if name == "glyphnet" else 64, tmp_path) is None

    def test_a_network_without_running_statistics_shares_all_the_same(self, tmp_path: Path) -> None:
        network = build_network(BackboneConfig("torchvision", "swin_t", "none"), 2)
        assert self.blocks_kept(network, 64, tmp_path) == [1, 2, 3, 4, 5, 6, 7, 8]


def with_dropout(classes: int) -> Network:
    """Blocks with dropout each, running statistics from the second on, and a dropout before the head that is in no block."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        layers = {
            "stem": nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.Dropout(0.5)),
            "body": nn.Sequential(nn.Conv2d(8, 12, 3, stride=2, padding=1), nn.BatchNorm2d(12), nn.ReLU(), nn.Dropout2d(0.2)),
            "pool": nn.AdaptiveAvgPool2d(2),
            "flat": nn.Flatten(),
            "drop": nn.Dropout(0.2),
            "head": nn.Linear(48, classes),
        }
        module = nn.Sequential(OrderedDict(layers))
    blocks = tuple(Block(name, (name,)) for name in ("stem", "body", "head"))
    parameters = {name: sum(value.numel() for value in layers[name].parameters()) for name in ("stem", "body", "head")}
    preprocessing = Preprocessing(16, 16, (0.5, 0.5, 0.5), (0.25, 0.25, 0.25))
    return Network(module, blocks, "head", preprocessing, parameters, steps={"head": "pool flat drop head"})


class TestChance:
    def workspace(self, data: Data, folder: Path, sharing: bool = True, **training: Any) -> Workspace:
        settings = TrainingConfig(**{"lr": 3e-3, "batch_size": 32, "precision": "fp32", **training})
        folder.mkdir(exist_ok=True)
        shared = 1.0 if sharing else 0.0
        return Workspace.of(with_dropout(len(data.classes)), data, settings, CPU, folder, shared)

    def test_dropout_before_a_boundary_never_drops_there(self, load_digits: LoadDigits, tmp_path: Path) -> None:
        data, files = load_digits(), []
        for seed in (1, 2):
            workspace = self.workspace(data, tmp_path / str(seed))
            workspace.network.module.train()
            torch.manual_seed(seed)
            workspace.entry(1)
            workspace.entry(2)
            assert workspace.network.module.training, "it is left in the mode it was in"
            assert all(part.training for part in workspace.network.module.modules())
            files.append({path.name: path.read_bytes() for path in (tmp_path / str(seed)).glob("*.bin")})
        assert set(files[0]) == {"boundary-1.bin", "boundary-2.bin"}
        assert files[0] == files[1]
        # and they are the convolution's, worked out apart
        rows = data.whole.train[:7]
        stem: Any = workspace.network.module.get_submodule("stem.0")
        images = (torch.from_numpy(data.pixels[rows]).permute(0, 3, 1, 2).double() / 255 - 0.5) / 0.25
        expected = nn.functional.conv2d(images, stem.weight.double(), stem.bias.double(), padding=1)
        torch.testing.assert_close(workspace.entry(1).take(rows).double(), expected, atol=1e-5, rtol=1e-5)

    @pytest.mark.parametrize("frozen_norm", ["eval", "train"])
    @pytest.mark.parametrize("first", [1, 2])
    def test_what_is_drawn_and_what_moves_behind_it_is_the_same_as_without(
        self, first: int, frozen_norm: str, load_digits: LoadDigits, tmp_path: Path
    ) -> None:
        spaces = [
            self.workspace(load_digits(), tmp_path / str(sharing), sharing, frozen_norm=frozen_norm)
            for sharing in (False, True)
        ]
        curves = [finetune(trained_from(space, first, epochs=3), space).result.curve for space in spaces]
        one = one_image(spaces[0].data, spaces[0].data.whole.val)
        assert curves[0] == pytest.approx(curves[1], abs=one + 1e-9)
        states = [space.network.module.state_dict() for space in spaces]
        for name, value in states[0].items():
            torch.testing.assert_close(
                states[1][name], value, atol=1e-4, rtol=1e-4, msg=lambda text, name=name: f"{name}: {text}"
            )
        moves = not torch.equal(states[1]["body.1.running_mean"], spaces[1].initial["body.1.running_mean"])
        assert moves == (first == 1 or frozen_norm == "train")
        # with statistics that move in the second block, only what lies before that is fixed
        used = first if frozen_norm == "eval" else 1
        assert [path.name for path in (tmp_path / "True").glob("*.bin")] == [f"boundary-{used}.bin"]

    def test_a_vision_transformer_shares_everything_though_frozen_norms_may_move(self) -> None:
        from biotune.backbones.network import skeleton
        from biotune.backbones.torchvision import ARCHITECTURES
        from biotune.training.activations import first_moving_block

        row = ARCHITECTURES["vit_b_16"]
        assert first_moving_block(skeleton(row.build), row.blocks, "train") == 6, "none of its six blocks"


class TestTheDevice:
    def test_nothing_is_copied_where_the_device_is_the_host(self, load_digits: LoadDigits, tmp_path: Path) -> None:
        assert glyphnet(load_digits(), tmp_path, 1.0).placement.on_device == frozenset()

    def test_images_come_first_then_activations_from_the_deepest_up(self, load_digits: LoadDigits, tmp_path: Path) -> None:
        data = load_digits()
        workspace = glyphnet(data, tmp_path, 1.0)
        kept = len(data.whole.train) + len(data.whole.val)
        # by hand: widths of 12, 12, 24, 32 and 80 maps of 8, 8, 4 and 4 pixels a side, the last one pooled
        numbers = [("pixels", len(data.pixels) * 16 * 16 * 3)] + [
            (f"activations before block {block}", kept * per_image * 4)
            for block, per_image in ((5, 80), (4, 32 * 16), (3, 24 * 16), (2, 12 * 64), (1, 12 * 64))
        ]
        assert list(workspace._table_sizes().items()) == numbers

    def test_what_fits_a_share_of_the_memory_is_put_there(
        self, load_digits: LoadDigits, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        data = load_digits()
        asked: list[tuple[str, int]] = []

        def share(device: torch.device, workers: int) -> float:
            asked.append((str(device), workers))
            return data.pixels.size + (len(data.whole.train) + len(data.whole.val)) * 80 * 4

        monkeypatch.setattr("biotune.training.workspace.budget", share)
        network = build_network(BackboneConfig("biotune", "glyphnet"), 10)
        settings = TrainingConfig(precision="fp32")
        workspace = Workspace.of(network, data, settings, CPU, tmp_path, 1.0, workers_per_gpu=3)
        assert asked == [("cpu", 3)]
        assert workspace.placement.on_device == {"pixels", "activations before block 5"}

    def test_a_gpus_memory_is_shared_by_its_workers(self, monkeypatch: pytest.MonkeyPatch) -> None:
        from biotune.training.placement import budget

        monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: SimpleNamespace(total_memory=8000))
        assert budget(torch.device("cuda:0"), 4) == 500


class Watch(TorchDispatchMode):
    """Notes what is copied between host and device, and whether the host waits for it."""

    def __init__(self) -> None:
        super().__init__()
        self.copies: list[tuple[str, str, bool]] = []

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if "_to_copy" in str(function) and kwargs.get("device") is not None:
            self.copies.append(
                (args[0].device.type, torch.device(kwargs["device"]).type, not kwargs.get("non_blocking", False))
            )
        return function(*args, **kwargs)


class TestAPretendedGpu:
    """Tensors without values, which torch takes to lie on a GPU: shapes, types and places are true, and nothing computes."""

    DEVICE = torch.device("cuda", 0)

    @pytest.fixture
    def pinned(self, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[torch.Tensor]]:
        """What is copied to pinned memory, which there is none of without a GPU, while such tensors are made."""
        found: list[torch.Tensor] = []
        memory = SimpleNamespace(total_memory=80 * 10**9)
        monkeypatch.setattr(torch.Tensor, "pin_memory", lambda self: (found.append(self), self)[1])
        monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: memory)
        with FakeTensorMode(allow_non_fake_inputs=True):
            yield found

    def workspace(self, data: Data, folder: Path, network: Network, **training: Any) -> Workspace:
        """With files of zeros in the place of activations, which cannot be computed here."""
        settings = TrainingConfig(**{"batch_size": 32, "precision": "fp32", **training})
        workspace = Workspace.of(network, data, settings, self.DEVICE, folder, 1.0)
        for boundary in workspace.features.boundaries if workspace.features else ():
            (folder / f"boundary-{boundary.block}.bin").write_bytes(bytes(boundary.size(len(workspace.features.rows))))
        return workspace

    @pytest.fixture
    def network(self) -> Network:
        """Built before tensors lose their values."""
        return build_network(BackboneConfig("biotune", "glyphnet"), 10)

    def test_everything_a_batch_needs_lies_there(
        self, network: Network, load_digits: LoadDigits, tmp_path: Path, pinned: list[torch.Tensor]
    ) -> None:
        data = load_digits()
        workspace = self.workspace(data, tmp_path, network)
        assert workspace.placement.on_device == {"pixels", *(f"activations before block {block}" for block in range(1, 6))}
        there = [*network.module.parameters(), *network.module.buffers(), *workspace.initial.values()]
        there += [workspace._labels]
        rows = data.whole.train[:7]
        images, labels = workspace.images(rows), workspace.labels(rows)
        assert (images.shape, images.dtype) == ((7, 3, 16, 16), torch.float32)
        assert (labels.shape, labels.dtype) == ((7,), torch.int64)
        for block, shape in enumerate([(12, 8, 8), (12, 8, 8), (24, 4, 4), (32, 4, 4), (80,)], start=1):
            entry = workspace.entry(block)
            activations = entry.take(rows)
            assert activations.shape == (7, *shape)
            answers = entry.forward(activations)
            assert answers.shape == (7, 10)
            there += [activations, answers]
        assert {tensor.device for tensor in [*there, images, labels]} == {self.DEVICE}
        assert set(workspace.placement._copies) == workspace.placement.on_device
        assert {copy.device for copy in workspace.placement._copies.values()} == {self.DEVICE}

    @pytest.mark.parametrize("workers", [1, 4])
    def test_what_lies_there_is_decided_by_the_share_of_a_worker(
        self,
        workers: int,
        network: Network,
        load_digits: LoadDigits,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        pinned: list[torch.Tensor],
    ) -> None:
        data = load_digits()
        needed = data.pixels.size + (len(data.whole.train) + len(data.whole.val)) * 80 * 4
        memory = SimpleNamespace(total_memory=4 * needed)  # a quarter of it, for the images and the last boundary
        monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: memory)
        sharing = 1.0
        workspace = Workspace.of(network, data, TrainingConfig(), self.DEVICE, tmp_path, sharing, workers)
        # by hand: 600 images of 768 bytes and 400 activations of 320 are 588,800 bytes; a quarter of that has room for the
        # last ones alone, of 128,000
        assert len(data.pixels) == 600
        last = "activations before block 5"
        assert workspace.placement.on_device == ({"pixels", last} if workers == 1 else {last})

    def train(self, workspace: Workspace, first: int, monkeypatch: pytest.MonkeyPatch) -> tuple[Watch, list[int]]:
        """An epoch but for the backward passes, which ask for a real GPU; it ends at the first look at a number."""
        entry, batches, real = workspace.entry(first), [], batch_rows
        rows = workspace.data.folds[0].train
        entry.take(rows[:2])  # tables are copied whole when their first row is asked for
        monkeypatch.setattr(torch.Tensor, "backward", lambda self: None)
        monkeypatch.setattr(loop, "batch_rows", lambda *both: (batches.append(len(batch)) or batch for batch in real(*both)))
        optimizer: Any = SimpleNamespace(zero_grad=lambda set_to_none: None, step=lambda: None)
        loss = nn.CrossEntropyLoss(torch.ones(10, device=self.DEVICE))
        watch = Watch()
        with pytest.raises(DataDependentOutputException, match="local_scalar_dense"), watch:
            order = np.random.default_rng(0)
            parts = parts_of(workspace.training, workspace, optimizer, loss, Hooks([]), order, 0, 1)
            _train_epoch(workspace, entry, rows, order, optimizer, parts, 0)
        return watch, batches

    @pytest.mark.parametrize("room", [80 * 10**9, 0], ids=["resident", "sent"])
    @pytest.mark.parametrize("first", [0, 3])
    @pytest.mark.parametrize("augment", ["none", "standard"])
    def test_an_epoch_is_sent_without_waiting_and_looked_at_once_at_its_end(
        self,
        augment: str,
        first: int,
        room: int,
        network: Network,
        load_digits: LoadDigits,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        pinned: list[torch.Tensor],
    ) -> None:
        monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: SimpleNamespace(total_memory=room))
        workspace = self.workspace(load_digits(), tmp_path, network, augment=augment)
        assert bool(workspace.placement.on_device) == bool(room)
        pinned.clear()
        watch, batches = self.train(workspace, first, monkeypatch)
        assert batches == [32, 32, 32, 4], "of a hundred images"
        assert len(watch.copies) >= 2 * len(batches), "what is taken and the labels, each batch"
        assert set(watch.copies) == {("cpu", "cuda", False)}, "all to the device, and none waited for"
        assert len(pinned) == len(watch.copies) + 1, "all from pinned memory; one is the look before the epoch"
        sent = {tensor.dtype for tensor in pinned}
        shared = first > 0 and augment == "none"  # an image that is augmented passes the frozen blocks anew
        taken = {torch.float32 if shared else torch.uint8}
        boxes = {torch.float32} if augment == "standard" else set()
        assert sent == {torch.int64} | boxes | (set() if room else taken)

    @pytest.mark.parametrize("on_device", [frozenset(), frozenset({"table"})], ids=["sent", "resident"])
    def test_activations_in_bfloat16_are_sent_as_integers_and_seen_as_what_they_are(
        self, on_device: frozenset[str], pinned: list[torch.Tensor]
    ) -> None:
        table = np.zeros((20, 4, 4, 24), dtype=np.int16)
        taken = Placement(self.DEVICE, on_device).take("table", table, np.arange(7), torch.bfloat16)
        assert (taken.dtype, taken.device, taken.shape) == (torch.bfloat16, self.DEVICE, (7, 4, 4, 24))
        assert [tensor.dtype for tensor in pinned] == [torch.int64 if on_device else torch.int16]


def random_schedules(workspace: Workspace, count: int) -> list[Schedule]:
    """Schedules from uniform genotypes, those that train nothing left out."""
    rng = np.random.default_rng(20)
    blocks = workspace.network.blocks
    found: list[Schedule] = []
    while len(found) < count:
        schedule = decode(rng.random(len(blocks) + 1), blocks)
        if not schedule.is_empty:
            found.append(schedule)
    return found


@pytest.mark.parametrize(("count", "epochs"), [(6, 4), pytest.param(30, 6, marks=pytest.mark.slow)])
def test_bfloat16_ranks_no_population_higher_or_lower_than_float32(
    count: int, epochs: int, load_digits: LoadDigits, tmp_path: Path
) -> None:
    """The mean fitness of random schedules moves by no more than a hundredth."""
    means = {}
    for precision in ("fp32", "bf16"):
        folder = tmp_path / precision
        folder.mkdir()
        workspace = glyphnet(load_digits(), folder, 1.0, precision=precision)
        results = [
            finetune(Trial(schedule, None, 1, epochs, LR), workspace).result for schedule in random_schedules(workspace, count)
        ]
        means[precision] = np.mean([1 - result.score for result in results])
        assert means[precision] < 0.8  # they learn: chance is 0.9
    assert means["bf16"] == pytest.approx(means["fp32"], abs=0.01 if count == 30 else 0.02)
    assert means["bf16"] != means["fp32"]  # and it is another precision indeed
