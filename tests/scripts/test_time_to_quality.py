"""The benchmark of time to quality: its targets, times and table by hand, and the search that it is measured against."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import optuna
import pytest
import torch
from torch import Tensor, nn

from biotune.evolution.surrogate import Observation
from biotune.schedule.block import Block
from biotune.schedule.schedule import Schedule

SCRIPTS = Path(__file__).parents[2] / "scripts"
BLOCKS = (Block("body", ("body",)), Block("head", ("head",)))


@pytest.fixture
def bench() -> ModuleType:
    return importlib.import_module("bench_time_to_quality")


@pytest.fixture
def search() -> ModuleType:
    return importlib.import_module("plain_search")


def line(bench: ModuleType, *points: tuple[float, float], whole: float = 100.0) -> Any:
    """A search's timeline of seconds and qualities."""
    schedules = [Schedule(BLOCKS, (float(number), 1.0)) for number, _ in enumerate(points, 1)]
    found = [bench.Incumbent(at, schedule, quality) for (at, quality), schedule in zip(points, schedules, strict=True)]
    return bench.Timeline(tuple(found), whole)


class TestTimes:
    def test_the_target_lies_between_full_fine_tuning_and_the_best_in_any_hand(self, bench: ModuleType) -> None:
        lines = {"biotune": line(bench, (5, 0.6), (9, 0.7)), "tpe": line(bench, (4, 0.8), (8, 0.65)), "random": line(bench)}
        assert bench.target_of(lines, 0.6, 0.95) == pytest.approx(0.79)
        assert bench.target_of(lines, 0.9, 0.95) == 0.9  # nothing found is better

    def test_a_target_is_reached_when_the_schedule_in_hand_first_has_it(self, bench: ModuleType) -> None:
        found = line(bench, (4, 0.6), (8, 0.8), (20, 0.7), (30, 0.9))
        assert [bench.reached(found, target) for target in (0.5, 0.8, 0.85, 0.95)] == [4, 8, 30, None]

    @pytest.mark.parametrize(
        ("own", "first", "said"),
        [(30.0, 10.0, "3.0×"), (None, 10.0, "> 20.0×"), (30.0, None, "< 0.3×"), (None, None, "neither")],
    )
    def test_where_one_never_gets_there_the_ratio_is_a_bound(
        self, bench: ModuleType, own: float | None, first: float | None, said: str
    ) -> None:
        assert bench.ratio(own, 200.0, first, 100.0) == said

    def test_equal_incumbents_in_a_row_count_once_and_many_are_thinned_evenly(self, bench: ModuleType) -> None:
        one, other = Schedule(BLOCKS, (0.0, 1.0)), Schedule(BLOCKS, (1.0, 1.0))
        row = [bench.Incumbent(at, schedule) for at, schedule in enumerate([one, one, other, other, one])]
        winner = bench.Incumbent(9, None)
        assert [found.seconds for found in bench.thinned([*row, winner], 9)] == [0, 2, 4, 9]
        many = [bench.Incumbent(at, Schedule(BLOCKS, (1.0 + at, 1.0))) for at in range(11)]
        assert [found.seconds for found in bench.thinned(many, 3)] == [0, 5, 10]

    def test_the_table_lists_the_repetitions(self, bench: ModuleType) -> None:
        # targets by hand: 0.5 + 0.5 · 0.4 = 0.7 and 0.5 + 0.5 · 0.2 = 0.6
        first = {
            "biotune": line(bench, (10, 0.9), whole=50),
            "tpe": line(bench, (30, 0.8)),
            "random": line(bench, (1, 0.5)),
        }
        second = {
            "biotune": line(bench, (20, 0.6), whole=50),
            "tpe": line(bench, (30, 0.7)),
            "random": line(bench),
        }
        rows = bench.table_rows("task", [(first, 0.5), (second, 0.5)], 0.5)
        assert rows == [
            "| task | biotune run | 0.9000, 0.6000 | 50 s, 50 s | 10 s, 20 s |  |",
            "| task | Optuna, TPE and median pruner | 0.8000, 0.7000 | 100 s, 100 s | 30 s, 30 s | 3.0×, 1.5× |",
            "| task | random search | 0.5000, none | 100 s, 100 s | not reached, not reached | > 10.0×, > 5.0× |",
            "| task | full fine-tuning | 0.5000, 0.5000 | | | |",
        ]


