"""What the confirmation found, in plain words."""

from typing import Any

import pytest

from biotune.report.verdict import about_model, predicted, verdict

SIZES = {"linear_probe": 1, "full": 90}  # an evolved schedule is named for the parameters it trains


def document(chosen: str, best: str, behind: float = 0.0, error: float = 0.01, **means: float) -> dict[str, Any]:
    return {
        "chosen": chosen,
        "best": best,
        "behind": behind,
        "standard_error": error,
        "finalists": [
            {
                "schedule": name,
                "strategy": name if name in SIZES else "biotune",
                "macro_accuracy": {"mean": mean},
                "trainable_params": SIZES.get(name) or int(name.removeprefix("s")),
            }
            for name, mean in means.items()
        ],
    }


@pytest.mark.parametrize(
    ("one", "sentence"),
    [
        (
            document("linear_probe", "s12", 0.004, s12=0.75, linear_probe=0.746),
            "Linear probing is as good as anything the search found (0.4 points behind, within the standard error of "
            "1.0 points), and trains less; here is its schedule.",
        ),
        (
            document("linear_probe", "full", 0.004, s12=0.7, full=0.75, linear_probe=0.746),
            "Linear probing is as good as full fine-tuning (0.4 points behind, within the standard error of 1.0 points), and "
            "trains less; here is its schedule.",
        ),
        (
            document("full", "full", full=0.8, s12=0.7),
            "Full fine-tuning is better than anything the search found; here is its schedule.",
        ),
        (
            document("s12", "s12", s12=0.8, full=0.75, linear_probe=0.6),
            "The evolved schedule is better than full fine-tuning, the best baseline, by 5.0 points on validation images.",
        ),
        (
            document("s12", "s12", s12=0.755, full=0.75),
            "The evolved schedule is as good as full fine-tuning, the best baseline (0.5 points apart on validation images), "
            "and trains less.",
        ),
        (
            document("s12", "full", 0.005, s12=0.745, full=0.75),
            "The evolved schedule is as good as full fine-tuning, the best baseline (0.5 points behind, within the standard "
            "error of 1.0 points), and trains less.",
        ),
        (
            document("s90", "s90", s90=0.755, full=0.75),
            "The evolved schedule is as good as full fine-tuning, the best baseline (0.5 points apart on validation images).",
        ),
        (
            document("full", "full", full=0.755, s12=0.75),
            "Full fine-tuning is as good as anything the search found (0.5 points apart on validation images); here is its "
            "schedule.",
        ),
        (document("s12", "s12", s12=0.8), "The evolved schedule was confirmed without baselines beside it."),
        (
            document("s12", "s12", s12=0.8) | {"schedules": {"7": {}, "full": {}}},
            "The evolved schedule is better than every baseline: none was within reach after half of the confirmation.",
        ),
        (
            document("s12", "s12", s12=0.8) | {"schedules": {"7": {}}},
            "The evolved schedule was confirmed without baselines beside it.",
        ),
        ({"macro_accuracy": None}, ""),
    ],
)
def test_the_verdict_says_what_won_and_why(one: dict[str, Any], sentence: str) -> None:
    assert verdict(one) == sentence


@pytest.mark.parametrize(
    ("confirmed", "schedule", "strategy", "sentence"),
    [
        (
            document("full", "full", full=0.8, s12=0.7),
            "full",
            "full",
            "Full fine-tuning is better than anything the search found. Among the 6 final models, of 2 finalists, "
            "one that was trained with it validates best (81.2 %): here is its schedule.",
        ),
        (
            document("full", "full", full=0.8, s12=0.7),
            "s12",
            "biotune",
            "Full fine-tuning is better than anything the search found. Among the 6 final models, of 2 finalists, "
            "however, one of an evolved schedule validates best (81.2 %): here is its schedule.",
        ),
        (
            document("s12", "s12", s12=0.8, s13=0.79),
            "s13",
            "biotune",
            "The evolved schedule was confirmed without baselines beside it. Among the 6 final models, of 2 finalists, "
            "however, one of another evolved schedule validates best (81.2 %): here is its schedule.",
        ),
        (
            document("s12", "s12", s12=0.8, full=0.75),
            "full",
            "full",
            "The evolved schedule is better than full fine-tuning, the best baseline, by 5.0 points on validation images. "
            "Among the 6 final models, of 2 finalists, however, one of full fine-tuning "
            "validates best (81.2 %): here is its schedule.",
        ),
    ],
    ids=["the winner", "evolved instead", "another evolved", "a baseline instead"],
)
def test_the_verdict_says_whose_model_is_returned(
    confirmed: dict[str, Any], schedule: str, strategy: str, sentence: str
) -> None:
    entry = {"schedule": schedule, "strategy": strategy, "val_macro_accuracy": 0.812, "finalists": 2, "models": 6}
    assert verdict(confirmed, entry) == sentence


