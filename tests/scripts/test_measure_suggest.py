"""The comparison of suggestions: an experiment's settings as overrides, and differences paired by task and split."""

from __future__ import annotations

from pathlib import Path

import pytest

script = pytest.importorskip("measure_suggest")


def test_an_experiment_becomes_overrides() -> None:
    assert script.settings_of("panel_digits") == ["dataset=digits", "backbone=glyphnet"]
    assert script.settings_of("panel_noise") == [
        "dataset=digits",
        "backbone=glyphnet",
        "dataset.shift=noise",
        "dataset.max_per_class=10",
    ]
    stamps = script.settings_of("panel_stamps")
    assert stamps[:2] == ["dataset=folder", "backbone=efficientnet_lite0"]
    assert {"dataset.root=data/stamps", "training.epochs=6", "training.batch_size=32"} < set(stamps)


def test_by_default_the_fresh_tasks_stay_unopened(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked: list[str] = []
    monkeypatch.setattr(script, "check_data", asked.append)
    monkeypatch.setattr("sys.argv", ["measure_suggest.py", "--panel", str(tmp_path), "--out", str(tmp_path)])
    monkeypatch.setattr(script, "table", lambda found: "")
    script.main()
    assert asked == ["digits", "noise", "invert", "stamps", "blur", "mnist", "emoji", "foods"]


def test_the_table_pairs_by_split_and_over_all() -> None:
    found = {
        "noise": {
            1: {"suggestion": 0.7, "full": 0.6, "linear_probe": 0.5},
            2: {"suggestion": 0.8, "full": 0.6, "linear_probe": 0.5},
        },
        "blur": {1: {"suggestion": 0.9, "full": 0.9, "linear_probe": 0.8}},
    }
    lines = script.table(found).splitlines()
    noise = lines[2].split(" | ")
    assert noise[:5] == ["| noisy digits, ten a class", "2", "0.7500", "0.5000", "0.6000"]
    assert noise[5].startswith("+0.2500 (") and noise[6].startswith("+0.1500 (")
    told = lines[-1]
    assert "Over all 3 pairs of task and split: over linear probing +0.2000 (" in told  # of 0.2, 0.3 and 0.1
    assert "over full fine-tuning +0.1000 (" in told  # of 0.1, 0.2 and 0
