"""Shared activations: a network that starts from them answers as one that starts from the images, and files are whole."""

from __future__ import annotations

import errno
import io
import multiprocessing
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from multiprocessing.synchronize import Barrier
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from biotune.backbones.chain import Chain, link
from biotune.backbones.registry import build_network
from biotune.config.sections import BackboneConfig, TrainingConfig
from biotune.datasets.data import Data, Part
from biotune.errors import RunFolderError
from biotune.schedule.block import Block
from biotune.training import activations as module_under_test
from biotune.training.activations import (
    Boundary,
    SharedActivations,
    choose_boundaries,
    first_moving_block,
    from_store,
    measure_boundaries,
)
from biotune.training.workspace import Workspace

CPU = torch.device("cpu")


def noise(size: int, count: int = 12) -> Data:
    """Images of noise in five classes; the last two are test images, the first of all too."""
    rng = np.random.default_rng(0)
    part = Part(np.arange(1, count - 4), np.arange(count - 4, count - 2))
    return Data(
        name="noise",
        classes=("a", "b", "c", "d", "e"),
        pixels=rng.integers(0, 256, (count, size, size, 3), dtype=np.uint8),
        labels=np.arange(count) % 5,
        names=tuple(str(row) for row in range(count)),
        whole=part,
        folds=(part,),
        test=np.array([0, count - 2, count - 1]),
        fingerprint="noise",
    )


def shared(name: str, data: Data, folder: Path, library: str = "torchvision", **training: Any) -> Workspace:
    network = build_network(BackboneConfig(library, name, "none" if library == "torchvision" else "default"), len(data.classes))
    settings = TrainingConfig(**{"precision": "fp32", **training})
    return Workspace.of(network, data, settings, CPU, folder, 1.0)


class TestTheSameAnswers:
    def check(self, workspace: Workspace, rows: np.ndarray) -> None:
        assert workspace.features is not None
        blocks = workspace.network.blocks
        assert [one.block for one in workspace.features.boundaries] == list(range(1, len(blocks)))
        workspace.network.module.eval()
        whole = workspace.whole()
        with torch.inference_mode():
            expected = whole.forward(whole.take(rows))
            for block in range(1, len(blocks)):
                entry = workspace.entry(block)
                torch.testing.assert_close(entry.forward(entry.take(rows)), expected, atol=1e-5, rtol=1e-5)
            # a network that starts from activations and not from the images gives other answers for other images
            entry = workspace.entry(len(blocks) - 1)
            assert not torch.allclose(entry.forward(entry.take(rows[::-1].copy())), expected, atol=1e-5, rtol=1e-5)

    def test_glyphnet_answers_the_same_from_every_boundary(self, load_digits: Callable[..., Data], tmp_path: Path) -> None:
        data = load_digits()
        workspace = shared("glyphnet", data, tmp_path, "biotune")
        rows = np.random.default_rng(3).permutation(np.concatenate([data.whole.train, data.whole.val]))[:90]
        self.check(workspace, rows)

    def test_resnet18_answers_the_same_from_every_boundary(self, tmp_path: Path) -> None:
        self.check(shared("resnet18", noise(64), tmp_path), np.array([9, 1, 4, 3, 8]))

    @pytest.mark.slow
    @pytest.mark.parametrize(("name", "size"), [("densenet121", 64), ("vit_b_16", 224)])
    def test_networks_of_another_kind_do_too(self, name: str, size: int, tmp_path: Path) -> None:
        self.check(shared(name, noise(size, 8), tmp_path), np.array([5, 1, 4]))

    def test_the_deepest_boundary_before_the_first_trained_block_is_taken(self, tmp_path: Path) -> None:
        workspace = shared("resnet18", noise(64), tmp_path)
        assert workspace.features is not None
        keep = [one for one in workspace.features.boundaries if one.block in (2, 4)]
        workspace.features.boundaries = tuple(keep)
        found = [workspace.features.deepest(block) for block in range(7)]
        assert [one and one.block for one in found] == [None, None, 2, 2, 4, 4, 4]

    def test_bfloat16_activations_come_back_bit_by_bit(self, load_digits: Callable[..., Data], tmp_path: Path) -> None:
        data = load_digits()
        workspace = shared("glyphnet", data, tmp_path, "biotune", precision="bf16")
        assert workspace.features is not None
        assert torch.bfloat16 in {one.dtype for one in workspace.features.boundaries}
        network, rows = workspace.features.network, workspace.features.rows[:64]  # the first batch that is computed
        workspace.network.module.eval()
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
            x, at = workspace.images(rows), 0
            for boundary in workspace.features.boundaries:
                x, at = network.forward(x, at, boundary.entry), boundary.entry
                again = workspace.entry(boundary.block).take(rows)
                assert again.dtype == x.dtype == boundary.dtype
                assert torch.equal(again, x), boundary
                assert again.stride() == x.stride()


