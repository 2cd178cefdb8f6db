"""The parts of Hydra's private modules that biotune uses; any release may move them. Valid for Hydra 1.3 from 1.3.2 on.

Hydra's public `hydra.compose` cannot search a `--config-dir`, and no public function splits a multirun into jobs or
reads Hydra's flags without running; so these five names are used. pyproject.toml admits Hydra >=1.3.2,<1.4.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Self

from hydra._internal.callbacks import Callbacks
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra._internal.hydra import Hydra
from hydra._internal.utils import create_config_search_path, get_args_parser
from hydra.core.config_loader import ConfigLoader
from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.types import Override
from hydra.core.utils import run_job
from hydra.types import HydraContext, RunMode
from omegaconf import DictConfig, open_dict, read_write

from biotune.cli.arguments import Parser


def search_path(configs: str) -> ConfigSearchPath:
    """Return the path on which Hydra searches for configs, including those of its plugins.

    Args:
        configs: The primary folder, such as `pkg://biotune.configs`.
    """
    path: ConfigSearchPath = create_config_search_path(configs)
    return path


def use_search_path(path: ConfigSearchPath) -> None:
    """Make `hydra.compose` search a path, by means of Hydra's global instance."""
    Hydra.create_main_hydra2(task_name="biotune", config_search_path=path)


class _Shared(dict[str, Any]):
    """The nodes of Hydra's store of configs. Hydra copies them all each time that it composes, and each again that it loads."""

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self


def share_store() -> None:
    """Let Hydra copy only the nodes that it loads; safe to call twice."""
    store = ConfigStore.instance()
    store.repo = _Shared(store.repo)


def run_single(config: DictConfig, loader: ConfigLoader, task: Callable[[DictConfig], None]) -> None:
    """Run one job as `hydra.main` would, with a config that is composed already.

    Args:
        config: The whole config, including Hydra's part.
        loader: The loader that composed it.
        task: Called with the config without Hydra's part, once the job's folder and `.hydra` are written.

    Raises:
        Exception: Any exception of the task.
    """
    with read_write(config.hydra), open_dict(config.hydra):
        config.hydra.mode = RunMode.RUN
    callbacks = Callbacks(config)
    context = HydraContext(config_loader=loader, callbacks=callbacks)
    callbacks.on_run_start(config=config, config_name=config.hydra.job.config_name)
    done = run_job(hydra_context=context, task_function=task, config=config, job_dir_key="hydra.run.dir", job_subdir_key=None)
    callbacks.on_run_end(config=config, config_name=config.hydra.job.config_name, job_return=done)
    _ = done.return_value  # raises the task's exception


def run_sweep(name: str, overrides: Sequence[str], task: Callable[[DictConfig], None]) -> None:
    """Run the jobs of a multirun as `hydra.main` would, by the sweeper and the launcher of the config.

    Args:
        name: The name of the primary config; it is searched as within `compose.composing`.
        overrides: All overrides of the command line, those of Hydra's own keys included.
        task: Called with the config of each job without Hydra's part, perhaps in another process.

    Raises:
        Exception: An exception of a job or of the launcher.
    """
    hydra = GlobalHydra.instance().hydra
    if hydra is None:
        raise RuntimeError("run_sweep: call it within compose.composing")
    hydra.multirun(name, task, [*overrides, "hydra.mode=MULTIRUN"])


def parser_of(command: str) -> Parser:
    """Return Hydra's parser of flags and overrides, which raises `ConfigError`s."""
    return Parser(f"biotune {command}", help_shows="what can be set", parents=[get_args_parser()], add_help=False)


def jobs_of(overrides: list[Override]) -> list[list[str]]:
    """Return the overrides of every job of a multirun, in the order in which Hydra runs them."""
    return [list(job) for batch in BasicSweeper.split_arguments(overrides, None) for job in batch]
