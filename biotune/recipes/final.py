"""The final training runs, the only ones scored on the test set, and the final model."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

from biotune.config.schema import CompareConfig, RunConfig, TrainConfig, TrialsConfig, final_training
from biotune.errors import SearchError
from biotune.recipes import tables
from biotune.recipes.inputs import started
from biotune.recipes.progress import Progress
from biotune.recipes.session import Session
from biotune.report.mistakes import surest_mistakes
from biotune.report.read import read_predictions
from biotune.report.verdict import EVOLVED
from biotune.schedule.plan import Plan
from biotune.schedule.schedule_file import save_text
from biotune.store.files import MISTAKES, MODEL_FACTS, SCHEDULE, TEST, write_json, write_table, write_text, write_whole
from biotune.store.folders import make_folder
from biotune.strategies.registry import fixed_schedule
from biotune.training.model import MODEL_FORMAT, choose_model, is_kept, model_origin
from biotune.training.size import trainable_parameters
from biotune.trial import Trial, TrialResult, key_with_lr

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
    return max(own, key=lambda label: max((result.score for _, result in sound(finals[label])), default=-1.0)), dict(finals)


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
    """Write `test.csv`, the rows of each strategy in their order."""
    write_table(folder / TEST, [tables.final_row(name, *pair) for name, pairs in finals.items() for pair in pairs])


def _final_trial(plan: Plan, seed: int, epochs: int, base_lr: float, keep: bool) -> Trial:
    """A trial on all data with test scores; its model is kept under a name that differs between schedules."""
    trial = Trial(plan.schedule, None, seed, epochs, plan.lr(base_lr), test=True, method=plan.method)
    return replace(trial, keep=hashlib.sha256(trial.key.encode()).hexdigest()[:16]) if keep else trial


def keep_best_model(session: Session, finals: Finals) -> None:
    """Make the model with the best validation score the final model; ties go to the first seed."""
    best, _ = max(sound(finals), key=lambda pair: pair[1].score)
    name = str(best.keep)
    if not is_kept(session.folder, name):
        origin_of_model = model_origin(session.folder)
        if origin_of_model is not None and key_with_lr(origin_of_model, best.lr) == best.key:
            return  # the run had ended before and is only extended
        session.executor.repeat(best)
    choose_model(session.folder, name)
    config = session.config
    preprocessing = session.network.preprocessing.scaled_to(config.dataset.sides)
    facts = {
        "format": MODEL_FORMAT,
        "backbone": {"library": config.backbone.library, "name": config.backbone.name},
        "classes": list(session.data.classes),
        "preprocessing": asdict(preprocessing),
        **({} if session.data.value_range is None else {"value_range": session.data.value_range}),
        "seed": best.seed,
        "training": best.key,
    }
    write_json(session.folder / MODEL_FACTS, facts)
    _keep_images_of_mistakes(session)


def _keep_images_of_mistakes(session: Session) -> None:
    """Keep the images of the most confident mistakes for the report, unless their files show them as the network saw them."""
    from PIL import Image

    root = session.config.dataset.root
    folder = session.folder / MISTAKES
    for row in surest_mistakes(read_predictions(session.folder)).index:
        image = session.data.test[row]
        as_in_file = session.data.value_range is None
        if as_in_file and root is not None and (Path(root).expanduser() / session.data.names[image]).is_file():
            continue
        make_folder(folder)
        write_whole(folder / f"{row}.png", partial(Image.fromarray(session.data.pixels[image]).save, format="PNG"))


def final_baselines(session: Session, tuned: Mapping[str, Plan]) -> dict[str, Plan]:
    """The baselines that are tested beside the returned schedule: at their tuned learning rates, as far as they were tuned."""
    plans = started(session.config, [Plan(fixed_schedule(name, session.network.blocks)) for name in BASELINES])
    return {name: tuned.get(name, plan) for name, plan in zip(BASELINES, plans, strict=True)}


def write_schedule(session: Session, plan: Plan, base_lr: float) -> None:
    """Write `best_schedule.yaml`.

    Args:
        session: The session; the file states its settings.
        plan: The plan that trains the schedule; the file states its method, if it needs one.
        base_lr: λ_0, of which the plan may take a multiple.
    """
    text = save_text(plan.schedule, plan.lr(base_lr), _origin(session.config, plan))
    write_text(session.folder / SCHEDULE, text)


def _origin(config: TrialsConfig, plan: Plan) -> dict[str, Any]:
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