def lively(workspace: Workspace) -> Workspace:
    """Running statistics from the images: with those of a new network some let hardly anything of an image through."""
    module = workspace.network.module
    norms = [part for part in module.modules() if isinstance(part, nn.BatchNorm2d)]
    usual = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = 1.0
    assert workspace.features is not None
    with torch.no_grad():
        module.train()(workspace.images(workspace.features.rows))
    for norm, momentum in zip(norms, usual, strict=True):
        norm.momentum = momentum
    workspace.initial.update({name: value.clone() for name, value in module.state_dict().items()})
    return workspace


def seen_by_blocks(workspace: Workspace, rows: np.ndarray) -> tuple[list[torch.Tensor], torch.Tensor]:
    """What the network's own forward pass hands to the first module of each block but the first, and its answers."""
    module, seen = workspace.network.module.eval(), []
    hooks = [
        module.get_submodule(block.modules[0]).register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].clone()))
        for block in workspace.network.blocks[1:]
    ]
    with torch.inference_mode(), workspace.autocast():
        answers = module(workspace.images(rows))
    for hook in hooks:
        hook.remove()
    return seen, answers


class TestAgainstTheNetworksOwnForwardPass:
    """Which knows nothing of chains. Nine images, so that all are one batch on either way."""

    @pytest.mark.parametrize(
        ("library", "name", "size", "precision"),
        [
            ("biotune", "glyphnet", 16, "fp32"),
            ("torchvision", "resnet18", 64, "fp32"),
            ("torchvision", "efficientnet_b0", 64, "fp32"),
            ("torchvision", "densenet121", 64, "fp32"),
            ("torchvision", "convnext_tiny", 32, "fp32"),  # maps of one pixel in the end, whose layout is anything
            ("lite0", "efficientnet_lite0", 64, "fp32"),
            pytest.param("torchvision", "swin_t", 64, "fp32", marks=pytest.mark.slow),
            pytest.param("torchvision", "vit_b_16", 224, "fp32", marks=pytest.mark.slow),
            # by emulation where the processor has no such instructions
            ("biotune", "glyphnet", 16, "bf16"),
            ("torchvision", "resnet18", 32, "bf16"),
            ("torchvision", "efficientnet_b0", 32, "bf16"),
        ],
    )
    def test_activations_are_bit_by_bit_what_each_block_is_given_and_answers_are_the_same(
        self, library: str, name: str, size: int, precision: str, tmp_path: Path
    ) -> None:
        if library == "lite0":
            pytest.importorskip("timm")
        network = build_network(BackboneConfig(library, name, "default" if name == "glyphnet" else "none"), 5)
        settings = TrainingConfig(precision=precision)
        workspace = lively(Workspace.of(network, noise(size), settings, CPU, tmp_path, 1.0))
        assert workspace.features is not None
        rows = workspace.features.rows
        seen, answers = seen_by_blocks(workspace, rows)
        assert float(answers.float().std(0).max()) > 1e-3, "different images have different answers"
        for boundary, given in zip(workspace.features.boundaries, seen, strict=True):
            entry = workspace.entry(boundary.block)
            stored = boundary.restore(from_store(workspace.features.at(boundary), boundary.dtype))
            assert boundary.dtype == given.dtype
            assert torch.equal(stored, given)
            assert torch.equal(entry.take(rows), given)
            assert float(given.float().std(0).max()) > 1e-3, "different images have different activations"
            with torch.inference_mode(), workspace.autocast():
                found = entry.forward(entry.take(rows))
            torch.testing.assert_close(found, answers, atol=1e-5, rtol=1e-5)

    @pytest.mark.parametrize(
        ("name", "precision"), [("resnet18", "fp32"), ("efficientnet_b0", "fp32"), ("resnet18", "bf16"), ("swin_t", "fp32")]
    )
    def test_whether_from_images_or_from_the_boundary_before_the_bytes_are_the_same(
        self, name: str, precision: str, tmp_path: Path
    ) -> None:
        files = []
        for way in ("from images", "from the one before"):
            (tmp_path / way).mkdir()
            workspace = shared(name, noise(32), tmp_path / way, precision=precision)
            assert workspace.features is not None
            order = list(workspace.features.boundaries)
            for boundary in order if way == "from the one before" else reversed(order):
                workspace.entry(boundary.block)
            files.append({path.name: path.read_bytes() for path in (tmp_path / way).glob("*.bin")})
        assert len(files[0]) == len(order)
        assert files[0] == files[1]


