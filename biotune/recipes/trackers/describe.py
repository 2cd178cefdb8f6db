"""Describes runs, trials, generations and ends for trackers."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from biotune.config.key import keys_of, show
from biotune.config.schema import TrialsConfig, value_at
from biotune.evolution.generation import Generation
from biotune.evolution.rows import summary_row
from biotune.recipes.trackers.events import FINISHED, ChildRun, End, GenerationRow, ParentRun
from biotune.store.files import (
    COMPARISON,
    EVALUATIONS,
    MODEL,
    MODEL_FACTS,
    REPORT,
    RESULT,
    SCHEDULE,
    read_json,
)
from biotune.trial import Trial, TrialResult

_FILES = (REPORT, SCHEDULE, MODEL, MODEL_FACTS, RESULT, COMPARISON, EVALUATIONS)
_NO_SCORES = ("schedule", "final")  # entries of result.json that hold a schedule's settings, and facts about the model


def parent_run(id: str, command: str, config: TrialsConfig, folder: Path) -> ParentRun:
    """Describe a run.

    Args:
        id: Its identity.
        command: The command.
        config: Its settings; those of trackers are left out.
        folder: The run's folder, which names it.
    """
    keys = [item.path for item in keys_of(type(config)) if not item.path.startswith("tracker.")]
    return ParentRun(id, f"{command} {folder.name}", command, {key: _plain(value_at(config, key)) for key in keys})


def child_run(trial: Trial, result: TrialResult, phase: str, part: str = "", strategy: str = "") -> ChildRun:
    """Describe a training run.

    Args:
        trial: The trial.
        result: Its result.
        phase: What it was made for.
        part: In a comparison, its seed, as the name of a folder; equal trials of two seeds are trained on different splits.
        strategy: In a comparison, the strategy.
    """
    schedule = trial.schedule
    rates = {f"lr.{name}": weight * trial.lr for name, weight in zip(schedule.names, schedule.lr_weights, strict=True)}
    frozen = [name for name, selected in zip(schedule.names, schedule.selected, strict=True) if not selected]
    fold = "all data" if trial.fold is None else f"fold {trial.fold}"
    short = _digest(schedule.key)[:8]
    methods = [] if trial.method is None else [trial.method.name]
    of_comparison = {name: value for name, value in (("part", part), ("strategy", strategy)) if value}
    return ChildRun(
        _digest(f"{part}/{trial.key}"),
        " ".join([*of_comparison.values(), phase, short, *methods, fold, f"seed {trial.seed}"]),
        {
            **of_comparison,
            "phase": phase,
            "schedule": short,
            **rates,
            "frozen": " ".join(frozen) or "none",
            "base_lr": trial.lr,
            "unfreezing": schedule.unfreezing,
            "head_start": schedule.head_start,
            "method": "schedule" if trial.method is None else trial.method.key,
            "fold": fold,
            "seed": trial.seed,
            "most_epochs": trial.epochs,
        },
        {name: curve for name, curve in (("val_macro_accuracy", result.curve), ("val_loss", result.losses)) if curve},
        {
            **({"best_val_macro_accuracy": result.score} if result.curve else {}),
            **({} if result.unbiased is None else {"unbiased_val_macro_accuracy": result.unbiased}),
            **{f"test_{name}": value for name, value in result.scores.items()},
            "epochs": float(len(result.curve)),
            "seconds": result.seconds,
        },
        str(result.status),
        result.error,
        result.seconds,
    )


def generation_row(generation: Generation, part: str = "") -> GenerationRow:
    """Describe a generation, with the part of a comparison that it belongs to."""
    row = summary_row(generation)
    number = row.pop("generation")
    return GenerationRow(number, {f"{part}/{name}" if part else name: float(value) for name, value in row.items()})


def end_of(state: str, folder: Path) -> End:
    """Describe the end of a session: with the scores and files of the run's folder, if it has finished."""
    if state != FINISHED:
        return End(state)
    document = {name: entry for name, entry in read_json(folder / RESULT).items() if name not in _NO_SCORES}
    return End(state, dict(_numbers(document, "")), tuple(folder / name for name in _FILES if (folder / name).is_file()))


def _plain(value: Any) -> str | int | float:
    """A number as it is, anything else as typed on the command line."""
    return value if isinstance(value, int | float) and not isinstance(value, bool) else show(value)


def _numbers(entry: Any, path: str) -> Iterator[tuple[str, float]]:
    """The numbers of a JSON object by their paths; of several values the mean."""
    if isinstance(entry, dict):
        if "values" in entry:
            yield from _numbers(entry.get("mean"), path)
            return
        for name, inner in entry.items():
            yield from _numbers(inner, f"{path}/{name}" if path else name)
    elif isinstance(entry, int | float) and not isinstance(entry, bool):
        yield path, float(entry)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]
