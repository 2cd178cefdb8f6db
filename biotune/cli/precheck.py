"""Everything that can be wrong with a command line, found before Hydra runs and said in one line each.

Hydra's own messages run over several lines and come after it has made folders; so the config is composed here first.
"""

from __future__ import annotations

import argparse
import copy
import dataclasses
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import yaml
from hydra import compose
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra._internal.utils import get_args_parser
from hydra.core.config_loader import ConfigLoader
from hydra.core.object_type import ObjectType
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, open_dict, read_write
from omegaconf.errors import OmegaConfBaseException

from biotune.checks import check
from biotune.cli import NO_HYDRA_COMPLETION
from biotune.cli.composing import composing
from biotune.cli.jobs import WITH_FOLDER
from biotune.config import COMMANDS
from biotune.errors import ConfigError, RunFolderError, did_you_mean, one_line
from biotune.keys import Key, keys_of
from biotune.resuming import settle_config, sole_user
from biotune.store import JOURNAL, STATUS, Journal
from biotune.voice import Voice

_MOST_JOBS_CHECKED = 32
_GROUP_LISTS = {"dataset": "datasets", "backbone": "backbones", "strategy": "strategies", "evolution": "evolution"}


@dataclass(frozen=True)
class Checked:
    """What the check found out about a command line that is in order.

    Attributes:
        multirun: Whether several jobs were asked for.
    """

    multirun: bool


def precheck(command: str, arguments: list[str], voice: Voice = Voice.NORMAL) -> Checked:
    """Check a command line as far as it can be without training.

    Raises:
        BiotuneError: With a line for everything that is wrong.
    """
    options = _options(command, arguments)
    if options.shell_completion:
        raise ConfigError(NO_HYDRA_COMPLETION)
    if options.help or options.hydra_help:
        return Checked(False)
    if options.config_path:
        raise ConfigError(f"--config-path {options.config_path}: biotune's own configs are needed; add yours by --config-dir.")
    with composing(options.config_dir) as loader:
        overrides = parse_overrides(options.overrides, loader)
        check_names(command, overrides, loader)
        jobs = _jobs(overrides, options.multirun)
        name = options.config_name or command
        _check_mode(overrides)
        composed = [_compose(command, name, job) for job in jobs[:_MOST_JOBS_CHECKED]]
    if options.info or options.cfg:
        return Checked(options.multirun)
    for number, (config, hydra_config) in enumerate(composed):
        check(config)
        if command in WITH_FOLDER:
            _check_folder(hydra_config, number if options.multirun else None, config)
    if command in WITH_FOLDER:
        _check_inputs([config for config, _ in composed], voice)
    return Checked(options.multirun)


def flags_first(command: str, arguments: list[str]) -> list[str]:
    """The same arguments, flags before overrides: Hydra's parser refuses overrides on both sides of a flag."""
    parser = _parser(command)
    overrides: list[str] = parser.parse_known_intermixed_args(arguments)[0].overrides
    return [*(argument for argument in arguments if argument not in overrides), *overrides]


def _check_inputs(configs: list[Any], voice: Voice) -> None:
    from biotune.recipes import check_inputs
    from biotune.view import View

    with View(voice=voice) as view:
        for config in configs:
            check_inputs(config, view)


def _options(command: str, arguments: list[str]) -> argparse.Namespace:
    parser = _parser(command)
    options = parser.parse_args(arguments)
    if options.resolve and not options.cfg and not options.help:
        parser.error("--resolve needs --cfg")
    for flag in options.overrides:
        if flag.startswith("-"):
            parser.error(f"unrecognized option {flag}")
    return options


def _parser(command: str) -> argparse.ArgumentParser:
    """Hydra's parser, complaining in our way."""
    parser: argparse.ArgumentParser = get_args_parser()

    def complain(message: str) -> NoReturn:
        raise ConfigError(f"{message}. 'biotune {command} --help' shows what can be set.")

    parser.error = complain  # type: ignore[method-assign]
    return parser


def parse_overrides(given: list[str], loader: ConfigLoader) -> list[Override]:
    """What was typed as KEY=VALUE, by Hydra's grammar.

    Raises:
        ConfigError: Something is not KEY=VALUE.
    """
    parser = OverridesParser.create(loader)
    parsed = []
    for text in given:
        try:
            parsed.append(parser.parse_override(text))
        except HydraException as error:
            reason = one_line(str(error).splitlines()[0])
            remedy = "Write $HOME instead of ~." if "'~'" in reason else "Quote special characters."
            raise ConfigError(f"{text}: cannot be read as KEY=VALUE ({reason}). {remedy}") from None
        if not parsed[-1].key_or_group:
            raise ConfigError(f"{text}: cannot be read as KEY=VALUE (there is no key).")
    return parsed


def check_names(command: str, overrides: list[Override], loader: ConfigLoader) -> None:
    """Every override must name a key of the schema, or a group and one of its choices."""
    keys = {item.path: item for item in keys_of(COMMANDS[command])}
    chosen = loader.compute_defaults_list(command, [], RunMode.RUN).overrides.known_choices
    sections = {path.rpartition(".")[0] for path in keys} - {""}
    problems: list[str] = []
    for override in overrides:
        name = override.key_or_group
        if name.split(".")[0].split("/")[0] == "hydra":
            continue
        if name in keys:
            problems += _type_problems(keys[name], override)
        elif _is_group(loader, name) and name not in chosen and not override.is_add():
            problems.append(f"{override.input_line}: 'biotune {command}' has no {name} to choose.")
        elif _is_group(loader, name):
            problems += _choice_problems(loader, name, override)
        elif name in sections:
            problems.append(f"{override.input_line}: {name} holds keys; set one of them, such as {_first_in(name, keys)}.")
        else:
            problems.append(f"{override.input_line}: no such key.{_near_keys(name, keys)}")
    if problems:
        raise ConfigError("\n".join(problems))


