"""Genotypes and layer schedules: which blocks learn, at which rates. Owns the decoding, the canonical key and the YAML file.

Knows neither torch nor DEAP; `Schedule.apply` hands over to `param_groups` when a model is at hand.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from biotune.errors import ScheduleError, one_line

if TYPE_CHECKING:
    import torch

FORMAT = 1
TOGETHER, LAST_TO_FIRST, FIRST_TO_LAST = UNFREEZING = ("together", "last_to_first", "first_to_last")
_HEADER_KEYS = ("backbone", "granularity", "weights", "dataset", "base_lr", "threshold", "unfreezing")
_IN_WORDS = {
    TOGETHER: "all in the first epoch",
    LAST_TO_FIRST: "one more every epoch, from the last one up",
    FIRST_TO_LAST: "one more every epoch, from the first one down",
}
_BLOCK_KEYS = ("modules", "frozen", "importance", "lr_weight", "lr")
_LONGEST_PLAIN_NAME = 100  # PyYAML writes keys of 128 characters or more over two lines
_LONGEST_SHOWN = 60


@dataclass(frozen=True)
class Block:
    """One gene's worth of a network.

    Attributes:
        name: Short name, unique in its network (`stem`, `layer1`, `head`).
        modules: Dotted paths of the modules or single parameters it consists of.
    """

    name: str
    modules: tuple[str, ...]


@dataclass(frozen=True)
class Schedule:
    """Which blocks of a network are trained, at which multiple of the base rate, and in which order they join. Immutable.

    Attributes:
        blocks: The network's blocks in forward order.
        lr_weights: A multiple of the base rate a block; 0 means frozen, a state and not a rate.
        importances: The genes behind it, where it was decoded from a genotype.
        threshold: The freezing threshold, where it was decoded from a genotype.
        header: Where the schedule comes from (backbone, weights, dataset, base_lr); takes no part in comparison.
        unfreezing: together: all trained blocks from the first epoch on; last_to_first: one more every epoch, from the last of
            them up to the first; first_to_last: the mirror image. Source: Howard and Ruder, *Universal language model
            fine-tuning for text classification*, ACL 2018.
    """

    blocks: tuple[Block, ...]
    lr_weights: tuple[float, ...]
    importances: tuple[float, ...] | None = field(default=None, compare=False)
    threshold: float | None = field(default=None, compare=False)
    header: Mapping[str, Any] = field(default_factory=dict, compare=False, hash=False)
    unfreezing: str = TOGETHER

    def __post_init__(self) -> None:
        if self.unfreezing not in UNFREEZING:
            raise ScheduleError(f"unfreezing is {_shown(self.unfreezing)}: must be one of {', '.join(UNFREEZING)}.")
        if len(self.blocks) != len(self.lr_weights):
            raise ScheduleError(f"a schedule of {len(self.blocks)} blocks needs as many weights, not {len(self.lr_weights)}.")
        for block, weight in zip(self.blocks, self.lr_weights, strict=True):
            if not (math.isfinite(weight) and weight >= 0):
                raise ScheduleError(f"lr_weight of block {block.name} is {weight}: must be a finite number, 0 or more.")
        if sum(self.selected) < 2:  # there is no order of one, and what is the same training has one key
            object.__setattr__(self, "unfreezing", TOGETHER)

    @property
    def selected(self) -> tuple[bool, ...]:
        """The selection mask S, a value a block."""
        return tuple(weight > 0 for weight in self.lr_weights)

    @property
    def is_empty(self) -> bool:
        """Whether no block is trained at all."""
        return not any(self.selected)

    @property
    def first_trained(self) -> int:
        """Index of the first block that is trained, or the number of blocks: what lies before it never changes."""
        return next((index for index, selected in enumerate(self.selected) if selected), len(self.blocks))

    @property
    def key(self) -> str:
        """The canonical key: equal exactly where the same blocks are trained at the same rates, in the same order."""
        weights = "|".join(repr(weight) if weight > 0 else "-" for weight in self.lr_weights)
        return weights if self.unfreezing == TOGETHER else f"{weights} {self.unfreezing}"

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the blocks in forward order."""
        return tuple(block.name for block in self.blocks)

    @property
    def order(self) -> str:
        """In words: when the trained blocks join."""
        return _IN_WORDS[self.unfreezing]

    def trained_in(self, epoch: int, epochs: int) -> tuple[bool, ...]:
        """Which blocks are trained in an epoch: all selected ones, or as many as have been unfrozen.

        With fewer epochs than blocks several join at once, so that all are trained in the last epoch.

        Args:
            epoch: Counted from 0.
            epochs: The most epochs of the training.
        """
        if self.unfreezing == TOGETHER or self.is_empty:
            return self.selected
        own = [index for index, selected in enumerate(self.selected) if selected]
        count = min(len(own), math.ceil((epoch + 1) * len(own) / min(len(own), epochs)))
        joined = own[-count:] if self.unfreezing == LAST_TO_FIRST else own[:count]
        return tuple(index in joined for index in range(len(self.blocks)))

    def complete_from(self, epochs: int) -> int:
        """The first epoch, counted from 0, in which all blocks that are ever trained are.

        Args:
            epochs: The most epochs of the training.
        """
        return next(epoch for epoch in range(len(self.blocks) + 1) if self.trained_in(epoch, epochs) == self.selected)

    def unfreeze(self, model: torch.nn.Module, epoch: int, epochs: int) -> None:
        """Make the blocks trainable that are trained in an epoch, and freeze the others; to be called before each epoch.

        Needed only where `unfreezing` is not together. The optimizer keeps the groups of `apply`: frozen parameters have no
        gradients, and stand still.

        Args:
            model: The network that `apply` was called with.
            epoch: Counted from 0.
            epochs: The most epochs of the training.

        Raises:
            ScheduleError: The blocks do not fit the model.
        """
        from biotune.param_groups import freeze_but

        freeze_but(model, self, self.trained_in(epoch, epochs))

    def apply(self, model: torch.nn.Module, base_lr: float | None = None) -> list[dict[str, Any]]:
        """Freeze and group a model's parameters as this schedule says.

        Frozen blocks lose their gradients and stay in eval mode through every later `model.train()`.

        Args:
            model: A network that has the modules this schedule names.
            base_lr: λ_0, the rate that the weights multiply; by default the one in the schedule's file.

        Returns:
            One optimizer parameter group a trained block: `{"params", "lr", "name"}`.

        Raises:
            ScheduleError: A block names no module of the model, or parameters belong to no block or to two.
        """
        rate = self.header.get("base_lr") if base_lr is None else base_lr
        if rate is None:
            raise ScheduleError("apply() needs base_lr: this schedule comes from no file that states one.")
        if not (math.isfinite(rate) and rate > 0):
            raise ScheduleError(f"base_lr={rate}: must be a positive number.")
        from biotune.param_groups import apply_schedule

        return apply_schedule(model, self, float(rate))


