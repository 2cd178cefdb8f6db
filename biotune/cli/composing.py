"""Composing configs ahead of Hydra's own run, with the user's `--config-dir` searched as Hydra itself would."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hydra import version
from hydra._internal.hydra import Hydra
from hydra._internal.utils import create_config_search_path
from hydra.core.config_loader import ConfigLoader
from hydra.core.config_search_path import SearchPathQuery
from hydra.core.global_hydra import GlobalHydra

from biotune.errors import ConfigError

CONFIGS = "pkg://biotune.configs"


@contextmanager
def composing(config_dir: str | None) -> Iterator[ConfigLoader]:
    """Let `hydra.compose` work for the time of the context.

    Args:
        config_dir: A folder of the user's that is searched too.

    Raises:
        ConfigError: The folder is not there.
    """
    path = create_config_search_path(CONFIGS)
    if config_dir is not None:
        if not Path(config_dir).is_dir():
            raise ConfigError(f"--config-dir {config_dir}: no such folder.")
        # the schema must stay last
        path.prepend("command-line", f"file://{Path(config_dir).absolute()}", SearchPathQuery(provider="schema"))
    instance = GlobalHydra.instance()
    instance.clear()
    version.setbase("1.3")
    Hydra.create_main_hydra2(task_name="biotune", config_search_path=path)
    try:
        yield instance.config_loader()
    finally:
        instance.clear()
