"""The choice among finalists by their confirming scores: what the data cannot tell apart is decided by cost."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, variance

from biotune.fitness.racing import Scores, residual_sd

Rule = Callable[[Sequence[int]], str]
_MUCH_SMALLER = 0.5  # share of another's cost below which a finalist may win although its mean is worse
_COVERED = 1.96  # standard errors on either side that an interval of 95 % spans


@dataclass(frozen=True)
class Choice:
    """The finalist that is chosen.

    Attributes:
        chosen: Its name.
        best: The finalist with the highest mean score.
        behind: Mean difference of the best to the chosen one, at least 0.
        error: Standard error of a difference between two finalists' means.
    """

    chosen: str
    best: str
    behind: float
    error: float


def standard_error(scores: Mapping[str, Scores]) -> float:
    """The standard error of the difference between two finalists' mean scores over the same trials.

    Args:
        scores: For each finalist one score per trial, the same splits and seeds in the same order.

    Returns:
        s √(2 / n), with s the residual deviation of an additive model (finalist + trial), pooled over all pairs of finalists;
        with two finalists the standard error of their paired differences; 0 for a single trial or finalist.
    """
    rows = list(scores.values())
    if len(rows) < 2 or len(rows[0]) < 2:
        return 0.0
    number = len(rows[0])
    if len(rows) == 2:
        return math.sqrt(variance([one - other for one, other in zip(*rows, strict=True)]) / number)
    return (residual_sd([rows]) or 0.0) * math.sqrt(2 / number)


def choose_simplest(scores: Mapping[str, Scores], sizes: Mapping[str, float], references: Sequence[str] = ()) -> Choice:
    """Choose a finalist that is much smaller than the best and whose mean is within one standard error of the best mean.

    The one-standard-error rule (Breiman et al., *Classification and Regression Trees*, 1984, section 3.4.3), for paired scores.

    Args:
        scores: For each finalist one score per trial, the same splits and seeds in the same order; higher is better.
        sizes: The cost of each finalist, such as the number of parameters that it trains. From the best one downwards, one
            gives way to the best of those that cost at most half of it: a smaller gain would not be worth a worse mean.
        references: The finalists among which the best is looked for; empty for all.
    """
    best, means = _best(scores, references)
    error = standard_error(scores)
    alike = sorted((name for name in scores if means[best] - means[name] <= error), key=lambda name: -means[name])
    chosen = best
    while smaller := [name for name in alike if sizes[name] <= _MUCH_SMALLER * sizes[chosen]]:
        chosen = smaller[0]
    return Choice(chosen, best, max(means[best] - means[chosen], 0.0), error)


def choose_best(scores: Mapping[str, Scores], references: Sequence[str] = ()) -> Choice:
    """Choose the finalist with the highest mean score; see `choose_simplest` for the arguments."""
    best, _ = _best(scores, references)
    return Choice(best, best, 0.0, standard_error(scores))


def _best(scores: Mapping[str, Scores], references: Sequence[str]) -> tuple[str, dict[str, float]]:
    means = {name: fmean(own) for name, own in scores.items()}
    return max(references or scores, key=lambda name: means[name]), means


@dataclass(frozen=True)
class Prediction:
    """The score to be expected on new images.

    Attributes:
        mean: The expected score.
        low: Lower end of its 95 % interval.
        high: Upper end.
    """

    mean: float
    low: float
    high: float


def predict(unbiased: Mapping[str, Scores], rule: Rule, val_share: float, num_test: int) -> Prediction:
    """Predict the test score of what a rule chooses, corrected for its having been chosen.

    The winner's score on the trials that made it win is too high. Here each trial in turn is left out, the rule chooses by the
    others, and what it chooses is scored on the one left out (nested cross-validation: Cawley and Talbot, "On over-fitting in
    model selection and subsequent selection bias in performance evaluation", *JMLR* 2010).

    Args:
        unbiased: For each finalist one score per trial on images that did not choose the epoch, in [0, 1].
        rule: Maps the positions of trials to the name of the finalist that is chosen by them.
        val_share: Validation images over training images of a trial. Splits share images, so that a mean over n of them has the
            variance s² (1 / n + share) (Nadeau and Bengio, "Inference for the generalization error", *Machine Learning* 2003).
        num_test: Number of test images; their sampling adds p (1 − p) / N to the variance.
    """
    trials = range(len(next(iter(unbiased.values()))))
    held_out = [unbiased[rule([other for other in trials if other != at] or [at])][at] for at in trials]
    mean = fmean(held_out)
    spread = variance(held_out) * (1 / len(held_out) + val_share) if len(held_out) > 1 else 0.0
    half = _COVERED * math.sqrt(spread + mean * (1 - mean) / num_test)
    return Prediction(mean, max(mean - half, 0.0), min(mean + half, 1.0))
