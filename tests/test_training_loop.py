"""The page about one's own training loop: its scripts run, made smaller, and do what the page says."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

import biotune
from biotune.cli import main

PAGE = (Path(__file__).parents[1] / "docs/tutorials/training-loop.md").read_text(encoding="utf-8")
SEARCH = PAGE.partition("## Search with your own loop")[2]
SCRIPT, ASK_AND_TELL, AT_ONCE = (
    text.replace("evaluations=60", "evaluations=9").replace("epochs=10", "epochs=3")
    for text in re.findall(r"^```python[^\n]*\n(.*?)^```", SEARCH, re.MULTILINE | re.DOTALL)
)


@pytest.fixture(scope="module")
def names() -> dict[str, Any]:
    """What the page's first script defines."""
    found: dict[str, Any] = {}
    exec(compile(SCRIPT, "search_digits.py", "exec"), found)
    return found


def test_the_script_finds_a_schedule_that_learns(names: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    search = names["search"]
    assert isinstance(search, biotune.Search) and search.over
    assert [block.name for block in names["blocks"]] == ["0", "1", "3", "4", "head"]
    untrained = names["make_network"]()
    assert names["score"](untrained, names["test"]) < 0.4
    assert names["score"](names["fine_tune"](search.best.schedule, 10), names["test"]) > 0.6


def test_ask_and_tell_goes_on_in_its_folder_and_is_reported(
    names: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    calls = []

    def objective(trial: biotune.Trial) -> float:
        calls.append(trial.number)
        if len(calls) == 5:
            raise KeyboardInterrupt
        return float(names["objective"](trial))

    with pytest.raises(KeyboardInterrupt):
        exec(ASK_AND_TELL, {**names, "objective": objective})
    exec(ASK_AND_TELL, {**names, "objective": objective})
    assert calls == [0, 1, 2, 3, 4, *range(4, calls[-1] + 1)]  # the interrupted one again, the others once
    assert main(["report", "searches/digits"]) == 0
    assert (tmp_path / "searches/digits/report.html").is_file()
    assert "Best(schedule=" in capsys.readouterr().out


def test_several_at_once_end_the_search(names: dict[str, Any]) -> None:
    found = dict(names)
    exec(AT_ONCE, found)
    assert found["search"].over and found["search"] is not names["search"]
