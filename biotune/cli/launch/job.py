"""The function that Hydra calls for each job of a command, here or in a process that a launcher has started elsewhere."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from biotune.cli.launch.compose import register
from biotune.cli.launch.launchers import is_apart
from biotune.cli.launch.perform import perform, perform_apart, perform_launched
from biotune.cli.launch.run_folders import stand_in
from biotune.cli.registry import COMMANDS, load
from biotune.cli.terminal.output_mode import OutputMode
from biotune.errors import BiotuneError
from biotune.store.status import state_of

if TYPE_CHECKING:
    from biotune.recipes.inputs import Prepared


@dataclass
class Outcome:
    """The inputs and results of the jobs in this process; Hydra passes neither.

    Attributes:
        prepared: The inputs that the check before the run has prepared.
        failed: Whether a job has failed.
        error: The error of a command without a run folder.
    """

    prepared: Prepared | None = None
    failed: bool = False
    error: BiotuneError | None = None


@dataclass
class Job:
    """A command as Hydra's task function. Launchers pickle it; the outcome stays behind, as run folders tell it.

    Attributes:
        command: A command that has a schema.
        mode: How much to print.
        outcome: The inputs and results of the jobs in this process.
    """

    command: str
    mode: OutputMode
    outcome: Outcome = field(default_factory=Outcome)

    def __call__(self, cfg: DictConfig) -> None:
        """Run one job."""
        if COMMANDS[self.command].leaves_folder:
            self._train(cfg)
        else:
            self._show(cfg)

    def __getstate__(self) -> dict[str, Any]:
        """Leave out the outcome: decoded images would be sent to every job."""
        return {"command": self.command, "mode": self.mode}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Register the resolvers of biotune's configs, which Hydra is about to use in this process."""
        self.command, self.mode, self.outcome = state["command"], state["mode"], Outcome()
        register()

    def _show(self, cfg: DictConfig) -> None:
        """Run a command without a run folder; one that checks something returns False where it found a fault."""
        try:
            if load(str(COMMANDS[self.command].job))(OmegaConf.to_object(cfg), self.mode) is False:
                self.outcome.failed = True
        except BiotuneError as error:  # raised again after Hydra has returned, because Hydra would add its own message
            self.outcome.error = error

    def _train(self, cfg: DictConfig) -> None:
        """Run a job that leaves a folder; in a sweep that continues, a finished job is skipped."""
        hydra_config = HydraConfig.get()
        folder = Path(hydra_config.runtime.output_dir)
        title = None
        if hydra_config.mode == RunMode.MULTIRUN:
            title = f"job {hydra_config.job.num}: {' '.join(hydra_config.overrides.task)}"
            if state_of(folder) == "finished":
                print(f"{title}: has finished already", flush=True)
                return
        config: Any = OmegaConf.to_object(cfg)
        if title is not None and is_apart(hydra_config.runtime.choices):
            stand_in(hydra_config.runtime.cwd)
            done = perform_launched(self.command, config, folder, self.mode, title)
        elif title is not None and config.executor.name == "in_process":
            done = perform_apart(self.command, config, folder, self.mode, title)
        else:  # a single job, or trials that already run in processes of their own
            done = perform(self.command, config, folder, self.mode, title, self.outcome.prepared)
        if not done:
            self.outcome.failed = True
