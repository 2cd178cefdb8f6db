"""Which keys of a schema a command has no use for: they are in it because commands share sections. Knows no command line."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from biotune.config.key import keys_of
from biotune.config.schema import AUTO, BlocksConfig, EvaluateConfig, Section, TrainConfig

_SEARCHLESS = "makes no search"


@dataclass(frozen=True)
class Unused:
    """Keys that a command does not use.

    Attributes:
        keys: Dotted paths; a section's name and a dot for all of its keys.
        because: Why, as what the command does.
        where: In which configs they are unused; None for all.
        but: Keys of the section that are used.
    """

    keys: tuple[str, ...]
    because: str
    where: Callable[[Section], bool] | None = None
    but: tuple[str, ...] = ()

    def covers(self, path: str) -> bool:
        """Whether a key is one of them."""
        named = any(path == key or (key.endswith(".") and path.startswith(key)) for key in self.keys)
        return named and path not in self.but


def _lr_is_given(config: TrainConfig) -> bool:
    return config.training.lr != AUTO


def _nothing_is_chosen(config: TrainConfig) -> bool:
    # surgical alone has several schedules to choose from by validation data
    return _lr_is_given(config) and config.strategy.name != "surgical"


UNUSED: dict[type, tuple[Unused, ...]] = {
    EvaluateConfig: (
        Unused(("seed", "evolution."), _SEARCHLESS, but=("evolution.folds", "evolution.resplit")),
        Unused(("training.lr_grid",), "takes training.lr as it is"),
    ),
    TrainConfig: (
        Unused(("seed",), _SEARCHLESS),
        Unused(("training.lr_grid",), f"tries no learning rates unless training.lr={AUTO}", _lr_is_given),
        Unused(
            ("training.seeds",),
            f"trains with test.seeds where it has nothing to choose (with training.lr={AUTO} or strategy=surgical it has)",
            _nothing_is_chosen,
        ),
    ),
    BlocksConfig: (Unused(("backbone.weights", "backbone.head"), "counts parameters without loading any"),),
}


def unused_keys(config: Section, paths: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Those of some keys that the command of a config does not use, each with why.

    Args:
        config: A composed config.
        paths: The dotted paths of keys that were set on purpose.
    """
    known = {item.path for item in keys_of(type(config))}
    for path in paths:
        for unused in UNUSED.get(type(config), ()):
            if path in known and unused.covers(path) and (unused.where is None or unused.where(config)):
                yield path, unused.because
