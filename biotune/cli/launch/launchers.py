"""Hydra's launchers, which run the jobs of a sweep side by side or on other machines: what biotune knows about each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.types import Override, Quote, QuotedString

from biotune.cli.launch.compose import options_of
from biotune.errors import ConfigError, did_you_mean

BASIC = "basic"  # Hydra's default: one job after another, in the process of the command itself
_GROUP = "hydra/launcher"


@dataclass(frozen=True)
class Launcher:
    """A launcher that is tested with biotune.

    Attributes:
        extra: The extra that installs it.
        elsewhere: Whether its jobs may run on other machines, whose devices this one cannot check.
        going_on: What has become of its jobs when the command that launched them is interrupted.
    """

    extra: str
    elsewhere: bool = False
    going_on: str = ""


LAUNCHERS = {
    "joblib": Launcher("joblib"),
    "submitit_local": Launcher("submitit", going_on="Jobs that Ctrl-C has not reached go on. "),
    "submitit_slurm": Launcher("submitit", elsewhere=True, going_on="Jobs that Slurm has got go on; scancel ends them. "),
    "ray": Launcher("ray-launcher", elsewhere=True),
}


@dataclass(frozen=True)
class Sweep:
    """The jobs of a multirun.

    Attributes:
        config_name: The name of the primary config.
        overrides: The overrides as typed, Hydra's own included.
        config_dir: The user's folder of configs.
        folder: The sweep's folder as the user named it, or as it is named by default.
        launcher: Hydra's launcher.
        jobs: The number of jobs.
    """

    config_name: str
    overrides: tuple[str, ...]
    config_dir: str | None
    folder: Path
    launcher: str
    jobs: int

    @property
    def in_its_folder(self) -> list[str]:
        """The overrides with the folder's absolute path: jobs may be run where relative ones refer to another place."""
        others = [override for override in self.overrides if override.partition("=")[0].lstrip("+") != "hydra.sweep.dir"]
        return [*others, f"hydra.sweep.dir={QuotedString(str(self.folder.absolute()), Quote.single).with_quotes()}"]

    @property
    def how_to_go_on(self) -> str:
        """What to do when the command has been interrupted, or its launcher has failed."""
        return (
            f"The same command with hydra.sweep.dir={self.folder} continues the sweep; "
            f"'biotune report {self.folder}' shows how far it is."
        )


def going_on(launcher: str) -> str:
    """What has become of a launcher's jobs when the command that launched them is interrupted; may be empty."""
    return LAUNCHERS[launcher].going_on if launcher in LAUNCHERS else ""


def runs_elsewhere(launcher: str) -> bool:
    """Whether a launcher's jobs may run on other machines."""
    return launcher in LAUNCHERS and LAUNCHERS[launcher].elsewhere


def chosen(choices: Mapping[str, Any]) -> str:
    """The launcher in Hydra's choices of groups."""
    return str(choices.get(_GROUP, BASIC))


def is_apart(choices: Mapping[str, Any]) -> bool:
    """Whether jobs run in processes of the launcher, side by side."""
    return chosen(choices) != BASIC


def check_launcher(overrides: list[Override], loader: ConfigLoader) -> None:
    """Check that the chosen launcher is installed.

    Args:
        overrides: The parsed overrides.
        loader: Hydra's config loader.

    Raises:
        ConfigError: It is not; the message names the extra, or the launchers that there are.
    """
    for override in overrides:
        if override.key_or_group != _GROUP or override.is_sweep_override():
            continue
        name, known = str(override.value()), options_of(_GROUP, loader)
        if name in known:
            continue
        if name in LAUNCHERS:
            raise ConfigError(
                f"{override.input_line}: is not installed. Install the extra: pip install 'biotune[{LAUNCHERS[name].extra}]'."
            )
        every = sorted({*known, *LAUNCHERS})
        raise ConfigError(f"{override.input_line}: no such launcher.{did_you_mean(name, every)} Known: {', '.join(every)}.")