def lr_weight(importance: float) -> float:
    """The importance weight W = 10^(2(ν − 0.5)), 0.1 to 10 (BioTune, section 1)."""
    return float(10.0 ** (2.0 * (importance - 0.5)))


def decode(genotype: Sequence[float], blocks: Sequence[Block]) -> Schedule:
    """Decode ν = [ν_0 … ν_B, ε_f] into a schedule (BioTune, section 1).

    S_b = 1 if ν_b > ε_f else 0 and λ_b = S_b · W_b · λ_0.

    Args:
        genotype: An importance in [0, 1] a block in forward order, the freezing threshold last.
        blocks: The network's blocks in forward order.

    Raises:
        ScheduleError: The length does not fit the blocks, or a gene lies outside [0, 1].
    """
    genes = [float(gene) for gene in genotype]
    if len(genes) != len(blocks) + 1:
        raise ScheduleError(
            f"a genotype for {len(blocks)} blocks has {len(blocks) + 1} genes (threshold last), not {len(genes)}."
        )
    for name, gene in zip([block.name for block in blocks] + ["threshold"], genes, strict=True):
        if not 0.0 <= gene <= 1.0:
            raise ScheduleError(f"gene {name} is {gene}: must lie in [0, 1].")
    *importances, threshold = genes
    weights = tuple(lr_weight(gene) if gene > threshold else 0.0 for gene in importances)
    return Schedule(tuple(blocks), weights, tuple(importances), threshold)


