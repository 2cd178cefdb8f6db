"""Piped output: complete, plain, never cut; and a schedule in one line."""

from __future__ import annotations

import io
import json
from collections.abc import Callable

import pytest
from rich.console import Console

from biotune.cli.terminal.output_mode import OutputMode
from biotune.cli.terminal.sparklines import strip
from biotune.cli.terminal.view import View, mean_sd
from biotune.schedule.block import Block
from biotune.schedule.schedule import Schedule
from biotune.trial import Trial, TrialResult

LR = 3e-3  # the base learning rate of trials


@pytest.fixture
def piped(monkeypatch: pytest.MonkeyPatch) -> Callable[[], tuple[View, io.StringIO]]:
    for name in ("FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("COLUMNS", "40")

    def make() -> tuple[View, io.StringIO]:
        file = io.StringIO()
        return View(Console(file=file)), file

    return make


TRIAL = Trial(Schedule((Block("head", ("fc",)),), (1.0,)), 0, 1, 1, LR)
RESULT = TrialResult("ok", (0.5,), 0.1)


def schedule(*weights: float) -> Schedule:
    return Schedule(tuple(Block(f"b{index}", (f"m{index}",)) for index in range(len(weights))), weights)


def test_very_long_names_are_not_cut(piped: Callable[[], tuple[View, io.StringIO]]) -> None:
    view, file = piped()
    name = "a_block_with_a_name_" * 20
    modules = tuple(f"encoder.layers.stage{index}.block.attention.projection" for index in range(60))
    view.schedule(Schedule((Block(name, modules), Block("head", ("fc",))), (0.0, 2.0)), {name: 12_345_678, "head": 513}, 1e-3)
    [row] = [line for line in file.getvalue().splitlines() if "a_block" in line]
    assert row.split() == [name, *modules, "12,345,678", "frozen"]
    [head] = [line for line in file.getvalue().splitlines() if line.strip().startswith("head")]
    assert head.split() == ["head", "fc", "513", "2.00e-03"]
    assert "…" not in file.getvalue()


def test_long_lines_facts_and_errors_stay_on_their_line(piped: Callable[[], tuple[View, io.StringIO]]) -> None:
    view, file = piped()
    text = " ".join(f"class_{index}" for index in range(500))
    view.line(text)
    view.header("biotune run", [("classes", text)])
    lines = file.getvalue().splitlines()
    assert lines == [text, "biotune run", f"  classes    {text}"]


def test_square_brackets_are_text_and_no_markup(piped: Callable[[], tuple[View, io.StringIO]]) -> None:
    view, file = piped()
    view.line("evolution.seeds=[1,2] [bold]x[/bold]")
    view.table("[red]title", ["[a]"], [["[/b]"]])
    for text in ("evolution.seeds=[1,2] [bold]x[/bold]", "[red]title", "[a]", "[/b]"):
        assert text in file.getvalue()


def test_a_pipe_gets_no_bars_and_no_control_codes(piped: Callable[[], tuple[View, io.StringIO]]) -> None:
    view, file = piped()
    with view:
        view.decoding(1, 2)
        view.decoding(2, 2)
        view.begin("searching", 100)
        for _ in range(100):
            view.trained(TRIAL, RESULT)
        view.end()
    assert "\x1b" not in file.getvalue()
    assert "\r" not in file.getvalue()
    assert len(file.getvalue().splitlines()) <= 2


def test_a_pipe_is_told_that_a_phase_goes_on_and_ends(piped: Callable[[], tuple[View, io.StringIO]]) -> None:
    view, file = piped()
    moments = [0.0]
    view._dashboard.clock = lambda: moments[-1]
    with view:
        view.begin("confirming", 3)
        for moment in (50.0, 100.0, 150.0):  # the second is due, and the third ends the phase
            moments.append(moment)
            view.trained(TRIAL, RESULT)
        view.end()
    assert file.getvalue().splitlines() == [
        "confirming: at most 3 training runs",
        "  confirming: 2/3 trained, ~50 s left of this phase",
        "confirming: 3 training runs in 2 min 30 s",
    ]


def test_every_row_of_the_tables_is_there(piped: Callable[[], tuple[View, io.StringIO]]) -> None:
    view, file = piped()
    columns = ("best_fitness", "mean_fitness", "worst_fitness", "sd_fitness", "diversity")
    rows = [
        {"generation": g, "fold": g % 2, **{name: 0.12345 + g for name in columns}}
        | {"evaluations": 1234567 + g, "trainings": 3, "cache_hits": 0}
        for g in range(150)
    ]
    view.summary(rows)
    lines = file.getvalue().splitlines()
    # the lines of generations show accuracies by the same words
    assert any(line.split()[:4] == ["generation", "fold", "best", "fitness"] for line in lines)
    for g in range(150):
        [line] = [line.split() for line in lines if str(1234567 + g) in line]
        assert line[:2] == [str(g), str(g % 2)]
        assert f"{0.12345 + g:.4f}" in line
    view.scores({"biotune": {"accuracy": {"mean": 0.9, "sd": 0.01, "values": [0.89, 0.91]}}})
    assert "0.9000 ± 0.0100" in file.getvalue()
    assert "2 training seeds" in file.getvalue()


def test_the_strip_marks_frozen_blocks_and_rises_with_the_rate() -> None:
    assert strip(schedule(0.0, 0.1, 0.0, 10.0)) == "·▁·█"
    rising = strip(schedule(*(10 ** (exponent / 7 * 2 - 1) for exponent in range(8))))
    assert rising == "▁▂▃▄▅▆▇█"
    assert strip(schedule(1e-9, 1e9)) == "▁█"
    assert strip(schedule(0.0, 0.0)) == "··"


def test_a_score_shows_its_mean_and_spread() -> None:
    assert mean_sd({"mean": 0.91684, "sd": 0.00449}) == "0.9168 ± 0.0045"


def test_a_column_can_have_another_header_than_its_key_in_json(piped: Callable[[], tuple[View, io.StringIO]]) -> None:
    view, file = piped()
    view.table("2 images", ["picture", "class"], [["a.png", "cat"]], "predictions", {"picture": "image"})
    assert "image" in file.getvalue() and "picture" not in file.getvalue().replace("2 images", "")
    file = io.StringIO()
    with View(Console(file=file), OutputMode.JSON) as view:
        view.table("2 images", ["picture", "class"], [["a.png", "cat"]], "predictions", {"picture": "image"})
    assert json.loads(file.getvalue()) == {"predictions": [{"picture": "a.png", "class": "cat"}]}
