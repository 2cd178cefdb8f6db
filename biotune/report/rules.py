"""The rules of a run's advice: pure functions of plain numbers. Each gives one sentence, or None where it does not apply.

docs/how-to/what-next.md states each threshold with its reason. None was tuned on results.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import Any

POINT = 0.01  # the smallest difference between two accuracies that is worth acting on
WIDE = 0.05  # half the width of an interval of an accuracy from which on it is wide
END = 0.1  # share of a range, at either end, that counts as leaning on its bound
RARE = 0.05  # probability from which downwards chance is no explanation
GAP = math.log(2)  # of two mean cross-entropies: half the probability
UNCALIBRATED = 0.05  # expected calibration error
FEW = 10  # test images of a class
_SIGMA = 1.96  # standard errors on either side that an interval of 95 % spans
_NAMED = 3  # classes
_LONGEST = 24  # letters of a class


@dataclass(frozen=True)
class Advice:
    """One piece of advice.

    Attributes:
        rule: The name of its rule.
        key: The key to set; None where the remedy is no key.
        value: Its value; None where it depends on the user.
        text: One sentence with the number behind it and the remedy.
    """

    rule: str
    key: str | None
    value: Any
    text: str


def learning_rates(importances: Sequence[float], lrs: Sequence[float], bottom: float = 0.0) -> Advice | None:
    """Whether the learning rates that a search found lean on a bound of its range.

    Args:
        importances: Importances in [0, 1] of the trained blocks.
        lrs: Their learning rates.
        bottom: The smallest importance of a trained block: the freezing threshold, where it is fixed.
    """
    room = END * (1 - bottom)
    high = sum(one >= 1 - room for one in importances)
    low = sum(one <= bottom + room for one in importances)
    count = max(high, low)
    if not importances or 2 * count < len(importances) or at_least(count, len(importances), END) > RARE:
        return None
    middle = _rounded(math.exp(fmean(map(math.log, lrs))))
    return Advice(
        "learning_rates",
        "training.lr",
        middle,
        f"{count} of {len(importances)} trained blocks lean on the {'upper' if high >= low else 'lower'} end of the range of "
        f"learning rates: training.lr={middle:g} puts its middle where they are.",
    )


def end_of_grid(chosen: float, grid: Sequence[float], key: str, value: float) -> Advice | None:
    """Whether the best learning rate of a grid is its smallest or its largest.

    Args:
        chosen: The best value.
        grid: All values tried.
        key: The key to set.
        value: What to set it to.
    """
    if len(set(grid)) < 2 or min(grid) < chosen < max(grid):
        return None
    end = "largest" if chosen >= max(grid) else "smallest"
    text = f"The best of {len(set(grid))} learning rates tried is the {end}, and a better one may lie beyond: {key}={value:g}."
    return Advice("end_of_grid", key, value, text)


def epochs(curves: Sequence[tuple[Sequence[float], Sequence[float]]], budget: int, key: str) -> Advice | None:
    """Whether final training runs still improve when their epochs end.

    Args:
        curves: For each training seed, validation accuracy and validation loss after each epoch.
        budget: The most epochs of a training run.
        key: The key that sets it.
    """
    last = budget // 4
    full = [(accuracy, loss) for accuracy, loss in curves if len(accuracy) == budget]
    if not last or 2 * len(full) <= len(curves):
        return None
    gain = fmean(max(accuracy[-last:]) - max(accuracy[:-last]) for accuracy, _ in full)
    fall = fmean(min(loss[:-last]) - min(loss[-last:]) for _, loss in full)
    if gain < POINT or not fall > 0:
        return None
    return Advice(
        "epochs",
        key,
        2 * budget,
        f"Validation accuracy still rose by {100 * gain:.1f} points in the last {last} of {budget} epochs: {key}={2 * budget}.",
    )


def overfitting(gaps: Sequence[float], augment: str, mixup: float) -> Advice | None:
    """Whether the loss on validation images is far above that of training.

    Args:
        gaps: For each training seed, validation loss − training loss of the epoch that is kept; both plain cross-entropies.
        augment: The setting `training.augment`.
        mixup: The setting `training.mixup`.
    """
    if not gaps or not fmean(gaps) >= GAP:
        return None
    found = (
        f"On validation images the true class gets {100 * math.exp(-fmean(gaps)):.0f} % of the probability that it gets on "
        "training images"
    )
    if augment == "none":
        remedy = "training.augment=standard, where a mirrored image keeps its class, or more training images"
        return Advice("overfitting", "training.augment", "standard", f"{found}: {remedy}.")
    if mixup == 0:
        return Advice("overfitting", "training.mixup", 0.2, f"{found}: training.mixup=0.2, or more training images.")
    return Advice("overfitting", None, None, f"{found}, in spite of augmentation: more training images.")


def calibration(error: float, by_chance: float, scaled: bool) -> Advice | None:
    """Whether the final model's probabilities are wrong by more than chance explains.

    Args:
        error: Expected calibration error on the test set.
        by_chance: What a calibrated model would have on as many images, see `error_by_chance`.
        scaled: Whether its logits are divided by a fitted temperature already.
    """
    if scaled or error < UNCALIBRATED or error < 2 * by_chance:
        return None
    text = f"Probabilities of the final model are off by {100 * error:.1f} points on average: final.temperature=true."
    return Advice("calibration", "final.temperature", True, text)


def error_by_chance(bins: Sequence[tuple[int, float]]) -> float:
    """The expected calibration error that a calibrated model has because its images are few: Σ √(2 n c (1 − c) / π) / N.

    Args:
        bins: Number of images n and mean confidence c of each bin; the mean distance of a binomial share from c is, for a
            normal variable, √(2 / π) standard deviations.
    """
    total = sum(count for count, _ in bins)
    return sum(math.sqrt(2 * count * sure * (1 - sure) / math.pi) for count, sure in bins) / total


def recall(classes: Mapping[str, tuple[int, float]], weighted: bool) -> Advice | None:
    """Whether classes are missed more often than found.

    Args:
        classes: By name the number of test images and the recall.
        weighted: Whether `training.class_weights` is balanced already.
    """
    found = {name: (count, round(share * count)) for name, (count, share) in classes.items() if count}
    missed = [name for name, (count, right) in found.items() if at_least(count - right, count, 0.5) <= RARE]
    if not missed:
        return None
    missed.sort(key=lambda name: found[name][1] / found[name][0])
    count, right = found[missed[0]]
    text = (
        f"{_names(missed)} {_is(missed)} missed more often than found (recall {right} of {count}): more images of {_it(missed)}"
    )
    if weighted:
        return Advice("recall", None, None, f"{text}.")
    return Advice("recall", "training.class_weights", "balanced", f"{text}, or training.class_weights=balanced.")


def few_images(classes: Mapping[str, tuple[int, float]]) -> Advice | None:
    """Whether the recall of classes rests on few test images.

    Args:
        classes: By name the number of test images and the recall.
    """
    few = sorted((name for name, (count, _) in classes.items() if count < FEW), key=lambda name: classes[name][0])
    if not few:
        return None
    least = classes[few[0]][0]
    have = f"have fewer than {FEW} test images ({least} the first of them)"
    if len(few) == 1:
        have = f"has {least} test image{'' if least == 1 else 's'}"
    text = f"{_names(few)} {have}, too few to tell {'its' if len(few) == 1 else 'their'} recall: more images of {_it(few)}."
    return Advice("few_images", None, None, text)


def confirmation(scores: Mapping[str, Sequence[float]], chosen: str, key: str) -> Advice | None:
    """Whether a difference between the chosen finalist and the best other one matters, but may be chance.

    Args:
        scores: For each finalist one score per confirming trial, the same splits and seeds in the same order.
        chosen: The name of the chosen one.
        key: The key that sets the number of trials.
    """
    others = [name for name in scores if name != chosen]
    if not others or len(scores[chosen]) < 2:
        return None
    rival = max(others, key=lambda name: fmean(scores[name]))
    differences = [one - other for one, other in zip(scores[chosen], scores[rival], strict=True)]
    apart, sd, count = abs(fmean(differences)), stdev(differences), len(differences)
    if apart < POINT or apart >= 2 * sd / math.sqrt(count):
        return None
    needed = math.ceil((2 * sd / apart) ** 2)
    how = f"{key}={needed}" if key == "confirm.splits" else f"{needed} trials, by more {key}"
    text = f"The two best finalists are {100 * apart:.1f} points apart, which {count} trials cannot tell from chance: {how}."
    return Advice("confirmation", key, needed if key == "confirm.splits" else None, text)


def cheaper(probe: float, others: Sequence[float], error: float) -> Advice | None:
    """Whether linear probing is as good as every other finalist.

    Args:
        probe: Its mean score in the confirmation.
        others: The mean scores of the others.
        error: Standard error of a difference between two of them.
    """
    if not others or max(others) - probe > error:
        return None
    text = (
        f"Linear probing reaches {100 * probe:.1f} % in the confirmation, the best other finalist {100 * max(others):.1f} %: "
        "for more runs on these data 'biotune train strategy=linear_probe' is enough."
    )
    return Advice("cheaper", "strategy", "linear_probe", text)


def test_images(accuracy: float, count: int, limited: bool) -> Advice | None:
    """Whether the test set is too small for the accuracy on it to say much.

    Args:
        accuracy: The share of test images that is classified right.
        count: Number of test images, at least 1.
        limited: Whether `dataset.max_eval_per_class` leaves some out.
    """
    half = wilson(accuracy, count)
    if half <= WIDE:
        return None
    if limited:
        key, remedy = "dataset.max_eval_per_class", "dataset.max_eval_per_class=null"
    else:
        key, remedy = (
            "dataset.test_fraction",
            "more test images (a larger dataset.test_fraction, where the test set is held out)",
        )
    text = f"{count} test images tell the accuracy to ± {100 * half:.1f} points (95 % interval): {remedy}."
    return Advice("test_images", key, None, text)


def wide_prediction(low: float, high: float, limits: str | None) -> Advice | None:
    """Whether the interval of the score to be expected on new images is wide.

    Args:
        low: Its lower end.
        high: Its upper end.
        limits: A setting `key=value` that would give more training images, where images are left out.
    """
    if high - low <= 2 * WIDE:
        return None
    key, _, value = (limits or "").partition("=")
    remedy = limits or "more images to train and validate on"
    text = f"The score to expect on new images is known to {100 * (high - low) / 2:.1f} points either way: {remedy}."
    return Advice("wide_prediction", key or None, value or None, text)


def wilson(share: float, count: int) -> float:
    """Half the width of Wilson's 95 % interval of a share (Wilson, *JASA* 1927).

    Args:
        share: The observed share, in [0, 1].
        count: Number of observations, at least 1.
    """
    square = _SIGMA**2
    return _SIGMA / (1 + square / count) * math.sqrt(share * (1 - share) / count + square / (4 * count**2))


def at_least(count: int, of: int, probability: float) -> float:
    """The probability of at least `count` of `of` independent events of one probability."""
    return sum(math.comb(of, at) * probability**at * (1 - probability) ** (of - at) for at in range(count, of + 1))


def _rounded(value: float) -> float:
    return float(f"{value:.1e}")


def _names(classes: Sequence[str]) -> str:
    shown = [name if len(name) <= _LONGEST else f"{name[: _LONGEST - 1]}…" for name in classes[:_NAMED]]
    more = len(classes) - len(shown)
    plural = "Class" if len(classes) == 1 else "Classes"
    return f"{plural} {', '.join(shown)}{f' and {more} more' if more else ''}"


def _is(classes: Sequence[str]) -> str:
    return "is" if len(classes) == 1 else "are"


def _it(classes: Sequence[str]) -> str:
    return "it" if len(classes) == 1 else "them"
