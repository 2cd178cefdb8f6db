"""The script that measures the default: its interval, its table, and which runs it makes."""

import importlib.util
import json
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "scripts" / "measure_default.py"


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("measure_default", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_table_pairs_each_method_with_full_fine_tuning(script):
    results = [
        {"biotune": [0.9], "full": [0.8], "linear_probe": [0.5], "full_fast": [0.9]},
        {"biotune": [0.7], "full": [0.6], "linear_probe": [0.3], "full_fast": [0.6]},
    ]
    rows = script.table(results).splitlines()
    assert rows[2].startswith("| what biotune returns | 0.8000 ± 0.1414 | +0.1000 (+0.1000 to +0.1000)")
    assert rows[3] == "| full fine-tuning at its best of four base rates | 0.7000 ± 0.1414 |  |"


def test_finished_runs_are_read_and_not_run_again(script, tmp_path, monkeypatch):
    monkeypatch.setattr(script.subprocess, "run", lambda *arguments, **options: pytest.fail("ran again"))
    score = {"macro_accuracy": {"values": [0.5]}}
    for folder, content in {
        "seed-3": {"test": score, "baselines": {"full": score, "linear_probe": score}},
        "full-fast-3": {"test": score},
    }.items():
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "result.json").write_text(json.dumps(content))
    assert script.run(3, tmp_path, []) == dict.fromkeys(script.METHODS, [0.5])


def test_the_row_without_a_search_has_the_runs_data_and_network_and_none_of_its_other_settings(script, tmp_path, monkeypatch):
    commands = []

    def note(words, **options):
        commands.append(words[3:])
        folder = Path(words[4].removeprefix("hydra.run.dir="))
        folder.mkdir()
        score = {"macro_accuracy": {"values": [0.5]}}
        content = {"test": score, "baselines": {"full": score, "linear_probe": score}}
        (folder / "result.json").write_text(json.dumps(content))

    monkeypatch.setattr(script.subprocess, "run", note)
    given = ["dataset.shift=noise", "backbone=resnet18", "evolution.generations=2", "confirm.top_k=2"]
    script.run(7, tmp_path, given)
    searched, fixed = commands
    assert searched[0] == "run" and set(given) <= set(searched)
    assert fixed[0] == "train" and fixed[2:] == [
        "strategy=full",
        "training.lr=0.003",
        "dataset.split_seed=7",
        "dataset.shift=noise",
        "backbone=resnet18",
    ]
