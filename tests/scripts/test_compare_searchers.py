"""Tests of the tabulated tasks and of the comparison of searchers on them."""

import importlib.util
import sys
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml

from biotune.schedule.block import Block
from biotune.schedule.genotype import decode
from biotune.schedule.schedule import Schedule
from biotune.trial import Trial

LR = 3e-3  # the base learning rate of trials

SCRIPTS = Path(__file__).parents[2] / "scripts"
NAMES = ("stem", "body", "head")
BLOCKS = tuple(Block(name, (name,)) for name in NAMES)
SEEDS = (7, 8, 9)
OWN_SD, SHARED = 0.03, {7: -0.05, 8: 0.0, 9: 0.05}


def load(name: str, patch: pytest.MonkeyPatch) -> ModuleType:
    patch.syspath_prepend(str(SCRIPTS))
    spec = importlib.util.spec_from_file_location(name, SCRIPTS / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    patch.setitem(sys.modules, name, module)
    spec.loader.exec_module(module)
    return module


def truth(weights: np.ndarray) -> float:
    """Best with a frozen stem, the body at 1 and the head at 10: 0.8."""
    rates = np.log10(np.where(weights > 0, weights, 1.0))
    head = 0.2 * (rates[2] + 1) if weights[2] > 0 else 0.0
    body = 0.2 * (1 - rates[1] ** 2) if weights[1] > 0 else 0.0
    return 0.2 + head + body - (0.1 if weights[0] > 0 else 0.0)


def write_made_up_table(path: Path, genotypes: int = 90) -> None:
    rng = np.random.default_rng(0)
    rows = []
    for index in range(genotypes):
        genes = rng.random(4).round(4)
        weights = np.array(decode(genes.tolist(), BLOCKS).lr_weights)
        for data in ("fold0", "fold1", "all"):
            for seed in SEEDS:
                score = truth(weights) + SHARED[seed] + rng.normal(0, OWN_SD)
                row = {"genotype": index, "kind": "random", **dict(zip([*NAMES, "threshold"], genes, strict=True))}
                test = truth(weights) + rng.normal(0, OWN_SD) if data == "all" else None
                rows.append({**row, "data": data, "seed": seed, "val_accuracy": score, "test_accuracy": test, "epochs": 9})
    pd.DataFrame(rows).to_csv(path, index=False)


@pytest.fixture(scope="module")
def patch():
    with pytest.MonkeyPatch.context() as context:
        yield context


@pytest.fixture(scope="module")
def tasks(patch: pytest.MonkeyPatch) -> ModuleType:
    return load("tabulated_task", patch)


@pytest.fixture(scope="module")
def script(patch: pytest.MonkeyPatch, tasks: ModuleType) -> ModuleType:
    return load("compare_searchers", patch)


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("tables") / "made_up.csv"
    write_made_up_table(path)
    return path


@pytest.fixture(scope="module")
def small_table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """For tests of what is written, whatever the model is worth: fitting one takes the cube of the rows."""
    path = tmp_path_factory.mktemp("small_tables") / "made_up.csv"
    write_made_up_table(path, genotypes=20)
    return path


@pytest.fixture(scope="module")
def fitted(tasks: ModuleType, table: Path) -> Callable[[str], Any]:
    """The task by the kind of its model, fitted when it is first asked for."""
    return cache(lambda kind: tasks.read_task(table, kind))


@pytest.mark.parametrize(("kind", "tolerance"), [("gp", 0.02), ("trees", 0.05)])
def test_a_model_finds_the_truth_behind_the_table(fitted: Callable[[str], Any], kind: str, tolerance: float) -> None:
    task = fitted(kind)
    rng = np.random.default_rng(1)
    unseen = [decode(rng.random(4).tolist(), BLOCKS) for _ in range(200)]
    errors = [task.quality(one) - truth(np.array(one.lr_weights)) for one in unseen if not one.is_empty]
    assert np.sqrt(np.mean(np.square(errors))) < tolerance
    assert min(task.explained.values()) > 0.8


def test_no_model_promises_what_no_training_has_reached(tasks: ModuleType, fitted: Callable[[str], Any], table: Path) -> None:
    scores = pd.read_csv(table)
    reached = scores[scores["data"] == "all"].groupby("genotype")["test_accuracy"].mean().max()
    start = [Schedule(BLOCKS, (0.0, 1.0, 5.0)), Schedule(BLOCKS, (1.0, 1.0, 1.0))]
    for task in (fitted("gp"), fitted("trees")):
        assert tasks.best_quality(task, start, np.random.default_rng(0)) < reached + 0.06


def test_the_noise_is_what_was_put_in(fitted: Callable[[str], Any]) -> None:
    noise = fitted("gp").noise["fold0"]
    assert float(noise.sd(0.5)) == pytest.approx(OWN_SD, rel=0.1)
    assert noise.shared == pytest.approx(0.05, rel=0.1)


def test_bad_schedules_scatter_more_than_good_ones(tasks: ModuleType) -> None:
    rng = np.random.default_rng(0)
    means = rng.permutation(np.repeat([0.3, 0.9], 3000))[:, None]
    noise = tasks.estimate_noise(means + rng.normal(0, np.where(means < 0.5, 0.1, 0.01), (6000, 2)))
    assert noise.sd(np.array([0.1, 0.3, 0.9, 1.0])) == pytest.approx([0.1, 0.1, 0.01, 0.01], rel=0.1)
    assert 0.01 < noise.sd(0.6) < 0.1


def test_simulated_fine_tunes_scatter_as_the_noise_says_and_share_what_a_seed_brings(tasks: ModuleType) -> None:
    task = tasks.Task(
        "flat", BLOCKS, {"fold0": lambda points: np.full(len(points), 0.5)}, {"fold0": tasks.Noise((0.5,), (0.02,), 0.1)}, {}
    )
    schedules = [Schedule(BLOCKS, (1.0, 1.0, 1.0 + index / 1000)) for index in range(400)]
    rows = []
    for run in range(60):
        executor = tasks.Simulated(task, 2, np.random.default_rng(run))
        rows.append([result.score for result in executor.run([Trial(one, 0, 3, 1, LR) for one in schedules])])
    scores = np.array(rows)
    assert scores.std(axis=1).mean() == pytest.approx(0.02, rel=0.05)
    assert scores.mean(axis=1).std() == pytest.approx(0.1, rel=0.3)


def test_one_fold_is_all_data_and_confirmation_sees_every_fold(tasks: ModuleType) -> None:
    levels = {"fold0": 0.1, "fold1": 0.2, "all": 0.3}
    surfaces = {data: (lambda points, level=level: np.full(len(points), level)) for data, level in levels.items()}
    task = tasks.Task("levels", BLOCKS, surfaces, dict.fromkeys(levels, tasks.Noise((0.5,), (0.0,), 0.0)), {})
    schedule = Schedule(BLOCKS, (1.0, 1.0, 1.0))

    def seen(folds: int, fold: int) -> float:
        executor = tasks.Simulated(task, folds, np.random.default_rng(0))
        return float(np.mean([executor.run([Trial(schedule, fold, seed, 1, LR)])[0].score for seed in range(200)]))

    assert [seen(2, 0), seen(2, 1), seen(1, 0)] == pytest.approx([0.1, 0.2, 0.3], abs=0.001)


def test_the_climb_reaches_the_top(tasks: ModuleType) -> None:
    task = tasks.Task(
        "truth",
        BLOCKS,
        {"test": lambda points: np.array([truth(np.where(one[:3] > 0, 10 ** one[3:], 0.0)) for one in points])},
        {},
        {},
    )
    start = [Schedule(BLOCKS, (1.0, 0.2, 0.1)), Schedule(BLOCKS, (1.0, 1.0, 1.0))]
    assert tasks.best_quality(task, start, np.random.default_rng(0)) == pytest.approx(0.8, abs=0.003)


@pytest.mark.parametrize("name", ["published", "default", "bare", "random", "cma_es_three", "parzen"])
def test_a_searcher_keeps_its_budget_and_finds_more_than_chance(
    script: ModuleType, fitted: Callable[[str], Any], name: str
) -> None:
    if name == "parzen":
        pytest.importorskip("optuna")
    task = fitted("gp")
    outcomes = [script.search_once(task, name, 240, seed) for seed in range(3)]
    assert all(120 < outcome.cost <= 240 for outcome in outcomes)
    assert np.mean([outcome.quality for outcome in outcomes]) > 0.6  # a random genotype has 0.38
    assert script.search_once(task, name, 240, 0) == outcomes[0]


@pytest.mark.parametrize(
    ("costs", "counted"),
    [
        ([50, 50, 50, 50, 50], [50, 100, 150, 200]),  # a fifth would be over the budget of 240
        ([50, 50, 150, 50], [50, 100]),  # the third is, which nobody could know
        ([50, 0, 50], [50, 50]),  # nothing is new any more
    ],
)
def test_what_a_generation_spends_over_the_budget_counts_for_nothing(
    script: ModuleType, monkeypatch: pytest.MonkeyPatch, costs: list[int], counted: list[int]
) -> None:
    fitness = SimpleNamespace(trainings=0)

    def generations(*settings: object) -> Iterator[SimpleNamespace]:
        for cost in costs:
            fitness.trainings += cost
            yield SimpleNamespace(hall=[], observations=[])

    searchers = sys.modules["tabulated_searchers"]
    monkeypatch.setattr(searchers, "evolve", generations)
    searcher = script.SEARCHERS["cma_es"]
    steps = searchers.evolved(searcher, searcher.settings, SimpleNamespace(blocks=BLOCKS, splits=0), fitness, 0, 240)
    assert [known.cost for known in steps] == counted


def test_confirmation_asks_the_data_it_is_told_to(script: ModuleType, tasks: ModuleType) -> None:
    slow, fast = Schedule(BLOCKS, (1.0, 1.0, 1.0)), Schedule(BLOCKS, (10.0, 10.0, 10.0))
    surfaces = {"fold0": lambda points: 0.5 - points[:, 5] / 10, "fold1": lambda points: 0.5 - points[:, 5] / 10}
    surfaces["all"] = lambda points: 0.5 + points[:, 5] / 10  # all data like the fast one, half of them the slow one
    task = tasks.Task("opposed", BLOCKS, surfaces, dict.fromkeys(surfaces, tasks.Noise((0.5,), (0.0,), 0.01)), {})
    hall = [script.Finalist(slow, 0.5), script.Finalist(fast, 0.5)]
    executor = tasks.Simulated(task, 2, np.random.default_rng(0))
    assert script.confirm(executor, hall, [(0, 7), (1, 7)]) == slow
    assert script.confirm(executor, hall, [(None, 7)]) == fast


@pytest.fixture(scope="module")
def with_manners(tasks: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A task in which blocks that join one by one are better by 0.1, and a head from the linear probe by 0.05."""
    rng, rows = np.random.default_rng(0), []
    for index in range(80):
        genes = rng.random(4).round(4)
        gradual, probed = rng.random(2) < 0.5
        manner = {"unfreezing": "last_to_first" if gradual else "together", "head_start": "probe" if probed else "fresh"}
        own = decode(genes.tolist(), BLOCKS)
        mean = truth(np.array(own.lr_weights)) + 0.1 * (gradual and sum(own.selected) > 1) + 0.05 * probed
        for data in ("split0", "split1", "split2"):
            for seed in SEEDS:
                val, test = mean + rng.normal(0, OWN_SD, 2)
                row = {"genotype": index, "kind": "random", **dict(zip([*NAMES, "threshold"], genes, strict=True)), **manner}
                rows.append({**row, "data": data, "seed": seed, "val_accuracy": val, "test_accuracy": test, "epochs": 9})
    path = tmp_path_factory.mktemp("manners") / "made_up_manners.csv"
    pd.DataFrame(rows).to_csv(path, index=False)
    return tasks.read_task(path, "gp")


def test_a_table_with_manners_tells_orders_and_starts_apart(with_manners: Any) -> None:
    assert with_manners.splits == 3 and set(with_manners.surfaces) == {"split0", "split1", "split2", "test"}
    plain = Schedule(BLOCKS, (0.0, 1.0, 5.0))
    gradual = Schedule(BLOCKS, (0.0, 1.0, 5.0), unfreezing="last_to_first")
    probed = Schedule(BLOCKS, (0.0, 1.0, 5.0), head_start="probe")
    assert with_manners.quality(gradual) - with_manners.quality(plain) == pytest.approx(0.1, abs=0.04)
    assert with_manners.quality(probed) - with_manners.quality(plain) == pytest.approx(0.05, abs=0.04)


def test_on_a_table_with_manners_the_default_searches_as_in_real_runs(
    script: ModuleType, with_manners: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = script.SEARCHERS["default"].settings_on(with_manners)
    assert (settings.folds, settings.resplit, settings.unfreezing) == (3, True, "evolved")
    asked: list[Trial] = []
    run = script.Simulated.run
    monkeypatch.setattr(script.Simulated, "run", lambda self, trials: asked.extend(trials) or run(self, trials))
    outcome = script.search_once(with_manners, "default", 130, 0)
    assert {trial.fold for trial in asked} == {0, 1, 2}
    assert {(trial.schedule.unfreezing, trial.schedule.head_start) for trial in asked} >= {
        ("together", "probe"),
        ("last_to_first", "fresh"),
    }
    assert 110 <= outcome.cost <= 130 and outcome.cost == 2 * len(asked)
    assert sum(trial.seed in script.CONFIRM.seeds for trial in asked) == 9


def test_a_course_is_a_step_function(script: ModuleType) -> None:
    values = script.course([(10, 0.5), (20, 0.7)], np.array([5, 10, 19, 20, 99]))
    assert np.isnan(values[0]) and values[1:].tolist() == [0.5, 0.5, 0.7, 0.7]


def test_mean_and_standard_error(script: ModuleType) -> None:
    outcomes = [script.Outcome(quality, 1, []) for quality in (0.5, 0.6, 0.7)]
    assert script.mean_and_error(outcomes) == "0.6000 ± 0.0577"  # sd 0.1 over sqrt(3)


def test_an_ablation_is_the_experiment_of_its_name(script: ModuleType) -> None:
    configs = SCRIPTS.parent / "configs" / "experiment"
    for name, searcher in script.ABLATIONS.items():
        file = configs / f"ablation_{name}.yaml"
        if file.is_file():
            changes = yaml.safe_load(file.read_text())["evolution"]
            assert searcher.changes == changes, name
    assert {"no_rates", "no_freezing", "sequential"} <= set(script.ABLATIONS)


@pytest.mark.slow
def test_the_small_preset_of_the_ablations_writes_between_its_own_marks(
    script: ModuleType, small_table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = tmp_path / "searchers.md"
    page.write_text("<!-- measured by scripts/compare_searchers.py --ablations -->\n<!-- end of ablations -->\n")
    chosen = ["--ablations", "--tasks", "made_up", "--searchers", "no_surrogate", "sequential", "--models", "gp", "--small"]
    places = ["--tables", str(small_table.parent), "--figures", str(tmp_path), "--docs", str(page)]
    monkeypatch.setattr(sys, "argv", ["compare_searchers.py", *chosen, *places])
    script.main()
    assert "| sequential mating, and so no surrogate |" in page.read_text()
    assert (tmp_path / "ablations_made_up.png").is_file()


@pytest.mark.slow
def test_the_small_preset_writes_table_and_figure(
    script: ModuleType, small_table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = tmp_path / "searchers.md"
    page.write_text("<!-- measured by scripts/compare_searchers.py -->\n<!-- end of compared -->\n")
    chosen = ["--tasks", "made_up", "--searchers", "published", "random", "--models", "gp", "--small"]
    places = ["--tables", str(small_table.parent), "--figures", str(tmp_path), "--docs", str(page)]
    monkeypatch.setattr(sys, "argv", ["compare_searchers.py", *chosen, *places])
    script.main()
    rows = [line for line in page.read_text().splitlines() if line.startswith("| ")]
    assert [row.split(" | ")[0] for row in rows[1:3]] == ["| published procedure (three seeds, two folds)", "| random draws"]
    assert len(rows) == 1 + 2 + 4
    assert (tmp_path / "searchers_made_up.png").read_bytes()[:4] == b"\x89PNG"
