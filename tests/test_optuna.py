"""Optuna's studies over schedules: with the search as sampler they get its trials, and go on after a break."""

from __future__ import annotations

import re
import subprocess
import sys
import threading
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from landscape import true_fitness

import biotune
from biotune.errors import ConfigError, ScheduleError, SearchError

optuna = pytest.importorskip("optuna", reason="optuna is not installed")
from biotune.optuna import ScheduleSampler, suggest_schedule  # noqa: E402

optuna.logging.set_verbosity(optuna.logging.ERROR)
BLOCKS = tuple(biotune.Block(f"b{index}", (f"m{index}",)) for index in range(4))
SMALL: dict[str, Any] = {"evaluations": 16, "seed": 3, "surrogate": "none", "screen": 1, "ranking": "fitness"}  # quick
EVOLVED = {"unfreezing": "evolved", "head_start": "evolved"}
SPACES: dict[str, dict[str, Any]] = {
    "plain": {},
    "manners": EVOLVED,
    "threshold": {"fixed_threshold": None},
    "order": {"unfreezing": "last_to_first", "fixed_threshold": 0.5},
}


def score_of(schedule: biotune.Schedule) -> float:
    return 1 - true_fitness(schedule) + 0.02 * (zlib.crc32(schedule.key.encode()) / 2**32 - 0.5)


def told_of(number: int, fails: bool) -> str:
    """How the trial of this number ends."""
    return ("fail" if number % 5 == 1 else "prune" if number % 5 == 3 else "score") if fails else "score"


def searched(sign: float = 1.0, fails: bool = False, **settings: Any) -> list[biotune.Schedule]:
    """What `biotune.Search` asks for, with the scores that a study tells it."""
    search = biotune.Search(BLOCKS, **{**SMALL, "prune": "none", **settings})
    schedules = []
    while not search.over:
        trial = search.ask()
        schedules.append(trial.schedule)
        how = told_of(trial.number, fails)
        if how == "fail":
            search.tell(trial, error="no")
        elif how == "prune":
            search.tell(trial, score_of(trial.schedule) - 0.1, pruned=True)
        else:
            search.tell(trial, sign * score_of(trial.schedule))
    return schedules


class Objective:
    """Notes each schedule and returns its score, or ends otherwise."""

    def __init__(self, fails: bool = False, **space: Any) -> None:
        self.fails, self.space = fails, space
        self.schedules: list[biotune.Schedule] = []

    def __call__(self, trial: Any) -> float:
        schedule = suggest_schedule(trial, BLOCKS, **self.space)
        self.schedules.append(schedule)
        how = told_of(trial.number, self.fails)
        if how == "fail":
            raise ValueError("no")
        if how == "prune":
            trial.report(score_of(schedule) - 0.1, 0)  # the best of three counts
            trial.report(score_of(schedule) - 0.3, 1)
            trial.report(float("nan"), 2)
            raise optuna.TrialPruned
        return score_of(schedule)


def keys(schedules: list[biotune.Schedule]) -> list[str]:
    return [schedule.key for schedule in schedules]


def journal_in(folder: Path) -> Any:
    """A storage that another object of its kind opens again, and that is quicker than SQLite."""
    return optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend(str(folder / "journal")))


def study_with(direction: str = "maximize", storage: Any = None, **settings: Any) -> Any:
    sampler = ScheduleSampler(BLOCKS, **{**SMALL, **settings})
    return optuna.create_study(
        direction=direction, sampler=sampler, storage=storage, study_name="schedules", load_if_exists=True
    )


@pytest.mark.parametrize("space", SPACES)
def test_a_study_gets_the_schedules_that_the_search_asks_for(space: str) -> None:
    objective, study = Objective(**SPACES[space]), study_with(**SPACES[space])
    study.optimize(objective)  # ends by itself
    expected = searched(**SPACES[space])
    assert objective.schedules == expected and len(expected) > 10
    assert [one.importances for one in objective.schedules] == [one.importances for one in expected]
    assert [suggest_schedule(trial, BLOCKS, **SPACES[space]) for trial in study.trials] == expected
    assert all(trial.state == optuna.trial.TrialState.COMPLETE for trial in study.trials)