class TestWhatIsMeasured:
    @pytest.mark.parametrize(
        ("name", "shapes"),
        [
            # by hand: the stem divides the 64 pixels by 2, its pooling by 2 again, layer2 to layer4 by 2 each
            ("resnet18", [(64, 16, 16), (64, 16, 16), (128, 8, 8), (256, 4, 4), (512,)]),
            ("resnet50", [(64, 16, 16), (256, 16, 16), (512, 8, 8), (1024, 4, 4), (2048,)]),
        ],
    )
    def test_resnet_boundaries_have_the_shapes_by_hand(self, name: str, shapes: list[tuple[int, ...]]) -> None:
        network = build_network(BackboneConfig("torchvision", name, "none"), 5)
        assert network.steps is not None
        network.module.eval()
        chain = link(network.module, network.blocks, network.steps)
        with torch.inference_mode():
            plain = measure_boundaries(chain, torch.zeros(2, 3, 64, 64))
            network.module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
            last = measure_boundaries(chain, torch.zeros(2, 64, 64, 3).permute(0, 3, 1, 2))
        assert [one.shape for one in plain] == shapes
        assert not any(one.channels_last for one in plain)
        assert [one.shape for one in last] == [(*shape[1:], shape[0]) if len(shape) == 3 else shape for shape in shapes]
        assert [one.channels_last for one in last] == [True] * 4 + [False]
        assert [one.block for one in last] == [1, 2, 3, 4, 5]
        assert {one.dtype for one in last} == {torch.float32}

    @pytest.mark.parametrize(
        ("shape", "dtype", "rows", "size"),
        [
            ((16, 16, 64), torch.float32, 100, 6_553_600),
            ((16, 16, 64), torch.bfloat16, 100, 3_276_800),
            ((2048,), torch.float32, 1, 8192),
            ((2048,), torch.float16, 3, 12_288),
            # ResNet-50 at 224 pixels: the stem's maps, those of layer1 to layer3, and the pooled ones of layer4
            ((56, 56, 64), torch.float32, 1000, 802_816_000),
            ((56, 56, 256), torch.float32, 1000, 3_211_264_000),
            ((28, 28, 512), torch.float32, 1000, 1_605_632_000),
            ((14, 14, 1024), torch.float32, 1000, 802_816_000),
            ((2048,), torch.float32, 1000, 8_192_000),
            ((56, 56, 256), torch.bfloat16, 1000, 1_605_632_000),
        ],
    )
    def test_a_size_is_the_one_by_hand(self, shape: tuple[int, ...], dtype: torch.dtype, rows: int, size: int) -> None:
        assert Boundary(1, 1, shape, dtype, False).size(rows) == size


def boundaries(*widths: int, dtype: torch.dtype = torch.float32) -> list[Boundary]:
    return [Boundary(block, block, (width,), dtype, False) for block, width in enumerate(widths, start=1)]


