"""The final model of a run: chosen or made of the final training runs, calibrated, kept, and described for `result.json`."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor

from biotune.backbones.state import copy_state, restore
from biotune.config.sections import FinalModelConfig
from biotune.recipes.final import Finals, sound
from biotune.recipes.session import Session
from biotune.report.mistakes import surest_mistakes
from biotune.report.quality import calibration_error, class_rows, confidences_of
from biotune.report.read import read_predictions
from biotune.schedule.schedule import PROBE
from biotune.store.files import CLASSES, MISTAKES, MODEL_FACTS, RESULT, read_json, write_json, write_table, write_whole
from biotune.store.folders import make_folder
from biotune.training.ensemble import average_probabilities
from biotune.training.finetune import predict
from biotune.training.metrics import macro_accuracy, score_predictions
from biotune.training.model import choose_model, facts_of_model, is_kept, keep_model, kept_model, member_name, model_origin
from biotune.training.soup import average_weights, renew_statistics
from biotune.training.temperature import fit_temperature
from biotune.training.workspace import Workspace
from biotune.trial import Trial, key_with_lr

_NO_TEMPERATURE = (
    "final.temperature=true: the validation images tell no temperature, as where all are classified right; it is 1."
)
_LARGEST_KEPT = 224  # pixels: the longer side of a kept image, twice that of the report's
_MADE = "final"  # name under which a model is kept that no single training run has left

State = Mapping[str, Tensor]


@dataclass(frozen=True)
class _Candidate:
    """A model that may become the final one.

    Attributes:
        kind: best, soup or ensemble.
        states: The state dicts of its members; one unless it is an ensemble.
        val: (V, classes) logits of the validation set.
        score: Its validation macro accuracy.
    """

    kind: str
    states: Sequence[State]
    val: Tensor
    score: float


def keep_final_model(session: Session, final: FinalModelConfig, finals: Finals) -> dict[str, Any]:
    """Make the model with the best validation score, or what `final` asks for, the final model; ties go to the first seed.

    Args:
        session: The session.
        final: The settings.
        finals: The final training runs of what is returned.

    Returns:
        The entry `final` of `result.json`.
    """
    best, result = max(sound(finals), key=lambda pair: pair[1].score)
    trials = [trial for trial, _ in sound(finals)]
    if final == FinalModelConfig():
        _keep_best(session, best)
        entry: dict[str, Any] = {
            "model": "best",
            "seeds": [best.seed],
            "val_macro_accuracy": result.score,
            "test": dict(result.scores),
        }
    else:
        asked = {"model": final.model, "temperature": final.temperature, "trainings": [trial.key for trial in trials]}
        if is_asked(session.folder, asked):
            return dict(read_json(session.folder / RESULT)["final"])  # the run had ended before and is only extended
        _keep_all(session, trials if final.model != "best" else [best])
        entry = _make(session, final, trials, best, result.score, asked)
    _keep_images_of_mistakes(session)
    predictions = read_predictions(session.folder)
    rows = class_rows(predictions, session.data.classes)
    write_table(session.folder / CLASSES, rows)
    entry["ece"] = calibration_error(*confidences_of(predictions))
    return {**entry, "classes": {row.pop("class"): row for row in rows}}


def is_asked(folder: Path, asked: Mapping[str, Any]) -> bool:
    """Whether a folder's final model is the one that is asked for, and its result file describes it."""
    origin = model_origin(folder)
    return (
        origin is not None and read_json(folder / MODEL_FACTS).get("asked") == asked and "final" in read_json(folder / RESULT)
    )


def _keep_best(session: Session, best: Trial) -> None:
    name = str(best.keep)
    if not is_kept(session.folder, name):
        origin = model_origin(session.folder)
        if origin is not None and key_with_lr(origin, best.lr) == best.key:
            return  # the run had ended before and is only extended
        session.executor.repeat(best)
    choose_model(session.folder, name)
    write_json(session.folder / MODEL_FACTS, facts_of_model(session.config, session.network, session.data, best))


def _keep_all(session: Session, trials: Sequence[Trial]) -> None:
    for trial in trials:
        if not is_kept(session.folder, str(trial.keep)):
            session.executor.repeat(trial)


