"""Trials one after another in this process."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from biotune.errors import RunFolderError, one_line
from biotune.fitness import Trial, TrialResult

if TYPE_CHECKING:
    from biotune.finetune import Workspace


class InProcess:
    """Runs trials here, in order.

    Attributes:
        workspace: Network, data and settings, shared by all trials.
    """

    def __init__(self, workspace: Workspace) -> None:
        self.workspace = workspace

    def run(self, trials: Sequence[Trial], on_result: Callable[[Trial, TrialResult], None]) -> list[TrialResult]:
        """Run trials in order; one that raises is a failed result with its reason."""
        results = []
        for trial in trials:
            result = self._run_one(trial)
            on_result(trial, result)
            results.append(result)
        return results

    def close(self) -> None:
        """Nothing to release."""

    def _run_one(self, trial: Trial) -> TrialResult:
        from biotune.finetune import finetune

        try:
            return finetune(trial, self.workspace)
        except RunFolderError:
            raise  # a full disk is no fault of the candidate's
        except Exception as error:  # whatever a candidate's training raises is one row in a table, not the search's end
            return TrialResult("failed", (), 0.0, error=one_line(f"{type(error).__name__}: {error}")[:500])
