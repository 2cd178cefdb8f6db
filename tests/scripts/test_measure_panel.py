"""The panel: its tables on made-up scores with results by hand, and what is run, reused and refused."""

from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType

import pandas as pd
import pytest
import yaml

ROOT = Path(__file__).parents[2]
SCRIPTS = ROOT / "scripts"
WORDS = {"a": "task a", "b": "task b"}


@pytest.fixture
def tables() -> ModuleType:
    return importlib.import_module("panel_tables")


@pytest.fixture
def script() -> ModuleType:
    return importlib.import_module("measure_panel")


def row(strategy: str, seed: int, test: float, val: float, **more: float) -> dict:
    costs = {"biotune": (100, 700, 50.0), "full": (5, 60, 4.0), "linear_probe": (5, 40, 2.0)}[strategy]
    named = dict(zip(("trainings", "epochs", "seconds"), costs, strict=True))
    return {"strategy": strategy, "seed": seed, "test_macro_accuracy": test, "val_macro_accuracy": val, **named, **more}


PANEL = {
    "a": [
        row("full", 1, 0.50, 0.60),
        row("full", 2, 0.60, 0.70),
        row("linear_probe", 1, 0.70, 0.80),
        row("linear_probe", 2, 0.62, 0.65),
        row("biotune", 1, 0.71, 0.99),
        row("biotune", 2, 0.65, 0.99),
    ],
    "b": [
        row("full", 1, 0.80, 0.90),
        row("full", 2, 0.70, 0.90),
        row("linear_probe", 1, 0.40, 0.50),
        row("linear_probe", 2, 0.50, 0.50),
        row("biotune", 1, 0.78, 0.10),
        row("biotune", 2, 0.70, 0.10),
    ],
}


class TestTables:
    def test_biotune_is_set_against_the_baseline_that_validates_best_in_each_seed(self, tables: ModuleType) -> None:
        assert tables.differences_by_seed(PANEL["a"]) == pytest.approx({1: 0.01, 2: 0.05})
        assert tables.differences_by_seed(PANEL["b"]) == pytest.approx({1: -0.02, 2: 0.0})

    def test_pooled_over_pairs(self, tables: ModuleType) -> None:
        # by hand: mean of 0.01, 0.05, -0.02, 0; sd 0.029439, its error 0.014720, times t(3 degrees) = 3.182446
        found = tables.over_pairs(PANEL)
        assert (found.mean, found.low, found.high) == pytest.approx((0.01, -0.036844, 0.056844), abs=1e-6)

    def test_pooled_over_tasks(self, tables: ModuleType) -> None:
        # by hand: means 0.03 and -0.01; error 0.02, times t(1 degree) = 12.706205
        found = tables.over_tasks(PANEL)
        assert (found.mean, found.low, found.high) == pytest.approx((0.01, -0.244124, 0.264124), abs=1e-6)

    def test_ranks_are_of_mean_test_scores_and_of_shared_strategies_only(self, tables: ModuleType) -> None:
        more = {**PANEL, "a": [*PANEL["a"], {**row("full", 1, 0.99, 0.99), "strategy": "lora"}]}
        assert tables.mean_ranks(more) == {"full": 2.0, "linear_probe": 2.5, "biotune": 1.5}

    def test_ties_share_their_rank(self, tables: ModuleType) -> None:
        rows = [row("full", 1, 0.5, 0.5), row("linear_probe", 1, 0.5, 0.5), row("biotune", 1, 0.4, 0.5)]
        assert tables.mean_ranks({"a": rows}) == {"full": 1.5, "linear_probe": 1.5, "biotune": 3.0}

    @pytest.mark.parametrize(
        ("scores", "said"),
        [
            ((0.71, 0.65), "+0.0200, standard error 0.0100: as good or better"),
            ((0.66, 0.64), "-0.0100, standard error 0.0300: within one standard error"),
            ((0.60, 0.54), "-0.0900, standard error 0.0100: worse by more than one standard error"),
        ],
    )
    def test_linear_probing_where_it_is_the_best_baseline(
        self, tables: ModuleType, scores: tuple[float, float], said: str
    ) -> None:
        ours = [row("biotune", seed, score, 0.5) for seed, score in enumerate(scores, 1)]
        lines = tables.probing_lines({**PANEL, "a": [*PANEL["a"][:4], *ours]}, WORDS)
        assert lines[-1] == f"- task a: {said}."
        assert not any("task b" in line for line in lines)

    def test_where_probing_is_nowhere_the_best_that_is_said(self, tables: ModuleType) -> None:
        assert "on no task" in tables.probing_lines({"b": PANEL["b"]}, WORDS)[0]

    def test_costs_are_for_one_seed_and_those_of_the_baselines_add_up(self, tables: ModuleType) -> None:
        lines = tables.strategy_lines(PANEL)
        assert "| biotune | 1.50 | 100 | 700 | 50 |" in lines
        assert "| these baselines together | | 10 | 100 | 6 |" in lines

    def test_a_task_has_a_row_with_what_was_chosen(self, tables: ModuleType) -> None:
        line = tables.task_lines(PANEL, WORDS)[2]
        assert line.startswith("| task a | 2 | 0.6800 ± 0.0424 | 0.6500 ± 0.0707 | linear_probe 1, full 1 | +0.0300 (")
        assert line.endswith("| biotune |")

    def test_a_failed_training_run_counts_nowhere(self, tables: ModuleType) -> None:
        nan = float("nan")
        rows = [*PANEL["a"], row("biotune", 3, nan, nan), row("full", 3, nan, nan), row("linear_probe", 3, 0.5, 0.5)]
        assert tables.differences_by_seed(rows) == tables.differences_by_seed(PANEL["a"])
        assert "nan" not in tables.panel_text({"a": rows, "b": PANEL["b"]}, WORDS)


