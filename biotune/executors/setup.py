"""What every worker is set up from, wherever it runs, and what it does with a trial. Imports no torch before it is called."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from biotune.config.schema import BackboneConfig, TrainingConfig, TrialsConfig
from biotune.errors import RunFolderError, one_line
from biotune.trial import Trial, TrialResult

if TYPE_CHECKING:
    from biotune.backbones.network import Network
    from biotune.datasets.data import Data
    from biotune.training.workspace import Workspace


@dataclass(frozen=True)
class Setup:
    """What every worker of a run is set up from: plain values and paths.

    Attributes:
        plugins: Modules that register networks of the user's own.
        backbone: The network to build.
        training: How to train.
        data: The dataset; without its images where `pixels` names their file.
        folder: The run's folder, where models are kept that trials ask for.
        scratch: A folder for this run alone, removed at its end, for the activations that trials share.
        max_gb: What these activations may take, in GB.
        threads: CPU threads of one trial.
        pixels: The npy file of the images, for processes that do not share this one's memory.
        workers_per_gpu: How many workers use one GPU.
    """

    plugins: tuple[str, ...]
    backbone: BackboneConfig
    training: TrainingConfig
    data: Data
    folder: Path
    scratch: Path
    max_gb: float
    threads: int
    pixels: Path | None = None
    workers_per_gpu: int = 1

    @staticmethod
    def of(config: TrialsConfig, data: Data, folder: Path, scratch: Path) -> Setup:
        """From a command's config, its decoded dataset and its folders."""
        return Setup(
            plugins=tuple(config.plugins),
            backbone=config.backbone,
            training=config.training,
            data=data,
            folder=folder,
            scratch=scratch,
            max_gb=config.features.max_gb,
            threads=config.executor.threads,
        )

    def with_pixels_in_a_file(self) -> Setup:
        """The same for other processes: they map the images from a file instead of receiving them.

        Raises:
            RunFolderError: The file cannot be written.
        """
        pixels = self.data.pixels
        if isinstance(pixels, np.memmap):
            path = Path(str(pixels.filename))
        else:
            path = self.scratch / "pixels.npy"
            try:
                np.save(path, pixels, allow_pickle=False)
            except OSError as error:
                raise RunFolderError(f"{path}: cannot be written: {one_line(error)}. Free or choose another disk.") from None
        return replace(self, data=replace(self.data, pixels=np.empty((0, 0, 0, 3), dtype=np.uint8)), pixels=path)


def build(setup: Setup, device: str, network: Network | None = None) -> Workspace:
    """Set a worker up in this process.

    Args:
        setup: From what.
        device: Where to train, as torch names it.
        network: The backbone with its initial weights, where this process has built it already.
    """
    import torch

    from biotune.backbones.registry import build_network
    from biotune.config.plugins import load_plugins
    from biotune.training.device import keep_freed_memory
    from biotune.training.workspace import Workspace

    keep_freed_memory()
    torch.set_num_threads(setup.threads)
    data = setup.data
    if setup.pixels is not None:
        data = replace(data, pixels=np.load(setup.pixels, mmap_mode="r", allow_pickle=False))
    if network is None:
        load_plugins(list(setup.plugins))
        network = build_network(setup.backbone, len(data.classes))
    return Workspace.of(network, data, setup.training, torch.device(device), setup.scratch, setup.max_gb, setup.workers_per_gpu)


def run_trial(trial: Trial, workspace: Workspace, folder: Path) -> TrialResult:
    """Train as a trial says, and keep the model in the run's folder if the trial asks for it.

    Raises:
        RunFolderError: The model cannot be written.
        Exception: Whatever a training run raises.
    """
    from biotune.training.finetune import finetune
    from biotune.training.model import keep_model

    trained = finetune(trial, workspace)
    if trial.keep is not None and trained.state is not None and trained.probabilities is not None:
        keep_model(folder, trial.keep, trained.state, workspace.data, trained.probabilities)
    return trained.result
