"""Reads the earlier searches and schedules of a warm start, and keeps in the run's folder what was taken from them."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import yaml

from biotune.errors import ConfigError, RunFolderError, ScheduleError, one_line
from biotune.evolution.prior import Source
from biotune.evolution.rows import LR_WEIGHT, schedule_of_row
from biotune.evolution.surrogate import Observation, fitness_by_schedule
from biotune.schedule.block import Block
from biotune.schedule.schedule import Schedule
from biotune.schedule.schedule_file import load_schedule
from biotune.schedule.transfer import transferred
from biotune.store.files import CONFIG, GENERATIONS, SCHEDULE, SEARCH, WARM_START, read_json, write_json
from biotune.trial import Status

_KEPT = 10  # schedules of a source, the best ones
_TRAINED = (Status.OK, Status.CACHED, Status.PRUNED)
_REMEDY = "give the folder of a search, or a schedule file such as its best_schedule.yaml"


def read_sources(paths: Sequence[str], blocks: Sequence[Block], key: str = "evolution.warm_start") -> list[Source]:
    """Read the sources of a warm start.

    Args:
        paths: Folders of runs or of `Search`, finished or not, and schedule files.
        blocks: The blocks of this search, in forward order.
        key: The key that names the paths, for errors.

    Raises:
        ConfigError: A path is missing, holds no search, has no evaluations, or cannot be read.
    """
    return [_read(path, blocks, f"{key}={path}") for path in paths]


def sources_in(folder: Path, paths: Sequence[str], blocks: Sequence[Block], key: str = "evolution.warm_start") -> list[Source]:
    """Return the sources of a search in a folder: those that were taken when it began, or else read them and keep them.

    Args:
        folder: The folder of this search.
        paths: See `read_sources`; without any nothing is read or written.
        blocks: The blocks of this search.
        key: See `read_sources`.

    Raises:
        ConfigError: See `read_sources`.
        RunFolderError: What was kept is damaged, or cannot be written.
    """
    if not paths:
        return []
    file = folder / WARM_START
    if file.exists():
        return _kept(file, blocks)
    sources = read_sources(paths, blocks, key)
    write_json(file, {"sources": [_plain(source) for source in sources]})
    return sources


def source_of(
    name: str, backbone: str, dataset: str, blocks: int, observations: Sequence[Observation], first: Sequence[Schedule] = ()
) -> Source:
    """Return a source whose schedules are in the order of the fitness that a regression over its evaluations predicts.

    Args:
        name: What it is called.
        backbone: The name of its network.
        dataset: The name of its dataset.
        blocks: The number of blocks of its network.
        observations: Its evaluations, matched to the blocks of this search, in their order.
        first: Schedules that come before those of the evaluations, such as the confirmed one.
    """
    distinct = {one.schedule.key: one.schedule for one in observations if not one.schedule.is_empty}
    fitness = fitness_by_schedule(observations)
    ranked = sorted(distinct.values(), key=lambda one: fitness[one.key])
    schedules = {one.key: one for one in [*first, *ranked] if not one.is_empty}
    return Source(name, backbone, dataset, blocks, tuple(schedules.values())[:_KEPT], tuple(observations))


def _read(path: str, blocks: Sequence[Block], said: str) -> Source:
    place = Path(path)
    try:
        if place.is_dir():
            return _source_in(place, blocks, said)
        if not place.is_file():
            raise ConfigError(f"{said}: no such file or folder; {_REMEDY}.")
    except OSError as error:
        raise ConfigError(f"{said}: cannot be read ({error.strerror}).") from None
    if place.suffix.lower() == ".csv":
        raise ConfigError(f"{said}: is a table, which does not say of which network its genotypes are; {_REMEDY}.")
    schedule = _schedule_at(place, said)
    header = schedule.header
    return Source(
        path,
        str(header.get("backbone", "")),
        str(header.get("dataset", "")),
        len(schedule.blocks),
        (transferred(schedule, blocks),),
    )


def _schedule_at(file: Path, said: str) -> Schedule:
    """The schedule of a file; a source that trains nothing is none."""
    try:
        schedule = load_schedule(file)
    except ScheduleError as error:
        reason = str(error).removeprefix(f"schedule={file}: ").rstrip(".")
        raise ConfigError(f"{said}: {reason}; {_REMEDY}.") from None
    if schedule.is_empty:
        raise ConfigError(f"{said}: freezes every block; {_REMEDY}.")
    return schedule


def _source_in(folder: Path, blocks: Sequence[Block], said: str) -> Source:
    """The search in a folder."""
    if not (folder / GENERATIONS).is_file():
        if (folder / SCHEDULE).is_file():
            raise ConfigError(f"{said}: holds no evaluations of a search; give its {SCHEDULE}.")
        begun = (folder / CONFIG).is_file() or (folder / SEARCH).is_file()
        what = f"has no evaluations yet ({GENERATIONS} is missing)" if begun else f"holds no search ({GENERATIONS} is missing)"
        raise ConfigError(f"{said}: {what}; {_REMEDY}.")
    names, observations = _evaluations(folder / GENERATIONS, blocks, said)
    if not observations:
        raise ConfigError(f"{said}: has no evaluations: no candidate of {GENERATIONS} was trained; {_REMEDY}.")
    first = []
    if (folder / SCHEDULE).is_file():
        found = _schedule_at(folder / SCHEDULE, said)
        if found.names == names:
            first.append(transferred(found, blocks))
    config = _config_of(folder)
    backbone, dataset = (str(config.get(part, {}).get("name", "")) for part in ("backbone", "dataset"))
    return source_of(str(folder), backbone, dataset, len(names), observations, first)


def _evaluations(file: Path, blocks: Sequence[Block], said: str) -> tuple[tuple[str, ...], list[Observation]]:
    """The names of the blocks of a table of candidates, and its evaluations; elites carried over count once."""
    try:
        with file.open(newline="", encoding="utf-8") as text:
            rows = list(csv.DictReader(text))
    except (OSError, ValueError, csv.Error) as error:
        raise ConfigError(f"{said}: {file.name} cannot be read ({one_line(error)}).") from None
    weights = [name for name in (rows[0] if rows else ()) if name and name.startswith(LR_WEIGHT)]
    names = tuple(name.removeprefix(LR_WEIGHT) for name in weights)
    own = tuple(Block(name, (name,)) for name in names)
    found: dict[tuple[str, int], Observation] = {}
    for line, row in enumerate(rows, 2):
        try:
            if not own:
                raise ValueError(f"no column {LR_WEIGHT}…")
            if row["status"] not in _TRAINED:
                continue
            schedule = transferred(schedule_of_row(row, own), blocks)
            fold, fitness = int(row["fold"]), float(row["fitness"])
            if not math.isfinite(fitness):
                raise ValueError("fitness is no finite number")
        except (KeyError, TypeError, ValueError, ScheduleError) as error:
            raise ConfigError(f"{said}: {file.name} is damaged (line {line}: {one_line(error)}); {_REMEDY}.") from None
        if not schedule.is_empty:
            found.setdefault((schedule.key, fold), Observation(schedule, fold, fitness))
    return names, list(found.values())


def _config_of(folder: Path) -> Mapping[str, Any]:
    """The composed config of a run, for its names alone; empty where there is none."""
    with suppress(OSError, ValueError, yaml.YAMLError):
        config = yaml.safe_load((folder / CONFIG).read_text(encoding="utf-8"))
        if isinstance(config, dict) and all(isinstance(config.get(part), dict) for part in ("backbone", "dataset")):
            return config
    return {}


def _plain(source: Source) -> dict[str, Any]:
    return {
        "name": source.name,
        "backbone": source.backbone,
        "dataset": source.dataset,
        "blocks": source.blocks,
        "schedules": [_plain_schedule(one) for one in source.schedules],
        "observations": [
            {**_plain_schedule(one.schedule), "fold": one.fold, "fitness": one.fitness} for one in source.observations
        ],
    }


def _plain_schedule(schedule: Schedule) -> dict[str, Any]:
    manner = {"unfreezing": schedule.unfreezing, "head_start": schedule.head_start}
    return {"lr_weights": list(schedule.lr_weights), **manner}


def _kept(file: Path, blocks: Sequence[Block]) -> list[Source]:
    """The sources that `sources_in` kept.

    Raises:
        RunFolderError: The file is damaged, or is of another network.
    """

    def schedule(entry: Mapping[str, Any]) -> Schedule:
        rates = tuple(float(weight) for weight in entry["lr_weights"])
        return Schedule(tuple(blocks), rates, unfreezing=entry["unfreezing"], head_start=entry["head_start"])

    try:
        return [
            Source(
                str(one["name"]),
                str(one["backbone"]),
                str(one["dataset"]),
                int(one["blocks"]),
                tuple(schedule(entry) for entry in one["schedules"]),
                tuple(
                    Observation(schedule(entry), int(entry["fold"]), float(entry["fitness"])) for entry in one["observations"]
                ),
            )
            for one in read_json(file)["sources"]
        ]
    except (KeyError, TypeError, ValueError, ScheduleError) as error:
        raise RunFolderError(
            f"{file}: is damaged ({type(error).__name__}: {one_line(error)}). Begin a new run with its evolution.warm_start."
        ) from None