class TestCalibration:
    ROWS = [
        row("biotune", 1, 0.70, 0.80, predicted_macro_accuracy=0.68, predicted_low=0.60, predicted_high=0.75),
        row("biotune", 2, 0.60, 0.75, predicted_macro_accuracy=0.65, predicted_low=0.61, predicted_high=0.70),
    ]

    def test_by_hand(self, tables: ModuleType) -> None:
        found = tables.calibration(self.ROWS)
        assert found == pytest.approx(
            {"predicted": -0.015, "predicted_sd": 0.0494975, "inside": 0.5, "validation": -0.125, "validation_sd": 0.0353553},
            abs=1e-6,
        )

    def test_only_predicted_rows_of_biotune_count(self, tables: ModuleType) -> None:
        blank = {"predicted_macro_accuracy": float("nan"), "predicted_low": float("nan"), "predicted_high": float("nan")}
        rows = [*self.ROWS, row("biotune", 3, 0.1, 0.9, **blank), row("full", 1, 0.1, 0.9, **blank)]
        lines = tables.calibration_lines({"a": rows, "b": PANEL["b"]}, WORDS)
        assert lines[2] == "| task a | 2 | -0.0150 ± 0.0495 | 50 % | -0.1250 ± 0.0354 |"
        assert lines[3] == lines[2].replace("task a", "all")

    def test_without_predictions_there_is_no_table(self, tables: ModuleType) -> None:
        assert tables.calibration_lines(PANEL, WORDS) == []
        assert "predict" not in tables.panel_text(PANEL, WORDS)
        assert "inside the 95 %" in tables.panel_text({"a": [*PANEL["a"][:4], *self.ROWS]}, WORDS)