class TestWhatIsKept:
    # ten rows of 4-byte numbers: widths of 100, 50, 20 and 5 take 4000, 2000, 800 and 200 bytes
    @pytest.mark.parametrize(
        ("max_bytes", "blocks"),
        [
            (7000, [1, 2, 3, 4]),
            (6999, [2, 3, 4]),
            (3000, [2, 3, 4]),
            (2999, [3, 4]),
            (1000, [3, 4]),
            (999, [4]),
            (200, [4]),
            (199, []),
            (0, []),
        ],
    )
    def test_the_deepest_are_kept_first(self, max_bytes: float, blocks: list[int]) -> None:
        assert [one.block for one in choose_boundaries(boundaries(100, 50, 20, 5), 10, max_bytes)] == blocks

    def test_one_that_does_not_fit_does_not_keep_out_those_before_it(self) -> None:
        found = boundaries(10, 500, 20)  # 400, 20000 and 800 bytes
        assert [one.block for one in choose_boundaries(found, 10, 1200)] == [1, 3]
        assert [one.block for one in choose_boundaries(found, 10, 1199)] == [3]

    @pytest.mark.parametrize(
        ("gigabytes", "blocks"),
        [(6.44, [1, 2, 3, 4, 5]), (6.43, [2, 3, 4, 5]), (3.22, [1, 3, 4, 5]), (3.21, [3, 4, 5]), (1.0, [4, 5]), (0.81, [5])],
    )
    def test_of_a_resnet50_and_a_thousand_images_in_float32(self, gigabytes: float, blocks: list[int]) -> None:
        # from the stem to the pooled ones 0.802816, 3.211264, 1.605632, 0.802816 and 0.008192 GB: 6.43072 together
        shapes = [(56, 56, 64), (56, 56, 256), (28, 28, 512), (14, 14, 1024), (2048,)]
        found = [Boundary(block, block, shape, torch.float32, True) for block, shape in enumerate(shapes, start=1)]
        assert [one.block for one in choose_boundaries(found, 1000, gigabytes * 1e9)] == blocks
        assert [one.block for one in choose_boundaries(found[::-1], 1000, gigabytes * 1e9)] == blocks

    def test_what_numpy_cannot_hold_is_not_kept(self) -> None:
        assert choose_boundaries(boundaries(5, dtype=torch.complex64), 10, 1e9) == ()

    def test_running_statistics_end_the_fixed_beginning_only_where_they_are_updated(self) -> None:
        module = nn.Sequential(nn.Linear(2, 2), nn.LayerNorm(2), nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2)))
        blocks = [Block(name, (name,)) for name in ("0", "1", "2")]
        assert first_moving_block(module, blocks, "train") == 2
        assert first_moving_block(module, blocks, "eval") == 3
        assert first_moving_block(module, blocks[:2], "train") == 2
        parameter = [Block("bias", ("0.bias",)), Block("norm", ("2.1",))]
        assert first_moving_block(module, parameter, "train") == 1


class Counted:
    """Images that note how often they were asked for; a network of three blocks that doubles, adds one, and squares."""

    rows = np.array([2, 3, 5, 7, 11, 13, *range(20, 100)])  # 86 rows: a batch of 64 and one of 22
    batches = 2

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.calls: list[int] = []
        self.pause = 0.0
        self.fails_at: int | None = None
        self.chain = Chain((lambda x: x * 2, lambda x: x + 1, lambda x: x * x), (0, 1, 2))

    def images(self, batches: Iterable[np.ndarray]) -> Iterator[torch.Tensor]:
        return map(self.batch, batches)

    def batch(self, rows: np.ndarray) -> torch.Tensor:
        self.calls.append(len(rows))
        time.sleep(self.pause)
        if len(self.calls) == self.fails_at:
            raise ValueError("a broken image")
        return torch.from_numpy(rows).float()[:, None].expand(-1, 3).contiguous()

    def features(self) -> SharedActivations:
        found = boundaries(3, 3)
        return SharedActivations(self.chain, found, self.rows, self.folder, self.images, CPU)

    def expected(self, block: int) -> np.ndarray:
        values = np.repeat(self.rows[:, None], 3, axis=1).astype(np.float32) * 2
        return values + 1 if block == 2 else values

    def files(self) -> list[str]:
        return sorted(path.name for path in self.folder.iterdir() if path.suffix != ".lock")


@pytest.fixture
def counted(tmp_path: Path) -> Counted:
    return Counted(tmp_path)


def ask_from_elsewhere(folder: Path, barrier: Barrier | None, dies: bool = False) -> None:
    """What another process does: ask for the first boundary, note each batch, and if it is to die, do so at the second."""
    torch.set_num_threads(1)
    counted = Counted(folder)
    worker = counted.features()

    def note(word: str) -> None:
        with open(folder / "calls.log", "a", encoding="utf-8") as log:
            log.write(f"{word} ")

    def images(rows: np.ndarray) -> torch.Tensor:
        if dies and counted.calls:
            os._exit(9)
        note(str(len(rows)))
        time.sleep(0.3)
        return counted.batch(rows)

    worker._images = lambda batches: map(images, batches)
    if barrier is not None:
        barrier.wait(60)
    note(f"sum={worker.at(worker.boundaries[0]).sum():.0f}")


