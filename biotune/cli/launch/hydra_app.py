"""The commands that Hydra composes a config for: registration of the schema, Hydra's own run, and what a job does."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from biotune.cli.launch.compose import CONFIGS, register
from biotune.cli.launch.interrupts import end_cleanly
from biotune.cli.launch.perform import perform, perform_apart
from biotune.cli.launch.precheck import Checked, flags_first, precheck
from biotune.cli.launch.sweep import summarise_sweep
from biotune.cli.terminal.output_mode import OutputMode, take_output_mode
from biotune.errors import BiotuneError
from biotune.store.status import state_of


def run_command(command: str, arguments: list[str]) -> int:
    """Check what was typed, then let Hydra run it, once or for every job of a multirun."""
    register()
    # the flags of the mode are taken off here: Hydra knows none of them
    arguments, mode = take_output_mode(arguments, *_MODES[command])
    arguments = flags_first(command, arguments)
    if command == "train":
        arguments = _with_implied_strategy(arguments)
    checked = precheck(command, arguments, mode)
    # Hydra reads the command line itself; the sub-command must look like part of the program's name
    sys.argv = [f"biotune {command}", *arguments]
    outcome = _Outcome(checked, mode)
    _CURRENT[:] = [outcome]
    end_cleanly()
    try:
        _JOBS[command]()
    except KeyboardInterrupt:
        if outcome.sweep is not None:
            raise KeyboardInterrupt(f"The same command with hydra.sweep.dir={outcome.sweep} goes on with the sweep.") from None
        raise
    if outcome.error is not None:
        raise outcome.error
    if outcome.sweep is not None:
        # a job that fails before it can write its status is in no summary
        return max(summarise_sweep(outcome.sweep), int(outcome.failed))
    return 1 if outcome.failed else 0


def _with_implied_strategy(arguments: list[str]) -> list[str]:
    """schedule=FILE says which strategy is meant, unless one is named; it is added as if it had been typed."""
    values = dict(argument.lstrip("+").partition("=")[::2] for argument in arguments)
    if values.get("schedule", "null") in ("", "null") or "strategy" in values or "strategy.name" in values:
        return arguments
    place = next(index for index, argument in enumerate(arguments) if argument.lstrip("+").startswith("schedule="))
    return [*arguments[: place + 1], "strategy=schedule", *arguments[place + 1 :]]


class _Outcome:
    """What the jobs in this process came to; Hydra itself tells nothing."""

    def __init__(self, checked: Checked, mode: OutputMode) -> None:
        self.checked = checked
        self.mode = mode
        self.failed = False
        self.error: BiotuneError | None = None
        self.sweep: Path | None = None


_CURRENT: list[_Outcome] = []
_MODES: dict[str, tuple[OutputMode, ...]] = {
    **dict.fromkeys(("run", "train", "compare", "evaluate"), (OutputMode.QUIET, OutputMode.VERBOSE)),
    **dict.fromkeys(("blocks", "data"), (OutputMode.JSON,)),
}


def _shown(show: Callable[[], object]) -> None:
    """Run a command that only shows something; its error is told once Hydra, which would add its own words, is through."""
    try:
        show()
    except BiotuneError as error:
        if not _CURRENT:
            raise
        _CURRENT[0].error = error


def _mode() -> OutputMode:
    return _CURRENT[0].mode if _CURRENT else OutputMode.NORMAL


def _job(command: str, cfg: DictConfig) -> None:
    """One of Hydra's jobs; in a sweep that goes on, one that has finished already is left as it is."""
    outcome = _CURRENT[0] if _CURRENT else None
    hydra_config = HydraConfig.get()
    folder = Path(hydra_config.runtime.output_dir)
    title = None
    if hydra_config.mode == RunMode.MULTIRUN:
        title = f"job {hydra_config.job.num}: {' '.join(hydra_config.overrides.task)}"
        if outcome is not None:
            outcome.sweep = Path(hydra_config.sweep.dir)
        if state_of(folder) == "finished":
            print(f"{title}: has finished already")
            return
    config: Any = OmegaConf.to_object(cfg)
    if title is not None and config.executor.name == "in_process":
        done = perform_apart(command, config, folder, _mode(), title)
    else:  # trainings have processes of their own
        prepared = None if outcome is None else outcome.checked.prepared
        done = perform(command, config, folder, _mode(), title, prepared)
    if not done and outcome is not None:
        outcome.failed = True


@hydra.main(version_base="1.3", config_path=CONFIGS, config_name="run")
def _run(cfg: DictConfig) -> None:
    _job("run", cfg)


@hydra.main(version_base="1.3", config_path=CONFIGS, config_name="train")
def _train(cfg: DictConfig) -> None:
    _job("train", cfg)


@hydra.main(version_base="1.3", config_path=CONFIGS, config_name="compare")
def _compare(cfg: DictConfig) -> None:
    _job("compare", cfg)


@hydra.main(version_base="1.3", config_path=CONFIGS, config_name="evaluate")
def _evaluate(cfg: DictConfig) -> None:
    _job("evaluate", cfg)


@hydra.main(version_base="1.3", config_path=CONFIGS, config_name="blocks")
def _blocks(cfg: DictConfig) -> None:
    from biotune.cli.commands.blocks import show_blocks

    config: Any = OmegaConf.to_object(cfg)
    _shown(lambda: show_blocks(config, _mode()))


@hydra.main(version_base="1.3", config_path=CONFIGS, config_name="data")
def _data(cfg: DictConfig) -> None:
    from biotune.cli.commands.data_check import check_dataset

    config: Any = OmegaConf.to_object(cfg)

    def check() -> None:
        if not check_dataset(config, _mode()) and _CURRENT:
            _CURRENT[0].failed = True

    _shown(check)


_JOBS: dict[str, Callable[[], None]] = {
    "run": _run,
    "train": _train,
    "compare": _compare,
    "evaluate": _evaluate,
    "blocks": _blocks,
    "data": _data,
}
