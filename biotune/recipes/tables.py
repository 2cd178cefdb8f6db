"""The rows of a run's tables and the entries of its result file, from plain values. Column names are a public interface."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import zip_longest
from typing import Any

from biotune.evolution.generation import Candidate, Generation
from biotune.report.statistics import shared_scores, spread
from biotune.schedule.plan import Plan
from biotune.schedule.schedule import FRESH, TOGETHER, Schedule
from biotune.trial import Trial, TrialResult


def confirm_row(schedule: str, strategy: str, trial: Trial, result: TrialResult) -> dict[str, Any]:
    """The row of one confirmation trial, for `confirm.csv`."""
    return {
        "schedule": schedule,
        "strategy": strategy,
        "fold": trial.fold,
        "seed": trial.seed,
        "macro_accuracy": result.score if result.status == "ok" else float("nan"),
        "unbiased_macro_accuracy": float("nan") if result.unbiased is None else result.unbiased,
        "epochs": len(result.curve),
        "status": result.status,
        "seconds": result.seconds,
    }


def final_row(strategy: str, trial: Trial, result: TrialResult) -> dict[str, Any]:
    """The row of one final training run, for `test.csv`."""
    return {
        "strategy": strategy,
        "seed": trial.seed,
        **result.scores,
        "val_macro_accuracy": result.score if result.status == "ok" else float("nan"),
        "epochs": len(result.curve),
        "seconds": result.seconds,
    }


CURVE_COLUMNS = ("strategy", "seed", "epoch", "train_loss", "val_loss", "val_macro_accuracy")


def curve_rows(strategy: str, trial: Trial, result: TrialResult) -> Iterator[dict[str, Any]]:
    """One row per epoch of a final training run, for `curves.csv`; losses that an old journal lacks are NaN."""
    for epoch, values in enumerate(zip_longest(result.train_losses, result.losses, result.curve, fillvalue=math.nan), 1):
        yield dict(zip(CURVE_COLUMNS, (strategy, trial.seed, epoch, *values), strict=True))


def prediction_columns(confirmed: Mapping[str, Any], returned: str) -> dict[str, Any]:
    """What was returned and what the confirmation predicts, for a search's row in `comparison.csv`; empty without one."""
    if "predicted" not in confirmed:
        return {}
    expected = confirmed["predicted"]["macro_accuracy"]
    return {
        "returned": returned,
        "predicted_macro_accuracy": expected["mean"],
        "predicted_low": expected["low"],
        "predicted_high": expected["high"],
    }


def spreads(results: Sequence[TrialResult]) -> dict[str, Any]:
    """Every test score of several training runs as {mean, sd, values}."""
    return {name: spread([result.scores[name] for result in results]) for name in results[0].scores}


def side_by_side(finals: Mapping[str, Sequence[tuple[Trial, TrialResult]]]) -> dict[str, list[TrialResult]]:
    """The final training runs whose scores can be set side by side: those with the seeds that all methods have.

    A method that lacks more than half of the first one's seeds is left out; the first one never is.

    Args:
        finals: By name, the final training runs that ended well; the command's own method first.
    """
    own = next(iter(finals))
    scores = {name: {trial.seed: result.score for trial, result in pairs} for name, pairs in finals.items()}
    shared = shared_scores(scores, list(scores[own]))
    if not shared[own]:  # each of the others lacks other seeds
        shared = {own: scores[own]}
    return {name: [result for trial, result in finals[name] if trial.seed in seeds] for name, seeds in shared.items()}


def top_score(own: Sequence[tuple[Trial, TrialResult]]) -> float:
    """The best validation score, to nine digits: equal means of different recalls differ in the last one; −1 of none."""
    return max((round(result.score, 9) for _, result in own), default=-1.0)


def returned_entry(
    label: str, strategy: str, finals: Mapping[str, Sequence[tuple[Trial, TrialResult]]], best: str
) -> dict[str, Any]:
    """The finalist that is returned because one of its final models validates best, for `result.json`.

    Args:
        label: Its label in `confirm.csv`.
        strategy: biotune, or the name of a baseline.
        finals: By finalist that was trained on all training images, its final training runs that ended well.
        best: The one of them.
    """
    trial, result = max(finals[best], key=lambda pair: pair[1].score)
    return {
        "schedule": label,
        "strategy": strategy,
        "seed": trial.seed,
        "val_macro_accuracy": result.score,
        "finalists": len(finals),
        "models": sum(map(len, finals.values())),
        "level": sum(top_score(own) == top_score(finals[best]) for name, own in finals.items() if name != best),
    }


def schedule_entry(schedule: Schedule, base_lr: float, parameters: Mapping[str, int]) -> dict[str, Any]:
    """A schedule for `result.json`, with the size of each block."""
    importances: Sequence[float | None] = schedule.importances or [None] * len(schedule.blocks)
    return {
        "threshold": schedule.threshold,
        "unfreezing": schedule.unfreezing,
        **_start_of(schedule),
        "blocks": {
            name: {
                "frozen": weight == 0,
                "importance": importance,
                "lr_weight": weight,
                "lr": weight * base_lr,
                "parameters": parameters[name],
            }
            for name, weight, importance in zip(schedule.names, schedule.lr_weights, importances, strict=True)
        },
    }


def finalist_entry(plan: Plan, trained: int, base_lr: float, factor: float | None) -> dict[str, Any]:
    """How a finalist of the confirmation is trained, for `result.json`.

    Args:
        plan: Its plan.
        trained: Number of parameters that it trains.
        base_lr: λ_0 of the run.
        factor: The multiple of λ_0 that a baseline was tuned to; None for an evolved schedule.
    """
    schedule, lr = plan.schedule, plan.lr(base_lr)
    return {
        "trainable_params": trained,
        "lr": {name: weight * lr for name, weight in zip(schedule.names, schedule.lr_weights, strict=True)},
        "unfreezing": schedule.unfreezing,
        **_start_of(schedule),
        **({} if factor is None else {"lr_factor": factor}),
    }


def journal_record(generation: Generation) -> dict[str, Any]:
    """A generation's journal record: enough to check that a resumed search repeats it."""
    return {
        "kind": "generation",
        "number": generation.number,
        "fold": generation.fold,
        "candidates": [_journal_candidate(candidate) for candidate in generation.candidates],
        "survivors": generation.survivors,
        "record": generation.record,
        "random_state": generation.random_state,
    }


def _journal_candidate(candidate: Candidate) -> dict[str, Any]:
    order = candidate.schedule.unfreezing
    return {
        "individual": candidate.individual,
        "origin": candidate.origin,
        "status": candidate.evaluation.status,
        "error": candidate.evaluation.error,
        "fitness": candidate.evaluation.fitness,
        "genes": list(candidate.genes),
        # written as in a schedule file, so that searches from before the order existed can be resumed
        **({} if order == TOGETHER else {"unfreezing": order}),
        **_start_of(candidate.schedule),
        "kept": candidate.kept,
    }


def _start_of(schedule: Schedule) -> dict[str, str]:
    """The entry about a head that starts from the linear probe, as in a schedule file; none for a fresh one."""
    return {} if schedule.head_start == FRESH else {"head_start": schedule.head_start}