def save_text(schedule: Schedule, base_lr: float, header: Mapping[str, Any]) -> str:
    """The YAML text of a schedule file: a header, then a block a line.

    Args:
        schedule: What to write.
        base_lr: λ_0; every block's own rate is written beside its weight.
        header: backbone, granularity, weights and dataset, as far as known.
    """
    facts = {**header, "base_lr": float(base_lr), "threshold": schedule.threshold}
    if schedule.unfreezing != TOGETHER:
        facts["unfreezing"] = schedule.unfreezing
    lines = [f"format: {FORMAT}"]
    lines += [_yaml_line({name: facts[name]}) for name in _HEADER_KEYS if name in facts]
    lines.append("blocks:")
    importances: Sequence[float | None] = schedule.importances or [None] * len(schedule.blocks)
    for block, weight, importance in zip(schedule.blocks, schedule.lr_weights, importances, strict=True):
        entry = {
            "modules": list(block.modules),
            "frozen": weight == 0,
            "importance": importance,
            "lr_weight": weight,
            "lr": weight * base_lr,
        }
        flow = yaml.safe_dump(entry, default_flow_style=True, sort_keys=False, width=math.inf).strip()
        lines.append(f"  {_yaml_scalar(block.name)}: {flow}")
    return "\n".join(lines) + "\n"


def _yaml_line(mapping: Mapping[str, Any]) -> str:
    # PyYAML writes Unicode line breaks as they are, and reads them back as spaces; escaped they survive
    plain = all(str(value).isprintable() for value in mapping.values())
    return yaml.safe_dump(dict(mapping), default_flow_style=False, sort_keys=False, width=math.inf, allow_unicode=plain).strip()


def _yaml_scalar(name: str) -> str:
    if not name.isprintable() or len(name) > _LONGEST_PLAIN_NAME:
        return yaml.safe_dump(name, default_style='"', width=math.inf).strip()
    return yaml.safe_dump({name: 0}, default_flow_style=False, width=math.inf).strip().removesuffix(": 0")


def load_schedule(path: str | os.PathLike[str]) -> Schedule:
    """Read a schedule file.

    Args:
        path: A YAML file that a run left as `best_schedule.yaml`, or one of the same form.

    Raises:
        ScheduleError: The file is missing, no schedule, of another format version, or contradicts itself.
    """
    source = Path(path)
    try:
        document = yaml.safe_load(source.read_text(encoding="utf-8"))
    except OSError as error:
        raise ScheduleError(f"schedule={source}: cannot be read ({error.strerror}).") from error
    except Exception as error:  # PyYAML's constructors raise IndexError, KeyError and worse on malformed values
        raise ScheduleError(f"schedule={source}: is no YAML file ({one_line(error)}).") from error
    try:
        return _parse(document)
    except ScheduleError as error:
        raise ScheduleError(f"schedule={source}: {error}") from error