def test_the_default_search_is_the_default_sampler() -> None:
    objective = Objective()
    optuna.create_study(direction="maximize", sampler=ScheduleSampler(BLOCKS, evaluations=14)).optimize(objective)
    asked = []
    biotune.search(lambda trial: asked.append(trial.schedule) or score_of(trial.schedule), BLOCKS, 14)
    assert objective.schedules == asked and len(asked) > 10


@pytest.mark.parametrize("settings", [{"algorithm": "cma_es"}, {"seed": 4}])
def test_other_searches_are_samplers_too(settings: dict[str, Any]) -> None:
    space = {"fixed_threshold": None} if "algorithm" in settings else {}
    objective = Objective(**space)
    study_with(**settings).optimize(objective)
    assert keys(objective.schedules) == keys(searched(**settings)) != keys(searched())


def test_a_study_that_minimises_tells_the_negative_values() -> None:
    study, schedules = study_with("minimize"), []

    def objective(trial: Any) -> float:
        schedules.append(suggest_schedule(trial, BLOCKS))
        return score_of(schedules[-1])

    study.optimize(objective)
    assert keys(schedules) == keys(searched(sign=-1.0)) != keys(searched())
    assert study.sampler.best.score < 0


def test_trials_that_fail_or_are_pruned_are_told_too() -> None:
    objective, study = Objective(fails=True), study_with()
    study.optimize(objective, catch=(ValueError,))
    assert keys(objective.schedules) == keys(searched(fails=True)) != keys(searched())
    assert {trial.state.name for trial in study.trials} == {"COMPLETE", "FAIL", "PRUNED"}


def test_a_pruned_trial_is_none_that_was_trained_to_the_end() -> None:
    study, scores = study_with(), iter([0.9, 0.5])

    def objective(trial: Any) -> float:
        suggest_schedule(trial, BLOCKS)
        score = next(scores)
        trial.report(score, 0)
        if trial.number == 0:
            raise optuna.TrialPruned
        return score

    study.optimize(objective, n_trials=2)
    assert study.sampler.best.score == 0.5  # of trials alone, before a regression can predict what the pruned one is worth


def test_the_best_is_the_one_of_the_search() -> None:
    study = study_with()
    with pytest.raises(SearchError, match="no trial has been told"):
        study.sampler.best  # noqa: B018
    study.optimize(Objective())
    search = biotune.search(lambda trial: score_of(trial.schedule), BLOCKS, **SMALL)
    assert study.sampler.best == search.best


@pytest.mark.parametrize(("kind", "cuts"), [("sqlite", (9,)), ("journal", (1, 9, 4))])
def test_a_study_that_is_loaded_again_goes_on_as_if_it_had_not_been_interrupted(
    kind: str, cuts: tuple[int, ...], tmp_path: Path
) -> None:
    objective = Objective(fails=True, **EVOLVED)
    expected = searched(fails=True, **EVOLVED)
    for count in (*cuts, None, 1):  # at last the search is over: no further training run
        storage = f"sqlite:///{tmp_path / 'study.db'}" if kind == "sqlite" else journal_in(tmp_path)
        study_with(storage=storage, **EVOLVED).optimize(objective, n_trials=count, catch=(ValueError,))
    assert keys(objective.schedules) == keys(expected)


def test_what_was_out_when_a_study_was_cut_off_is_given_again(tmp_path: Path) -> None:
    first = study_with(storage=journal_in(tmp_path))
    out = [first.ask() for _ in range(4)]
    lost = [suggest_schedule(trial, BLOCKS) for trial in out]
    first.tell(out[2], score_of(lost[2]))
    objective = Objective()
    study_with(storage=journal_in(tmp_path)).optimize(objective, n_trials=2)
    study_with(storage=journal_in(tmp_path)).optimize(objective)
    assert keys(objective.schedules[:3]) == keys([lost[0], lost[1], lost[3]])
    assert sorted(keys([lost[2], *objective.schedules])) == sorted(keys(searched()))