def _is_group(loader: ConfigLoader, name: str) -> bool:
    return bool(loader.get_group_options(name, results_filter=ObjectType.CONFIG))


def _first_in(section: str, keys: dict[str, Key]) -> str:
    return next(path for path in keys if path.startswith(section + "."))


def _near_keys(name: str, keys: dict[str, Key]) -> str:
    same_leaf = [path for path in keys if path.rpartition(".")[2] == name.rpartition(".")[2]]
    if same_leaf:
        return f" Did you mean {' or '.join(same_leaf)}?"
    return did_you_mean(name, keys) or " 'biotune run --cfg job' shows all keys."


def _choice_problems(loader: ConfigLoader, group: str, override: Override) -> Iterator[str]:
    choices = loader.get_group_options(group, results_filter=ObjectType.CONFIG)
    if not override.is_sweep_override() and isinstance(override.value(), list):
        yield f"{override.input_line}: takes one {group}, not a list; -m runs several: {group}=one,another."
        return
    for value in _values(override):
        if value is not None and str(value) not in choices:
            listing = _GROUP_LISTS.get(group)
            where = f" 'biotune list {listing}' shows all {len(choices)}." if listing else f" Known: {', '.join(choices)}."
            yield f"{group}={value}: no such {group}.{did_you_mean(str(value), choices)}{where}"


def _values(override: Override) -> list[Any]:
    if override.is_sweep_override():
        return list(override.sweep_string_iterator()) if override.is_discrete_sweep() else []
    return [override.value()]


def _type_problems(item: Key, override: Override) -> Iterator[str]:
    """A value that cannot be converted to the key's type; OmegaConf itself is asked."""
    if override.is_delete() or override.is_add():
        yield f"{override.input_line}: keys can be neither added nor deleted."
        return
    if override.is_sweep_override() and not override.is_discrete_sweep():
        yield f"{override.input_line}: only values can be swept, as in {item.path}=1,2 or {item.path}=range(1,3)."
        return
    for value in override.sweep_iterator() if override.is_sweep_override() else [override.value()]:
        probe = OmegaConf.structured(_probe_class(item))
        try:
            OmegaConf.update(probe, "value", value)
        except OmegaConfBaseException:
            yield f"{override.input_line}: must be {item.must_be}."
            return
        if item.is_no_word(value):
            yield f"{override.input_line}: must be {item.must_be}."
            return


def _probe_class(item: Key) -> type:
    return dataclasses.make_dataclass("Probe", [("value", item.type, dataclasses.field(default="???"))])


def _jobs(overrides: list[Override], multirun: bool) -> list[list[str]]:
    if multirun:
        jobs: list[list[str]] = [list(job) for batch in BasicSweeper.split_arguments(overrides, None) for job in batch]
        return jobs
    swept = [override.input_line for override in overrides if override.is_sweep_override()]
    if swept:
        raise ConfigError(f"{swept[0]}: several values need -m (one job for each), a list needs brackets: [1,2].")
    return [[str(override.input_line) for override in overrides]]


def _compose(command: str, name: str, overrides: list[str]) -> tuple[Any, DictConfig]:
    """The typed config of one job, and Hydra's own part."""
    meaning = {item.path: item.metadata["meaning"] for item in keys_of(COMMANDS[command])}
    try:
        hydra_config = compose(name, overrides=overrides, return_hydra_config=True)
        job = copy.copy(hydra_config)
        with read_write(job), open_dict(job):
            del job["hydra"]
        missing = sorted(OmegaConf.missing_keys(job))
        if missing:
            raise ConfigError("\n".join(f"{key}: must be given. {meaning.get(key, '')}".rstrip() for key in missing))
        config = OmegaConf.to_object(job)
        if not isinstance(config, COMMANDS[command]):
            raise ConfigError(f"--config-name {name}: is no config of 'biotune {command}'; its defaults need {command}_schema.")
        return config, hydra_config.hydra
    except (HydraException, OmegaConfBaseException) as error:
        raise ConfigError(f"the config cannot be composed: {one_line(error)}") from None
    except yaml.YAMLError as error:
        raise ConfigError(f"a config file is no plain YAML: {one_line(error)}") from None


def _check_mode(overrides: list[Override]) -> None:
    """Refuse what would make several jobs one folder's, or Hydra run several where one was checked."""
    for override in overrides:
        if override.key_or_group == "hydra.mode":
            raise ConfigError(f"{override.input_line}: several jobs are asked for by -m.")
        if override.key_or_group == "hydra.sweep.subdir" and "${" not in (override.input_line or ""):
            raise ConfigError(f"{override.input_line}: would put all jobs into one folder; use ${{hydra.job.num}} in it.")


def _check_folder(hydra_config: DictConfig, job: int | None, config: Any) -> None:
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
            settle_config(journal, config, folder)
        finally:
            journal.close()


def holds_run(folder: Path) -> bool:
    """Whether a folder holds a run, begun or finished."""
    return any((folder / name).exists() for name in (".hydra/config.yaml", JOURNAL, STATUS))
