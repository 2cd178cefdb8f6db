"""The settings of a search that a program asks and tells: keys of `evolution` by name, with the defaults of a run."""

from __future__ import annotations

import os
import types
import typing
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from importlib.resources import files
from typing import Any

import yaml

from biotune.config.checks import check
from biotune.config.key import Key, key, keys_of
from biotune.config.search import EvolutionConfig
from biotune.config.sections import AUTO
from biotune.errors import ConfigError, did_you_mean, shown
from biotune.evolution.generation import most_evaluations
from biotune.schedule.schedule import TOGETHER

_SMALLEST = 4  # individuals, as `evolution.population_size`
_WITHOUT = {
    "resplit": "your own loop cuts the data; a trial says which fold it is for",
    "max_hours": "stop asking when the time is over",
}
_SIZES = ("population_size", "generations", "elites")
_OWN_DEFAULTS = {"folds": 1, "resplit": False, "unfreezing": TOGETHER}  # what a plain training loop can do


@dataclass
class AskTellConfig:
    """The settings of one search.

    Attributes:
        seed: Seed of the search.
        epochs: Largest number of epochs of a trial.
        prune: The rule of `fitness.prune`.
        head_start: Where heads start from, as `training.head_start`.
        evolution: The search.
    """

    seed: int = key(0, "Seed of the search.", ge=0, le=2**63 - 1)
    epochs: int = key(30, "Largest number of epochs of a trial.", ge=1)
    prune: str = key("none", "The rule by which trials are stopped.", choices=("none", "median", "predicted"))
    head_start: str = key("fresh", "Where heads start from.", choices=("fresh", "probe", "evolved"))
    evolution: EvolutionConfig = field(default_factory=EvolutionConfig)

    @property
    def plain(self) -> dict[str, Any]:
        """All settings that have a meaning here, by name."""
        every = {**asdict(self), **asdict(self.evolution)}
        return {name: value for name, value in every.items() if name not in ("evolution", *_WITHOUT)}


def settings_of(
    evaluations: int | None, seed: int, epochs: int, prune: str, head_start: str, given: Mapping[str, Any]
) -> AskTellConfig:
    """Return checked settings.

    Args:
        evaluations: The most evaluations of the search; None takes those of the other settings.
        seed: Seed of the search.
        epochs: Largest number of epochs of a trial.
        prune: The rule of `fitness.prune`.
        head_start: Where heads start from.
        given: Keys of `EvolutionConfig` by name.

    Raises:
        ConfigError: A key is unknown or has no meaning here, or a value is none of its values.
    """
    known = {item.path: item for item in keys_of(EvolutionConfig)}
    for name in given:
        if name in _WITHOUT:
            raise ConfigError(f"{name}: is a key of 'biotune run' alone; {_WITHOUT[name]}.")
        if name not in known:
            raise ConfigError(f"{name}: is no setting of a search.{did_you_mean(name, known)}")
    algorithm = given.get("algorithm", "biotune")
    if algorithm not in (choices := known["algorithm"].metadata["choices"]):
        raise ConfigError(f"algorithm={shown(algorithm)}: must be one of {', '.join(choices)}.")
    if isinstance(sources := given.get("warm_start"), list | tuple):
        given = {**given, "warm_start": [os.fspath(one) if isinstance(one, os.PathLike) else one for one in sources]}
    evolution = EvolutionConfig(**{**_defaults(algorithm), **_OWN_DEFAULTS, **given})
    config = AskTellConfig(seed, epochs, prune, head_start, evolution)
    _check(config)
    if evaluations is not None:
        config.evolution = _sized(evolution, evaluations, given)
        _check(config)
    return config


def _defaults(algorithm: str) -> dict[str, Any]:
    """The keys that the file of a searcher sets, the same that 'biotune run evolution=…' reads."""
    text = files("biotune.configs").joinpath(f"evolution/{algorithm}.yaml").read_text(encoding="utf-8")
    values: dict[str, Any] = yaml.safe_load(text)["evolution"]
    return values


def _check(config: AskTellConfig) -> None:
    for item in keys_of(AskTellConfig):
        name = item.path.removeprefix("evolution.")
        value = getattr(config.evolution if name != item.path else config, name)
        if not _is_of_type(item, value):
            raise ConfigError(f"{name}={shown(value)}: must be {item.must_be}.")
    if config.evolution.folds == AUTO:
        raise ConfigError(f"folds={AUTO}: is computed from the number of images by 'biotune run' alone; give a number.")
    if config.head_start == "evolved" and config.evolution.algorithm != "biotune":
        raise ConfigError(f"head_start=evolved: needs algorithm=biotune, not {config.evolution.algorithm}.")
    try:
        check(config)
    except ConfigError as error:
        raise ConfigError(str(error).replace("evolution=", "algorithm=").replace("evolution.", "")) from None


def _is_of_type(item: Key, value: Any) -> bool:
    """Whether a value is of the type of its key; Hydra's schema sees to it on the command line."""
    union = isinstance(item.type, types.UnionType)
    kinds = typing.get_args(item.type) if union else (item.type,)
    if item.type == list[str]:
        return isinstance(value, list) and all(isinstance(entry, str) for entry in value)
    if isinstance(value, bool):
        return bool in kinds
    return isinstance(value, kinds) or (float in kinds and isinstance(value, int))


def _sized(evolution: EvolutionConfig, evaluations: int, given: Mapping[str, Any]) -> EvolutionConfig:
    """The settings with a population and generations that make exactly so many evaluations."""
    if isinstance(evaluations, bool) or not isinstance(evaluations, int) or evaluations < _SMALLEST:
        raise ConfigError(f"evaluations={shown(evaluations)}: must be an integer of at least {_SMALLEST}.")
    if both := [name for name in _SIZES if name in given]:
        raise ConfigError(f"evaluations={evaluations}: sets the sizes of the search, as {both[0]} does; give one of the two.")
    usual, children = evolution.population_size, evolution.population_size - evolution.elites
    population = usual
    if evaluations < 3 * usual:  # small searches keep two thirds of their evaluations for children
        population = max(_SMALLEST, evaluations // 3)
        children = max(1, round(children * population / usual))
    generations = (evaluations - population) // children
    population = evaluations - generations * children
    sized = replace(evolution, population_size=population, elites=population - children, generations=generations)
    if most_evaluations(sized) != evaluations:
        raise ConfigError(
            f"evaluations={evaluations}: goes with exploitation=False and reevaluate_elites=False, in which each individual is "
            "evaluated once; give population_size, elites and generations instead."
        )
    return sized
