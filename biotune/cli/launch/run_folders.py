"""Checks the folders that jobs are to write to: one that holds a run, or cannot be written, is rejected."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from biotune.errors import ConfigError, RunFolderError
from biotune.recipes.resuming import pin_config
from biotune.store.files import JOURNAL, STATUS
from biotune.store.journal import Journal
from biotune.store.lock import sole_user


def check_folder(hydra_config: DictConfig, job: int | None, config: Any) -> None:
    """Reject a folder that holds a run, or that cannot be written. A sweep may continue in its own folder.

    Args:
        hydra_config: Hydra's part of the composed config.
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
    if job is not None:
        raw: Any = OmegaConf.to_container(hydra_config.sweep, resolve=False)
        _check_earlier_job(folder, job, config, str(raw["subdir"]))
    nearest = next(parent for parent in (folder, *folder.parents) if parent.exists())
    if not nearest.is_dir():
        raise RunFolderError(f"{key}={folder}: cannot be written: {nearest} is a file.")
    if not os.access(nearest, os.W_OK | os.X_OK):
        raise RunFolderError(f"{key}={folder}: cannot be written: no permission in {nearest}.")


def _check_earlier_job(sweep: Path, job: int, config: Any, subfolder: str) -> None:
    """Check that each job of a continued sweep has the settings it was started with."""
    if subfolder != "${hydra.job.num}":
        if any(holds_run(folder) for folder in sweep.glob("*")):
            raise RunFolderError(
                f"hydra.sweep.dir={sweep}: already holds a sweep, and only a sweep with numbered jobs can be continued; "
                "choose another folder or delete it."
            )
        return
    folder = sweep / str(job)
    if not (folder / JOURNAL).is_file():
        return
    with sole_user(folder):
        journal = Journal(folder)
        try:
            pin_config(journal, config, folder)
        finally:
            journal.close()


def holds_run(folder: Path) -> bool:
    """Return whether a folder holds a run, finished or not."""
    return any((folder / name).exists() for name in (".hydra/config.yaml", JOURNAL, STATUS))
