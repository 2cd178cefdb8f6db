"""What is predicted from partial curves, by hand and by its properties."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from biotune.fitness.learning_curves import FEWEST_CURVES, Curve, floor_towards, fold_effects, predicted_final, target

EPOCHS = 4


def curve(*scores: float, fold: int = 0, order: str = "together", finished: bool = True, schedule: str | None = None) -> Curve:
    return Curve(schedule or f"{scores}{order}", fold, order, scores, finished)


class TestFoldEffects:
    def test_they_are_the_means_of_the_best_three_less_their_mean(self) -> None:
        finals = {0: (0.9, 0.8, 0.7, 0.1), 1: (0.6,), 2: (0.5, 0.3)}
        curves = [curve(final, fold=fold) for fold, own in finals.items() for final in own]
        # 0.8, 0.6 and 0.4, in the mean 0.6
        assert fold_effects(curves) == pytest.approx({0: 0.2, 1: 0.0, 2: -0.2})

    def test_what_was_given_up_tells_nothing(self) -> None:
        assert fold_effects([curve(0.5), curve(0.9, finished=False), curve(0.9, fold=1, finished=False)]) == {0: 0.0}
        assert fold_effects([]) == {}


class TestTarget:
    CURVES = tuple(curve(score) for score in (0.5, 0.9, 0.6, 0.8, 0.7, 0.1, 0.2, 0.3, 0.4, 0.0))

    @pytest.mark.parametrize(("trainings", "wanted"), [(10, 0.6), (11, 0.6), (20, 0.8), (100, 0.9), (5, 0.6)])
    def test_the_share_of_the_places_is_that_of_the_search_that_is_done(self, trainings: int, wanted: float) -> None:
        # of 4 places: the 4th best in the end, the 2nd after half, the 1st after a tenth
        assert target(self.CURVES, 0, 4, trainings) == pytest.approx(wanted)

    def test_it_is_higher_on_an_easier_fold_by_the_folds_difference(self) -> None:
        both = [curve(score + fold / 10, fold=fold) for score in (0.5, 0.6, 0.7) for fold in (0, 1)]
        assert target(both, 1, 1, 6) - target(both, 0, 1, 6) == pytest.approx(0.1)
        assert target(both, 0, 1, 6) == pytest.approx(0.7)

    def test_a_schedule_on_several_folds_takes_one_place(self) -> None:
        twice = [curve(score, fold=fold, schedule=f"{score}") for score in (0.5, 0.6, 0.7) for fold in (0, 1)]
        assert target(twice, 0, 2, 6) == pytest.approx(0.6)

    def test_a_fold_without_curves_may_lack_half_as_much_again(self) -> None:
        assert target([curve(0.9)], 5, 1, 1) == pytest.approx(0.85)
        assert target([curve(0.1)], 5, 1, 1) == 0.0


class TestFloor:
    # halves what it lacks every epoch; lacks nothing more after two; late
    STEADY, FAST, LATE = (0.2, 0.6, 0.8, 0.9), (0.5, 0.895, 0.9, 0.9), (0.1, 0.1, 0.1, 0.9)
    SLOW = tuple(curve(0.0, 0.1, 0.2, 0.5, schedule=str(index)) for index in range(5))

    def test_it_asks_for_what_all_but_one_of_the_six_better_ones_made_up_for(self) -> None:
        curves = [*self.SLOW, *[curve(*self.FAST)] * 4, curve(*self.STEADY), curve(*self.LATE)]
        # the better half of 11 are 6
        # of a lack of 0.2 STEADY leaves 0.1, all plus 0.005; to leave 0.205 a run may lack 0.205 · 0.205 / 0.105
        assert floor_towards(0.8, curves, "together", EPOCHS) == pytest.approx((0, 0, 1.005 - 0.205**2 / 0.105, 0.8))

    def test_the_better_half_is_that_of_schedules_not_that_of_an_easier_fold(self) -> None:
        steady, slow = [curve(0.9, 0.9, 0.9, 0.9)] * 3, [curve(0.0, 0.0, 0.0, 0.8)] * 3
        hard = [curve(0.0, 0.0, 0.0, 0.5, fold=1)] * 3 + [curve(0.4, 0.4, 0.4, 0.4, fold=1)] * 3
        # the best three of either fold are alike; those of the hard one made up for half of what they lacked
        floor = floor_towards(0.9, [*steady, *slow, *hard], "together", EPOCHS)[2]
        assert floor == pytest.approx(1 - 0.1 / 0.5, abs=0.02)

    def test_bad_curves_do_not_lower_it(self) -> None:
        good = [curve(*self.FAST)] * 10
        assert floor_towards(0.8, [*self.SLOW, *good], "together", EPOCHS) == floor_towards(0.8, good, "together", EPOCHS)

    def test_a_run_that_ended_early_had_made_up_for_everything(self) -> None:
        assert floor_towards(0.8, [curve(0.4, 0.9)] * 10, "together", EPOCHS) == pytest.approx((0, 0, 0.8, 0.8))

    @pytest.mark.parametrize("epochs", [1, 2])
    def test_the_first_epochs_give_nothing_up(self, epochs: int) -> None:
        assert floor_towards(0.8, [curve(*self.FAST)] * 10, "together", epochs) == (0.0,) * epochs

    def test_kinds_are_kept_apart_once_there_are_four_curves(self) -> None:
        joining = [curve(0.0, 0.0, 0.0, 0.9, order="last_to_first")]
        fast = [curve(*self.FAST)] * 10
        assert floor_towards(0.8, [*fast, *joining * 4], "together", EPOCHS) == floor_towards(0.8, fast, "together", EPOCHS)
        kept = floor_towards(0.8, [*fast, *joining * 4], "last_to_first", EPOCHS)
        assert kept == pytest.approx((0, 0, 0, 0.8))

    def test_a_kind_of_few_curves_is_held_to_the_one_that_made_up_for_most_of_any_kind(self) -> None:
        curves = [*[curve(*self.FAST)] * 10, curve(*self.STEADY)]
        own = floor_towards(0.8, curves, "together", EPOCHS)
        others = floor_towards(0.8, [*[curve(*self.FAST)] * 4, curve(*self.STEADY), *self.SLOW], "last_to_first", EPOCHS)
        assert own[2] == pytest.approx(0.8)
        assert others == pytest.approx((0, 0, 1.005 - 0.205**2 / 0.105, 0.8))

    def test_too_few_finished_curves_set_none(self) -> None:
        given_up = [curve(0.5, finished=False)] * 9
        assert floor_towards(0.8, [*given_up, *[curve(*self.FAST)] * 9], "together", EPOCHS) == ()

    @given(
        st.lists(st.lists(st.floats(0, 1), min_size=1, max_size=6), min_size=FEWEST_CURVES, max_size=14),
        st.floats(0, 1),
        st.integers(0, 2),
    )
    def test_it_never_falls_and_never_exceeds_what_is_wanted(self, rows: list[list[float]], wanted: float, folds: int) -> None:
        curves = [curve(*row, fold=index % (folds + 1), schedule=str(index)) for index, row in enumerate(rows)]
        floor = floor_towards(wanted, curves, "together", 8)
        assert len(floor) == 8
        assert all(earlier <= later + 1e-12 for earlier, later in zip(floor, floor[1:], strict=False))
        assert max(floor) <= wanted + 1e-12
        assert floor[-1] == pytest.approx(wanted)  # all have ended by then


class TestPredictedFinal:
    CURVES = tuple(curve(0.2 * index, 0.5 + 0.1 * index) for index in range(5))

    def test_it_is_the_regression_on_the_best_score_so_far(self) -> None:
        # exactly 0.5 + x / 2
        assert predicted_final(curve(0.3, finished=False), self.CURVES) == pytest.approx(0.65)
        # numpy.polyfit([0, 0.2, 0.4, 0.6, 0.8], [0.5, 0.6, 0.7, 0.8, 0.8], 1) is (0.4, 0.52)
        bent = [*self.CURVES[:4], curve(0.8, 0.8)]
        assert predicted_final(curve(0.0, finished=False), bent) == pytest.approx(0.52)

    def test_on_another_fold_it_differs_by_the_folds_difference(self) -> None:
        both = [
            curve(*(score + shift for score in one.scores), fold=fold)
            for one in self.CURVES
            for fold, shift in ((0, 0), (1, 0.05))
        ]
        own = predicted_final(curve(0.3, finished=False), both)
        assert predicted_final(curve(0.35, fold=1, finished=False), both) == pytest.approx(own + 0.05)

    def test_it_is_never_below_what_was_reached_nor_above_one(self) -> None:
        assert predicted_final(curve(0.95, finished=False), self.CURVES) == pytest.approx(0.975)
        falling = [curve(1 - one.scores[0], one.scores[1]) for one in self.CURVES]
        assert predicted_final(curve(0.99, finished=False), falling) == 0.99

    def test_too_few_finished_curves_predict_nothing(self) -> None:
        assert predicted_final(curve(0.3, finished=False), self.CURVES[:3]) == 0.3
        alike = [curve(0.5, 0.6)] * 5
        assert predicted_final(curve(0.1, finished=False), alike) == pytest.approx(0.6)
