"""Lists the keys of a schema that a command does not use: they are part of it because commands share sections."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from biotune.config.key import keys_of
from biotune.config.schema import BlocksConfig, EvaluateConfig, Section, SuggestConfig, TrainConfig
from biotune.config.sections import AUTO

_SEARCHLESS = "makes no search"


@dataclass(frozen=True)
class Unused:
    """Keys that a command does not use.

    Attributes:
        keys: Dotted paths; a section's name followed by a dot stands for all of its keys.
        because: The reason, as the predicate of a sentence about the command.
        where: Whether they are unused in a given config; None for always.
        but: Keys of the section that are used after all.
    """

    keys: tuple[str, ...]
    because: str
    where: Callable[[Section], bool] | None = None
    but: tuple[str, ...] = ()

    def covers(self, path: str) -> bool:
        """Return whether a key is one of them."""
        named = any(path == key or (key.endswith(".") and path.startswith(key)) for key in self.keys)
        return named and path not in self.but


def _lr_is_given(config: TrainConfig) -> bool:
    return config.training.lr != AUTO


def _no_views(config: EvaluateConfig | TrainConfig) -> bool:
    return config.features.views is None


def _nothing_is_chosen(config: TrainConfig) -> bool:
    # only surgical chooses among several schedules by validation data
    return _lr_is_given(config) and config.strategy.name != "surgical"


def _nothing_is_tried(config: SuggestConfig) -> bool:
    return not config.suggest.max_seconds


UNUSED: dict[type, tuple[Unused, ...]] = {
    EvaluateConfig: (
        Unused(("seed",), _SEARCHLESS, _no_views),
        Unused(("evolution.",), _SEARCHLESS, but=("evolution.folds", "evolution.resplit")),
        Unused(("training.lr_grid",), "takes training.lr as it is"),
    ),
    TrainConfig: (
        Unused(("seed",), _SEARCHLESS, _no_views),
        Unused(("training.lr_grid",), f"tries no learning rates unless training.lr={AUTO}", _lr_is_given),
        Unused(
            ("training.seeds",),
            f"trains with test.seeds unless it has something to choose (training.lr={AUTO} or strategy=surgical)",
            _nothing_is_chosen,
        ),
    ),
    SuggestConfig: (
        Unused(
            ("training.",),
            "trains nothing with suggest.max_seconds=0",
            _nothing_is_tried,
            but=("training.lr", "training.batch_size", "training.class_weights"),
        ),
        Unused(("training.lr_grid", "training.head_start"), "tries one schedule at training.lr"),
        Unused(("features.",), "shares no activations between training runs"),
        Unused(("executor.",), "runs in one process", but=("executor.threads",)),
    ),
    BlocksConfig: (Unused(("backbone.weights", "backbone.head"), "counts parameters without loading any"),),
}


def unused_keys(config: Section, paths: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Yield those of some keys that the command of a config does not use, each with the reason.

    Args:
        config: A composed config.
        paths: Dotted keys that the user has set.
    """
    known = {item.path for item in keys_of(type(config))}
    for path in paths:
        for unused in UNUSED.get(type(config), ()):
            if path in known and unused.covers(path) and (unused.where is None or unused.where(config)):
                yield path, unused.because
