"""Composes configs before Hydra runs, searching the user's `--config-dir` as Hydra does."""

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
from hydra.core.object_type import ObjectType
from omegaconf import OmegaConf

from biotune.cli.launch.hydra_internals import search_path, share_store, use_search_path
from biotune.cli.registry import SCHEMAS
from biotune.errors import ConfigError

CONFIGS = "pkg://biotune.configs"
_PROCESS_SUFFIX = secrets.token_hex(2)


def register() -> None:
    """Register the schemas and the resolvers with Hydra; safe to call twice."""
    store = ConfigStore.instance()
    for command, schema in SCHEMAS.items():
        if f"{command}_schema.yaml" not in store.repo:  # making one takes time
            store.store(name=f"{command}_schema", node=schema)
    share_store()
    OmegaConf.register_new_resolver("unique", lambda: _PROCESS_SUFFIX, use_cache=True, replace=True)


def options_of(group: str, loader: ConfigLoader) -> list[str]:
    """The choices of a config group, sorted; none where there is no such group.

    The loader's own method of this purpose copies all configs for each call.

    Args:
        group: Its name.
        loader: Hydra's config loader.
    """
    sources = [source for source in loader.get_sources() if source.is_group(group)]
    return sorted({name for source in sources for name in source.list(group, ObjectType.CONFIG)})


@contextmanager
def composing(config_dir: str | None) -> Iterator[ConfigLoader]:
    """Enable `hydra.compose` within the context.

    Args:
        config_dir: The user's folder of configs, searched before the packaged ones; None for none.

    Yields:
        Hydra's config loader.

    Raises:
        ConfigError: The folder does not exist.
    """
    register()
    path = search_path(CONFIGS)
    if config_dir is not None:
        if not Path(config_dir).is_dir():
            raise ConfigError(f"--config-dir {config_dir}: no such folder.")
        # the schemas must stay last in the search path
        path.prepend("command-line", f"file://{Path(config_dir).absolute()}", SearchPathQuery(provider="schema"))
    instance = GlobalHydra.instance()
    instance.clear()
    version.setbase("1.3")
    use_search_path(path)
    try:
        yield instance.config_loader()
    finally:
        instance.clear()