class TestFiles:
    def test_a_boundary_is_computed_once_for_all_workers(self, counted: Counted) -> None:
        for worker in (counted.features(), counted.features()):
            for _ in range(2):
                np.testing.assert_array_equal(worker.at(worker.boundaries[0]), counted.expected(1))
        assert counted.calls == [64, 22]
        assert counted.files() == ["boundary-1.bin"]

    def test_two_workers_that_ask_at_once_compute_it_once(self, counted: Counted) -> None:
        counted.pause = 0.1
        barrier, found = threading.Barrier(2), []

        def ask() -> None:
            worker = counted.features()
            barrier.wait()
            found.append(np.array(worker.at(worker.boundaries[1])))

        threads = [threading.Thread(target=ask) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        assert len(counted.calls) == counted.batches
        assert len(found) == 2
        for one in found:
            np.testing.assert_array_equal(one, counted.expected(2))

    @pytest.mark.slow
    def test_two_processes_that_ask_at_once_compute_it_once(self, counted: Counted) -> None:
        context = multiprocessing.get_context("spawn")
        barrier = context.Barrier(2)
        other = context.Process(target=ask_from_elsewhere, args=(counted.folder, barrier), daemon=True)
        other.start()
        ask_from_elsewhere(counted.folder, barrier)
        other.join(120)
        assert other.exitcode == 0
        noted = (counted.folder / "calls.log").read_text(encoding="utf-8").split()
        assert noted.count("64") == noted.count("22") == 1, noted
        assert len([word for word in noted if word.startswith("sum=")]) == 2
        assert len(set(noted)) == 3, "both read the same numbers"

    def test_a_worker_that_is_killed_at_it_neither_blocks_nor_misleads_the_next(self, counted: Counted) -> None:
        victim = multiprocessing.get_context("spawn").Process(target=ask_from_elsewhere, args=(counted.folder, None, True))
        victim.start()
        victim.join(120)
        assert victim.exitcode == 9
        assert not (counted.folder / "boundary-1.bin").exists()
        worker = counted.features()
        np.testing.assert_array_equal(worker.at(worker.boundaries[0]), counted.expected(1))
        assert counted.calls == [64, 22]

    def test_a_deeper_one_comes_from_the_shallower_one_that_is_there_with_the_same_bytes(
        self, counted: Counted, tmp_path_factory: pytest.TempPathFactory
    ) -> None:
        worker = counted.features()
        worker.at(worker.boundaries[0])
        other = counted.features()
        other.at(other.boundaries[1])
        assert len(counted.calls) == counted.batches
        alone = Counted(tmp_path_factory.mktemp("alone"))
        direct = alone.features()
        direct.at(direct.boundaries[1])
        assert len(alone.calls) == alone.batches
        assert (counted.folder / "boundary-2.bin").read_bytes() == (alone.folder / "boundary-2.bin").read_bytes()
        assert alone.files() == ["boundary-2.bin"]

    @pytest.mark.parametrize(("there", "applied"), [([], "abcd"), ([1], "bcd"), ([2], "cd"), ([1, 2, 3], "d"), ([1, 3], "d")])
    def test_it_comes_from_the_nearest_one_that_is_there(self, there: list[int], applied: str, counted: Counted) -> None:
        called: list[str] = []

        def call(name: str) -> Callable[[torch.Tensor], torch.Tensor]:
            return lambda x: (called.append(name), x + 1)[1]

        counted.chain = Chain(tuple(call(name) for name in "abcde"), (0, 1, 2, 3, 4))
        found = boundaries(3, 3, 3, 3)
        worker = SharedActivations(counted.chain, found, counted.rows, counted.folder, counted.images, CPU)
        for block in there:
            worker.at(found[block - 1])
        called.clear()
        last = worker.at(found[3])
        assert called == list(applied) * counted.batches
        np.testing.assert_array_equal(last[:, 0], counted.rows + 4)

    @pytest.mark.parametrize("precision", ["fp32", "bf16"])
    def test_of_a_real_network_too_the_way_to_a_boundary_leaves_its_bytes_alone(
        self, precision: str, load_digits: Callable[..., Data], tmp_path: Path
    ) -> None:
        bytes_of = []
        for name, asked in (("direct", [5]), ("over two others", [1, 3, 5])):
            (tmp_path / name).mkdir()
            workspace = shared("glyphnet", load_digits(), tmp_path / name, "biotune", precision=precision)
            for block in asked:
                workspace.entry(block)
            bytes_of.append((tmp_path / name / "boundary-5.bin").read_bytes())
        assert bytes_of[0] == bytes_of[1]

    @pytest.mark.parametrize("fails_at", [1, 2])
    def test_an_error_on_the_way_leaves_no_file_and_the_next_call_succeeds(self, fails_at: int, counted: Counted) -> None:
        counted.fails_at = fails_at
        worker = counted.features()
        with pytest.raises(ValueError, match="a broken image"):
            worker.at(worker.boundaries[0])
        assert counted.files() == []
        np.testing.assert_array_equal(worker.at(worker.boundaries[0]), counted.expected(1))
        assert counted.files() == ["boundary-1.bin"]

    def test_a_lock_that_finds_no_room_is_the_same_error(self, counted: Counted, monkeypatch: pytest.MonkeyPatch) -> None:
        def no_room(_: str) -> Any:
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr(module_under_test, "FileLock", no_room)
        worker = counted.features()
        with pytest.raises(RunFolderError, match=r"No space left on device.*features\.max_gb"):
            worker.at(worker.boundaries[0])

    def test_a_full_disk_is_an_error_that_names_the_remedies(self, counted: Counted, monkeypatch: pytest.MonkeyPatch) -> None:
        class Full(io.BytesIO):
            def write(self, _: Any) -> int:
                raise OSError(errno.ENOSPC, "No space left on device")

        def open_full(handle: int, _: str) -> Full:
            os.close(handle)
            return Full()

        with monkeypatch.context() as patch:
            shim = SimpleNamespace(fdopen=open_full, replace=os.replace)
            patch.setattr(module_under_test, "os", shim)
            worker = counted.features()
            with pytest.raises(RunFolderError) as refused:
                worker.at(worker.boundaries[0])
        text = str(refused.value)
        assert "features.max_gb" in text
        assert "BIOTUNE_CACHE_DIR" in text
        assert "No space left on device" in text
        assert str(counted.folder) in text
        assert counted.files() == []
        np.testing.assert_array_equal(worker.at(worker.boundaries[0]), counted.expected(1))

    def test_so_is_what_the_system_itself_says(self, counted: Counted) -> None:
        resource = pytest.importorskip("resource")
        worker = counted.features()
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (500, hard))  # of the 1032 bytes that 86 rows of three floats take
        try:
            with pytest.raises(RunFolderError) as refused:
                worker.at(worker.boundaries[0])
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        assert "features.max_gb" in str(refused.value)
        assert len(str(refused.value).splitlines()) == 1
        assert counted.files() == []
        np.testing.assert_array_equal(worker.at(worker.boundaries[0]), counted.expected(1))

    def test_ctrl_c_leaves_no_file_and_the_next_call_succeeds(self, counted: Counted) -> None:
        worker = counted.features()

        def interrupt(_: np.ndarray) -> torch.Tensor:
            raise KeyboardInterrupt

        worker._images = interrupt
        with pytest.raises(KeyboardInterrupt):
            worker.at(worker.boundaries[0])
        assert counted.files() == []
        other = counted.features()
        np.testing.assert_array_equal(other.at(other.boundaries[0]), counted.expected(1))

    def test_activations_cannot_be_written_to(self, counted: Counted) -> None:
        worker = counted.features()
        with pytest.raises(ValueError, match="read-only"):
            worker.at(worker.boundaries[0])[0] = 1


class TestRows:
    def test_rows_of_the_dataset_are_found_in_any_order_and_twice(self, counted: Counted) -> None:
        worker = counted.features()
        assert worker.positions(np.array([13, 2, 2, 99, 7])).tolist() == [5, 0, 0, 85, 3]

    @pytest.mark.parametrize("row", [0, 4, 19, 100, 10_000])
    def test_a_row_without_activations_is_refused(self, row: int, counted: Counted) -> None:
        with pytest.raises(IndexError, match="training and validation images only"):
            counted.features().positions(np.array([2, row]))

    def test_test_images_have_none(self, tmp_path: Path) -> None:
        workspace = shared("resnet18", noise(64), tmp_path)
        entry = workspace.entry(5)
        for row in workspace.data.test:
            with pytest.raises(IndexError):
                entry.take(np.array([row]))
        assert (tmp_path / "boundary-5.bin").stat().st_size == 9 * 512 * 4  # 7 training and 2 validation images
