"""The text and tables of one run's report page. Draws nothing and reads no file."""

from __future__ import annotations

import math
import shlex
from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

from markupsafe import Markup

from biotune.report.advice import advise
from biotune.report.classes import Mistake, class_names, confusions, named_by_number
from biotune.report.front import front_section
from biotune.report.plots import chosen_schedule, search_score
from biotune.report.quality import calibration_error, class_rows, confidences_of
from biotune.report.read import Run, Score, Search
from biotune.report.side_by_side import side_by_side
from biotune.report.strip import colour_of
from biotune.report.style import Drawing
from biotune.report.templating import duration, percent, score_text, signed, template
from biotune.report.verdict import EVOLVED, SMOKE, SMOKE_SAYS, about_model, failures_text, final_settings, predicted, verdict

_SHOWN_CONFUSIONS = 10
_SHOWN_CLASSES = 12


def render_run(run: Run, drawings: Mapping[str, Drawing], mistakes: Sequence[Mistake]) -> str:
    """Render the page of one run as HTML.

    Args:
        run: The run.
        drawings: Its plots by name; the sections of missing plots are left out.
        mistakes: The mistakes to show.
    """
    confused = confusions(run)
    classes = class_names(run)
    per_class = sorted(class_rows(run.predictions, classes), key=lambda row: row["f1"])
    wrong = sum(count for _, _, count, _ in confused)
    return template("run.html").render(
        title=f"{run.config['dataset']['name']} with {run.config['backbone']['name']}",
        run=run,
        lead=lead(run),
        facts=_facts(run),
        advice=advise(run),
        beside=_beside(run),
        tiles=_tiles(run),
        images={name: Markup(drawing.inline()) for name, drawing in drawings.items()},
        metrics=list(run.scores[run.method]),
        method_name=run.name_of,
        verdict=verdict(run.confirmed, run.among_models),
        predicted=predicted(run.confirmed, run.among_models),
        blocks=_blocks(run),
        confirmation=f"{_confirmation(run, run.search)} {_returned_instead(run)}".rstrip() if run.search else None,
        front=front_section(run.front),
        about_model=about_model(run.final, len(run.scores[run.method]["macro_accuracy"].values)),
        calibration_error=calibration_error(*confidences_of(run.predictions)),
        hardest=per_class[:_SHOWN_CLASSES],
        num_classes=len(classes),
        confused=confused[:_SHOWN_CONFUSIONS],
        num_confused=len(confused),
        wrong=wrong,
        numbered=list(enumerate(classes, 1)) if named_by_number(classes) else [],
        mistakes=mistakes,
        costs=_costs(run, run.search) if run.search else None,
        command=command(run),
    )


def command(run: Run) -> str:
    """The POSIX shell command that repeats this run."""
    words = ["biotune", str(run.status["command"])]
    for folder in run.config_dirs:
        words += ["--config-dir", folder]
    return shlex.join([*words, *run.overrides])


def lead(run: Run) -> str:
    """The result in one sentence."""
    own = run.score(run.method)
    others = [
        f"{score_text(run.score(name))} for {run.name_of(name)}"
        for name in run.scores
        if name != run.method and run.score(name)
    ]
    name = run.name_of(run.method)
    what = "The evolved schedule" if run.returned == EVOLVED else f"{name[:1].upper()}{name[1:]}"
    against = f", against {' and '.join(others)}" if others else ""
    return f"{what} reaches {score_text(own)} macro accuracy on the test set{against}."


def gain(run: Run, method: str) -> Score | None:
    """The paired difference of the run's own method to another on the test set, over the training seeds."""
    own, other = run.test[run.test["strategy"] == run.method], run.test[run.test["strategy"] == method]
    pairs = own.merge(other, on="seed", suffixes=("", "_other"))
    values = (pairs["macro_accuracy"] - pairs["macro_accuracy_other"]).tolist()
    if not values:
        return None
    mean = fmean(values)
    sd = math.sqrt(sum((value - mean) ** 2 for value in values) / (len(values) - 1)) if len(values) > 1 else 0.0
    return Score(mean, sd, tuple(values))


def _facts(run: Run) -> str:
    score = run.scores[run.method]["macro_accuracy"]
    seeds = len(score.values)
    spread = f"Mean ± sd over {seeds} training seeds" if seeds > 1 else "One training seed, so no spread is known"
    tested = f"{len(run.predictions):,} test images of {len(run.classes)} classes"
    rest = ", which the search never saw" if run.search else ""
    failed = failures_text({run.name_of(name): count for name, count in run.failed.items()})
    smoke = SMOKE_SAYS if SMOKE in run.overrides else ""
    return " ".join(part for part in (smoke, f"{spread}; {tested}{rest}.", failed, final_settings(run.config)) if part)


