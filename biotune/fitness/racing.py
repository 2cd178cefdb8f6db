"""Further training seeds only for candidates that can still matter.

All candidates of a batch are trained with the first seed, then those that can still come among the best with the second, and
so on. What is decided between two seeds depends on scores alone, never on the order in which trainings end.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean

Scores = tuple[float, ...]
FEWEST_COMPLETE = 3  # candidates with all seeds, on one fold, before their spread says anything
CAUTION = 0.5  # standard deviations that a candidate may lie behind before it is let go


def residual_sd(tables: Iterable[Sequence[Scores]]) -> float | None:
    """How far apart seeds lie, once what they have in common and what candidates differ in is taken off.

    Args:
        tables: For each fold the scores of the candidates that have all seeds, a score a seed.

    Returns:
        The standard deviation of the residuals of an additive model (candidate + seed), pooled over the folds; None where
        no fold has enough candidates, or where there is one seed only.
    """
    squares, freedom = 0.0, 0
    for table in tables:
        if len(table) < FEWEST_COMPLETE or len(table[0]) < 2:
            continue
        seeds = [fmean(column) for column in zip(*table, strict=True)]
        grand = fmean(seeds)
        for row in table:
            own = fmean(row)
            squares += sum((score - own - seed + grand) ** 2 for score, seed in zip(row, seeds, strict=True))
        freedom += (len(table) - 1) * (len(seeds) - 1)
    return math.sqrt(squares / freedom) if freedom else None


def still_in(scores: Mapping[str, Scores], others: Iterable[Scores], places: int, num_seeds: int, sd: float) -> set[str]:
    """Which candidates can still come among the best once all seeds are in.

    Args:
        scores: The candidates' scores so far, all with the same first seeds.
        others: Scores of other candidates on the same fold, with at least these seeds.
        places: How many of the best matter.
        num_seeds: How many seeds there are in all.
        sd: Residual standard deviation of one score.

    Returns:
        The keys of those whose mean lies within `CAUTION` standard deviations of what comes of a difference of two means
        when the remaining seeds are added, below the score of the last place.
    """
    done = len(next(iter(scores.values()), ()))
    if not done:
        return set(scores)
    means = {key: fmean(own) for key, own in scores.items()}
    ranked = sorted([*means.values(), *(fmean(other[:done]) for other in others)], reverse=True)
    last_place = ranked[min(places, len(ranked)) - 1]
    slack = CAUTION * sd * math.sqrt(2 * (1 / done - 1 / num_seeds))
    return {key for key, mean in means.items() if mean + slack >= last_place}


def expected_mean(scores: Mapping[int, float], complete: Sequence[Scores]) -> float:
    """What the mean over all seeds should be, from some of them: seeds are not equally kind.

    Args:
        scores: Scores so far by the position of their seed, at least one.
        complete: Scores of other candidates on the same fold that have all seeds; none makes no correction.

    Returns:
        The mean so far, moved by how much these seeds differ from all seeds in the other candidates; in [0, 1].
    """
    mean = fmean(scores.values())
    if complete:
        mean += fmean(fmean(row) - fmean(row[position] for position in scores) for row in complete)
    return min(1.0, max(0.0, mean))
