"""The rows of a search's tables, from plain values. Column names are a public interface."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from biotune.evolution.front import Front
from biotune.evolution.generation import Generation
from biotune.schedule.block import Block
from biotune.schedule.schedule import FRESH, PROBE, TOGETHER, Schedule
from biotune.trial import Evaluation

LR_WEIGHT = "lr_weight_"  # before a block's name, the column of its learning-rate weight
SUMMARY_COLUMNS = (
    "generation",
    "fold",
    "best_fitness",
    "mean_fitness",
    "worst_fitness",
    "sd_fitness",
    "diversity",
    "evaluations",
    "trainings",
    "cache_hits",
    "pruned",
    "failures",
    "seconds",
)


def trained_parameters(schedule: Schedule, parameters: Mapping[str, int]) -> int:
    """Number of parameters in the blocks that a schedule trains."""
    return sum(parameters[name] for name, selected in zip(schedule.names, schedule.selected, strict=True) if selected)


def generation_rows(generation: Generation, parameters: Mapping[str, int], head_start: str = FRESH) -> Iterator[dict[str, Any]]:
    """One row per candidate considered, for `generations.csv`; `head_start` is `training.head_start`."""
    for candidate in generation.candidates:
        yield {
            "generation": generation.number,
            "fold": candidate.fold,
            "individual": candidate.individual,
            "origin": candidate.origin,
            "status": candidate.evaluation.status,
            "kept": candidate.kept,
            **evaluation_columns(candidate.evaluation, candidate.schedule, parameters),
            **genotype_columns(candidate.genes, candidate.schedule, head_start),
        }


def evaluation_columns(evaluation: Evaluation, schedule: Schedule, parameters: Mapping[str, int]) -> dict[str, Any]:
    """Fitness, accuracies, size and time of one candidate on one fold; the size is NaN where no block's is known."""
    trained = trained_parameters(schedule, parameters) if parameters else math.nan
    return {
        "fitness": evaluation.fitness,
        "val_accuracy": evaluation.val_accuracy,
        "val_accuracy_sd": evaluation.val_accuracy_sd,
        "trainable_params": trained,
        "trainable_share": trained / (sum(parameters.values()) or math.nan),
        "seconds": evaluation.seconds,
    }


def genotype_columns(genes: Sequence[float], schedule: Schedule, head_start: str = FRESH) -> dict[str, Any]:
    """Threshold, importances, learning-rate weights (0 if frozen), order of unfreezing, and the start of the head.

    Args:
        genes: (n,) importances, threshold last.
        schedule: What they decode to.
        head_start: `training.head_start`; where all heads start fresh, there is no column of it.
    """
    return {
        "threshold": genes[-1],
        **{f"importance_{name}": gene for name, gene in zip(schedule.names, genes, strict=False)},
        **schedule_columns(schedule, head_start),
    }


def schedule_columns(schedule: Schedule, head_start: str) -> dict[str, Any]:
    """Learning-rate weights (0 if frozen), order of unfreezing, and the start of the head; see `genotype_columns`."""
    return {
        **{f"{LR_WEIGHT}{name}": weight for name, weight in zip(schedule.names, schedule.lr_weights, strict=True)},
        "unfreezing": schedule.unfreezing,
        **({} if head_start == FRESH else {"head_start": schedule.head_start}),
    }


def schedule_of_row(row: Mapping[Any, Any], blocks: Sequence[Block]) -> Schedule:
    """Return the schedule whose `schedule_columns` a row holds; earlier versions have no column of the order.

    Args:
        row: A row of a table, with numbers or texts.
        blocks: The blocks that the columns are of, in forward order.

    Raises:
        KeyError: The learning-rate weight of a block is missing.
        ValueError: It is no number.
        ScheduleError: The row is none of a schedule.
    """
    weights = tuple(float(row[f"{LR_WEIGHT}{block.name}"]) for block in blocks)
    order, start = row.get("unfreezing") or TOGETHER, row.get("head_start") or FRESH
    return Schedule(tuple(blocks), weights, unfreezing=order, head_start=start)


def front_rows(
    front: Front, labels: Mapping[str, str], confirmed: Callable[[str], Mapping[str, Any]] = lambda label: {}
) -> Iterator[dict[str, Any]]:
    """One row per member of a front, for `front.csv`, the best score first.

    Args:
        front: The front.
        labels: By canonical key the name in the run's tables, of schedules whose number is not their name.
        confirmed: Returns the columns of the confirmation of a name; the same ones for all names.
    """
    for number, member in enumerate(front.members, 1):
        label = labels.get(member.schedule.key, str(member.number))
        yield {
            "number": number,
            "schedule": label,
            "accuracy": member.score,
            **{name: int(cost) if cost.is_integer() else cost for name, cost in member.costs.items()},
            "knee": member.knee,
            **confirmed(label),
            **schedule_columns(member.schedule, PROBE),
        }


def costs_of(columns: Sequence[str]) -> list[str]:
    """Return the costs among the columns of `front.csv`.

    Raises:
        ValueError: The columns around them are missing.
    """
    names = list(columns)
    return names[names.index("accuracy") + 1 : names.index("knee")]


def summary_row(generation: Generation) -> dict[str, Any]:
    """A generation's row of `summary.csv`, from the logbook."""
    return {name: generation.record[name] for name in SUMMARY_COLUMNS}
