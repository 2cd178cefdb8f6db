"""What a command says at its end."""

from __future__ import annotations

import io
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

from biotune.cli.terminal.output_mode import OutputMode
from biotune.cli.terminal.results import show_run, show_train
from biotune.cli.terminal.view import View
from biotune.recipes.train import TrainResult
from biotune.schedule.block import Block
from biotune.schedule.schedule import Schedule


@pytest.mark.parametrize(("mode", "said"), [(OutputMode.NORMAL, 3), (OutputMode.QUIET, 0)])
def test_the_two_most_urgent_pieces_of_advice_come_last_unless_the_command_is_quiet(mode: OutputMode, said: int) -> None:
    score = {"mean": 0.5, "sd": 0.0, "values": [0.5]}
    advice = [{"rule": name, "key": None, "value": None, "text": f"Number {name}."} for name in ("one", "two", "three")]
    document = {"test": {"macro_accuracy": score, "accuracy": score}, "failed": {}, "final": {}, "advice": advice}
    result = TrainResult(document, "full", Schedule((Block("head", ("fc",)),), (1.0,)), 1e-3, {"head": 10})
    file = io.StringIO()
    show_train(View(Console(file=file), mode), result)
    last = ["Next: Number one.", "Next: Number two.", "1 more of these in report.html."]
    assert file.getvalue().splitlines()[-said:] == last if said else "Number" not in file.getvalue()


class Heard:
    """Stands in for the view: notes the lines, the rows of the scores and the failures."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.rows: list[str] = []
        self.failed: dict[str, int] = {}

    def scores(self, methods: dict[str, Any], failed: dict[str, int]) -> None:
        self.rows, self.failed = list(methods), dict(failed)

    def line(self, text: str) -> None:
        self.lines.append(text)

    def __getattr__(self, name: str) -> Any:
        return lambda *arguments: None


@pytest.mark.parametrize(
    ("returned", "row"),
    [
        (None, "biotune"),
        ({"schedule": "7", "strategy": "biotune", "val_macro_accuracy": 0.8}, "biotune"),
        ({"schedule": "lp_ft", "strategy": "lp_ft", "val_macro_accuracy": 0.8}, "biotune (lp_ft)"),
    ],
)
def test_the_row_of_what_is_returned_names_a_baseline(returned: dict[str, Any] | None, row: str) -> None:
    score = {"macro_accuracy": {"values": [0.5]}, "accuracy": {"values": [0.5]}}
    confirmed = {"predicted": {"macro_accuracy": {"mean": 0.7, "low": 0.6, "high": 0.8}}, "chosen": "7", "strategy": "biotune"}
    document: dict[str, Any] = {"confirmed": confirmed, "test": score, "baselines": {"full": score}, "advice": [], "final": {}}
    document["failed"] = {"biotune": 1, "full": 0}
    if returned is not None:
        document["returned"] = returned
    view = Heard()
    result = SimpleNamespace(document=document, summary=[], metric="acc", schedule=None, parameters={}, base_lr=0.1)
    show_run(view, result)  # type: ignore[arg-type]
    assert view.rows == [row, "full"]
    assert view.failed == {row: 1, "full": 0}
    of_another = row != "biotune"
    assert any(line.startswith("Expected of the evolved schedule") for line in view.lines) == of_another
    assert any(line.startswith("Expected on new images") for line in view.lines) != of_another
