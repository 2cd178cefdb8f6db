"""The final training runs, the only ones scored on the test set."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from biotune.config.schema import CompareConfig, RunConfig, TrainConfig, TrialsConfig, final_training
from biotune.errors import SearchError
from biotune.recipes import tables
from biotune.recipes.inputs import started
from biotune.recipes.progress import Progress
from biotune.recipes.session import Session
from biotune.report.advice import advise
from biotune.report.read import read_run
from biotune.report.verdict import EVOLVED
from biotune.schedule.plan import Plan
from biotune.schedule.schedule_file import save_text
from biotune.store.files import CURVES, RESULT, SCHEDULE, TEST, write_json, write_table, write_text
from biotune.strategies.registry import fixed_schedule
from biotune.training.size import trainable_parameters
from biotune.trial import Trial, TrialResult

BASELINES = ("full", "linear_probe")


Finals = Sequence[tuple[Trial, TrialResult]]


def final_trainings(
    session: Session,
    config: RunConfig | TrainConfig,
    own: Mapping[str, Plan],
    baselines: Mapping[str, Plan],
    base_lr: float,
    progress: Progress,
) -> tuple[str, dict[str, Finals]]:
    """Train on all training data once per seed of `test.seeds`; the test set is used here for the first time.

    Args:
        session: The session that runs the trials.
        config: The settings.
        own: The command's own plans by label; the one with the best model on validation data is returned, of equals the first.
        baselines: Plans that are tested beside them; the same label stands for the same plan.
        base_lr: λ_0 of every trial.
        progress: Receives the progress.

    Returns:
        The label of the plan that is returned, and by label each trial with its result, failed ones included.

    Raises:
        SearchError: Every final training run of the command's own plans failed.
    """
    trials = [
        (label, _final_trial(plan, seed, final_training(config).epochs, base_lr, keep=plan in own.values()))
        for label, plan in {**own, **baselines}.items()
        for seed in config.test.seeds
    ]
    progress.begin("final training runs", len(trials))
    results = session.executor.run([trial for _, trial in trials])
    progress.end()
    finals: dict[str, list[tuple[Trial, TrialResult]]] = {label: [] for label, _ in trials}
    for (label, trial), result in zip(trials, results, strict=True):
        finals[label].append((trial, result))
    # a plan that fails, for example for lack of memory, must not discard the result of the search
    for label in [label for label, pairs in finals.items() if not sound(pairs)]:
        reason = f"every final training run of {label} failed, the first one: {finals[label][0][1].error}"
        if not any(sound(finals[one]) for one in own):
            raise SearchError(reason)
        progress.line(reason)
    return max(own, key=lambda label: tables.top_score(sound(finals[label]))), dict(finals)


def other_settings(config: RunConfig | TrainConfig | CompareConfig) -> dict[str, Any]:
    """The entry of `result.json` about settings that only final training runs have; none where there are none."""
    changed = config.test.training.changed
    return {"final_training": changed} if changed else {}


def sound(finals: Finals) -> list[tuple[Trial, TrialResult]]:
    """The final training runs that did not fail."""
    return [pair for pair in finals if pair[1].status == "ok"]


def in_order(best: str, finals: Mapping[str, Finals]) -> dict[str, Finals]:
    """The final training runs by their names in `test.csv`: biotune's first, which are those of what is returned."""
    others = [name for name in finals if name != best and name not in BASELINES]
    return {EVOLVED: finals[best], **{name: finals[name] for name in (*BASELINES, *others)}}


def write_finals(folder: Path, finals: Mapping[str, Finals]) -> None:
    """Write `test.csv` and `curves.csv`, the rows of each strategy in their order."""
    trained = [(name, *pair) for name, pairs in finals.items() for pair in pairs]
    write_table(folder / TEST, [tables.final_row(*one) for one in trained])
    write_table(folder / CURVES, [row for one in trained for row in tables.curve_rows(*one)], list(tables.CURVE_COLUMNS))


def write_result(folder: Path, document: Mapping[str, Any]) -> dict[str, Any]:
    """Write `result.json` with the advice that follows from all files of the folder; returns its content."""
    write_json(folder / RESULT, document)
    advised = {**document, "advice": [asdict(one) for one in advise(read_run(folder))]}
    write_json(folder / RESULT, advised)
    return advised


def _final_trial(plan: Plan, seed: int, epochs: int, base_lr: float, keep: bool) -> Trial:
    """A trial on all data with test scores; its model is kept under a name that differs between schedules."""
    trial = Trial(plan.schedule, None, seed, epochs, plan.lr(base_lr), test=True, method=plan.method)
    return replace(trial, keep=hashlib.sha256(trial.key.encode()).hexdigest()[:16]) if keep else trial


def final_baselines(session: Session, tuned: Mapping[str, Plan]) -> dict[str, Plan]:
    """The baselines that are tested beside the returned schedule: at their tuned learning rates, as far as they were tuned."""
    network = session.network
    untuned = {
        name: started(session.config, [Plan(fixed_schedule(name, network.blocks))], network, name)[0] for name in BASELINES
    }
    return {name: tuned.get(name, plan) for name, plan in untuned.items()}


def write_schedule(session: Session, plan: Plan, base_lr: float) -> None:
    """Write `best_schedule.yaml`.

    Args:
        session: The session; the file states its settings.
        plan: The plan that trains the schedule; the file states its method, if it needs one.
        base_lr: λ_0, of which the plan may take a multiple.
    """
    text = save_text(plan.schedule, plan.lr(base_lr), origin(session.config, plan))
    write_text(session.folder / SCHEDULE, text)


def origin(config: TrialsConfig, plan: Plan) -> dict[str, Any]:
    """The header of a schedule file: the settings that a plan was found with."""
    return {
        "backbone": config.backbone.name,
        "granularity": config.backbone.granularity,
        "weights": config.backbone.weights,
        "dataset": config.dataset.name,
        **({} if plan.method is None else {"strategy": plan.method.name}),
    }


def size(session: Session, plan: Plan) -> dict[str, Any]:
    """Number and share of the parameters that a plan trains, for `result.json`."""
    trained = trainable_parameters(plan, session.network, session.data.sides)
    return {"trainable_params": trained, "trainable_share": trained / session.total_parameters}
