"""Checks the folders that jobs are to write to: one that holds a run, or cannot be written, is rejected."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from biotune.errors import ConfigError, RunFolderError, one_line
from biotune.recipes.resuming import pin_config
from biotune.store.files import JOURNAL, STATUS
from biotune.store.folders import why_not_writable
from biotune.store.journal import Journal
from biotune.store.lock import sole_user

NUMBERED = "${hydra.job.num}"  # the name of a job's folder, of which a sweep can be continued


def check_folder(hydra_config: DictConfig, job: int | None, config: Any) -> None:
    """Reject a folder that holds a run, or that cannot be written. A sweep may continue in its own folder.

    Args:
        hydra_config: Hydra's part of the composed config; in a sweep with the job's number.
        job: Number of the job in a sweep; None for a single run.
        config: The typed config of the job.

    Raises:
        ConfigError: The name of the folder cannot be used.
        RunFolderError: The folder holds a run, cannot be written, or belongs to another sweep.
    """
    if hydra_config.output_subdir != ".hydra":
        raise ConfigError(f"hydra.output_subdir={hydra_config.output_subdir}: must stay .hydra; a run is recognised by it.")
    key = "hydra.run.dir" if job is None else "hydra.sweep.dir"
    named = str(hydra_config.run.dir if job is None else hydra_config.sweep.dir)
    if not named:
        raise ConfigError(f"{key}=: must not be empty.")
    # ${now:} and ${unique:} can be resolved here without harm: a folder named by them is new
    folder = Path(named).absolute()
    if holds_run(folder):
        hint = f" 'biotune resume {named}' finishes it, if it was interrupted." if job is None else ""
        raise RunFolderError(f"{key}={folder}: already holds a run; choose another folder or delete it.{hint}")
    what = ""
    if job is not None:
        raw: Any = OmegaConf.to_container(hydra_config.sweep, resolve=False)
        _check_earlier_job(folder, job, config, str(raw["subdir"]))
        try:
            subfolder = str(hydra_config.sweep.subdir)
        except OmegaConfBaseException as error:
            raise ConfigError(f"hydra.sweep.subdir: cannot be resolved ({one_line(error)}).") from None
        folder, what = folder / subfolder, f"the folder {one_line(subfolder)} of a job "
    if reason := why_not_writable(folder / hydra_config.output_subdir):
        raise RunFolderError(f"{key}={one_line(named)}: {what}cannot be written: {reason}. Choose another folder.")


def _check_earlier_job(sweep: Path, job: int, config: Any, subfolder: str) -> None:
    """Check that each job of a continued sweep has the settings it was started with."""
    if subfolder != NUMBERED:
        if os.path.isdir(sweep) and any(holds_run(folder) for folder in sweep.iterdir()):
            raise RunFolderError(
                f"hydra.sweep.dir={sweep}: already holds a sweep, and only a sweep with numbered jobs can be continued; "
                "choose another folder or delete it."
            )
        return
    folder = sweep / str(job)
    if not os.path.isfile(folder / JOURNAL):
        return
    with sole_user(folder):
        journal = Journal(folder)
        try:
            pin_config(journal, config, folder)
        finally:
            journal.close()


def stand_in(cwd: str) -> None:
    """Change to the working folder in which a command was given: its relative paths refer to it.

    On another machine there may be none; they refer to the present one then.
    """
    with suppress(OSError):
        os.chdir(cwd)


def holds_run(folder: Path) -> bool:
    """Return whether a folder holds a run, finished or not."""
    return any(os.path.exists(folder / name) for name in (".hydra/config.yaml", JOURNAL, STATUS))
