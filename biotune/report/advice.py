"""What to do after a run: takes the numbers of its folder to the rules. Draws nothing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict
from statistics import fmean
from typing import Any

from biotune.config.search import EvolutionConfig
from biotune.config.sections import AUTO, TrainingConfig
from biotune.report import rules
from biotune.report.quality import calibration_error, class_rows, confidences_of, reliability
from biotune.report.read import Run
from biotune.report.rules import Advice
from biotune.report.verdict import EVOLVED
from biotune.schedule.genotype import importance

_PENALISED = ("l1_sp", "l2_sp")  # strategies whose training loss holds more than a cross-entropy


def advise(run: Run) -> list[Advice]:
    """The advice of every rule that applies, the most urgent first.

    Args:
        run: The run; numbers that its folder lacks, because it is of an earlier version, trip no rule.
    """
    return [one for one in (*_on_training(run), *_on_model(run), *_on_evidence(run)) if one is not None]


def _on_training(run: Run) -> Iterator[Advice | None]:
    """Learning rates, epochs and overfitting."""
    yield from _learning_rates(run)
    settings = _training(run)
    own = [] if run.curves is None else [one for _, one in run.curves[run.curves["strategy"] == run.method].groupby("seed")]
    curves = [(one["val_macro_accuracy"].tolist(), one["val_loss"].tolist()) for one in own]
    key = "training.epochs" if run.search is None else "test.training.epochs"
    yield rules.epochs(curves, settings["epochs"], key)
    plain = settings["class_weights"] == "none" and not (settings["label_smoothing"] or settings["mixup"] or settings["cutmix"])
    kept = [one.iloc[int(one["val_macro_accuracy"].argmax())] for one in own]
    gaps = [float(row["val_loss"] - row["train_loss"]) for row in kept]
    if plain and run.returned not in _PENALISED:
        yield rules.overfitting(gaps, settings["augment"], settings["mixup"])


def _learning_rates(run: Run) -> Iterator[Advice | None]:
    config = _section(run, "training")
    grid = config["lr_grid"]
    evolved = run.returned == EVOLVED
    if evolved and run.schedule.importances is not None:
        trained = [weight for weight in run.schedule.lr_weights if weight]
        bottom = (asdict(EvolutionConfig()) | dict(run.config.get("evolution", {})))["fixed_threshold"] or 0.0
        yield rules.learning_rates([importance(one) for one in trained], [one * run.base_lr for one in trained], bottom)
    factors = run.config.get("confirm", {}).get("lr_factors", [])
    factor = run.confirmed.get("schedules", {}).get(run.returned, {}).get("lr_factor")
    if factor is not None:
        highest = max(run.confirmed["schedules"][run.returned]["lr"].values())
        yield rules.end_of_grid(factor, factors, "training.lr", float(f"{highest:.1e}"))
    elif config["lr"] == AUTO:
        yield rules.end_of_grid(run.base_lr, grid, "training.lr", run.base_lr * (3 if run.base_lr >= max(grid) else 1 / 3))


def _on_model(run: Run) -> Iterator[Advice | None]:
    """Calibration and classes of the final model."""
    confidences, right = confidences_of(run.predictions)
    bins = [(one.count, one.confidence) for one in reliability(confidences, right) if one is not None]
    error = calibration_error(confidences, right)
    yield rules.calibration(error, rules.error_by_chance(bins), "temperature" in run.final)
    rows = class_rows(run.predictions, run.classes)
    classes = {row["class"]: (row["support"], row["recall"]) for row in rows}
    yield rules.recall(classes, _training(run)["class_weights"] == "balanced")
    yield rules.few_images(classes)


def _on_evidence(run: Run) -> Iterator[Advice | None]:
    """Whether the data tell what the run claims."""
    data = run.config["dataset"]
    if "finalists" in run.confirmed:
        finalists = {one["schedule"]: one["macro_accuracy"]["values"] for one in run.confirmed["finalists"]}
        resplit = run.config.get("evolution", {}).get("resplit", EvolutionConfig.resplit)
        yield rules.confirmation(finalists, run.confirmed["chosen"], "confirm.splits" if resplit else "confirm.seeds")
        if "linear_probe" in finalists:
            others = [fmean(values) for name, values in finalists.items() if name != "linear_probe"]
            yield rules.cheaper(fmean(finalists["linear_probe"]), others, run.confirmed["standard_error"])
    _, right = confidences_of(run.predictions)
    small = rules.test_images(float(right.mean()), len(right), data.get("max_eval_per_class") is not None)
    yield small
    if small is None and "predicted" in run.confirmed:
        expected = run.confirmed["predicted"]["macro_accuracy"]
        yield rules.wide_prediction(expected["low"], expected["high"], _left_out(data))


def _left_out(data: Mapping[str, Any]) -> str | None:
    if data.get("max_per_class") is not None:
        return "dataset.max_per_class=null"
    return "dataset.train_fraction=1" if data.get("train_fraction", 1.0) < 1 else None


def _section(run: Run, name: str) -> dict[str, Any]:
    """The settings of `training`; keys that came after the run have their defaults."""
    return asdict(TrainingConfig()) | dict(run.config[name])


def _training(run: Run) -> dict[str, Any]:
    """The settings of final training runs."""
    own = ((run.config.get("test") or {}).get("training") or {}).items()
    return _section(run, "training") | {name: value for name, value in own if value is not None}
