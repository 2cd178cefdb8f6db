"""The comparison with Optuna's samplers: each search is told by its true quality, kept, and counted as the table says."""

from __future__ import annotations

import json
import statistics
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tabulated_task

import biotune

pytest.importorskip("optuna", reason="optuna is not installed")
script = pytest.importorskip("compare_optuna")


@pytest.fixture
def task() -> Any:
    """Best with a frozen stem and the head at 10 times the base learning rate."""

    def scores(points: np.ndarray) -> np.ndarray:  # whether each block is trained, then log10 of its multiple
        return 0.5 - 0.1 * points[:, 0] + 0.2 * points[:, 5]

    noise = tabulated_task.Noise((0.0, 1.0), (0.02, 0.02), 0.01)
    blocks = tuple(biotune.Block(name, (name,)) for name in ("stem", "body", "head"))
    return tabulated_task.Task("made up", blocks, {"all": scores, "test": scores}, {"all": noise}, {})


def test_a_search_is_told_by_the_true_quality_of_what_it_returns(task: Any) -> None:
    objective = script.Objective(task, 4)
    search = biotune.search(lambda trial: objective(trial.schedule), task.blocks, 10, seed=4, prune="none")
    ours = script.search_once(task, "biotune", 10, 4)
    assert ours["returned"] == task.quality(search.best.schedule) == ours["regression"]
    highest = max(objective.seen, key=lambda pair: pair[1])[0]
    assert ours["best_value"] == task.quality(highest)
    theirs = script.search_once(task, "random", 10, 4)
    assert theirs["returned"] == theirs["best_value"]
    assert script.search_once(task, "random", 10, 4) == theirs != script.search_once(task, "random", 10, 5)


def test_searches_are_kept_and_the_table_is_of_them(
    task: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out, page = tmp_path / "kept" / "searches.jsonl", tmp_path / "page.md"
    begin, end = script.MARKS[False]
    page.write_text(f"before\n{begin}\nold\n{end}\nafter\n", encoding="utf-8")
    words = ["--tasks", "clean", "--models", "trees", "--samplers", "tpe", "gp", "--out", str(out)]
    monkeypatch.setattr(script, "read_task", lambda path, model: task)
    words += ["--evaluations", "5", "--seeds", "3", "--dear", "1"]
    monkeypatch.setattr(sys, "argv", ["compare_optuna.py", *words])
    script.main()
    first = capsys.readouterr().out
    kept = [json.loads(line) for line in out.read_text().splitlines()]
    assert sorted((one["cell"][2], one["seed"]) for one in kept) == [
        *[("biotune", seed) for seed in range(3)],
        ("gp", 0),
        *[("tpe", seed) for seed in range(3)],
    ]
    found = {(one["cell"][2], one["seed"]): one for one in kept}
    monkeypatch.setattr(script, "search_once", None)  # nothing is searched again
    later = {**kept[-1], "seed": 7, "returned": 0.0}  # beyond the seeds that are asked for
    out.write_text(out.read_text() + json.dumps(later) + "\n")
    monkeypatch.setattr(sys, "argv", ["compare_optuna.py", *words, "--docs", str(page)])
    script.main()
    assert capsys.readouterr().out == first
    text = page.read_text(encoding="utf-8")
    assert text.startswith("before\n") and text.endswith("\nafter\n") and "old" not in text and first.strip() in text
    rows = {line.split(" | ")[1]: line.split(" | ") for line in first.splitlines() if line.startswith("| boosted trees")}
    assert [row[2] for row in rows.values()] == ["3", "3", "1"]
    tpe = rows["Optuna's TPE"]
    mean = statistics.fmean(found["tpe", seed]["returned"] for seed in range(3))
    over = statistics.fmean(found["biotune", seed]["returned"] - found["tpe", seed]["regression"] for seed in range(3))
    assert tpe[3].startswith(f"{mean:.4f} ± ") and tpe[6].startswith(f"{over:+.4f} (")


def test_over_several_tasks_every_pair_of_task_and_seed_counts_once_and_only_where_both_have_it() -> None:
    ours = {"noise": [0.7, 0.8], "blur": [0.9]}
    theirs = {"noise": [0.6, 0.6, 0.1], "blur": [0.6, 0.1]}  # the last of each has no search of ours
    known = {
        ((task, "trained", name), seed): {"returned": value, "best_value": value, "regression": value + 0.1}
        for name, found in (("biotune", ours), ("tpe", theirs))
        for task, values in found.items()
        for seed, value in enumerate(values)
    }
    told = script.pooled(["trained"], ["tpe"], known)[0]
    assert told.startswith("Real training, all 3 pairs of task and seed: over Optuna's TPE +0.2000 (")  # of 0.1, 0.2 and 0.3
    assert "among its trials +0.1000 (" in told
    one_task = {key: values for key, values in known.items() if key[0][0] == "noise"}
    assert script.pooled(["trained"], ["tpe"], one_task) == []
