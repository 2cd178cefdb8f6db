"""Composing configs ahead of Hydra's own run, with the user's `--config-dir` searched as Hydra itself would."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hydra import version
from hydra.core.config_loader import ConfigLoader
from hydra.core.config_search_path import SearchPathQuery
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from omegaconf import OmegaConf

from biotune.cli.launch.hydra_internals import search_path, use_search_path
from biotune.cli.registry import SCHEMAS
from biotune.errors import ConfigError

CONFIGS = "pkg://biotune.configs"
_PROCESS_SUFFIX = secrets.token_hex(2)


def register() -> None:
    """Make the schema and the resolvers known to Hydra; safe to call twice."""
    store = ConfigStore.instance()
    for command, schema in SCHEMAS.items():
        store.store(name=f"{command}_schema", node=schema)
    OmegaConf.register_new_resolver("unique", lambda: _PROCESS_SUFFIX, use_cache=True, replace=True)


@contextmanager
def composing(config_dir: str | None) -> Iterator[ConfigLoader]:
    """Let `hydra.compose` work for the time of the context.

    Args:
        config_dir: A folder of the user's that is searched too.

    Raises:
        ConfigError: The folder is not there.
    """
    register()
    path = search_path(CONFIGS)
    if config_dir is not None:
        if not Path(config_dir).is_dir():
            raise ConfigError(f"--config-dir {config_dir}: no such folder.")
        # the schema must stay last
        path.prepend("command-line", f"file://{Path(config_dir).absolute()}", SearchPathQuery(provider="schema"))
    instance = GlobalHydra.instance()
    instance.clear()
    version.setbase("1.3")
    use_search_path(path)
    try:
        yield instance.config_loader()
    finally:
        instance.clear()
