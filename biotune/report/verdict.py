"""What the confirmation found, in plain words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

EVOLVED = "biotune"
SMOKE = "experiment=smoke"
SMOKE_SAYS = f"{SMOKE} tries whether all works together: its scores and advice mean nothing."
NAMES = {
    EVOLVED: "evolved schedule",
    "full": "full fine-tuning",
    "linear_probe": "linear probing",
    "lp_ft": "linear probing then fine-tuning",
    "gradual_last_to_first": "gradual unfreezing",
    "layer_decay": "layer-wise decay",
    "discriminative": "discriminative learning rates",
}


def method_name(strategy: str) -> str:
    """A strategy's name in words; an unknown one as it is."""
    return NAMES.get(strategy, strategy)


def final_settings(config: Mapping[str, Any]) -> str:
    """Name the settings that only the final training runs had; empty without any, or in folders of earlier versions.

    Args:
        config: A run's composed config.
    """
    own = ((config.get("test") or {}).get("training") or {}).items()
    changed = [f"{name}={value}" for name, value in own if value is not None]
    return f"Final training runs had settings of their own (test.training): {', '.join(changed)}." if changed else ""


def verdict(confirmed: Mapping[str, Any], returned: Mapping[str, Any] | None = None) -> str:
    """Say which finalist was returned and why; empty without a confirmation, or in folders of earlier versions.

    Args:
        confirmed: The entry `confirmed` of a run's `result.json`.
        returned: Its entry `returned`; None where only the winner of the confirmation was trained on all training images.
    """
    if "finalists" not in confirmed:
        return ""
    found = _confirmation(confirmed)
    (chosen,) = (one for one in confirmed["finalists"] if one["schedule"] == confirmed["chosen"])
    if returned is None:
        return found if chosen["strategy"] == EVOLVED else f"{found.removesuffix('.')}; here is its schedule."
    models = f"Among the {returned['models']} final models, of {returned['finalists']} finalists,"
    score = f"{100 * returned['val_macro_accuracy']:.1f} %"
    if level := returned.get("level"):
        others = "one other finalist" if level == 1 else f"{level} other finalists"
        score += f", as does a model of {others}, which the confirmation ranks lower"
    if returned["schedule"] == chosen["schedule"]:
        return f"{found} {models} one that was trained with it validates best ({score}): here is its schedule."
    evolved = "another evolved schedule" if chosen["strategy"] == EVOLVED else "an evolved schedule"
    name = evolved if returned["strategy"] == EVOLVED else method_name(returned["strategy"])
    return f"{found} {models} however, one of {name} validates best ({score}): here is its schedule."


def _confirmation(confirmed: Mapping[str, Any]) -> str:
    """What the confirmation says of the finalist that it chose."""
    found = _comparison(confirmed)
    if found.startswith("The evolved schedule") and _trains_the_head_alone(confirmed):
        return f"{found} It trains the head alone, as linear probing does."
    return found


def _trains_the_head_alone(confirmed: Mapping[str, Any]) -> bool:
    """Whether the chosen schedule freezes all but the last block; False in folders of earlier versions, which do not tell."""
    rates = list(confirmed.get("schedules", {}).get(confirmed["chosen"], {}).get("lr", {}).values())
    return bool(rates) and rates[-1] > 0 and not any(rates[:-1])