def _parse(document: object) -> Schedule:
    if not isinstance(document, dict) or "format" not in document:
        raise ScheduleError("is no schedule file (its first key should be 'format').")
    if document["format"] != FORMAT:
        raise ScheduleError(f"has format {_shown(document['format'])}; this biotune reads format {FORMAT}.")
    entries = document.get("blocks")
    if not isinstance(entries, dict) or not entries:
        raise ScheduleError("has no 'blocks'.")
    unknown = sorted(_shown(name) for name in document.keys() - {"format", "blocks", *_HEADER_KEYS})
    if unknown:
        raise ScheduleError(f"has an unknown key {unknown[0]}.")
    blocks = tuple(Block(_name(name), _modules(name, entry)) for name, entry in entries.items())
    weights = tuple(_weight(name, entry) for name, entry in entries.items())
    importances = tuple(_number(name, entry, "importance", optional=True) for name, entry in entries.items())
    known = tuple(value for value in importances if value is not None)
    header = {name: document[name] for name in _HEADER_KEYS if name in document and name not in ("threshold", "unfreezing")}
    if "base_lr" in header:
        rate = _finite(header["base_lr"])
        if rate is None or rate <= 0:
            raise ScheduleError(f"base_lr is {_shown(header['base_lr'])}: must be a positive number.")
        header["base_lr"] = rate
    threshold = _finite(document.get("threshold"))
    if threshold is None and document.get("threshold") is not None:
        raise ScheduleError(f"threshold is {_shown(document['threshold'])}: must be a number or null.")
    importances_known = known if len(known) == len(blocks) else None
    unfreezing = document.get("unfreezing", TOGETHER)
    schedule = Schedule(blocks, weights, importances_known, threshold, header, unfreezing)
    if "base_lr" in header:
        _check_rates(entries, weights, header["base_lr"])
    return schedule


def _check_rates(entries: dict[str, Any], weights: tuple[float, ...], base_lr: float) -> None:
    """`lr` is for the reader; one that was edited without its weight would silently do nothing."""
    for (name, entry), weight in zip(entries.items(), weights, strict=True):
        rate = _number(name, entry, "lr", optional=True)
        if rate is not None and not math.isclose(rate, weight * base_lr, rel_tol=1e-9):
            raise ScheduleError(
                f"block {name}: lr={rate} contradicts lr_weight={weight} times base_lr={base_lr}; edit lr_weight."
            )


def _name(name: object) -> str:
    if not isinstance(name, str) or not name:
        raise ScheduleError(f"block {_shown(name)}: its name must be a text.")
    return name


def _modules(name: object, entry: object) -> tuple[str, ...]:
    facts: dict[object, Any] = entry if isinstance(entry, dict) else {}
    modules = facts.get("modules")
    if not isinstance(modules, list) or not modules or not all(isinstance(module, str) for module in modules):
        raise ScheduleError(f"block {name}: 'modules' must be a list of module names.")
    unknown = sorted(_shown(key) for key in facts.keys() - set(_BLOCK_KEYS))
    if unknown:
        raise ScheduleError(f"block {name}: has an unknown key {unknown[0]}; known are {', '.join(_BLOCK_KEYS)}.")
    return tuple(modules)


def _weight(name: object, entry: dict[str, Any]) -> float:
    weight = _number(name, entry, "lr_weight")
    frozen = entry.get("frozen")
    if weight is None or not isinstance(frozen, bool):
        raise ScheduleError(f"block {name}: needs 'frozen' (true or false) and 'lr_weight' (a number).")
    if frozen != (weight == 0):
        raise ScheduleError(f"block {name}: frozen={str(frozen).lower()} contradicts lr_weight={weight}.")
    return weight


def _number(name: object, entry: dict[str, Any], key: str, optional: bool = False) -> float | None:
    value = entry.get(key)
    if value is None and optional:
        return None
    number = _finite(value)
    if number is None:
        raise ScheduleError(f"block {name}: {key} is {_shown(value)}: must be a finite number.")
    return number


def _finite(value: object) -> float | None:
    """A value as a finite float, else None. PyYAML takes 1e-05, which has no dot, for a text; here it is a number."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def _shown(value: object) -> str:
    """A value as a message shows it. Nested values go by their kind: YAML's aliases can make their text endless."""
    if isinstance(value, int) and abs(value) >= 10**_LONGEST_SHOWN:
        return "a giant integer"  # str() refuses to spell out thousands of digits
    if value is None or isinstance(value, int | float | str):
        return repr(value) if len(repr(value)) <= _LONGEST_SHOWN else repr(value)[: _LONGEST_SHOWN - 1] + "…"
    return f"a {type(value).__name__}"
