"""A front for readers: costs with their units, which members a short table shows, and the plots."""

from __future__ import annotations

from typing import Any

import pytest

from biotune.report import front as plots
from biotune.report.costs import confirmed_text, cost_text, shown_members, volume_text
from biotune.report.front import draw_fronts
from biotune.report.style import biotune_style

pytestmark = pytest.mark.usefixtures("drawn")


def member(number: int, accuracy: float, knee: bool = False, confirmed: float | None = None, **costs: float) -> dict[str, Any]:
    known = {"confirmed_accuracy": confirmed, "confirmed_se": None, "confirmed_trials": int(confirmed is not None)}
    return {"number": number, "schedule": str(number), "accuracy": accuracy, "knee": knee, **costs, **known}


def front(count: int = 4, **reference: float) -> dict[str, Any]:
    members = [
        member(
            at + 1,
            0.9 - 0.1 * at,
            at == 1,
            0.8 if at == 2 else None,
            **{name: cost / (at + 1) for name, cost in reference.items()},
        )
        for at in range(count)
    ]
    return {"costs": list(reference), "reference": reference, "volume": 0.8125, "members": members}


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("trainable_params", 1234567.0, "1,234,567"),
        ("trainable_share", 0.0123, "1.2 %"),
        ("seconds", 0.01234, "12.3 ms"),
        ("seconds", 2.5, "2.5 s"),
        ("memory", 2.5e9, "2.5 GB"),
        ("memory", 12.0, "12 B"),
        ("macs", 4.1e12, "4.1 T"),
        ("macs", 31, "31"),
    ],
)
def test_costs_have_their_units(name: str, value: float, text: str) -> None:
    assert cost_text(name, value) == text


def test_a_confirmed_score_has_an_error_where_there_are_several_trials() -> None:
    one = member(1, 0.9, confirmed=0.875)
    assert confirmed_text(one) == "87.5 %"
    assert confirmed_text(one | {"confirmed_se": 0.0125}) == "87.5 ± 1.2 %"
    assert confirmed_text(member(1, 0.9)) == confirmed_text(one | {"confirmed_accuracy": float("nan")}) == "–"


def test_a_short_table_shows_the_extremes_the_knee_and_what_was_confirmed() -> None:
    assert [one["number"] for one in shown_members(front(8, macs=8.0)["members"])] == list(range(1, 9))
    assert [one["number"] for one in shown_members(front(9, macs=8.0)["members"])] == [1, 2, 3, 9]


def test_the_dominated_volume_names_its_reference() -> None:
    assert volume_text(front(trainable_params=1000.0)) == (
        "The front dominates 81.2 % of the area from an accuracy of 100 % at no cost to 0 % at 1,000 (trained parameters)."
    )
    assert "of the volume" in volume_text(front(macs=1e6, seconds=0.5)) and "500 ms" in volume_text(
        front(macs=1e6, seconds=0.5)
    )


def test_there_is_a_plot_for_each_cost_that_shows_every_member(monkeypatch: pytest.MonkeyPatch) -> None:
    assert draw_fronts(None) == []
    monkeypatch.setattr(plots, "finish", lambda figure, name, says: (figure, name))
    with biotune_style():
        (figure, name), (_, other) = draw_fronts(front(macs=4e6, trainable_params=4e3))
        ((alone, _),) = draw_fronts(front(macs=4e6))
    assert (name, other) == ("front-macs", "front-trainable-params")
    axes = alone.axes[0]
    (predicted,) = (line for line in axes.lines if line.get_label() == "predicted")
    assert sorted(predicted.get_xdata()) == pytest.approx([1.0, 4 / 3, 2.0, 4.0])  # millions
    assert [line.get_xdata()[0] for line in axes.lines if line.get_label() == "knee"] == [2.0]
    assert len(axes.collections) == len(figure.axes[0].collections) + 1  # the dominated area, of one cost alone


@pytest.mark.parametrize(("reference", "right"), [(4e6, 1.02 * 4), (12e6, 1.02 * 12), (400e6, 1.5 * 4)])
def test_a_front_of_small_schedules_alone_is_shown_in_its_own_range(
    reference: float, right: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plots, "finish", lambda figure, name, says: figure)
    with biotune_style():
        (figure,) = draw_fronts({**front(macs=4e6), "reference": {"macs": reference}})
    assert figure.axes[0].get_xlim() == pytest.approx((0.0, right))


def test_a_drawn_front_has_its_name_and_a_description() -> None:
    with biotune_style():
        (drawing,) = draw_fronts(front(seconds=0.5))
    assert drawing.name == "front-seconds" and drawing.png
    assert drawing.says == "Validation accuracy against time of a training step of 4 schedules of the front"