def _comparison(confirmed: Mapping[str, Any]) -> str:
    finalists = {one["schedule"]: one for one in confirmed["finalists"]}
    chosen, best = finalists[confirmed["chosen"]], finalists[confirmed["best"]]
    usual = [one for one in finalists.values() if one["strategy"] != EVOLVED]
    alike = f"({_points(confirmed['behind'])} behind, within the standard error of {_points(confirmed['standard_error'])})"
    if chosen["strategy"] != EVOLVED:
        name = _capital(method_name(chosen["strategy"]))
        if best is chosen:
            ahead = _mean(chosen) - max((_mean(one) for one in finalists.values() if one["strategy"] == EVOLVED), default=0.0)
            if ahead > confirmed["standard_error"]:
                return f"{name} is better than anything the search found."
            return f"{name} is as good as anything the search found ({_apart(ahead)})."
        rival = "anything the search found" if best["strategy"] == EVOLVED else method_name(best["strategy"])
        return f"{name} is as good as {rival} {alike}, and trains less."
    if not usual and any(not name.isdigit() for name in confirmed.get("schedules", ())):
        return "The evolved schedule is better than every baseline: none was within reach after half of the confirmation."
    if not usual:
        return "The evolved schedule was confirmed without baselines beside it."
    if best["strategy"] != EVOLVED:
        rival = method_name(best["strategy"])
        return f"The evolved schedule is as good as {rival}, the best baseline {alike}, and trains less."
    first = max(usual, key=_mean)
    rival = f"{method_name(first['strategy'])}, the best baseline"
    ahead = _mean(chosen) - _mean(first)
    if ahead > confirmed["standard_error"]:
        return f"The evolved schedule is better than {rival}, by {_points(ahead)} on validation images."
    less = ", and trains less" if chosen["trainable_params"] < first["trainable_params"] else ""
    return f"The evolved schedule is as good as {rival} ({_apart(ahead)}){less}."


def predicted(confirmed: Mapping[str, Any], returned: Mapping[str, Any] | None = None) -> str:
    """Say which test score is to be expected, and of what; empty where none was predicted.

    Args:
        confirmed: The entry `confirmed` of a run's `result.json`.
        returned: Its entry `returned`; None where there is none.
    """
    if "predicted" not in confirmed:
        return ""
    one = confirmed["predicted"]["macro_accuracy"]
    of = ""
    if returned is not None and returned["schedule"] != confirmed["chosen"]:
        own = confirmed["strategy"] == EVOLVED
        of = f" of {'the evolved schedule' if own else method_name(confirmed['strategy'])}, which the confirmation chose,"
    return (
        f"Expected{of} on new images: {100 * one['mean']:.1f} % macro accuracy (95 % interval {100 * one['low']:.1f} to "
        f"{100 * one['high']:.1f} %), corrected for the choice of epoch and schedule."
    )


def about_model(final: Mapping[str, Any], models: int = 1) -> str:
    """Say which model is the final one, of what it is made and how calibrated; empty where it is the only one, as trained.

    Args:
        final: The entry `final` of `result.json`; empty in folders of earlier versions.
        models: How many models were trained with the returned schedule. The score of the one that is kept is not their mean.
    """
    if "test" not in final:
        return ""
    said = list(final.get("remarks", ()))
    if final["model"] == "best" and models > 1:
        own, tested = _percent(final["val_macro_accuracy"]), _percent(final["test"]["macro_accuracy"])
        said.append(
            f"The final model is that of training seed {final['seeds'][0]}, which of {models} validates best ({own}): {tested} "
            "macro accuracy on the test set."
        )
    elif final["model"] != "best":
        what = "weights" if final["model"] == "soup" else "probabilities"
        said.append(
            f"The final model averages the {what} of {len(final['seeds'])} models: {_percent(final['val_macro_accuracy'])} "
            f"macro accuracy on the validation set, where the best of them reaches {_percent(final['val_of_best'])}, and "
            f"{_percent(final['test']['macro_accuracy'])} on the test set."
        )
    if final.get("temperature", 1.0) != 1.0:  # it is 1 where none could be fitted, which a remark says
        said.append(
            f"The final model's logits are divided by a temperature of {final['temperature']:.2f}: the expected calibration "
            f"error on the test set is {_percent(final['ece'])}, without it {_percent(final['ece_before'])}."
        )
    return " ".join(said)


def failures_text(failed: Mapping[str, int]) -> str:
    """Say how many final training runs failed and what the means are over; empty where none failed.

    Args:
        failed: By method, the number of failed final training runs.
    """
    said = [f"{count} of {method_name(name)}" for name, count in failed.items() if count]
    if not said:
        return ""
    beside = "; means are over the seeds that all methods shown have" if len(failed) > 1 else ""
    return f"Failed final training runs: {', '.join(said)}{beside}."


def _mean(finalist: Mapping[str, Any]) -> float:
    return float(finalist["macro_accuracy"]["mean"])


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def _apart(difference: float) -> str:
    return f"{_points(abs(difference))} apart on validation images"


def _points(difference: float) -> str:
    return f"{100 * difference:.1f} points"


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