def pretend(module: ModuleType, monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Stand in for `biotune compare`: notes the command and writes a small table."""
    commands: list[list[str]] = []

    def run(command: list[str], check: bool) -> None:
        commands.append(command[3:])
        named = dict(word.split("=", 1) for word in command[4:] if "=" in word)
        folder = Path(named.pop("hydra.run.dir", command[4]))
        (folder / ".hydra").mkdir(parents=True, exist_ok=True)
        (folder / ".hydra" / "overrides.yaml").write_text(yaml.safe_dump([f"{key}={word}" for key, word in named.items()]))
        seed = int(folder.name.removeprefix("seed-"))
        rows = [row(name, seed, 0.5, 0.5) for name in ("full", "linear_probe", "biotune")]
        pd.DataFrame(rows).to_csv(folder / "comparison.csv", index=False)
        (folder / "result.json").write_text("{}")

    monkeypatch.setattr(importlib.import_module("comparisons").subprocess, "run", run)
    return commands


class TestScript:
    def test_each_group_has_a_task_of_real_images(self, script: ModuleType) -> None:
        groups = {group: [name for name, task in script.TASKS.items() if task.group == group] for group in script.GROUPS}
        assert groups == {
            "choosing": ["digits", "noise", "invert", "stamps"],
            "unopened": ["blur", "mnist", "emoji", "foods"],
            "fresh": ["clothes", "clipart", "icons"],
        }
        assert all(any(script.TASKS[name].baselines == script.LARGE for name in names) for names in groups.values())

    def test_every_task_has_an_experiment_and_a_script_for_its_data(self, script: ModuleType) -> None:
        for name, task in script.TASKS.items():
            content = yaml.safe_load((ROOT / "configs" / "experiment" / f"panel_{name}.yaml").read_text(encoding="utf-8"))
            root = content.get("dataset", {}).get("root")
            if task.data is not None:
                assert (SCRIPTS / task.data[1]).is_file()
                assert root is None or task.data[0] == root
            assert len(set(task.baselines)) == len(task.baselines) >= 5 and "biotune" not in task.baselines

    def test_a_task_is_not_opened_unless_its_group_is_named(
        self, script: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        commands = pretend(script, monkeypatch)
        with pytest.raises(SystemExit):
            script.main(["--tasks", "noise", "blur"])
        assert "--tasks: blur is of the group unopened" in capsys.readouterr().err and not commands

    def test_missing_data_is_named_before_any_work(
        self, script: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        commands = pretend(script, monkeypatch)
        monkeypatch.chdir(tmp_path)
        with pytest.raises(SystemExit, match=r"task stamps: data/stamps is missing. Run: python scripts/fetch_stamps.py"):
            script.main(["--out", str(tmp_path)])
        assert not commands

    def test_tables_of_what_is_finished_run_nothing_and_leave_out_the_rest(
        self, script: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        commands = pretend(script, monkeypatch)
        script.main(["--tasks", "noise", "digits", "--seeds", "1", "2", "--out", str(tmp_path)])
        (tmp_path / "noise" / "seed-2" / "result.json").unlink()
        ran = len(commands)
        capsys.readouterr()
        script.main(["--group", "choosing", "--seeds", "1", "2", "--out", str(tmp_path), "--finished"])
        said = capsys.readouterr().out
        assert len(commands) == ran
        assert "| clean digits | 2 |" in said and "| noisy digits, ten a class | 1 |" in said
        assert "stamps" not in said and "over all 3 pairs" in said.lower()

    def test_seeds_go_over_all_tasks_one_after_the_other_and_what_is_finished_is_not_run_again(
        self, script: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        commands = pretend(script, monkeypatch)
        given = ["--tasks", "digits", "noise", "--seeds", "3", "4", "--out", str(tmp_path)]
        script.main(given)
        assert [command[2:] for command in commands[:2]] == [
            [
                "experiment=panel_digits",
                f"strategies=[{','.join(script.SMALL)},biotune]",
                "test.seeds=[3]",
                "compare.restarts=3",
            ],
            [
                "experiment=panel_noise",
                f"strategies=[{','.join(script.SMALL)},biotune]",
                "test.seeds=[3]",
                "compare.restarts=3",
            ],
        ]
        assert [command[0] for command in commands] == ["compare"] * 4
        assert "Over all 4 pairs of task and seed" in capsys.readouterr().out
        script.main([*given[:-3], "4", "5", *given[-2:]])
        assert len(commands) == 6
        with pytest.raises(SystemExit, match=r"begun with other overrides \(training.epochs=3\)"):
            script.main([*given, "--", "training.epochs=3"])

    def test_an_interrupted_comparison_goes_on(
        self, script: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        commands = pretend(script, monkeypatch)
        given = ["--tasks", "noise", "--seeds", "3", "--out", str(tmp_path)]
        script.main(given)
        folder = tmp_path / "noise" / "seed-3"
        (folder / "result.json").unlink()
        (folder / ".hydra" / "config.yaml").write_text("")
        (folder / ".hydra" / "overrides.yaml").unlink()
        script.main(given)
        assert commands[1] == ["resume", str(folder)]

    def test_a_page_without_the_marks_is_told_before_the_work(
        self, script: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        commands = pretend(script, monkeypatch)
        (tmp_path / "page.md").write_text("no marks")
        with pytest.raises(SystemExit, match=r"page.md: has no marks .*choosing --> and"):
            script.main(["--tasks", "noise", "--out", str(tmp_path), "--docs", str(tmp_path / "page.md")])
        assert not commands

    def test_the_tables_go_between_the_marks_of_their_group(
        self, script: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        pretend(script, monkeypatch)
        page = tmp_path / "panel.md"
        begin, end = script.marks(("choosing",))
        page.write_text(f"before\n{begin}\nold\n{end}\nafter\n")
        script.main(["--tasks", "noise", "--out", str(tmp_path), "--docs", str(page)])
        text = page.read_text()
        assert text.startswith("before\n") and text.endswith("after\n") and "old" not in text and "noisy digits" in text
        real = (ROOT / "docs" / "evidence" / "panel.md").read_text(encoding="utf-8")
        assert script.marks(["unopened", "choosing"]) == script.marks(("choosing", "unopened"))
        for groups in [("choosing",), ("unopened",), ("choosing", "unopened"), ("fresh",)]:
            assert all(real.count(mark) == 1 for mark in script.marks(groups))


def test_a_task_in_which_a_strategy_failed_is_ranked_over_the_seeds_that_all_have(tables: ModuleType) -> None:
    nan = float("nan")
    hard = [row("full", 3, nan, nan), row("linear_probe", 3, 0.0, 0.0), row("biotune", 3, 0.1, 0.1)]
    panel = {"a": [*PANEL["a"], *hard]}
    assert tables.mean_ranks(panel) == tables.mean_ranks({"a": PANEL["a"]}) == {"biotune": 1, "linear_probe": 2, "full": 3}
    assert tables.task_lines(panel, WORDS)[-1].startswith("Failed: full on 1 of 3 seeds of task a.")
