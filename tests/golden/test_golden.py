"""The tables of one tiny run of each command, kept as text: a change of any number shows, even one that nobody meant.

Where a change is meant, write them anew and commit what differs, with the reason:

    python -m pytest tests/golden --write-golden

`facts.json` says on which machine that was. On one like it the tables must agree to the byte; elsewhere floats are summed in
another order, and they must agree within a tolerance.
"""

from __future__ import annotations

import json
from pathlib import Path

import golden
import pytest


@pytest.mark.parametrize("command", golden.COMMANDS)
def test_a_commands_tables_are_the_kept_ones(command: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    found = golden.run_command(command, tmp_path / "run")
    kept = golden.HERE / command
    if request.config.getoption("--write-golden"):
        kept.mkdir(exist_ok=True)
        for name, text in found.items():
            (kept / name).write_text(text, encoding="utf-8")
        golden.FACTS.write_text(json.dumps(golden.facts(), indent=2) + "\n", encoding="utf-8")
    assert sorted(path.name for path in kept.iterdir()) == sorted(found)
    for name, text in found.items():
        golden.assert_same(name, text, (kept / name).read_text(encoding="utf-8"), golden.made_here())


def test_every_command_that_trains_has_kept_tables() -> None:
    from biotune.cli.registry import WITH_FOLDER

    assert set(golden.COMMANDS) == set(WITH_FOLDER)


@pytest.mark.parametrize(
    ("found", "kept", "to_the_byte", "same"),
    [
        ("a,1.0\n", "a,1.0\n", True, True),
        ("a,1.0001\n", "a,1.0\n", True, False),
        ("a,1.0001\n", "a,1.0\n", False, True),
        ("a,1.01\n", "a,1.0\n", False, False),
        ("b,1.0\n", "a,1.0\n", False, False),
        ("a,1.0\nb,1.0\n", "a,1.0\n", False, False),
        ("a,\n", "a,1.0\n", False, False),
        ("lr: 0.0030001\n", "lr: 0.003\n", False, True),
    ],
)
def test_how_kept_tables_are_compared(found: str, kept: str, to_the_byte: bool, same: bool) -> None:
    if same:
        golden.assert_same("table.csv", found, kept, to_the_byte)
    else:
        with pytest.raises(AssertionError):
            golden.assert_same("table.csv", found, kept, to_the_byte)


def test_columns_of_times_are_left_out() -> None:
    assert golden.without_times("x.csv", 'name,seconds,score,own_seconds\n"a,b",1.5,0.5,2\n') == 'name,score\n"a,b",0.5\n'
