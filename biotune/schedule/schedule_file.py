"""Writes and reads schedule files, the YAML text of a layer schedule. Imports no torch."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from biotune.errors import ScheduleError, one_line, shown
from biotune.schedule.block import Block
from biotune.schedule.schedule import FRESH, TOGETHER, Schedule

FORMAT = 1


_HEADER_KEYS = ("backbone", "granularity", "weights", "dataset", "base_lr", "threshold", "unfreezing", "head_start", "strategy")
_OF_THE_SCHEDULE = ("threshold", "unfreezing", "head_start")  # those that are fields of `Schedule` itself


_BLOCK_KEYS = ("modules", "frozen", "importance", "lr_weight", "lr")


_LONGEST_PLAIN_NAME = 100  # PyYAML writes keys of 128 characters or more over two lines


def save_text(schedule: Schedule, base_lr: float | None, header: Mapping[str, Any]) -> str:
    """Return the YAML text of a schedule file: a header, then one line per block.

    Args:
        schedule: The schedule to write.
        base_lr: λ_0; every block's learning rate is written beside its weight. None where it is not known: the file then
            holds the weights alone.
        header: backbone, granularity, weights, dataset, and the strategy whose hooks it needs, as far as known.
    """
    rate = {} if base_lr is None else {"base_lr": float(base_lr)}
    facts = {**header, **rate, "threshold": schedule.threshold}
    if schedule.unfreezing != TOGETHER:
        facts["unfreezing"] = schedule.unfreezing
    if schedule.head_start != FRESH:
        facts["head_start"] = schedule.head_start
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
            **({} if base_lr is None else {"lr": weight * base_lr}),
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
        path: The `best_schedule.yaml` of a run, or a file of the same form.

    Raises:
        ScheduleError: The file is missing, not a schedule, of another format version, or inconsistent.
    """
    source = Path(path)
    try:
        document = yaml.safe_load(source.read_text(encoding="utf-8"))
    except OSError as error:
        raise ScheduleError(f"schedule={source}: cannot be read ({error.strerror}).") from error
    except Exception as error:  # PyYAML's constructors raise IndexError, KeyError and worse on malformed values
        raise ScheduleError(f"schedule={source}: is not a YAML file ({one_line(error)}).") from error
    try:
        return _parse(document)
    except ScheduleError as error:
        raise ScheduleError(f"schedule={source}: {error}") from error


def _parse(document: object) -> Schedule:
    if not isinstance(document, dict) or "format" not in document:
        raise ScheduleError("is not a schedule file (its first key must be 'format').")
    if document["format"] != FORMAT:
        raise ScheduleError(f"has format {shown(document['format'])}; this biotune reads format {FORMAT}.")
    entries = document.get("blocks")
    if not isinstance(entries, dict) or not entries:
        raise ScheduleError("has no 'blocks'.")
    unknown = sorted(shown(name) for name in document.keys() - {"format", "blocks", *_HEADER_KEYS})
    if unknown:
        raise ScheduleError(f"has an unknown key {unknown[0]}.")
    blocks = tuple(Block(_name(name), _modules(name, entry)) for name, entry in entries.items())
    weights = tuple(_weight(name, entry) for name, entry in entries.items())
    importances = tuple(_number(name, entry, "importance", optional=True) for name, entry in entries.items())
    known = tuple(value for value in importances if value is not None)
    header = {name: document[name] for name in _HEADER_KEYS if name in document and name not in _OF_THE_SCHEDULE}
    if "base_lr" in header:
        rate = _finite(header["base_lr"])
        if rate is None or rate <= 0:
            raise ScheduleError(f"base_lr is {shown(header['base_lr'])}: must be a positive number.")
        header["base_lr"] = rate
    threshold = _finite(document.get("threshold"))
    if threshold is None and document.get("threshold") is not None:
        raise ScheduleError(f"threshold is {shown(document['threshold'])}: must be a number or null.")
    importances_known = known if len(known) == len(blocks) else None
    unfreezing = document.get("unfreezing", TOGETHER)
    head_start = document.get("head_start", FRESH)
    schedule = Schedule(blocks, weights, importances_known, threshold, header, unfreezing, head_start)
    if "base_lr" in header:
        _check_rates(entries, weights, header["base_lr"])
    return schedule


def _check_rates(entries: dict[str, Any], weights: tuple[float, ...], base_lr: float) -> None:
    """Check that `lr` fits `lr_weight`: `lr` is informative only, and an edit of it alone would have no effect."""
    for (name, entry), weight in zip(entries.items(), weights, strict=True):
        rate = _number(name, entry, "lr", optional=True)
        if rate is not None and not math.isclose(rate, weight * base_lr, rel_tol=1e-9):
            raise ScheduleError(
                f"block {name}: lr={rate} contradicts lr_weight={weight} times base_lr={base_lr}; edit lr_weight."
            )


def _name(name: object) -> str:
    if not isinstance(name, str) or not name:
        raise ScheduleError(f"block {shown(name)}: its name must be a text.")
    return name


def _modules(name: object, entry: object) -> tuple[str, ...]:
    facts: dict[object, Any] = entry if isinstance(entry, dict) else {}
    modules = facts.get("modules")
    if not isinstance(modules, list) or not modules or not all(isinstance(module, str) for module in modules):
        raise ScheduleError(f"block {name}: 'modules' must be a list of module names.")
    unknown = sorted(shown(key) for key in facts.keys() - set(_BLOCK_KEYS))
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
        raise ScheduleError(f"block {name}: {key} is {shown(value)}: must be a finite number.")
    return number


def _finite(value: object) -> float | None:
    """A value as a finite float, else None. PyYAML reads 1e-05, which has no dot, as a string; here it is a number."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None
