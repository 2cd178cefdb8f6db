"""The floor that earlier trainings set, by hand and by its properties, and what the training loop does with one."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from biotune.executors.in_process import InProcess
from biotune.fitness.learning_curves import WARMUP_EPOCHS
from biotune.fitness.pruning import FEWEST_CURVES, median_floor
from biotune.schedule.schedule import Schedule
from biotune.training import finetune as loop
from biotune.training.finetune import finetune
from biotune.training.workspace import Workspace
from biotune.trial import Trial, TrialResult

# PyTorch warns that no optimizer stepped where a test's scripted epochs train nothing
pytestmark = pytest.mark.filterwarnings("ignore:Detected call of `lr_scheduler.step")

MakeWorkspace = Callable[..., Workspace]
ByScript = Callable[[Sequence[float]], None]

CURVES = [
    (0.1, 0.2, 0.3, 0.4, 0.5),  # ever better
    (0.5, 0.4, 0.3, 0.2, 0.1),  # best at once
    (0.0, 0.6),  # ended early
    (0.3, 0.3, 0.3, 0.3, 0.7),
    (0.2, 0.1, 0.1, 0.9, 0.1),
]


class TestFloor:
    def test_it_is_the_median_of_the_best_scores_by_each_epoch_and_nothing_in_the_first_two(self) -> None:
        # by the third epoch the best are 0.3 0.5 0.6 0.3 0.2, by the fourth 0.4 0.5 0.6 0.3 0.9, then 0.5 0.5 0.6 0.7 0.9
        assert median_floor(CURVES, 5) == (0.0, 0.0, 0.3, 0.5, 0.6)

    def test_a_training_that_ended_early_counts_with_its_best_ever_after(self) -> None:
        # the best by the end are 0.5 0.5 0.6 0.7 0.9: what has ended moves the floor no more
        assert median_floor(CURVES, 8) == (0.0, 0.0, 0.3, 0.5, 0.6, 0.6, 0.6, 0.6)
        ended_at_once = [(score,) for score in (0.3, 0.1, 0.5, 0.2, 0.4)]
        assert median_floor(ended_at_once, 5) == (0.0, 0.0, 0.3, 0.3, 0.3)

    def test_an_even_number_of_trainings_has_the_mean_of_the_middle_two(self) -> None:
        steady = [(score,) * 4 for score in (0.6, 0.2, 0.1, 0.4, 0.5, 0.3)]
        assert median_floor(steady, 4) == (0.0, 0.0, pytest.approx(0.35), pytest.approx(0.35))

    @pytest.mark.parametrize("budget", [1, 2])
    def test_a_budget_within_the_warm_up_gives_nothing_up(self, budget: int) -> None:
        assert median_floor(CURVES, budget) == (0.0,) * budget

    @pytest.mark.parametrize("count", [0, 1, 4])
    def test_too_few_trainings_set_no_floor(self, count: int) -> None:
        assert median_floor(CURVES[:count], 5) == ()


scores = st.floats(0, 1)
many_curves = st.lists(st.lists(scores, min_size=1, max_size=8), min_size=FEWEST_CURVES, max_size=12)
budgets = st.integers(1, 10)


class TestFloorOfAnyCurves:
    @given(many_curves, budgets)
    def test_it_has_a_value_an_epoch_never_falls_and_never_exceeds_the_largest_score(
        self, curves: list[list[float]], epochs: int
    ) -> None:
        floor = median_floor(curves, epochs)
        assert len(floor) == epochs
        assert list(floor) == sorted(floor)
        assert max(floor) <= max(max(curve) for curve in curves)
        assert set(floor[:WARMUP_EPOCHS]) == {0.0}

    @given(many_curves, budgets, st.randoms(use_true_random=False))
    def test_it_does_not_depend_on_the_order_of_the_trainings(
        self, curves: list[list[float]], epochs: int, random: Any
    ) -> None:
        shuffled = list(curves)
        random.shuffle(shuffled)
        assert median_floor(shuffled, epochs) == median_floor(curves, epochs)

    @given(many_curves, budgets, scores)
    def test_a_further_training_below_it_never_raises_it_and_one_above_never_lowers_it(
        self, curves: list[list[float]], epochs: int, score: float
    ) -> None:
        before = median_floor(curves, epochs)
        after = median_floor([*curves, [score]], epochs)
        assert all(new <= old for new, old in zip(after, before, strict=True) if score <= old)
        assert all(new >= old for new, old in zip(after, before, strict=True) if score >= old)

    @given(many_curves, st.data())
    def test_giving_trainings_up_never_raises_it(self, curves: list[list[float]], data: st.DataObject) -> None:
        cut = [curve[: data.draw(st.integers(1, len(curve)))] for curve in curves]
        assert all(new <= old for new, old in zip(median_floor(cut, 8), median_floor(curves, 8), strict=True))

    @given(many_curves)
    @settings(max_examples=30)
    def test_after_the_last_epoch_it_is_the_median_of_the_final_scores(self, curves: list[list[float]]) -> None:
        assert median_floor(curves, 8)[-1] == statistics.median(max(curve) for curve in curves)


def trial(workspace: Workspace, epochs: int, floor: tuple[float, ...] = (), **more: Any) -> Trial:
    blocks = workspace.network.blocks
    return Trial(Schedule(blocks, (1.0,) * len(blocks)), 0, 1, epochs, workspace.training.base_lr, floor=floor, **more)


@pytest.fixture
def by_script(monkeypatch: pytest.MonkeyPatch) -> ByScript:
    """Validation scores from a script, and epochs that train nothing."""

    def install(curve: Sequence[float]) -> None:
        script: Iterator[float] = iter(curve)
        monkeypatch.setattr(loop, "_train_epoch", lambda *_: None)
        monkeypatch.setattr(loop, "predict", lambda workspace, rows, entry=None: torch.zeros(len(rows), 10))
        monkeypatch.setattr(loop, "macro_accuracy", lambda *_: next(script))

    return install


class TestTrainingWithAFloor:
    @pytest.mark.parametrize(
        ("curve", "floor", "status", "trained"),
        [
            # below at once, below later, below after a best that was enough for a while
            ([0.2, 0.9, 0.9, 0.9], (0.3, 0.3, 0.3, 0.3), "pruned", 1),
            ([0.1, 0.2, 0.3, 0.4, 0.9, 0.9], (0.0, 0.0, 0.0, 0.5, 0.6, 0.6), "pruned", 4),
            ([0.5, 0.1, 0.1, 0.5, 0.55, 0.9], (0.0, 0.0, 0.0, 0.5, 0.6, 0.6), "pruned", 5),
            # the best so far counts, not the last one
            ([0.7, 0.1, 0.1, 0.1, 0.1, 0.1], (0.0, 0.0, 0.0, 0.5, 0.6, 0.6), "ok", 6),
            # equal to the floor is not below it
            ([0.3, 0.3, 0.4, 0.5, 0.6, 0.6], (0.3, 0.3, 0.4, 0.5, 0.6, 0.6), "ok", 6),
            # a floor of 0 gives nothing up
            ([0.0] * 6, (0.0,) * 6, "ok", 6),
        ],
    )
    def test_it_ends_as_pruned_with_the_epoch_whose_best_so_far_is_below(
        self,
        curve: list[float],
        floor: tuple[float, ...],
        status: str,
        trained: int,
        by_script: ByScript,
        make_workspace: MakeWorkspace,
    ) -> None:
        by_script(curve)
        workspace = make_workspace(patience=9)
        result = finetune(trial(workspace, len(curve), floor), workspace).result
        assert (result.status, result.curve) == (status, tuple(curve[:trained]))
        assert result.score == max(curve[:trained])
        assert result.error is None and result.scores == {}

    @pytest.mark.parametrize("floor", [(), (0.0,) * 6, (0.0, 0.0, 0.0, 0.5, 0.6, 0.6)])
    def test_lost_patience_is_no_giving_up(
        self, floor: tuple[float, ...], by_script: ByScript, make_workspace: MakeWorkspace
    ) -> None:
        by_script([0.5, 0.4, 0.4, 0.4, 0.9, 0.9])
        workspace = make_workspace(patience=3)
        result = finetune(trial(workspace, 6, floor), workspace).result
        assert (result.status, result.curve) == ("ok", (0.5, 0.4, 0.4, 0.4))

    def test_an_executor_hands_a_pruned_training_back_as_it_is_and_does_not_try_again(
        self, by_script: ByScript, make_workspace: MakeWorkspace
    ) -> None:
        by_script([0.4, 0.9, 0.9])
        workspace = make_workspace()
        told: list[TrialResult] = []
        (result,) = InProcess(workspace, Path("none")).run([trial(workspace, 3, (0.5,) * 3)], lambda _, one: told.append(one))
        assert (result.status, result.curve) == ("pruned", (0.4,))
        assert told == [result]

    def test_a_floor_changes_only_where_a_curve_ends(self, make_workspace: MakeWorkspace) -> None:
        workspace = make_workspace()

        def trained(floor: tuple[float, ...]) -> tuple[TrialResult, dict[str, torch.Tensor]]:
            result = finetune(trial(workspace, 3, floor), workspace).result
            return result, {name: value.clone() for name, value in workspace.network.module.state_dict().items()}

        free, weights = trained(())
        under, same_weights = trained((0.0, 0.0, 1e-9))
        assert (under.status, under.curve) == (free.status, free.curve) == ("ok", free.curve)
        assert all(torch.equal(value, weights[name]) for name, value in same_weights.items())
        given_up, _ = trained((0.0, 1.0, 1.0))
        assert len(free.curve) == 3 and max(free.curve[:2]) < 1
        assert (given_up.status, given_up.curve) == ("pruned", free.curve[:2])
