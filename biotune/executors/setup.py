"""The description from which every worker is set up, and the call that runs one trial. Imports torch only when called."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from biotune.config.schema import TrialsConfig, final_training, sets_drop_path
from biotune.config.sections import BackboneConfig, TrainingConfig
from biotune.errors import RunFolderError, one_line
from biotune.trial import Trial, TrialResult

if TYPE_CHECKING:
    from biotune.backbones.network import Network
    from biotune.datasets.data import Data
    from biotune.training.workspace import Workspace


@dataclass(frozen=True)
class Setup:
    """The description from which every worker of a run is set up: plain values and paths.

    Attributes:
        plugins: Modules that register the user's own networks.
        backbone: The network to build.
        training: The training settings.
        data: The dataset; without its images if `pixels` names their file.
        folder: The run's folder, in which the models of trials are kept.
        scratch: A folder of this run, removed at its end, for the activations that trials share.
        max_gb: Upper bound of the size of these activations in GB.
        threads: Number of CPU threads per trial.
        pixels: The npy file of the images, for processes that do not share this one's memory.
        workers_per_gpu: Number of workers that use one GPU.
        decoders: Number of threads with which a worker decodes streamed images; None for all usable cores.
        final: The settings of final training runs; None where they are those of all.
        views: Number of augmented views of each training image that are drawn once; None draws anew in every epoch.
        seed: Seed of these views.
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
    decoders: int | None = None
    final: TrainingConfig | None = None
    views: int | None = None
    seed: int = 0

    @staticmethod
    def of(config: TrialsConfig, data: Data, folder: Path, scratch: Path) -> Setup:
        """Make the description from a command's config, its decoded dataset and its folders."""
        return Setup(
            plugins=tuple(config.plugins),
            backbone=config.backbone,
            training=config.training,
            data=data,
            folder=folder,
            scratch=scratch,
            max_gb=config.features.max_gb,
            threads=config.executor.threads,
            final=final_training(config),
            views=config.features.views,
            seed=config.seed,
        )

    def with_pixels_in_a_file(self) -> Setup:
        """The same description for other processes, which map the images from a file instead of receiving them.

        Streamed images need no file: each process decodes them itself.

        Raises:
            RunFolderError: The file cannot be written.
        """
        from biotune.datasets.streamed import Streamed

        pixels = self.data.pixels
        if isinstance(pixels, Streamed):
            return self
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
    """Set up a worker in this process.

    Args:
        setup: The description of the worker.
        device: Torch's name of the device on which to train.
        network: The backbone with its initial weights if this process has built it already; None builds it.

    Raises:
        DataError: Streamed images are missing, or have changed since the description was made.
    """
    import torch

    from biotune.backbones.registry import build_network
    from biotune.config.plugins import load_plugins
    from biotune.datasets.streamed import Streamed
    from biotune.training.device import keep_freed_memory
    from biotune.training.workspace import Workspace

    keep_freed_memory()
    torch.set_num_threads(setup.threads)
    data = setup.data
    if setup.pixels is not None:
        data = replace(data, pixels=np.load(setup.pixels, mmap_mode="r", allow_pickle=False))
    if network is None:
        load_plugins(list(setup.plugins))
    if isinstance(data.pixels, Streamed):
        data.pixels.open(setup.decoders)
    if network is None:
        network = build_network(setup.backbone, len(data.classes), sets_drop_path(setup.training, setup.final))
    return Workspace.of(
        network,
        data,
        setup.training,
        torch.device(device),
        setup.scratch,
        setup.max_gb,
        setup.workers_per_gpu,
        setup.final,
        setup.views,
        setup.seed,
    )


def run_trial(trial: Trial, workspace: Workspace, folder: Path) -> TrialResult:
    """Run one trial, and keep the model in the run's folder if the trial asks for it.

    Args:
        trial: The trial.
        workspace: The worker's network, data and settings.
        folder: The run's folder.

    Raises:
        RunFolderError: The model cannot be written.
        Exception: Any error of the training run.
    """
    from biotune.training.finetune import finetune
    from biotune.training.model import keep_model

    trained = finetune(trial, workspace)
    if trial.keep is not None and trained.state is not None and trained.probabilities is not None:
        keep_model(folder, trial.keep, trained.state, workspace.data, trained.probabilities)
    return trained.result
