"""Where jobs are to land: a folder that holds a run, or that cannot be written, is refused."""

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
    """Refuse a folder that holds a run, or that cannot be written. A sweep may go on in its own folder."""
    if hydra_config.output_subdir != ".hydra":
        raise ConfigError(f"hydra.output_subdir={hydra_config.output_subdir}: must stay .hydra; a run is recognised by it.")
    key = "hydra.run.dir" if job is None else "hydra.sweep.dir"
    named = str(hydra_config.run.dir if job is None else hydra_config.sweep.dir)
    if not named:
        raise ConfigError(f"{key}=: must not be empty.")
    # resolving ${now:} and ${unique:} here costs nothing: a folder named by them is new
    folder = Path(named).absolute()
    if holds_run(folder):
        hint = f" 'biotune resume {named}' finishes it, if it was interrupted." if job is None else ""
        raise RunFolderError(f"{key}={folder}: already holds a run; choose another folder or delete it.{hint}")
    if job is not None:
        raw: Any = OmegaConf.to_container(hydra_config.sweep, resolve=False)
        _check_earlier_job(folder, job, config, str(raw["subdir"]))
    nearest = next(parent for parent in (folder, *folder.parents) if parent.exists())
    if not nearest.is_dir():
        raise RunFolderError(f"{key}={folder}: cannot be written, {nearest} is a file.")
    if not os.access(nearest, os.W_OK | os.X_OK):
        raise RunFolderError(f"{key}={folder}: cannot be written, no permission in {nearest}.")


def _check_earlier_job(sweep: Path, job: int, config: Any, subfolder: str) -> None:
    """A sweep that goes on must be the one that was begun: job by job with the same settings."""
    if subfolder != "${hydra.job.num}":
        if any(holds_run(folder) for folder in sweep.glob("*")):
            raise RunFolderError(
                f"hydra.sweep.dir={sweep}: already holds a sweep, and only one whose jobs are numbered can go on; "
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
    """Whether a folder holds a run, begun or finished."""
    return any((folder / name).exists() for name in (".hydra/config.yaml", JOURNAL, STATUS))