class TestOurs:
    def test_the_process_is_timed_and_its_generations_and_winner_are_noted(self, bench: ModuleType, tmp_path: Path) -> None:
        records = [{"kind": "trial"}, {"kind": "generation", "number": 0}, {"kind": "generation", "number": 1}]
        program = f"""
import json, pathlib, time
folder = pathlib.Path({str(tmp_path)!r})
with (folder / "journal.jsonl").open("w") as journal:
    for record in {records!r}:
        time.sleep(0.2)
        text = json.dumps(record)
        journal.write(text[:5]); journal.flush(); time.sleep(0.1)
        journal.write(text[5:] + chr(10)); journal.flush()
time.sleep(0.2)
(folder / "best_schedule.yaml").touch()
time.sleep(0.2)
"""
        with (tmp_path / "out.txt").open("w") as out:
            moments, seconds = bench.watched([sys.executable, "-c", program], tmp_path, out)
            assert list(moments) == [0, 1, None]
            assert 0.5 < moments[0] < moments[1] < moments[None] < seconds
            with pytest.raises(SystemExit, match="failed with exit status 3"):
                bench.watched([sys.executable, "-c", "raise SystemExit(3)"], tmp_path / "none", out)

    def test_in_hand_is_the_best_of_all_that_was_measured_so_far(self, bench: ModuleType, tmp_path: Path) -> None:
        header = "generation,individual,status,fold,fitness,lr_weight_body,lr_weight_head,unfreezing"
        rows = [
            "0,0,ok,0,0.5,0.0,1.0,together",
            "0,1,ok,0,0.4,2.0,1.0,last_to_first",
            "0,2,pruned,0,0.1,3.0,1.0,together",
            "1,1,ok,1,0.7,2.0,1.0,last_to_first",  # 0.55 on average
            "1,3,ok,1,0.6,4.0,1.0,together",
        ]
        (tmp_path / "generations.csv").write_text("\n".join([header, *rows]) + "\n")
        found = bench.ours(tmp_path, {0: 3.0, 1: 6.0, None: 8.0}, BLOCKS)
        assert [one.seconds for one in found] == [3.0, 6.0, 8.0]
        assert found[0].schedule == Schedule(BLOCKS, (2.0, 1.0), unfreezing="last_to_first")
        assert found[1].schedule == Schedule(BLOCKS, (0.0, 1.0)) and found[2].schedule is None

    def test_what_a_run_had_in_hand_is_its_schedule_with_order_and_start_of_the_head(
        self, bench: ModuleType, tmp_path: Path
    ) -> None:
        (tmp_path / "generations.csv").write_text(
            "generation,fold,individual,status,fitness,lr_weight_body,lr_weight_head,unfreezing,head_start\n"
            "0,0,0,ok,0.4,0.0,1.0,together,fresh\n"
            "0,1,0,ok,0.2,0.0,1.0,together,fresh\n"  # 0.3 on average
            "0,0,1,failed,1.0,2.0,1.0,together,fresh\n"
            "1,0,2,ok,0.25,0.5,1.0,last_to_first,probe\n"
            "1,1,0,ok,0.2,0.0,1.0,together,fresh\n"  # carried over
            "1,1,0,ok,0.2,0.0,1.0,together,fresh\n"
        )
        found = bench.ours(tmp_path, {0: 3.0, 1: 5.0, None: 9.0}, BLOCKS)
        assert [one.seconds for one in found] == [3.0, 5.0, 9.0]
        assert found[0].schedule == Schedule(BLOCKS, (0.0, 1.0))
        assert found[1].schedule == Schedule(BLOCKS, (0.5, 1.0), unfreezing="last_to_first", head_start="probe")
        assert found[2].schedule is None  # the winner, whose quality the run has measured

    def test_with_enough_evaluations_a_regression_ranks(self, bench: ModuleType) -> None:
        # slow bodies are good, and one lucky fast one does not hide it
        seen = [
            Observation(Schedule(BLOCKS, (weight, 1.0)), 0, fitness)
            for weight, fitness in [(0.1, 0.11), (0.12, 0.1), (0.14, 0.1), (0.16, 0.11)] * 2
            + [(8.0, 0.7), (8.5, 0.7), (9.0, 0.09), (9.5, 0.7), (9.8, 0.7)]
        ]
        assert bench.best_of(seen).lr_weights[0] < 0.2


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body, self.head = nn.Linear(2, 4), nn.Linear(4, 2)

    def forward(self, points: Tensor) -> Tensor:
        logits: Tensor = self.head(torch.relu(self.body(points)))
        return logits


