"""`biotune schedules DIR`: the schedules of a search that no other one beats in score and cost; writes any to a file."""

from __future__ import annotations

import argparse
import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from biotune.cli.arguments import Parser
from biotune.cli.terminal.output_mode import OutputMode
from biotune.cli.terminal.view import Cell, View
from biotune.errors import BiotuneError, ConfigError, RunFolderError
from biotune.schedule.schedule import Schedule
from biotune.store.files import CONFIG, FRONT, GENERATIONS, RESULT, SCHEDULE, STATUS, check_writable, write_text

if TYPE_CHECKING:
    import pandas as pd

_UNTRAINED = ("empty", "failed")
_SHARE = "trainable_share"


@dataclass(frozen=True)
class Listed:
    """One schedule of the list.

    Attributes:
        number: Its number, from 1.
        label: Its label in the run's tables.
        schedule: The schedule.
        score: Its score as the search predicts it.
        costs: Its costs by name, the trained share of the parameters among them.
        knee: Whether it is the knee of the front.
        confirmed: The facts of its confirmation; empty where the run has no table of the front.
    """

    number: int
    label: str
    schedule: Schedule
    score: float
    costs: Mapping[str, float]
    knee: bool
    confirmed: Mapping[str, float]


def schedules_parser() -> Parser:
    """Return the parser of the words after `biotune schedules`."""
    parser = Parser(
        "biotune schedules",
        description="List the schedules of a search that no other one beats in the score and in cost: those of front.csv, or "
        "in a search with one objective those by score and trained share of the parameters.",
        allow_abbrev=False,
    )
    parser.add_argument("folder", metavar="DIR", type=Path, help="the folder of a run or of a biotune.Search")
    parser.add_argument("--max-share", type=float, default=1.0, help="largest trained share of the parameters, such as 0.1")
    parser.add_argument("--write", nargs=2, metavar=("N", "FILE"), help="write the schedule with number N to a new file")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of a table")
    return parser


def schedules(arguments: list[str]) -> int:
    """Print the list, or write one of its schedules and print the file's path.

    Args:
        arguments: The words after `biotune schedules`.

    Returns:
        The exit status 0.

    Raises:
        BiotuneError: The arguments are wrong, the folder holds no search, or the file exists or cannot be written.
    """
    options = schedules_parser().parse_args(arguments)
    if not 0 < options.max_share <= 1:
        raise ConfigError(f"--max-share {options.max_share:g}: must be greater than 0 and at most 1.")
    best, listed = read_front(options.folder)
    if options.write is not None:
        print(_write(options, best, listed))
        return 0
    shown = [one for one in listed if options.max_share == 1 or one.costs.get(_SHARE, math.nan) <= options.max_share]
    _show(shown, len(listed), options)
    return 0


def _show(shown: list[Listed], number: int, options: argparse.Namespace) -> None:
    from biotune.report.costs import confirmed_text, cost_text

    costs = list(shown[0].costs) if shown else []
    confirmed = ["confirmed"] if any(one.confirmed for one in shown) else []
    with View(mode=OutputMode.JSON if options.json else OutputMode.NORMAL) as view:
        view.table(
            f"{options.folder}: {len(shown)} of {number} schedules that no other one beats in score and cost",
            ["number", "schedule", "predicted", *confirmed, *costs, "knee"],
            [
                [
                    one.number,
                    one.label,
                    Cell(one.score, f"{one.score:.4f}"),
                    *([Cell(_or_none(one.confirmed), confirmed_text(one.confirmed))] if confirmed else []),
                    *(Cell(cost, cost_text(name, cost)) for name, cost in one.costs.items()),
                    Cell(one.knee, "knee" if one.knee else ""),
                ]
                for one in shown
            ],
            name="schedules",
        )
        view.line(f"'biotune schedules {options.folder} --write N FILE' writes the one with number N, for 'biotune train'.")


def _or_none(confirmed: Mapping[str, float]) -> dict[str, float | None]:
    """The facts of a confirmation as JSON can hold them."""
    return {name: None if math.isnan(value) else value for name, value in confirmed.items()}


def _write(options: argparse.Namespace, best: Schedule, listed: list[Listed]) -> Path:
    """Write one schedule with the header of the folder's best one."""
    from biotune.schedule.schedule_file import save_text

    number, file = options.write[0], Path(options.write[1])
    chosen = next((one for one in listed if str(one.number) == number), None)
    if chosen is None:
        raise ConfigError(f"--write {number}: must be a number of the list, from 1 to {len(listed)}.")
    if file.exists():
        raise ConfigError(f"--write {file}: exists already; name a new file.")
    check_writable(file)
    header = {name: value for name, value in best.header.items() if name not in ("base_lr", "strategy")}
    write_text(file, save_text(chosen.schedule, _base_lr(options.folder, best), header))
    return file


def _base_lr(folder: Path, best: Schedule) -> float | None:
    """λ_0 of the search: the schedule that a run returns may be a baseline's, at a multiple of it."""
    from biotune.report.checked import checked_json, checked_yaml

    if (folder / CONFIG).is_file():
        stated = checked_yaml(folder / CONFIG, dict)["training"]["lr"]
        if isinstance(stated, int | float):
            return float(stated)
    lr = best.header.get("base_lr")
    if lr is None or not (folder / RESULT).is_file():
        return lr
    result = checked_json(folder / RESULT)
    label = result.get("returned", {}).get("schedule", result["confirmed"].get("chosen"))
    entry = result["confirmed"].get("schedules", {}).get(label, {})
    return float(lr) / float(entry.get("lr_factor", 1.0))