def _tiles(run: Run) -> list[tuple[str, str]]:
    """The key numbers at the top of the page, each with its label."""
    tiles = []
    for method in run.scores:
        difference = gain(run, method) if method != run.method else None
        if difference is not None:
            sd = f"\u202f±\u202f{100 * difference.sd:.1f}" if len(difference.values) > 1 else ""
            tiles.append((f"{signed(100 * difference.mean)}{sd}", f"points against {run.name_of(method)}"))
    selected = sum(run.schedule.selected)
    tiles.append((f"{selected} of {len(run.schedule.blocks)}", "blocks trained"))
    tiles.append((percent(run.trainable_share), f"of the parameters trained ({run.trainable_params:,})"))
    if run.search:
        costs = _costs(run, run.search)
        total = costs[-1]
        tiles.append((f"{total['trainings']:,}", f"training runs, {duration(total['seconds'])} of training in all"))
    return tiles


def _beside(run: Run) -> list[dict[str, Any]]:
    """One row per finalist beside the found schedule: score and cost."""
    columns = side_by_side(run)
    most = max((one.trials for one in columns), default=0)
    total = sum(run.parameters.values()) if run.parameters else 0
    return [
        {
            "name": one.name,
            "returned": one.returned,
            "out": one.score is None,
            "remark": one.remark,
            "score": score_text(one.score) if one.score else f"out after {one.trials} of {most}",
            "share": percent(one.trained / total) if total else f"{one.trained:,}",
            "epochs": f"{one.epochs:.1f}",
            "seconds": duration(one.seconds),
        }
        for one in columns
    ]


def _blocks(run: Run) -> list[dict[str, Any]]:
    """One row of the schedule's table per block."""
    schedule = run.schedule
    total = sum(run.parameters.values()) if run.parameters else 0
    return [
        {
            "name": block.name,
            "importance": f"{schedule.importances[at]:.3f}" if schedule.importances else "–",
            "weight": f"{weight:.2f}" if weight else "frozen",
            "rate": f"{weight * run.base_lr:.3g}" if weight else "–",
            "parameters": f"{run.parameters[block.name]:,}" if run.parameters else "–",
            "share": percent(run.parameters[block.name] / total) if run.parameters else "–",
            "colour": "#{:02x}{:02x}{:02x}".format(*(round(255 * part) for part in colour_of(weight)[:3])) if weight else "",
        }
        for at, (block, weight) in enumerate(zip(schedule.blocks, schedule.lr_weights, strict=True))
    ]


def _confirmation(run: Run, search: Search) -> str:
    """Describe the effect of the confirmation on the choice of the schedule."""
    chosen = chosen_schedule(run, search)
    if search.confirmed is None or chosen is None:
        return "The best schedule of the search was taken without confirming it on other seeds and folds."
    before, after = search_score(search, chosen), search.confirmed
    if run.confirmed.get("strategy", EVOLVED) != EVOLVED:
        return f"The chosen baseline scored {score_text(after)} in the confirmation, with fresh seeds."
    if math.isnan(before):
        return (
            f"The chosen schedule scored {score_text(after)} in the confirmation, with fresh seeds; in the search its training "
            "runs were given up before the end, and it was chosen by prediction."
        )
    best = search.confirm.groupby("schedule")["macro_accuracy"].mean().max()
    sentence = (
        f"The chosen schedule scored {percent(before)} in the search and {score_text(after)} in the confirmation, "
        "with fresh seeds; a score that was selected for being high tends to fall."
    )
    if "finalists" not in run.confirmed and best > after.mean and not math.isclose(best, after.mean):
        sentence += (
            f" Another one came to {percent(best)} there; the choice was made by a regression over all trials, to which "
            "these few are no more than others, or by another metric."
        )
    return sentence


def _returned_instead(run: Run) -> str:
    """Name what is returned for its final model where the confirmation has chosen another finalist; empty if it has not."""
    returned = run.among_models
    if returned is None or returned["schedule"] == run.confirmed.get("chosen"):
        return ""
    name = f"schedule {returned['schedule']}" if returned["strategy"] == EVOLVED else run.name_of(run.method)
    return f"Returned is {name}: of all final models one of its validates best."


def _costs(run: Run, search: Search) -> list[dict[str, Any]]:
    """Training runs, epochs and time by phase, the sum last."""
    tuning = run.confirmed.get("tuning", {})
    rows: list[dict[str, Any]] = [
        *([{"phase": "tuning of the baselines", **tuning}] if tuning.get("trainings") else []),
        {"phase": "search", **{name: search.costs[name] for name in ("trainings", "epochs", "seconds")}},
        {"phase": "confirmation", **_sums(search.confirm)},
        # where a baseline is returned its training runs stand in the table as biotune's, too
        {"phase": "final training runs", **_sums(run.test.drop_duplicates(run.test.columns.drop("strategy")))},
    ]
    total = {name: sum(row[name] for row in rows) for name in ("trainings", "epochs", "seconds")}
    return [
        {**row, "trainings": int(row["trainings"]), "epochs": int(row["epochs"])}
        for row in [*rows, {"phase": "total", **total}]
    ]


def _sums(table: Any) -> dict[str, float]:
    epochs = table["epochs"].sum() if "epochs" in table else 0
    return {"trainings": len(table), "epochs": float(epochs), "seconds": float(table["seconds"].sum())}
