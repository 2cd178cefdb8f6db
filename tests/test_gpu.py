"""What holds on a CUDA device: the CPU's results, nothing that waits inside an epoch, and memory that stays bounded."""

from __future__ import annotations

import gc
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from biotune.backbones.registry import build_network
from biotune.config.sections import BackboneConfig, TrainingConfig
from biotune.datasets.data import Data, Part
from biotune.schedule.schedule import Schedule
from biotune.training import finetune as loop
from biotune.training.device import autocast_type, has_bf16, resolve_device
from biotune.training.finetune import batch_rows, finetune
from biotune.training.workspace import Workspace
from biotune.trial import Trial

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device"),
]

GPU, CPU = torch.device("cuda", 0), torch.device("cpu")
MIB = 2**20
LoadDigits = Callable[..., Data]


@pytest.fixture(autouse=True)
def _full_float32() -> Iterator[None]:
    """TensorFloat-32 would hide differences behind its own, of a thousandth."""
    # by hand: these are no plain attributes, and pytest would end by deleting them
    matmul, cudnn = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    yield
    torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = matmul, cudnn


def workspace_on(device: torch.device, data: Data, folder: Path, sharing: bool = True, **training: Any) -> Workspace:
    network = build_network(BackboneConfig("biotune", "glyphnet"), len(data.classes))
    settings = TrainingConfig(**{"lr": 3e-3, "batch_size": 32, "precision": "fp32", **training})
    return Workspace.of(network, data, settings, device, folder, 1.0 if sharing else None)


def trial_of(workspace: Workspace, first: int = 0, epochs: int = 4, **more: Any) -> Trial:
    blocks = workspace.network.blocks
    weights = tuple(0.0 if index < first else 1.0 for index in range(len(blocks)))
    return Trial(Schedule(blocks, weights), None, 1, epochs, workspace.training.base_lr, **more)


def noise(size: int) -> Data:
    """Sixteen images of noise in five classes, the last two for testing."""
    part = Part(np.arange(10), np.arange(10, 14))
    pixels = np.random.default_rng(0).integers(0, 256, (16, size, size, 3), dtype=np.uint8)
    names = tuple(str(row) for row in range(16))
    return Data(
        "noise", ("a", "b", "c", "d", "e"), pixels, np.arange(16) % 5, names, part, (part,), np.array([14, 15]), "noise"
    )


class TestResults:
    @pytest.mark.parametrize("precision", ["fp32", "bf16", "auto"])
    @pytest.mark.parametrize("first", [0, 3, 5])
    def test_a_training_comes_to_about_what_it_comes_to_on_the_cpu(
        self, first: int, precision: str, load_digits: LoadDigits, tmp_path: Path
    ) -> None:
        scores = []
        for device, kind in ((CPU, "fp32"), (GPU, precision)):
            folder = tmp_path / device.type
            folder.mkdir()
            workspace = workspace_on(device, load_digits(), folder, precision=kind)
            result = finetune(trial_of(workspace, first, test=True), workspace).result
            assert result.status == "ok"
            assert np.isfinite(result.curve).all()
            assert all(value.isfinite().all() for value in workspace.network.module.state_dict().values())
            scores.append(result.score)
        # heads are drawn from another generator on a GPU, so that this is another training
        assert scores[1] == pytest.approx(scores[0], abs=0.15 if first == 5 else 0.08)

    @pytest.mark.parametrize("sharing", [False, True])
    @pytest.mark.parametrize("precision", ["fp32", "bf16"])
    def test_the_same_trial_twice_gives_the_same_curve(
        self, precision: str, sharing: bool, load_digits: LoadDigits, tmp_path: Path
    ) -> None:
        workspace = workspace_on(GPU, load_digits(), tmp_path, sharing, precision=precision)
        first = finetune(trial_of(workspace, 2), workspace).result.curve
        finetune(trial_of(workspace, 0, epochs=1), workspace)
        assert finetune(trial_of(workspace, 2), workspace).result.curve == first

    @pytest.mark.parametrize(("precision", "tolerance"), [("fp32", 1e-4), ("bf16", 1e-2)])
    def test_answers_from_shared_activations_are_those_from_the_images(
        self, precision: str, tolerance: float, load_digits: LoadDigits, tmp_path: Path
    ) -> None:
        data = load_digits()
        workspace = workspace_on(GPU, data, tmp_path, precision=precision)
        rows = np.random.default_rng(3).permutation(data.whole.train)[:90]
        workspace.network.module.eval()
        whole = workspace.whole()
        with torch.inference_mode(), workspace.autocast():
            expected = whole.forward(whole.take(rows)).float()
            # of bfloat16's own scale: the answers themselves have 8 bits
            close = {"atol": tolerance * max(1.0, float(expected.abs().max())), "rtol": tolerance}
            for block in range(1, len(workspace.network.blocks)):
                entry = workspace.entry(block)
                torch.testing.assert_close(entry.forward(entry.take(rows)).float(), expected, **close)

    @pytest.mark.parametrize(("precision", "tolerance"), [("fp32", 1e-4), ("bf16", 1e-3)])
    @pytest.mark.parametrize(("name", "size"), [("resnet18", 64), ("efficientnet_b0", 64), ("swin_t", 64), ("vit_b_16", 224)])
    def test_so_are_those_of_large_networks(
        self, name: str, size: int, precision: str, tolerance: float, tmp_path: Path
    ) -> None:
        network = build_network(BackboneConfig("torchvision", name, "none"), 5)
        data = noise(size)
        settings = TrainingConfig(precision=precision)
        workspace = Workspace.of(network, data, settings, GPU, tmp_path, 4.0)
        assert workspace.features is not None
        # all that there are activations of, so that they are computed and used in batches of one size: other sizes take
        # other kernels, which round otherwise
        rows = workspace.features.rows
        network.module.eval()
        with torch.inference_mode(), workspace.autocast():
            module, images = network.module, workspace.images(rows)
            expected = module(images).float()
            scale = max(1.0, float(expected.abs().max()))
            for boundary in workspace.features.boundaries:
                assert boundary.dtype == torch.float32 or precision == "bf16"
                entry = workspace.entry(boundary.block)
                taken = entry.take(rows)
                assert taken.device == GPU
                torch.testing.assert_close(entry.forward(taken).float(), expected, atol=tolerance * scale, rtol=tolerance)