def read_front(folder: Path) -> tuple[Schedule, list[Listed]]:
    """Return a search's best schedule and the schedules that no other one beats, the best score first.

    Args:
        folder: The folder of a run or of a search that a program asked and told.

    Raises:
        RunFolderError: It is none, has no schedule yet, or a file of it is missing or damaged.
    """
    from biotune.evolution.rows import schedule_of_row
    from biotune.report.checked import checked_json
    from biotune.report.read import is_asked_search, search_tables
    from biotune.schedule.schedule_file import load_schedule

    if not is_asked_search(folder) and (command := checked_json(folder / STATUS).get("command")) != "run":
        raise RunFolderError(f"{folder}: comes from 'biotune {command}', which makes no search; give the folder of a run.")
    if not (folder / SCHEDULE).is_file():
        raise RunFolderError(f"{folder}: has no {SCHEDULE} yet; 'biotune resume {folder}' goes on.")
    try:
        best = load_schedule(folder / SCHEDULE)
    except BiotuneError as error:
        raise RunFolderError(str(error).removeprefix("schedule=")) from error
    _, table = search_tables(folder, best, sized=False)
    try:
        rows = _exact(folder / GENERATIONS, best)
        shares = {schedule_of_row(row, best.blocks).key: float(row[_SHARE] or "nan") for row in rows}
        if (folder / FRONT).is_file():
            return best, _of_table(_exact(folder / FRONT, best), best, shares)
        return best, _of_evaluations(rows, table, best, shares)
    except (KeyError, ValueError) as error:
        raise RunFolderError(f"{folder}: a table of its schedules is damaged ({type(error).__name__}: {error}).") from None


def _exact(path: Path, best: Schedule) -> list[dict[str, str]]:
    """The rows of a table as text: pandas reads numbers that differ in the last digit."""
    from biotune.report.checked import checked_table

    every = checked_table(path, set(), {f"lr_weight_{name}" for name in best.names})
    table = checked_table(path, set(), texts=tuple(map(str, every.columns)))
    return [{str(name): str(value) for name, value in row.items()} for row in table.to_dict("records")]


def _of_table(rows: list[dict[str, str]], best: Schedule, shares: Mapping[str, float]) -> list[Listed]:
    """The members of `front.csv`."""
    from biotune.evolution.rows import costs_of, schedule_of_row

    facts = ("confirmed_accuracy", "confirmed_se", "confirmed_trials")
    costs = costs_of(list(rows[0]))
    found = []
    for row in rows:
        schedule = schedule_of_row(row, best.blocks)
        share = shares.get(schedule.key, math.nan)
        values = {name: float(row[name]) for name in costs} | ({} if math.isnan(share) else {_SHARE: share})
        confirmed = {name: float(row[name] or "nan") for name in facts} if facts[0] in row else {}
        number, label, score = int(row["number"]), row["schedule"], float(row["accuracy"])
        found.append(Listed(number, label, schedule, score, values, row["knee"] == "True", confirmed))
    return found


def _of_evaluations(
    rows: list[dict[str, str]], table: pd.DataFrame, best: Schedule, shares: Mapping[str, float]
) -> list[Listed]:
    """The front by predicted score and trained share, from all evaluations of a search with one objective."""
    from biotune.evolution.front import Member, front_among
    from biotune.evolution.objectives import Objectives
    from biotune.evolution.rows import schedule_of_row
    from biotune.evolution.surrogate import Observation, fitness_by_schedule

    # an elite that was not evaluated again stands in the table with its earlier evaluation
    sound = ~table["status"].isin(_UNTRAINED) & ~((table["origin"] == "elite") & (table["status"] != "ok"))
    kept = [(number, row) for number, row in enumerate(rows) if sound.iloc[number]]
    if not kept:
        raise RunFolderError(f"no schedule of {GENERATIONS} was trained.")
    observations = [Observation(schedule_of_row(row, best.blocks), int(row["fold"]), float(row["fitness"])) for _, row in kept]
    first: dict[str, int] = {}
    for observation, (_, row) in zip(observations, kept, strict=True):
        first.setdefault(observation.schedule.key, int(row["individual"]))
    distinct = {one.schedule.key: one.schedule for one in observations}
    if any(math.isnan(shares[key]) for key in distinct):
        raise RunFolderError("the blocks of this search do not state their sizes; give biotune.Block its parameters.")
    own = Counter(one.schedule.key for one in observations)
    fitness = fitness_by_schedule(observations)
    known = [Member(schedule, first[key], 1.0 - fitness[key], {}, own[key]) for key, schedule in distinct.items()]
    front = front_among(known, Objectives((_SHARE,), {_SHARE: lambda schedule: shares.get(schedule.key, 1.0)}))
    return [
        Listed(number, str(one.number), one.schedule, one.score, one.costs, one.knee, {})
        for number, one in enumerate(front.members, 1)
    ]
