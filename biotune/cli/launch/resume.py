"""`biotune resume DIR`: finishes an interrupted run, or extends a finished search."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import yaml
from hydra.core.override_parser.types import Override
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from biotune.cli.arguments import Parser
from biotune.cli.launch.compose import composing, options_of
from biotune.cli.launch.interrupts import end_cleanly
from biotune.cli.launch.overrides import check_names, check_use, parse_overrides
from biotune.cli.launch.perform import perform
from biotune.cli.launch.run_folders import stand_in
from biotune.cli.registry import COMMANDS, SCHEMAS
from biotune.cli.terminal.output_mode import take_output_mode
from biotune.config.checks import check
from biotune.config.key import keys_of
from biotune.config.tracking import TRACKERS
from biotune.errors import ConfigError, RunFolderError, one_line
from biotune.recipes.resuming import EXTENDABLE, pin_config
from biotune.recipes.trackers.registry import unsent
from biotune.store.files import JOURNAL, write_text
from biotune.store.journal import Journal
from biotune.store.lock import sole_user
from biotune.store.scratch import check_cache
from biotune.store.status import command_of, state_of

CONFIG = Path(".hydra") / "config.yaml"
_GROUPS = ("executor", "tracker")  # whose choice may change: they do not affect results


def resume(arguments: list[str]) -> int:
    """Continue a run where it stopped; finished training runs are not repeated.

    Args:
        arguments: The words after `biotune resume`.

    Returns:
        The exit status: 0, or 1 where the run has failed.

    Raises:
        BiotuneError: The arguments are wrong, or the folder holds no run that can be continued.
    """
    arguments, mode = take_output_mode(arguments, *COMMANDS["resume"].modes)
    parser = Parser(
        prog="biotune resume",
        description="Finish an interrupted run. evolution.generations=N or "
        "evolution.max_hours=H extends a finished search, more test.seeds or strategies extend a comparison. "
        "Keys that say where trials run, such as executor.workers, may change too.",
        allow_abbrev=False,
    )
    parser.add_argument("folder", metavar="DIR", type=Path, help="the run's folder")
    parser.add_argument("overrides", metavar="KEY=VALUE", nargs="*", help="keys to change from now on")
    options = parser.parse_args(arguments)
    folder: Path = options.folder.absolute()
    command, document = _stored(folder, options.folder)
    overrides = _overrides(command, options.overrides)
    config = _updated(command, document, overrides, folder)
    check_use(command, overrides, [config])
    check(config)
    _refuse_what_is_over(folder, options.folder, overrides, config.tracker.chosen)
    check_cache()
    with sole_user(folder):
        _check_settings(folder, config)
        if overrides:
            write_text(folder / CONFIG, OmegaConf.to_yaml(document))
    _stand_where_it_began(folder)
    end_cleanly()
    return 0 if perform(command, config, folder, mode) else 1


def _stored(folder: Path, named: Path) -> tuple[str, DictConfig]:
    """The command and the composed config of a run folder."""
    if not os.path.isdir(folder):  # unlike Path.is_dir, it takes a name that is too long
        raise RunFolderError(f"{named}: no such folder.")
    if not (folder / CONFIG).is_file():
        if any(folder.glob(f"*/{CONFIG}")):
            raise RunFolderError(
                f"{named}: holds a sweep. Run the same 'biotune run -m ...' again with hydra.sweep.dir={named}: it "
                "runs the missing jobs and resumes the interrupted ones."
            )
        if command_of(folder) == "search":
            raise RunFolderError(
                f"{named}: is a search of biotune.Search; run the program that began it again, and it goes on."
            )
        raise RunFolderError(f"{named}: holds no run ({CONFIG} is missing).")
    try:
        document = OmegaConf.load(folder / CONFIG)
    except (OSError, yaml.YAMLError, OmegaConfBaseException, UnicodeDecodeError, RecursionError) as error:
        raise RunFolderError(f"{named / CONFIG}: cannot be read ({one_line(error)[:200]}).") from None
    if not isinstance(document, DictConfig):
        raise RunFolderError(f"{named / CONFIG}: is not a config of a run.")
    own_keys = {"genotypes": "evaluate", "strategy": "train", "compare": "compare", "suggest": "suggest"}
    command = next((command for key, command in own_keys.items() if key in document), "run")
    return command, document


def _overrides(command: str, given: list[str]) -> list[Override]:
    """The parsed overrides, each of a key of the schema."""
    with composing(None) as loader:
        overrides = parse_overrides(given, loader)
        check_names(command, overrides, loader)
        for override in overrides:
            if options_of(override.key_or_group, loader) and override.key_or_group not in _GROUPS:
                raise ConfigError(f"{override.input_line}: a run keeps its choices of groups; only keys can be set here.")
            if override.is_sweep_override():
                raise ConfigError(f"{override.input_line}: a run is resumed with one value per key.")
            if override.key_or_group.split(".")[0] == "hydra":
                raise ConfigError(f"{override.input_line}: cannot be set; a resumed run stays in its folder.")
    return overrides


def _updated(command: str, document: DictConfig, overrides: list[Override], folder: Path) -> Any:
    """The typed config with the overrides applied; they are applied to the document too."""
    paths = {item.path for item in keys_of(SCHEMAS[command]) if item.metadata["path"]}
    try:
        for override in overrides:
            for key, value in _settings_by(override):
                OmegaConf.update(document, key, _from_here(paths, key, value))
        merged = OmegaConf.merge(OmegaConf.structured(SCHEMAS[command]), document)
        return OmegaConf.to_object(merged)
    except OmegaConfBaseException as error:
        raise RunFolderError(
            f"{folder / CONFIG}: is not a config of this version of biotune ({one_line(error)[:200]})."
        ) from None


def _settings_by(override: Override) -> Iterator[tuple[str, Any]]:
    """The keys that an override sets, with their values; of a group, those that its choices set."""
    value = override.value()
    if override.key_or_group == "executor":
        yield "executor.name", value
    elif override.key_or_group == "tracker":
        chosen = value if isinstance(value, list) else [value]
        yield from ((f"tracker.{name}.enabled", name in chosen) for name in TRACKERS)
    else:
        yield override.key_or_group, value


def _from_here(paths: set[str], key: str, value: Any) -> Any:
    """A path that is typed now refers to this working folder, whatever folder the run was started in."""
    if key in paths and isinstance(value, str):
        with suppress(OSError, ValueError, RuntimeError):
            if (path := Path(value).expanduser()).exists():
                return str(path.absolute())
    return value


def _refuse_what_is_over(folder: Path, named: Path, overrides: list[Override], trackers: Sequence[str]) -> None:
    if unsent(folder, trackers):
        return  # what a tracker lacks is sent
    if state_of(folder) == "finished" and not any(override.key_or_group in EXTENDABLE for override in overrides):
        raise RunFolderError(
            f"{named}: has finished. evolution.generations=N or evolution.max_hours=H extends a search, "
            "more test.seeds or strategies extend a comparison."
        )


def _check_settings(folder: Path, config: Any) -> None:
    """Reject changed settings before anything is written; a run that has not begun has none to compare with."""
    if not (folder / JOURNAL).is_file():
        return
    journal = Journal(folder)
    try:
        pin_config(journal, config, folder)
    finally:
        journal.close()


def _stand_where_it_began(folder: Path) -> None:
    """Change to the working folder in which the run was started, if it is known and there is one."""
    with suppress(OSError, yaml.YAMLError, KeyError, TypeError):
        hydra = yaml.safe_load((folder / ".hydra" / "hydra.yaml").read_text(encoding="utf-8"))
        stand_in(hydra["hydra"]["runtime"]["cwd"])