def _make(
    session: Session, final: FinalModelConfig, trials: Sequence[Trial], best: Trial, score: float, asked: dict[str, Any]
) -> dict[str, Any]:
    """Make, validate, calibrate and keep the model that is asked for, or the best one where its rule is not met."""
    space = _workspace(session)
    chosen, entry = _choose(space, session, final, trials, best, score)
    labels = torch.from_numpy(session.data.labels)
    temperature = None
    if final.temperature:
        temperature = fit_temperature(chosen.val, labels[session.data.whole.val])
        entry["temperature"] = 1.0 if temperature is None else temperature
        if temperature is None:
            entry["remarks"] = [*entry.get("remarks", ()), _NO_TEMPERATURE]
    logits = _logits_of(space, chosen.states, session.data.test)
    plain = logits.double().softmax(1)
    probabilities = plain if temperature is None else (logits.double() / temperature).softmax(1)
    truth = labels[session.data.test]
    entry["test"] = score_predictions(probabilities, truth)
    if final.temperature:
        right = (plain.argmax(1) == truth).numpy()
        entry["ece_before"] = calibration_error(plain.amax(1).numpy(), right)
    state = chosen.states[0] if len(chosen.states) == 1 else _together(chosen.states)
    keep_model(session.folder, _MADE, state, session.data, probabilities.numpy())
    choose_model(session.folder, _MADE)
    facts = facts_of_model(session.config, session.network, session.data, best, len(chosen.states), temperature)
    write_json(session.folder / MODEL_FACTS, {**facts, "asked": asked})
    return entry


def _choose(
    space: Workspace, session: Session, final: FinalModelConfig, trials: Sequence[Trial], best: Trial, score: float
) -> tuple[_Candidate, dict[str, Any]]:
    """The model to keep, and what `result.json` says about the choice."""
    needed = [best] if final.model == "best" else trials
    states = {trial.key: load_file(kept_model(session.folder, str(trial.keep))) for trial in needed}
    single = _candidate(space, "best", [states[best.key]])
    entry: dict[str, Any] = {"model": "best", "seeds": [best.seed], "val_macro_accuracy": score}
    if final.model == "best":
        return single, entry
    remark = _no_average(session, final.model, trials)
    if remark is None:
        members = [states[trial.key] for trial in trials]
        made = _candidate(space, final.model, [_soup(space, members)] if final.model == "soup" else members)
        if made.score >= single.score:
            seeds = [trial.seed for trial in trials]
            return made, {"model": made.kind, "seeds": seeds, "val_macro_accuracy": made.score, "val_of_best": single.score}
        remark = (
            f"the {final.model} of {len(trials)} models validates at {made.score:.4f}, worse than the best of them at "
            f"{single.score:.4f}, which is kept"
        )
    return single, {**entry, "remarks": [f"final.model={final.model}: {remark}."]}


def _no_average(session: Session, kind: str, trials: Sequence[Trial]) -> str | None:
    """The reason why no average can be made; None if it can."""
    if len(trials) < 2:
        return "needs two final training runs that did not fail; the one model is kept"
    if kind == "soup" and session.network.fresh_head and trials[0].schedule.head_start != PROBE:
        return (
            "what is returned starts from another random head with each seed, so that no weights can be averaged; one is kept"
        )
    return None


def _candidate(space: Workspace, kind: str, states: Sequence[State]) -> _Candidate:
    rows = space.data.whole.val
    logits = _logits_of(space, states, rows)
    score = macro_accuracy(logits.argmax(1), torch.from_numpy(space.data.labels[rows]), len(space.data.classes))
    return _Candidate(kind, states, logits, score)


def _soup(space: Workspace, states: Sequence[State]) -> State:
    restore(space.network.module, average_weights(states))
    renew_statistics(space, states, space.data.whole.train)
    return copy_state(space.network.module, torch.device("cpu"))


def _logits_of(space: Workspace, states: Sequence[State], rows: np.ndarray) -> Tensor:
    """(N, classes) logits on the CPU, for several members logarithms of their averaged probabilities."""
    found = []
    for state in states:
        restore(space.network.module, state)
        found.append(predict(space, rows).cpu())
    return found[0] if len(found) == 1 else average_probabilities(found)


def _together(states: Sequence[State]) -> dict[str, Tensor]:
    return {f"{member_name(at)}{name}": value for at, state in enumerate(states) for name, value in state.items()}


def _workspace(session: Session) -> Workspace:
    """A workspace with a copy of the network, which leaves that of the executor alone; it shares no activations."""
    network = replace(session.network, module=copy.deepcopy(session.network.module))
    return Workspace.of(network, session.data, session.config.training, session.device)


def _keep_images_of_mistakes(session: Session) -> None:
    """Keep small images of the most confident mistakes, as the network sees them, for the report.

    The dataset may have no image files, may lie elsewhere when the report is drawn, or on another machine.
    """
    from PIL import Image

    folder = session.folder / MISTAKES
    for row in surest_mistakes(read_predictions(session.folder)).index:
        image = Image.fromarray(session.data.pixels[session.data.test[row]])
        image.thumbnail((_LARGEST_KEPT, _LARGEST_KEPT))
        make_folder(folder)
        write_whole(folder / f"{row}.png", partial(image.save, format="PNG"))
