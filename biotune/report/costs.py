"""Costs and fronts as text: for the terminal and for pages. Imports nothing heavy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

_MEANINGS = {
    "trainable_params": "trained parameters",
    "trainable_share": "trained share of the parameters",
    "macs": "operations of a training step for one image (MACs)",
    "seconds": "time of a training step",
    "memory": "peak memory of a training step",
}
_UNITS = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))
_FEW = 8  # members of a short table


def cost_meaning(name: str) -> str:
    """A cost in words; the name of any other."""
    return _MEANINGS.get(name, name)


def cost_text(name: str, value: float) -> str:
    """The value of a cost with its unit, to three digits; parameters are counted exactly."""
    if name == "trainable_params":
        return f"{round(value):,}"
    if name == "trainable_share":
        return f"{100 * value:.1f} %"
    if name == "seconds":
        return f"{value:.3g} s" if value >= 1 else f"{1000 * value:.3g} ms"
    factor, prefix = next((pair for pair in _UNITS if abs(value) >= pair[0]), (1.0, ""))
    return f"{value / factor:.3g} {prefix}{'B' if name == 'memory' else ''}".rstrip()


def confirmed_text(member: Mapping[str, Any]) -> str:
    """The confirmed score of a member of the front, mean ± standard error in percent; a dash where it was not confirmed."""
    mean, error = member["confirmed_accuracy"], member["confirmed_se"]
    if mean is None or mean != mean:
        return "–"
    return f"{100 * mean:.1f} %" if error is None or error != error else f"{100 * mean:.1f} ± {100 * error:.1f} %"


def shown_members(members: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The members of a front for a short table: all if they are few, else the extremes, the knee and those confirmed."""
    if len(members) <= _FEW:
        return list(members)
    return [one for one in members if one in (members[0], members[-1]) or one["knee"] or one["confirmed_trials"]]


def volume_text(front: Mapping[str, Any]) -> str:
    """The dominated volume of a front and its reference point, in a sentence.

    Args:
        front: The entry of `result.json`.
    """
    up_to = " and ".join(f"{cost_text(name, value)} ({cost_meaning(name)})" for name, value in front["reference"].items())
    what = "area" if len(front["costs"]) == 1 else "volume"
    share = f"{100 * front['volume']:.1f} % of the {what}"
    return f"The front dominates {share} from an accuracy of 100 % at no cost to 0 % at {up_to}."
