"""Predicts final scores from partial learning curves, and the scores below which a training run is given up.

The better half of the finished curves shows how much of what a good run still lacks after an epoch it makes up for later. A run
whose lack is too large for that to bring it among the schedules that matter is given up. Scores of different folds differ by
their folds' difficulty, which is estimated and removed; what is made up is pooled over all folds.

Predicting curves to end bad runs early: Domhan et al., "Speeding up automatic hyperparameter optimization of deep neural
networks by extrapolation of learning curves", 2015. In place of their parametric curves, which need many epochs, here are the
curves of the same search. The constants were chosen on complete curves of 60 schedules on each of three tasks of the digits
(as they are, and with noise or inverted with ten training images per class), in six orders of the folds each.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from statistics import fmean, variance

Effects = Mapping[int, float]  # by fold, how much higher scores are there than on average

FEWEST_CURVES = 5  # finished curves before any run is given up
# Share of good runs that make up for more than a given-up run would have to. It is large because few runs matter in the end,
# and a good one is seldom the only one. Among five good runs it skips the one that made up for most.
RISK = 0.25
_OWN_KIND = 4  # finished curves of one kind that are a sample of their own; with fewer, all kinds count
_BEST = 3  # curves of a fold whose mean tells its difficulty: the bad ones are as bad as they happen to be
_UNSEEN = 1.5  # times that a schedule may lack as much on a fold without curves: 200 images give a sd of about a third
_GRAIN = 0.005  # added to what a score lacks of 1, so that ratios exist for perfect scores


@dataclass(frozen=True)
class Curve:
    """The learning curve of a training run.

    Attributes:
        schedule: The canonical key of its schedule.
        fold: Its fold.
        kind: How its blocks joined and its head began; early scores of different kinds cannot be compared.
        scores: Score after each epoch, at least one, in [0, 1]; larger is better.
        finished: Whether it was trained to the end.
    """

    schedule: str
    fold: int
    kind: str
    scores: tuple[float, ...]
    finished: bool

    def best(self, epoch: int) -> float:
        """The best score up to an epoch, or up to the last one before."""
        return max(self.scores[: epoch + 1])

    @property
    def final(self) -> float:
        """The best score of all."""
        return max(self.scores)


def fold_effects(curves: Sequence[Curve]) -> dict[int, float]:
    """Estimate the difficulty of each fold from the best finished curves on it.

    A fold with few curves has less good ones among them, which makes its effect and so its floors too low, never too high.

    Args:
        curves: The curves so far.

    Returns:
        By fold, the mean of its best three final scores, less the mean of these over the folds.
    """
    finals: dict[int, list[float]] = {}
    for curve in curves:
        if curve.finished:
            finals.setdefault(curve.fold, []).append(curve.final)
    means = {fold: fmean(sorted(own)[-_BEST:]) for fold, own in finals.items()}
    middle = fmean(means.values()) if means else 0.0
    return {fold: mean - middle for fold, mean in means.items()}


def target(curves: Sequence[Curve], fold: int, places: int, trainings: int) -> float:
    """The score on a fold that a schedule needs to be among the best of a whole search.

    After half of the search the last of `places` is expected where half as many places end now, and so on.

    Args:
        curves: The curves so far, at least one of them finished.
        fold: The fold; one without finished curves gets a lower target.
        places: Number of the best schedules that matter in the end.
        trainings: Number of training runs of the whole search.

    Returns:
        The score, in [0, 1].
    """
    effects = fold_effects(curves)
    adjusted: dict[str, list[float]] = {}
    for curve in curves:
        if curve.finished:
            adjusted.setdefault(curve.schedule, []).append(curve.final - effects[curve.fold])
    ranked = sorted((fmean(own) for own in adjusted.values()), reverse=True)
    place = min(math.ceil(places * len(curves) / max(trainings, 1)), places, len(ranked))
    score = ranked[place - 1]
    wanted = score + effects[fold] if fold in effects else 1.0 - _UNSEEN * (1.0 - score)
    return min(1.0, max(0.0, wanted))


def floor_towards(wanted: float, curves: Sequence[Curve], kind: str, epochs: int) -> tuple[float, ...]:
    """The lowest best scores so far with which a run can still be expected to reach a score.

    A run that lacks `l` after an epoch is expected to lack at least `r · l` in the end, where all but a share of `RISK` of the
    better half of the finished curves ended with a larger part `r` of what they lacked then.

    Args:
        wanted: The final score, in [0, 1].
        curves: The curves so far.
        kind: How the run's blocks join and its head begins.
        epochs: Largest number of epochs of a run.

    Returns:
        `epochs` floors, one after each epoch; empty where there are too few finished curves.
    """
    finished = _comparable(curves, kind)
    if sum(curve.finished for curve in curves) < FEWEST_CURVES:
        return ()
    effects = fold_effects(curves)
    # of equals the earlier one: the order of the curves is that of the trials, not of their ends
    ranked = sorted(finished, key=lambda curve: curve.final - effects[curve.fold], reverse=True)
    good = ranked[: max(FEWEST_CURVES, math.ceil(len(ranked) / 2))]
    lacked = [list(accumulate(curve.scores, max)) for curve in good]
    floors = []
    for epoch in range(epochs):
        parts = sorted(
            (1.0 - curve.final + _GRAIN) / (1.0 - reached[min(epoch, len(reached) - 1)] + _GRAIN)
            for curve, reached in zip(good, lacked, strict=True)
        )
        part = parts[math.floor(RISK * (len(parts) - 1))]
        floors.append(max(0.0, 1.0 + _GRAIN - (1.0 - wanted + _GRAIN) / part))
    return tuple(floors)


def predicted_final(curve: Curve, curves: Sequence[Curve]) -> float:
    """Predict the final score of a run that was given up, by regression on the best score after as many epochs.

    Args:
        curve: Its curve.
        curves: The curves so far.

    Returns:
        The score, at least the best so far; just that where there are too few finished curves.
    """
    so_far, epoch = curve.final, len(curve.scores) - 1
    finished = _comparable(curves, curve.kind)
    if len(finished) < _OWN_KIND:
        return so_far
    effects = fold_effects(curves)
    effect = effects.get(curve.fold, 0.0)
    early = [other.best(epoch) - effects[other.fold] for other in finished]
    late = [other.final - effects[other.fold] for other in finished]
    middle, spread = fmean(early), variance(early)
    covariance = sum((x - middle) * y for x, y in zip(early, late, strict=True)) / (len(early) - 1)
    # by steps of at most what was seen: a curve ahead of another by some amount ends ahead by no more, and not behind
    slope = min(1.0, max(0.0, covariance / spread)) if spread > 0 else 0.0
    return min(1.0, max(so_far, fmean(late) + slope * (so_far - effect - middle) + effect))


def _comparable(curves: Sequence[Curve], kind: str) -> list[Curve]:
    """The finished curves of the same kind, or of any while they are few."""
    finished = [curve for curve in curves if curve.finished]
    own = [curve for curve in finished if curve.kind == kind]
    return own if len(own) >= _OWN_KIND else finished