@pytest.mark.parametrize("mating", ["brood", "asynchronous"])
def test_threads_wait_for_one_another_and_train_no_schedule_twice(mating: str) -> None:
    lock, running, most = threading.Lock(), 0, 0

    def objective(trial: Any) -> float:
        nonlocal running, most
        schedule = suggest_schedule(trial, BLOCKS)
        with lock:
            running += 1
            most = max(most, running)
        threading.Event().wait(0.01)
        with lock:
            running -= 1
        return score_of(schedule)

    study = study_with(mating=mating)
    study.optimize(objective, n_jobs=3)
    done = [trial for trial in study.trials if trial.state == optuna.trial.TrialState.COMPLETE]
    schedules = [suggest_schedule(trial, BLOCKS) for trial in done]
    assert most > 1 and len(set(keys(schedules))) == len(schedules)
    if mating == "brood":  # the same whatever the order within a generation
        assert sorted(keys(schedules)) == sorted(keys(searched()))
    assert len(done) > 10 and study.sampler.best.schedule in schedules


def test_several_asked_in_one_thread_are_refused_once_the_search_needs_results() -> None:
    study = study_with()
    out = []
    with pytest.raises(SearchError, match=r"5 trials are out, tell the study of them first"):
        for _ in range(20):
            out.append(study.ask())
            suggest_schedule(out[-1], BLOCKS)
    for trial in reversed(out[:-1]):
        study.tell(trial, score_of(suggest_schedule(trial, BLOCKS)))
    suggest_schedule(study.ask(), BLOCKS)  # goes on
    assert len(study.trials) == 7


def test_a_trial_that_optuna_ends_for_a_dead_process_is_given_again() -> None:
    study = study_with()
    out = [study.ask() for _ in range(5)]
    schedules = [suggest_schedule(trial, BLOCKS) for trial in out]
    for trial, schedule in zip(out[1:], schedules[1:], strict=True):
        study.tell(trial, score_of(schedule))
    study._storage.set_trial_state_values(out[0]._trial_id, optuna.trial.TrialState.FAIL)
    assert suggest_schedule(study.ask(), BLOCKS) == schedules[0]


def test_enqueued_parameters_are_tried_and_do_not_enter_the_search() -> None:
    study, objective = study_with(), Objective()
    study.enqueue_trial({f"importance_{block.name}": 0.9 for block in BLOCKS})
    study.enqueue_trial({"importance_b0": 0.123})
    study.optimize(objective)
    assert objective.schedules[0].importances == (0.9,) * 4
    assert objective.schedules[1].importances is not None and objective.schedules[1].importances[0] == 0.123
    expected = searched()
    assert sorted(keys(objective.schedules[2:])) == sorted(keys(expected))


def test_a_study_of_another_search_is_refused(tmp_path: Path) -> None:
    storage = journal_in(tmp_path)
    study_with(storage=storage).optimize(Objective(), n_trials=9)
    with pytest.raises(SearchError, match="the study schedules holds trials of another search"):
        study_with(storage=storage, seed=5).optimize(Objective())
    study = study_with(storage=storage)
    study.optimize(Objective(), n_trials=1)
    other = optuna.create_study(direction="maximize", sampler=study.sampler, study_name="other")
    with pytest.raises(SearchError, match="samples the study schedules; give other a sampler of its own"):
        other.optimize(Objective())
    several = optuna.create_study(directions=["maximize", "minimize"], sampler=ScheduleSampler(BLOCKS, **SMALL))
    with pytest.raises(SearchError, match="one objective"):
        several.optimize(Objective())


def test_a_second_process_on_one_study_is_refused(tmp_path: Path) -> None:
    first = study_with(storage=journal_in(tmp_path))
    first.optimize(Objective(), n_trials=2)
    study_with(storage=journal_in(tmp_path)).optimize(Objective(), n_trials=1)  # with another sampler, as in a process
    with pytest.raises(SearchError, match="sampled by another process too"):
        first.optimize(Objective(), n_trials=1)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"folds": 3}, "folds=3: has no parameter in a study; must be 1 here."),
        ({"always_head": True}, "always_head=True: has no parameter in a study; must be False here."),
        ({"mateing": "brood"}, "mateing: is no setting of a search. Did you mean mating or mutation?"),
        ({"evaluations": 2}, "evaluations=2: must be an integer of at least 4."),
        ({"head_start": "warm"}, "head_start=warm: must be one of fresh, probe, evolved."),
    ],
)
def test_settings_without_a_parameter_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        ScheduleSampler(BLOCKS, **settings)
    assert str(caught.value) == message


