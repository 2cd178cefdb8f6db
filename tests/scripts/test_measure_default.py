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


def test_the_interval_is_students(script):
    # mean 0.02, sd 0.01, n = 3: half width 4.3027 * 0.01 / sqrt(3) = 0.0248
    assert script.interval([0.01, 0.02, 0.03]) == "+0.0200 (-0.0048 to +0.0448)"


def test_the_table_pairs_each_method_with_full_fine_tuning(script):
    results = [
        {"biotune": [0.9], "full": [0.8], "linear_probe": [0.5], "full_fast": [0.9]},
        {"biotune": [0.7], "full": [0.6], "linear_probe": [0.3], "full_fast": [0.6]},
    ]
    rows = script.table(results).splitlines()
    assert rows[2].startswith("| evolved schedule | 0.8000 ± 0.1414 | +0.1000 (+0.1000 to +0.1000)")
    assert rows[3] == "| full fine-tuning | 0.7000 ± 0.1414 |  |"


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


def test_only_what_stands_between_the_marks_is_replaced(script, tmp_path):
    readme = tmp_path / "README.md"
    readme.write_text(f"before\n{script.BEGIN}\nold\n{script.END}\nafter\n")
    script.write_between_marks(readme, "new")
    assert readme.read_text() == f"before\n{script.BEGIN}\nnew\n{script.END}\nafter\n"
    readme.write_text("no marks")
    with pytest.raises(SystemExit, match="has no marks"):
        script.write_between_marks(readme, "new")
