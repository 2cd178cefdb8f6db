"""A front on a page: predicted and confirmed scores against each cost, as plots and as a table."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from biotune.report.costs import confirmed_text, cost_meaning, cost_text, shown_members, volume_text
from biotune.report.plots import in_percent, legend_above
from biotune.report.style import BLUE, MUTED, NARROW, VERMILION, Drawing, figure_with_axes, finish
from biotune.report.templating import percent

_MARGINS = {"left": 0.75, "right": 0.2, "bottom": 0.5, "top": 0.42}
_NARROWEST = 0.25  # part of the axis that a front fills at least
_SCALES = {"seconds": (1e3, "ms"), "memory": (1e6, "MB"), "macs": (1e6, "million"), "trainable_params": (1e3, "thousand")}


def draw_fronts(front: Mapping[str, Any] | None, told: bool = False) -> list[Drawing]:
    """Draw a front, one plot per cost.

    Args:
        front: The entry of `result.json`, which of a search that was asked and told has no reference; None draws nothing.
        told: Whether the scores are those that a program told, on any scale, instead of accuracies.
    """
    if front is None:
        return []
    alone = len(front["costs"]) == 1 and "reference" in front
    return [_draw(front["members"], name, front["reference"][name] if alone else None, told) for name in front["costs"]]


def front_section(front: Mapping[str, Any] | None, score: Callable[[float], str] = percent) -> dict[str, Any] | None:
    """What `templates/front.html` shows of a front: the table of its members, and the sentence about all of them.

    Args:
        front: As for `draw_fronts`; None shows nothing.
        score: Writes a predicted score.
    """
    if front is None:
        return None
    rows = [
        {
            "number": int(one["number"]),
            "knee": bool(one["knee"]),
            "predicted": score(one["accuracy"]),
            "confirmed": confirmed_text(one),
            "costs": [cost_text(name, one[name]) for name in front["costs"]],
        }
        for one in shown_members(front["members"])
    ]
    return {
        "rows": rows,
        "number": len(front["members"]),
        "costs": [cost_meaning(name) for name in front["costs"]],
        "plots": [f"front-{name.replace('_', '-')}" for name in front["costs"]],
        "confirmed": "reference" in front,  # a search that a program asked and told has neither
        "volume": volume_text(front) if "reference" in front else "",
    }


def _draw(members: Sequence[Mapping[str, Any]], name: str, reference: float | None, told: bool) -> Drawing:
    """Draw scores against one cost; up to the reference the dominated area is shaded, where the cost is the only one."""
    figure, axes = figure_with_axes(NARROW, 3.3, _MARGINS)
    factor, unit = _SCALES.get(name, (1.0, ""))
    ordered = sorted(members, key=lambda one: (one[name], one["accuracy"]))
    costs, scores = (np.array([one[what] for one in ordered]) for what in (name, "accuracy"))
    confirmed = [one["confirmed_accuracy"] for one in ordered if one["confirmed_accuracy"] is not None]
    low = min([*scores, *confirmed])
    # scores that a program told are on any scale
    bottom = low - 0.08 * (max(scores) - low) - 1e-9 if told else max(low - 0.08 * (1 - low) - 0.01, 0.0)
    if reference is not None:
        right = max(reference, costs[-1])
        axes.fill_between([*costs / factor, right / factor], bottom, [*scores, scores[-1]], step="post", color=BLUE, alpha=0.12)
        # a front of small schedules alone would lie on the axis: its own range is shown then
        axes.set_xlim(0, 1.02 * right / factor if costs[-1] > _NARROWEST * right else 1.5 * costs[-1] / factor or None)
    axes.plot(costs / factor, scores, "o", color=BLUE, markersize=4.5, label="predicted")
    for one in ordered:
        if one["confirmed_accuracy"] is not None:
            place, error = one[name] / factor, one["confirmed_se"] or 0.0
            axes.errorbar([place], [one["confirmed_accuracy"]], yerr=[error], fmt="D", color=VERMILION, markersize=4, capsize=2)
    if confirmed:
        axes.plot([], [], "D", color=VERMILION, markersize=4, label="confirmed")
    for one in (one for one in ordered if one["knee"]):
        axes.plot([one[name] / factor], [one["accuracy"]], "o", mfc="none", color=MUTED, markersize=11, label="knee")
    axes.set_ylim(bottom, None)
    axes.set_xlabel(f"{cost_meaning(name)}{f', {unit}' if unit else ''}")
    axes.set_ylabel("score" if told else "validation macro accuracy (%)")
    axes.grid()
    if not told:
        in_percent(axes, "y")
    legend_above(axes)
    said = f"{'Score' if told else 'Validation accuracy'} against {cost_meaning(name)} of {len(members)} schedules of the front"
    return finish(figure, f"front-{name.replace('_', '-')}", said)