TASK = {
    "blocks": [("body", ("body",)), ("head", ("head",))],
    "head": "head",
    "base_lr": 0.01,
    "epochs": 3,
    "patience": 2,
    "batch_size": 8,
    "eval_batch_size": 32,
    "cosine_epochs": 100,
}


class TestPlainSearch:
    def test_a_trial_becomes_learning_rates(self, search: ModuleType) -> None:
        frozen = optuna.trial.FixedTrial({"train_body": False, "weight_head": 2.0, "gradual": True})
        plan = search.plan_of(frozen, TASK)
        assert plan.rates == {("body",): 0.0, ("head",): 0.02} and plan.gradual
        assert (plan.epochs, plan.patience, plan.batch_size, plan.eval_batch_size, plan.head) == (3, 2, 8, 32, "head")
        trained = {"train_body": True, "weight_body": 0.5, "weight_head": 2.0, "gradual": False}
        assert search.plan_of(optuna.trial.FixedTrial(trained), TASK).rates == {("body",): 0.005, ("head",): 0.02}

    @pytest.mark.parametrize("sampler", ["tpe", "random"])
    def test_every_new_best_trial_is_noted_until_the_time_is_over(
        self, search: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sampler: str
    ) -> None:
        scores = iter([0.3, 0.2, 0.5, 0.5, 0.4])
        clock = iter(range(100))
        torch.save(
            {**TASK, "module": nn.Linear(1, 1), "tensors": [(torch.zeros(1, 1), torch.zeros(1))] * 2}, tmp_path / "task.pt"
        )
        monkeypatch.setattr(search, "fine_tune", lambda *arguments: [next(scores)])
        monkeypatch.setattr(search.time, "time", lambda: float(next(clock)))
        monkeypatch.setattr(search.optuna.Study, "optimize", bounded(search.optuna.Study.optimize, 5))
        own = ["--sampler", sampler, "--until", "99", "--out", str(tmp_path / "out.jsonl")]
        monkeypatch.setattr(sys, "argv", ["plain_search.py", str(tmp_path / "task.pt"), *own])
        search.main()
        *lines, last = map(json.loads, (tmp_path / "out.jsonl").read_text().splitlines())
        assert [one["trial"] for one in lines] == [0, 2] and last["trials"] == 5
        assert all(len(one["weights"]) == 2 and 0.1 <= one["weights"][1] <= 10 for one in lines)
        assert lines[0]["at"] < lines[1]["at"] < last["at"]

    def test_the_plain_loop_tells_each_epoch_and_can_be_ended(self) -> None:
        loop = importlib.import_module("plain_loop")
        plan = loop.Plan({("body",): 0.01, ("head",): 0.01}, 4, 9, 8, 8, 0, "head")
        images, labels = torch.randn(8, 2), torch.tensor([0, 1] * 4)
        told: list[tuple[int, float]] = []
        curve = loop.fine_tune(
            Net(), [[(images, labels)]] * 2, plan, torch.device("cpu"), lambda epoch, score: told.append((epoch, score))
        )
        assert told == list(enumerate(curve)) and len(curve) == 4

        def end(epoch: int, score: float) -> None:
            raise optuna.TrialPruned

        with pytest.raises(optuna.TrialPruned):
            loop.fine_tune(Net(), [[(images, labels)]] * 2, plan, torch.device("cpu"), end)


def bounded(optimize: Any, trials: int) -> Any:
    """Optuna's loop over so many trials instead of a time."""

    def run(study: Any, objective: Any, timeout: float, callbacks: Any) -> None:
        assert timeout > 0
        optimize(study, objective, n_trials=trials, callbacks=callbacks)

    return run
