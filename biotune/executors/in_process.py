"""Trials one after another in this process."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from biotune.errors import RunFolderError
from biotune.executors.base import ATTEMPTS, OnResult, Site, failure, reason_of
from biotune.trial import Trial, TrialResult

if TYPE_CHECKING:
    from biotune.training.workspace import Workspace


class InProcess:
    """Runs trials here, in order.

    Attributes:
        workspace: Network, data and settings, shared by all trials.
    """

    def __init__(self, workspace: Workspace) -> None:
        self.workspace = workspace

    @staticmethod
    def at(site: Site) -> InProcess:
        """Set up what all trials share."""
        from biotune.training.device import keep_freed_memory
        from biotune.training.workspace import Sharing, Workspace

        keep_freed_memory()
        sharing = Sharing(site.scratch, site.config.features.max_gb)
        return InProcess(Workspace.of(site.network, site.data, site.config.training, site.device, site.folder, sharing))

    def run(self, trials: Sequence[Trial], on_result: OnResult) -> list[TrialResult]:
        """Run trials in order; one that raises twice is a failed result with its reason."""
        results = []
        for trial in trials:
            result = self._run_one(trial)
            on_result(trial, result)
            results.append(result)
        return results

    def close(self) -> None:
        """Nothing to release."""

    def _run_one(self, trial: Trial) -> TrialResult:
        from biotune.training.finetune import finetune

        for _ in range(ATTEMPTS):
            try:
                return finetune(trial, self.workspace)
            except RunFolderError:
                raise  # a full disk is no fault of the candidate's
            except Exception as error:  # whatever a candidate's training raises is one row in a table, not the search's end
                reason = reason_of(error)
        return failure(reason)
