"""Runs trials one after another in this process."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from biotune.config.schema import TrialsConfig
from biotune.errors import RunFolderError
from biotune.executors.base import ATTEMPTS, NextTrial, OnResult, failure, reason_of
from biotune.executors.setup import Setup, build, run_trial
from biotune.trial import Trial, TrialResult

if TYPE_CHECKING:
    import torch

    from biotune.backbones.network import Network
    from biotune.training.workspace import Workspace


class InProcess:
    """Runs trials in this process, in order."""

    def __init__(self, workspace: Workspace, folder: Path) -> None:
        """Take a workspace that is set up.

        Args:
            workspace: Network, data and settings, shared by all trials.
            folder: The run's folder, in which models are kept.
        """
        self.workspace = workspace
        self._folder = folder

    @staticmethod
    def of(setup: Setup, config: TrialsConfig, device: torch.device, network: Network) -> InProcess:
        """Set up the workspace that all trials share.

        Args:
            setup: The description of a worker.
            config: Not used; pools read the number of workers from it.
            device: The device on which trials train.
            network: The backbone with its initial weights.
        """
        return InProcess(build(setup, str(device), network), setup.folder)

    def run(self, trials: Sequence[Trial], on_result: OnResult) -> list[TrialResult]:
        """Run trials in order; a trial that raises twice gives a failed result with the reason."""
        results = []
        for trial in trials:
            result = self._run_one(trial)
            on_result(trial, result)
            results.append(result)
        return results

    def stream(self, next_trial: NextTrial) -> Iterator[tuple[Trial, TrialResult]]:
        """Run trials as they are drawn, one at a time."""
        while (trial := next_trial()) is not None:
            yield trial, self._run_one(trial)

    def close(self) -> None:
        """Nothing to release."""

    def _run_one(self, trial: Trial) -> TrialResult:
        for _ in range(ATTEMPTS):
            try:
                return run_trial(trial, self.workspace, self._folder)
            except RunFolderError:
                raise  # a full disk is not the candidate's fault
            except Exception as error:  # an error in one candidate's training run fails that candidate, not the search
                reason = reason_of(error)
        return failure(reason)