class TestTheDevice:
    def test_auto_is_a_gpu_where_there_is_one(self) -> None:
        assert resolve_device("auto") == GPU

    @pytest.mark.parametrize("parameters", [999_999, 1_000_000, 25_000_000])
    def test_auto_computes_large_networks_in_bfloat16(self, parameters: int) -> None:
        expected = torch.bfloat16 if parameters >= 1_000_000 and torch.cuda.get_device_capability(0) >= (8, 0) else None
        assert autocast_type("auto", GPU, nn.Linear(parameters, 1, bias=False)) is expected

    def test_a_network_of_eleven_million_parameters_answers_in_what_auto_says(self, load_digits: LoadDigits) -> None:
        data = load_digits()
        network = build_network(BackboneConfig("torchvision", "resnet18", "none"), len(data.classes))
        workspace = Workspace.of(network, data, TrainingConfig(), GPU, Path("."))
        whole = workspace.whole()
        network.module.eval()
        with torch.inference_mode(), workspace.autocast():
            answers = whole.forward(whole.take(data.whole.train[:4]))
        assert answers.dtype == (torch.bfloat16 if has_bf16(GPU) else torch.float32)

    def test_images_and_activations_lie_on_the_device(self, load_digits: LoadDigits, tmp_path: Path) -> None:
        workspace = workspace_on(GPU, load_digits(), tmp_path)
        assert workspace.placement.on_device == {"pixels", *(f"activations before block {block}" for block in range(1, 6))}
        for first in (0, 3):
            finetune(trial_of(workspace, first, epochs=1), workspace)
        assert set(workspace.placement._copies) == {"pixels", "activations before block 3"}
        assert all(copy.device == GPU for copy in workspace.placement._copies.values())
        assert all(value.device == GPU for value in workspace.network.module.state_dict().values())

    def test_what_does_not_fit_is_sent_and_gives_the_same_curve(
        self, load_digits: LoadDigits, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        resident = workspace_on(GPU, load_digits(), tmp_path)
        monkeypatch.setattr("biotune.training.workspace.budget", lambda device, workers: 0.0)
        sent = workspace_on(GPU, load_digits(), tmp_path)
        assert sent.placement.on_device == frozenset()
        for first in (0, 3):
            curves = [finetune(trial_of(space, first), space).result.curve for space in (resident, sent)]
            assert curves[0] == curves[1]

    @pytest.mark.parametrize("augment", ["none", "standard"])
    @pytest.mark.parametrize("first", [0, 3])
    @pytest.mark.parametrize("precision", ["fp32", "bf16"])
    @pytest.mark.parametrize("optimizer", ["adam", "sgd"])
    def test_nothing_inside_an_epoch_waits_for_the_device(
        self,
        optimizer: str,
        precision: str,
        first: int,
        augment: str,
        load_digits: LoadDigits,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        settings = {"precision": precision, "augment": augment, "optimizer": optimizer, "class_weights": "balanced"}
        workspace = workspace_on(GPU, load_digits(), tmp_path, **settings)
        finetune(trial_of(workspace, first, epochs=1), workspace)  # tables are copied at the first row of each
        real, batches = batch_rows, []

        def watched(rows: np.ndarray, size: int) -> Iterator[np.ndarray]:
            # from the first batch to the end of the last; the loss is read once after that
            torch.cuda.set_sync_debug_mode("error")
            try:
                for batch in real(rows, size):
                    batches.append(len(batch))
                    yield batch
            finally:
                torch.cuda.set_sync_debug_mode("default")

        monkeypatch.setattr(loop, "batch_rows", watched)
        try:
            result = finetune(trial_of(workspace, first, epochs=2), workspace).result
        finally:
            torch.cuda.set_sync_debug_mode("default")
        assert len(result.curve) == 2
        assert sum(batches) == 2 * len(workspace.data.whole.train)

    def test_and_the_watch_would_notice(self) -> None:
        value = torch.ones((), device=GPU)
        torch.cuda.set_sync_debug_mode("error")
        try:
            with pytest.raises(RuntimeError, match="synchroniz"):
                value.item()
        finally:
            torch.cuda.set_sync_debug_mode("default")


class TestMemory:
    def test_it_grows_neither_with_the_number_of_trials_nor_beyond_bounds(
        self, load_digits: LoadDigits, tmp_path: Path
    ) -> None:
        workspace = workspace_on(GPU, load_digits(), tmp_path)

        def run_all() -> int:
            for first in range(6):
                finetune(trial_of(workspace, first, epochs=1, test=True), workspace)
            gc.collect()
            torch.cuda.synchronize()
            return torch.cuda.memory_allocated(GPU)

        run_all()
        torch.cuda.reset_peak_memory_stats(GPU)
        before = run_all()
        for _ in range(3):
            after = run_all()
        assert after <= before + MIB
        # images and activations are 8 MiB, network and optimizer 2 MiB; the rest is room for libraries' workspaces
        assert torch.cuda.max_memory_allocated(GPU) - before < 512 * MIB

    def test_a_frozen_beginning_takes_less_than_a_whole_network(self, tmp_path: Path) -> None:
        peaks = []
        for first in (0, 5):
            network = build_network(BackboneConfig("torchvision", "resnet18", "none"), 5)
            settings = TrainingConfig(precision="fp32")
            workspace = Workspace.of(network, noise(224), settings, GPU, tmp_path, 4.0)
            finetune(trial_of(workspace, first, epochs=1), workspace)  # activations are computed
            torch.cuda.synchronize()
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats(GPU)
            finetune(trial_of(workspace, first, epochs=1), workspace)
            peaks.append(torch.cuda.max_memory_allocated(GPU))
            del workspace, network
            gc.collect()
        # ResNet-18 has 45 MB of weights, which every trial starts from a copy of; gradients and Adam's two moments are 134
        # more, and ten images' maps in float32 some 25 MB each
        assert peaks[0] < 1024 * MIB
        assert peaks[1] < peaks[0] - 134 * 10**6


def biotune(*arguments: str, folder: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "biotune", "run", "experiment=smoke", "device=cuda", *arguments]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(folder), str(Path(__file__).parents[1])]), **variables}
    command.append(f"hydra.run.dir={folder / 'run'}")
    return subprocess.run(command, capture_output=True, text=True, timeout=280, cwd=folder, env=environment)


