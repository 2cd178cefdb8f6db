"""Runs the commands whose config Hydra composes: the check, Hydra's run, and the function of each of its jobs."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from biotune.cli.launch.compose import CONFIGS, register
from biotune.cli.launch.hydra_internals import run_single
from biotune.cli.launch.interrupts import end_cleanly
from biotune.cli.launch.overrides import with_pairs_quoted
from biotune.cli.launch.perform import perform, perform_apart
from biotune.cli.launch.precheck import flags_first, precheck
from biotune.cli.launch.sweep import summarise_sweep
from biotune.cli.registry import COMMANDS, Command, load
from biotune.cli.terminal.output_mode import OutputMode, take_output_mode
from biotune.errors import BiotuneError
from biotune.store.status import state_of

if TYPE_CHECKING:
    from biotune.recipes.inputs import Prepared


def run_command(command: str, arguments: list[str]) -> int:
    """Check the command line, then let Hydra run it, once or for every job of a multirun.

    Args:
        command: A command of the registry that has a schema.
        arguments: The words after it.

    Returns:
        The exit status: 0, or 1 where a job has failed.

    Raises:
        BiotuneError: The command line is wrong, or a command without a run folder has failed.
        KeyboardInterrupt: The user pressed Ctrl-C, or the process received SIGTERM.
    """
    register()
    # Hydra does not know the flags of the output modes, so they are removed here
    arguments, mode = take_output_mode(arguments, *COMMANDS[command].modes)
    arguments = with_pairs_quoted(command, flags_first(command, arguments))
    if command == "train":
        arguments = _with_implied_strategy(arguments)
    checked = precheck(command, arguments, mode)
    # Hydra reads sys.argv itself; the sub-command must look like part of the program's name
    sys.argv = [f"biotune {command}", *arguments]
    outcome = _Outcome(checked.prepared)
    end_cleanly()
    try:
        job = _job(COMMANDS[command], mode, outcome)
        if checked.single is None:
            hydra.main(version_base="1.3", config_path=CONFIGS, config_name=command)(job)()
        else:  # composed already
            run_single(*checked.single, job)
    except KeyboardInterrupt:
        if outcome.sweep is not None:
            raise KeyboardInterrupt(f"The same command with hydra.sweep.dir={outcome.sweep} continues the sweep.") from None
        raise
    if outcome.error is not None:
        raise outcome.error
    if outcome.sweep is not None:
        # a job that fails before it writes its status is missing in the summary
        return max(summarise_sweep(outcome.sweep), int(outcome.failed))
    return 1 if outcome.failed else 0


def _with_implied_strategy(arguments: list[str]) -> list[str]:
    """Add strategy=schedule after schedule=FILE, as if it had been typed, unless a strategy is named."""
    values = dict(argument.lstrip("+").partition("=")[::2] for argument in arguments)
    if values.get("schedule", "null") in ("", "null") or "strategy" in values or "strategy.name" in values:
        return arguments
    place = next(index for index, argument in enumerate(arguments) if argument.lstrip("+").startswith("schedule="))
    return [*arguments[: place + 1], "strategy=schedule", *arguments[place + 1 :]]


class _Outcome:
    """The inputs and results of the jobs in this process; Hydra passes neither."""

    def __init__(self, prepared: Prepared | None) -> None:
        self.prepared = prepared
        self.failed = False
        self.error: BiotuneError | None = None
        self.sweep: Path | None = None


def _job(command: Command, mode: OutputMode, outcome: _Outcome) -> Callable[[DictConfig], None]:
    """The function that Hydra calls for each job of a command; jobs store their results in `outcome`."""

    def job(cfg: DictConfig) -> None:
        if command.leaves_folder:
            _train(command.name, cfg, mode, outcome)
        else:
            _show(command, cfg, mode, outcome)

    return job


def _show(command: Command, cfg: DictConfig, mode: OutputMode, outcome: _Outcome) -> None:
    """Run a command without a run folder; one that checks something returns False where it found a fault."""
    try:
        if load(str(command.job))(OmegaConf.to_object(cfg), mode) is False:
            outcome.failed = True
    except BiotuneError as error:  # raised again after Hydra has returned, because Hydra would add its own message
        outcome.error = error


def _train(command: str, cfg: DictConfig, mode: OutputMode, outcome: _Outcome) -> None:
    """Run one of Hydra's jobs; in a sweep that continues, a finished job is skipped."""
    hydra_config = HydraConfig.get()
    folder = Path(hydra_config.runtime.output_dir)
    title = None
    if hydra_config.mode == RunMode.MULTIRUN:
        title = f"job {hydra_config.job.num}: {' '.join(hydra_config.overrides.task)}"
        outcome.sweep = Path(hydra_config.sweep.dir)
        if state_of(folder) == "finished":
            print(f"{title}: has finished already")
            return
    config: Any = OmegaConf.to_object(cfg)
    if title is not None and config.executor.name == "in_process":
        done = perform_apart(command, config, folder, mode, title)
    else:  # a single job, or trials that already run in processes of their own
        done = perform(command, config, folder, mode, title, outcome.prepared)
    if not done:
        outcome.failed = True
