"""Finds all errors of a command line before Hydra runs, and reports each in one line.

Hydra's messages have several lines and come after it has made folders; so the config is composed here first.
"""

from __future__ import annotations

import argparse
import copy
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from hydra import compose
from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf, open_dict, read_write
from omegaconf.errors import OmegaConfBaseException

from biotune.cli.launch.compose import composing
from biotune.cli.launch.hydra_internals import jobs_of, parser_of
from biotune.cli.launch.launchers import BASIC, Sweep, check_launcher, chosen, runs_elsewhere
from biotune.cli.launch.overrides import check_names, check_use, parse_overrides
from biotune.cli.launch.run_folders import check_folder
from biotune.cli.registry import NO_HYDRA_COMPLETION, SCHEMAS, WITH_FOLDER
from biotune.cli.terminal.output_mode import OutputMode
from biotune.config.checks import check
from biotune.config.key import keys_of
from biotune.errors import ConfigError, one_line
from biotune.store.scratch import check_cache

if TYPE_CHECKING:
    from biotune.recipes.inputs import Prepared

_MOST_JOBS_CHECKED = 32


@dataclass(frozen=True)
class Checked:
    """The results of a successful check.

    Attributes:
        prepared: The inputs of the jobs; None for commands that train nothing.
        single: The whole config of a single job and the loader that composed it; None where Hydra runs several jobs, or prints
            the config.
        sweep: The jobs of a multirun; None where there is none, or Hydra prints the config.
    """

    prepared: Prepared | None = None
    single: tuple[DictConfig, ConfigLoader] | None = None
    sweep: Sweep | None = None


def precheck(command: str, arguments: list[str], mode: OutputMode = OutputMode.NORMAL) -> Checked:
    """Check a command line as far as possible without training.

    Args:
        command: A command with a schema.
        arguments: The words after it.
        mode: How to print progress while images are decoded.

    Raises:
        BiotuneError: With one line per error.
    """
    options = _options(command, arguments)
    if options.shell_completion:
        raise ConfigError(NO_HYDRA_COMPLETION)
    if options.help or options.hydra_help:
        return Checked()
    if options.config_path:
        raise ConfigError(f"--config-path {options.config_path}: cannot replace biotune's configs; add yours by --config-dir.")
    with composing(options.config_dir) as loader:
        overrides = parse_overrides(options.overrides, loader)
        check_names(command, overrides, loader)
        jobs = _jobs(overrides, options.multirun)
        name = options.config_name or command
        _check_mode(overrides)
        if options.multirun:
            check_launcher(overrides, loader)
        composed = [_compose(command, name, job) for job in jobs[:_MOST_JOBS_CHECKED]]
    if options.info or options.cfg:
        return Checked()
    configs = [config for config, _ in composed]
    check_use(command, overrides, configs)
    for number, (config, whole) in enumerate(composed):
        check(config)
        if command in WITH_FOLDER:
            if options.multirun:
                check_folder(_numbered(whole, number), number, config)
            else:
                check_folder(whole.hydra, None, config)
    prepared = None
    launcher = chosen(composed[0][1].hydra.runtime.choices)
    if command in WITH_FOLDER:
        check_cache()
        prepared = _check_inputs(configs, mode, launcher if options.multirun else BASIC)
    if not options.multirun:
        return Checked(prepared, (composed[0][1], loader))
    folder = Path(composed[0][1].hydra.sweep.dir)
    return Checked(prepared, None, Sweep(name, tuple(options.overrides), options.config_dir, folder, launcher, len(jobs)))


def flags_first(command: str, arguments: list[str]) -> list[str]:
    """Return the arguments with flags before overrides: Hydra's parser rejects overrides on both sides of a flag.

    Args:
        command: A command with a schema.
        arguments: The words after it.
    """
    parser = parser_of(command)
    overrides: list[str] = parser.parse_known_intermixed_args(arguments)[0].overrides
    return [*(argument for argument in arguments if argument not in overrides), *overrides]


def _check_inputs(configs: list[Any], mode: OutputMode, launcher: str) -> Prepared | None:
    """Check the inputs of all jobs, and keep those prepared for the last one checked, which is the first job.

    A launcher's jobs prepare their own, and on other machines they have devices that this one may lack.
    """
    from biotune.cli.terminal.view import View
    from biotune.recipes.inputs import Prepared

    prepared = Prepared()
    with View(mode=mode) as view:
        for config in reversed(configs):  # so that the inputs of the first job are the ones kept
            prepared.check(replace(config, device="auto") if runs_elsewhere(launcher) else config, view.decoding)
    return prepared if launcher == BASIC else None


def _options(command: str, arguments: list[str]) -> argparse.Namespace:
    parser = parser_of(command)
    options = parser.parse_args(arguments)
    if options.resolve and not options.cfg and not options.help:
        parser.error("--resolve needs --cfg")
    if options.multirun and (options.cfg or options.info):
        parser.error(f"{'--cfg' if options.cfg else '--info'} shows one job's config; leave out -m")
    for flag in options.overrides:
        if flag.startswith("-"):
            parser.error(f"unrecognized option {flag}")
    return options


def _jobs(overrides: list[Override], multirun: bool) -> list[list[str]]:
    if multirun:
        return jobs_of(overrides)
    swept = [override.input_line for override in overrides if override.is_sweep_override()]
    if swept:
        raise ConfigError(f"{swept[0]}: several values need -m (one job for each), a list needs brackets: [1,2].")
    return [[str(override.input_line) for override in overrides]]


def _compose(command: str, name: str, overrides: list[str]) -> tuple[Any, DictConfig]:
    """The typed config of one job, and the whole config with Hydra's part."""
    meaning = {item.path: item.metadata["meaning"] for item in keys_of(SCHEMAS[command])}
    try:
        whole = compose(name, overrides=overrides, return_hydra_config=True)
        job = copy.copy(whole)
        with read_write(job), open_dict(job):
            del job["hydra"]
        missing = sorted(OmegaConf.missing_keys(job))
        if missing:
            raise ConfigError("\n".join(f"{key}: must be given. {meaning.get(key, '')}".rstrip() for key in missing))
        config = OmegaConf.to_object(job)
        if not isinstance(config, SCHEMAS[command]):
            raise ConfigError(
                f"--config-name {name}: is not a config of 'biotune {command}'; its defaults list must hold {command}_schema."
            )
        return config, whole
    except (HydraException, OmegaConfBaseException) as error:
        raise ConfigError(f"the config cannot be composed: {one_line(error)}") from None
    except yaml.YAMLError as error:
        raise ConfigError(f"a config file is not plain YAML: {one_line(error)}") from None


def _numbered(whole: DictConfig, number: int) -> DictConfig:
    """Hydra's part of the config of a sweep's job, with the job's number, on which the name of its folder depends."""
    numbered = copy.deepcopy(whole)
    with read_write(numbered.hydra), open_dict(numbered.hydra):
        numbered.hydra.job.num, numbered.hydra.job.id = number, str(number)
    hydra: DictConfig = numbered.hydra
    return hydra


def _check_mode(overrides: list[Override]) -> None:
    """Reject settings that put several jobs into one folder, or make Hydra run several jobs where one was checked."""
    for override in overrides:
        if override.key_or_group == "hydra.mode":
            raise ConfigError(f"{override.input_line}: cannot be set; use -m to run several jobs.")
        if override.key_or_group == "hydra.sweep.subdir" and "${" not in (override.input_line or ""):
            raise ConfigError(f"{override.input_line}: would put all jobs into one folder; use ${{hydra.job.num}} in it.")
