"""What a command says at its end."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from biotune.cli.terminal.output_mode import OutputMode
from biotune.cli.terminal.results import show_train
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
