"""Tests of the measurement of a front on images: which members are trained, and the table."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from measure_image_front import row, settings_of, spread, table


def members(count: int, knee: int) -> list[dict[str, Any]]:
    return [{"number": at, "knee": at == knee} for at in range(count)]


@pytest.mark.parametrize(
    ("count", "knee", "taken"),
    [(4, 1, [0, 1, 2, 3]), (9, 4, [0, 2, 4, 6, 8]), (9, 3, [0, 3, 4, 6, 8]), (9, 1, [0, 1, 4, 6, 8])],
)
def test_extremes_and_knee_are_taken_and_others_evenly_between_them(count: int, knee: int, taken: list[int]) -> None:
    assert [one["number"] for one in spread(members(count, knee), 5)] == taken


def test_a_row_is_read_from_the_result_of_a_run(tmp_path: Path) -> None:
    result = {"trainable_share": 0.125, "test": {"macro_accuracy": {"mean": 0.75, "sd": 0.01, "values": [0.74, 0.76]}}}
    (tmp_path / "result.json").write_text(json.dumps(result))
    lines = table([row("member 3, the knee", tmp_path, 0.8125), row("LoRA", tmp_path, None)]).splitlines()
    assert lines[2:4] == ["| member 3, the knee | 12.5% | 0.812 | 0.750 ± 0.010 |", "| LoRA | 12.5% |  | 0.750 ± 0.010 |"]
    assert lines[-1].startswith("Mean ± sd over 2 training seeds")


def test_an_experiment_becomes_the_overrides_that_it_stands_for() -> None:
    assert settings_of("panel_stamps")[:3] == ["dataset=folder", "backbone=efficientnet_lite0", "dataset.root=data/stamps"]
    assert "training.epochs=6" in settings_of("panel_stamps")
