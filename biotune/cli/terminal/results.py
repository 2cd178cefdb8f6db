"""Prints the result of a recipe after it has finished."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from biotune.cli.terminal.view import View
from biotune.report.costs import confirmed_text, cost_text, shown_members, volume_text
from biotune.report.verdict import EVOLVED, SMOKE, SMOKE_SAYS, about_model, predicted, verdict
from biotune.store.files import OVERRIDES

if TYPE_CHECKING:
    from biotune.recipes.compare import CompareResult
    from biotune.recipes.evaluate import EvaluateResult
    from biotune.recipes.run import RunResult
    from biotune.recipes.suggest import SuggestResult
    from biotune.recipes.train import TrainResult

_MOST_ADVICE = 2  # the page and result.json have all


def show_run(view: View, result: RunResult) -> None:
    """Print the generations, the layer schedule, and the test scores together with those of the baselines."""
    view.summary(result.summary, result.metric)
    view.schedule(result.schedule, result.parameters, result.base_lr)
    confirmed = result.document["confirmed"]
    returned = result.document.get("returned")
    for sentence in (verdict(confirmed, returned), predicted(confirmed, returned)):
        if sentence:
            view.line(sentence)
    _show_front(view, result.document.get("front"))
    row, failed = _row(returned), result.document["failed"]
    failed = {row if name == EVOLVED else name: count for name, count in failed.items()}
    view.scores({row: result.document["test"], **result.document["baselines"]}, failed)
    _show_model(view, result.document)
    _show_advice(view, result.document["advice"])


def _row(returned: Mapping[str, Any] | None) -> str:
    """The row of what is returned: biotune, with the baseline's name where that is one."""
    strategy = EVOLVED if returned is None else returned["strategy"]
    return EVOLVED if strategy == EVOLVED else f"{EVOLVED} ({strategy})"


def _show_front(view: View, front: Mapping[str, Any] | None) -> None:
    """Print the members of the front to look at first, and what it dominates."""
    if front is None:
        return
    shown, costs = shown_members(front["members"]), front["costs"]
    view.table(
        f"Trade-offs: {len(shown)} of the {len(front['members'])} schedules on the front (front.csv)",
        ["number", "schedule", "predicted", "confirmed", *costs, "knee"],
        (
            [
                one["number"],
                one["schedule"],
                f"{100 * one['accuracy']:.1f} %",
                confirmed_text(one),
                *(cost_text(name, one[name]) for name in costs),
                "knee" if one["knee"] else "",
            ]
            for one in shown
        ),
    )
    view.line(volume_text(front))


def show_train(view: View, result: TrainResult) -> None:
    """Print the layer schedule and the test scores."""
    view.schedule(result.schedule, result.parameters, result.base_lr)
    view.scores({result.strategy: result.document["test"]}, result.document["failed"])
    _show_model(view, result.document)
    _show_advice(view, result.document["advice"])


def _show_advice(view: View, advice: Sequence[Mapping[str, Any]]) -> None:
    for one in advice[:_MOST_ADVICE]:
        view.line(f"Next: {one['text']}")
    if len(advice) > _MOST_ADVICE:
        view.line(f"{len(advice) - _MOST_ADVICE} more of these in report.html.")


def _show_model(view: View, document: Mapping[str, Any]) -> None:
    if sentence := about_model(document["final"], len(document["test"]["macro_accuracy"]["values"])):
        view.final(sentence)


def show_compare(view: View, result: CompareResult) -> None:
    """Print the table of strategies."""
    view.comparison(result.document, result.seeds)


def show_evaluate(view: View, result: EvaluateResult) -> None:
    """Print the fitness of each genotype."""
    view.table(
        "Fitness (1 − macro accuracy, mean over the folds)",
        ["genotype", "fitness", "validation accuracy"],
        ([str(index), f"{mean:.4f}", f"{1 - mean:.4f}"] for index, mean in enumerate(result.fitness)),
    )


def show_suggest(view: View, result: SuggestResult) -> None:
    """Print the suggested schedule with its reasons, how sure it is, and the command that trains with it."""
    found = result.suggestion
    view.table(
        f"Suggested schedule (blocks join: {found.schedule.order}{found.schedule.remark})",
        ["block", "learning rate", "votes", "scatter", "why"],
        (
            [
                block.name,
                f"{one.weight * result.base_lr:.2g}" if one.weight > 0 else "frozen",
                f"{one.share:.0%}",
                "" if one.factor is None else f"× or ÷ {one.factor:.1f}",
                one.reason,
            ]
            for block, one in zip(found.schedule.blocks, found.advice, strict=True)
        ),
    )
    view.line(found.certainty)
    view.final(f"Train with it: {result.command}")


SHOW: dict[str, Callable[[View, Any], None]] = {
    "run": show_run,
    "train": show_train,
    "compare": show_compare,
    "evaluate": show_evaluate,
    "suggest": show_suggest,
}


def show_result(view: View, command: str, result: Any, folder: Path) -> None:
    """Print a command's result and the folder of its files.

    Args:
        view: Where to print.
        command: Name of the command, a key of `SHOW`.
        result: The result of its recipe.
        folder: The run folder, absolute; printed relative to the working folder where it lies below it.
    """
    SHOW[command](view, result)
    if (folder / OVERRIDES).is_file() and SMOKE in (yaml.safe_load((folder / OVERRIDES).read_text(encoding="utf-8")) or []):
        view.final(SMOKE_SAYS)
    shown = folder.relative_to(Path.cwd()) if folder.is_relative_to(Path.cwd()) else folder
    view.final(f"Files: {shown}")