def test_an_objective_with_other_parameters_than_the_sampler_is_refused() -> None:
    with pytest.raises(SearchError, match="has no parameter lr"):
        study_with().optimize(lambda trial: trial.suggest_float("lr", 0.0, 1.0))
    with pytest.raises(SearchError, match="has no parameter unfreezing"):
        study_with().optimize(Objective(unfreezing="evolved"))
    with pytest.raises(SearchError, match="trial 0 suggested no threshold"):
        study_with(fixed_threshold=None).optimize(Objective())
    with pytest.raises(ConfigError, match="b1 is the name of two blocks"):
        suggest_schedule(optuna.trial.FixedTrial({}), [BLOCKS[1], BLOCKS[1]])
    with pytest.raises(ScheduleError, match="must lie in"):
        suggest_schedule(optuna.trial.FixedTrial({f"importance_b{i}": 0.5 for i in range(4)}), BLOCKS, fixed_threshold=1.5)


SAMPLERS: dict[str, Callable[[], Any]] = {
    "tpe": lambda: optuna.samplers.TPESampler(seed=0),
    "random": lambda: optuna.samplers.RandomSampler(seed=0),
    "nsga2": lambda: optuna.samplers.NSGAIISampler(seed=0),
}


@pytest.mark.parametrize("name", SAMPLERS)
@pytest.mark.parametrize("space", SPACES)
def test_any_sampler_can_suggest_schedules(name: str, space: str) -> None:
    study = optuna.create_study(direction="maximize", sampler=SAMPLERS[name]())
    objective = Objective(**SPACES[space])
    study.optimize(objective, n_trials=14)
    assert len(set(keys(objective.schedules))) > 7
    if space == "manners":
        assert {one.head_start for one in objective.schedules} == {"fresh", "probe"}
        assert {one.unfreezing for one in objective.schedules} == {"together", "last_to_first"}


def test_importances_are_those_of_the_genotype() -> None:
    params = {"importance_b0": 0.3, "importance_b1": 0.31, "importance_b2": 0.5, "importance_b3": 1.0}
    schedule = suggest_schedule(optuna.trial.FixedTrial(params), BLOCKS)
    assert schedule.lr_weights == pytest.approx((0.0, 10**-0.38, 1.0, 10.0))
    assert suggest_schedule(optuna.trial.FixedTrial(params | {"threshold": 0.4}), BLOCKS, fixed_threshold=None).selected == (
        False,
        False,
        True,
        True,
    )


def test_the_script_of_the_page_runs(capsys: pytest.CaptureFixture[str]) -> None:
    page = (Path(__file__).parents[1] / "docs/how-to/optuna.md").read_text(encoding="utf-8")
    (script,) = re.findall(r"^```python title=\"with_optuna\.py\"\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    assert "evaluations=40" in script
    found: dict[str, Any] = {}
    exec(compile(script.replace("evaluations=40", "evaluations=6"), "with_optuna.py", "exec"), found)
    assert len(found["study"].trials) == 6
    assert {trial.state.name for trial in found["study"].trials} <= {"COMPLETE", "PRUNED"}
    assert "Best(" in capsys.readouterr().out


def test_without_optuna_one_line_names_the_extra() -> None:
    code = "import sys; sys.modules['optuna'] = None\nimport biotune.optuna"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert answer.returncode == 1
    assert answer.stderr.splitlines()[-1] == (
        "ImportError: biotune.optuna: needs the extra 'optuna': pip install 'biotune[optuna]'."
    )
    assert "During handling" not in answer.stderr


def test_importing_biotune_does_not_import_optuna() -> None:
    code = "import sys, biotune; biotune.Search; print('optuna' in sys.modules, 'biotune.optuna' in sys.modules)"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.split() == ["False", "False"]
