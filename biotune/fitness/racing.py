"""Racing: further training seeds only for candidates that can still be among the best.

All candidates of a batch are trained with the first seed, then those that can still be among the best with the second, and
so on. The decisions between two seeds depend on scores alone, never on the order in which training runs end.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean

Scores = tuple[float, ...]
FEWEST_COMPLETE = 3  # candidates with all seeds on one fold that the estimate of the spread needs
# standard deviations that a candidate may lie behind before it is dropped: scripts/bench_prune.py measures the savings and
# costs of racing with this value; no script compares others
CAUTION = 0.5


def residual_sd(scores_by_fold: Iterable[Sequence[Scores]]) -> float | None:
    """Estimate the deviation of scores over seeds, after removing the effects of candidates and of seeds.

    Args:
        scores_by_fold: For each fold one row per candidate that has all seeds, with one score per seed, in [0, 1].

    Returns:
        The standard deviation of the residuals of an additive model (candidate + seed), pooled over the folds; None where
        no fold has enough candidates, or where there is one seed only.
    """
    squares, freedom = 0.0, 0
    for rows in scores_by_fold:
        if len(rows) < FEWEST_COMPLETE or len(rows[0]) < 2:
            continue
        seed_means = [fmean(column) for column in zip(*rows, strict=True)]
        grand_mean = fmean(seed_means)
        for row in rows:
            own_mean = fmean(row)
            squares += sum((score - own_mean - mean + grand_mean) ** 2 for score, mean in zip(row, seed_means, strict=True))
        freedom += (len(rows) - 1) * (len(seed_means) - 1)
    return math.sqrt(squares / freedom) if freedom else None


def still_in(
    scores: Mapping[str, Scores],
    scores_of_others: Iterable[Scores],
    places: int,
    num_seeds: int,
    seed_sd: float,
    caution: float = CAUTION,
) -> set[str]:
    """Return the candidates that can still be among the best once all seeds are trained.

    Args:
        scores: The candidates' scores so far by key, in [0, 1], all with the same first seeds.
        scores_of_others: Scores of other candidates on the same fold, with at least these seeds.
        places: Number of the best candidates that matter.
        num_seeds: Total number of seeds.
        seed_sd: Standard deviation of one score over the seeds, see `residual_sd`.
        caution: Standard deviations that a candidate may lie behind.

    Returns:
        The keys of those whose mean so far lies at most `caution` standard deviations below that of the last place. The
        deviation is the one by which the difference of two means still changes when the remaining seeds are added.
    """
    done = len(next(iter(scores.values()), ()))
    if not done:
        return set(scores)
    means = {key: fmean(own) for key, own in scores.items()}
    ranked = sorted([*means.values(), *(fmean(other[:done]) for other in scores_of_others)], reverse=True)
    last_place = ranked[min(places, len(ranked)) - 1]
    slack = caution * seed_sd * math.sqrt(2 * (1 / done - 1 / num_seeds))
    return {key for key, mean in means.items() if mean + slack >= last_place}


def expected_mean(score_by_seed: Mapping[int, float], complete: Sequence[Scores]) -> float:
    """Estimate the mean score over all seeds from some of them, corrected because some seeds give all candidates higher scores.

    Args:
        score_by_seed: Scores so far by the position of their seed, at least one.
        complete: Scores of other candidates on the same fold that have all seeds; without any there is no correction.

    Returns:
        The mean so far plus the mean difference between all seeds and these seeds in the other candidates; in [0, 1], or within
        the scores that lie beyond.
    """
    mean = fmean(score_by_seed.values())
    if complete:
        mean += fmean(fmean(row) - fmean(row[position] for position in score_by_seed) for row in complete)
    return min(max(1.0, *score_by_seed.values()), max(min(0.0, *score_by_seed.values()), mean))