class TestCommands:
    def test_the_smoke_experiment_runs_through(self, tmp_path: Path) -> None:
        done = biotune(folder=tmp_path)
        assert done.returncode == 0, done.stderr
        assert '"cuda' in (tmp_path / "run" / "status.json").read_text(encoding="utf-8")

    def test_workers_of_a_pool_find_what_one_process_finds(self, tmp_path: Path) -> None:
        tables = []
        for name, more in (("in_process", []), ("process_pool", ["executor.workers=2", "executor.workers_per_gpu=2"])):
            folder = tmp_path / name
            folder.mkdir()
            done = biotune(f"executor={name}", *more, folder=folder)
            assert done.returncode == 0, done.stderr
            assert json.loads((folder / "run" / "status.json").read_text(encoding="utf-8"))["state"] == "finished"
            found = [pd.read_csv(folder / "run" / f"{table}.csv") for table in ("generations", "confirm", "test")]
            tables.append([table[[column for column in table if not column.endswith("seconds")]] for table in found])
        for here, there in zip(*tables, strict=True):
            pd.testing.assert_frame_equal(here, there)

    def test_each_worker_of_a_pool_sees_exactly_one_gpu(self, tmp_path: Path) -> None:
        """A plugin, which each worker loads as it sets itself up, notes what torch sees there."""
        seen = tmp_path / "seen"
        seen.mkdir()
        (tmp_path / "spy.py").write_text(
            "import os, pathlib, multiprocessing, torch\n"
            "if multiprocessing.parent_process() is not None:\n"
            f"    note = pathlib.Path({str(seen)!r}) / str(os.getpid())\n"
            "    note.write_text(f\"{torch.cuda.device_count()} {os.environ['CUDA_VISIBLE_DEVICES']}\")\n",
            encoding="utf-8",
        )
        done = biotune("executor=process_pool", "executor.workers=2", "plugins=[spy]", folder=tmp_path)
        assert done.returncode == 0, done.stderr
        notes = [note.read_text(encoding="utf-8").split() for note in seen.iterdir()]
        assert len(notes) >= 2
        assert {count for count, _ in notes} == {"1"}
        assert len({name for _, name in notes}) == min(2, torch.cuda.device_count())