@pytest.mark.parametrize(
    ("level", "said"),
    [
        (0, "validates best (81.2 %): here"),
        (1, "validates best (81.2 %, as does a model of one other finalist, which the confirmation ranks lower): here"),
        (3, "validates best (81.2 %, as does a model of 3 other finalists, which the confirmation ranks lower): here"),
    ],
)
def test_models_that_validate_as_well_are_told_of(level: int, said: str) -> None:
    confirmed = document("s12", "s12", s12=0.8, full=0.75)
    entry = {
        "schedule": "s12",
        "strategy": "biotune",
        "val_macro_accuracy": 0.812,
        "finalists": 4,
        "models": 12,
        "level": level,
    }
    assert said in verdict(confirmed, entry)


def test_an_evolved_schedule_that_is_linear_probing_is_called_so() -> None:
    confirmed = document("s12", "full", 0.005, s12=0.745, full=0.75)
    for rates, is_probing in (
        ([0.0, 0.0, 0.03], True),
        ([0.0, 0.01, 0.03], False),
        ([0.0, 0.01, 0.0], False),
        ([0.0, 0.0, 0.0], False),
    ):
        confirmed["schedules"] = {"s12": {"lr": dict(zip("abc", rates, strict=True))}}
        assert verdict(confirmed).endswith("It trains the head alone, as linear probing does.") == is_probing
    chosen = document("linear_probe", "linear_probe", linear_probe=0.8, s12=0.7)
    chosen["schedules"] = {"linear_probe": {"lr": {"a": 0.0, "b": 0.03}}}
    assert "as linear probing does" not in verdict(chosen)


@pytest.mark.parametrize(
    ("chosen", "strategy", "returned", "begins"),
    [
        ("3", "biotune", "3", "Expected on new images: 71.2 %"),
        ("3", "biotune", "lp_ft", "Expected of the evolved schedule, which the confirmation chose, on new images: 71.2 %"),
        ("full", "full", "3", "Expected of full fine-tuning, which the confirmation chose, on new images: 71.2 %"),
    ],
)
def test_the_expected_score_is_that_of_what_the_confirmation_chose(
    chosen: str, strategy: str, returned: str, begins: str
) -> None:
    one = {"macro_accuracy": {"mean": 0.7123, "low": 0.65, "high": 0.78}}
    confirmed = {"predicted": one, "chosen": chosen, "strategy": strategy}
    assert predicted(confirmed, {"schedule": returned}).startswith(begins)


def test_the_expected_score_has_its_interval() -> None:
    one = {"predicted": {"macro_accuracy": {"mean": 0.7123, "low": 0.65, "high": 0.78}}}
    assert predicted(one).startswith("Expected on new images: 71.2 % macro accuracy (95 % interval 65.0 to 78.0 %)")
    assert predicted({"macro_accuracy": None}) == ""


def test_a_final_model_made_of_several_is_described_with_its_scores() -> None:
    final = {"model": "ensemble", "seeds": [1, 2, 3], "val_macro_accuracy": 0.9, "val_of_best": 0.85}
    final |= {"test": {"macro_accuracy": 0.875}, "temperature": 1.503, "ece": 0.02, "ece_before": 0.081}
    assert about_model(final) == (
        "The final model averages the probabilities of 3 models: 90.0 % macro accuracy on the validation set, where the best "
        "of them reaches 85.0 %, and 87.5 % on the test set. The final model's logits are divided by a temperature of 1.50: "
        "the expected calibration error on the test set is 2.0 %, without it 8.1 %."
    )


def test_a_temperature_that_could_not_be_fitted_is_a_remark_alone() -> None:
    final = {"model": "best", "test": {"macro_accuracy": 0.9}, "temperature": 1.0, "remarks": ["None could be fitted."]}
    assert about_model(final) == "None could be fitted."
    assert about_model({"model": "best", "ece": 0.02}) == about_model({}) == ""


def test_of_several_models_the_score_of_the_one_that_is_kept_is_told() -> None:
    final = {"model": "best", "seeds": [7], "val_macro_accuracy": 0.82, "test": {"macro_accuracy": 0.757}}
    assert about_model(final, 5) == (
        "The final model is that of training seed 7, which of 5 validates best (82.0 %): 75.7 % macro accuracy on the test set."
    )
    assert about_model(final, 1) == ""
