"""Statistics of several strategies' scores: paired differences with confidence intervals, and the table. Imports no torch."""

from __future__ import annotations

import math
import statistics
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Any

from biotune.trial import sample_sd

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

CONFIDENCE = 0.95
ACCURACY = "test_macro_accuracy"
_FEWEST_TO_FLIP = 8  # seeds; with fewer there are too few patterns of signs to tell a quantile of 95 %
_MOST_TO_ENUMERATE = 12  # seeds; of more, patterns are drawn
_DRAWN = 2048


@dataclass(frozen=True)
class Difference:
    """A paired difference over seeds: its mean and its interval; the interval is NaN for a single seed."""

    mean: float
    low: float
    high: float


def spread(values: Sequence[float]) -> dict[str, Any]:
    """A score as {mean, sd, values}; sd is the sample standard deviation, 0 for one value."""
    return {"mean": sum(values) / len(values), "sd": sample_sd(values), "values": list(values)}


def difference(own: Mapping[int, float], other: Mapping[int, float]) -> Difference:
    """Own minus other score, over the seeds that both have, with the interval of Student's t for this difference alone.

    Args:
        own: Score by seed.
        other: Score by seed.
    """
    pairs = [own[seed] - other[seed] for seed in own if seed in other]
    return _with_interval(pairs, 1)


def differences(others: Mapping[str, Mapping[int, float]], reference: Mapping[int, float]) -> dict[str, Difference]:
    """Each strategy's score minus that of a reference, with simultaneous intervals: all hold together in 95 % of comparisons.

    The half-width of an interval is a multiple of the standard error of its mean. The multiple is the 95 % quantile of the
    largest |t| of all differences when the signs of whole seeds are flipped (Westfall and Young, *Resampling-Based Multiple
    Testing* 1993). Unlike Dunnett's, it keeps the pairing and asks for no equal variances, and it is sharper than Bonferroni's
    where the differences are correlated by what they are taken from. With fewer than eight seeds it is Bonferroni's, which is
    conservative. A single difference has the interval of Student's t.

    Args:
        others: By name, score by seed.
        reference: Score by seed.

    Returns:
        By name, the difference over the seeds that all have, the reference included.
    """
    seeds = [seed for seed in reference if all(seed in own for own in others.values())]
    pairs = {name: [own[seed] - reference[seed] for seed in seeds] for name, own in others.items()}
    multiple = None
    if len(others) > 1 and len(seeds) >= _FEWEST_TO_FLIP:
        multiple = _largest_t(list(pairs.values()))
    return {name: _with_interval(own, len(others), multiple) for name, own in pairs.items()}


def _with_interval(pairs: Sequence[float], count: int, multiple: float | None = None) -> Difference:
    """Mean of paired differences; the interval by a multiple of the standard error, by default Bonferroni's for `count`."""
    if not pairs:
        return Difference(math.nan, math.nan, math.nan)
    mean = statistics.fmean(pairs)
    if len(pairs) < 2:
        return Difference(mean, math.nan, math.nan)
    if multiple is None:
        from scipy.stats import t as student  # seconds to import, and only comparisons need it

        multiple = float(student.ppf(1 - (1 - CONFIDENCE) / (2 * count), len(pairs) - 1))
    half = multiple * statistics.stdev(pairs) / math.sqrt(len(pairs))
    return Difference(mean, mean - half, mean + half)


def _largest_t(pairs: Sequence[Sequence[float]]) -> float | None:
    """The 95 % quantile of the largest |t| over all flips of signs of seeds; None where no difference varies.

    Args:
        pairs: (strategies, seeds) paired differences.
    """
    import numpy as np

    centred = np.array([own for own in pairs if statistics.stdev(own) > 0], dtype=np.float64)
    if not len(centred):
        return None
    centred -= centred.mean(axis=1, keepdims=True)
    count = centred.shape[1]
    means = centred @ _signs(count).T / count
    variances = ((centred**2).mean(axis=1, keepdims=True) - means**2) / (count - 1)  # of the means
    with np.errstate(divide="ignore"):
        largest = (np.abs(means) / np.sqrt(np.maximum(variances, 0))).max(axis=0)
    return float(np.quantile(largest, CONFIDENCE, method="higher"))


def _signs(count: int) -> NDArray[np.float64]:
    """(patterns, count) signs: all patterns, one of each pair of opposites, whose |t| are equal; of many a fixed draw."""
    import numpy as np

    if count <= _MOST_TO_ENUMERATE:
        return np.array([(1.0, *rest) for rest in product((1.0, -1.0), repeat=count - 1)])
    return np.random.default_rng(0).choice((-1.0, 1.0), size=(_DRAWN, count))


def by_seed(rows: Sequence[Mapping[str, Any]], name: str, metric: str) -> dict[int, float]:
    """A strategy's score by seed; failed training runs have none."""
    return {
        row["seed"]: row[metric]
        for row in rows
        if row["strategy"] == name and row.get(metric) is not None and math.isfinite(row[metric])
    }


def shared_scores(scores: Mapping[str, Mapping[int, float]], seeds: Collection[int]) -> dict[str, dict[int, float]]:
    """Scores that can be set side by side: over the seeds that all strategies have.

    A mean over other seeds would be one over easier seeds where the training runs of the hard ones fail. A strategy without a
    score for more than half of the seeds is left out, so that it does not take the seeds of all others.

    Args:
        scores: By strategy, score by seed.
        seeds: All seeds, including those of failed training runs.
    """
    kept = {name: own for name, own in scores.items() if 2 * sum(seed in own for seed in seeds) >= max(len(seeds), 1)}
    common = [seed for seed in seeds if all(seed in own for own in kept.values())]
    return {name: {seed: own[seed] for seed in common} for name, own in kept.items()}


def shared_by_seed(rows: Sequence[Mapping[str, Any]], metric: str = ACCURACY) -> dict[str, dict[int, float]]:
    """The scores of a comparison's rows that can be set side by side, see `shared_scores`."""
    return shared_scores({name: by_seed(rows, name, metric) for name in strategies_of(rows)}, seeds_of(rows))


def strategies_of(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """The strategies of a comparison's rows, in their order."""
    return list(dict.fromkeys(str(row["strategy"]) for row in rows))


def seeds_of(rows: Sequence[Mapping[str, Any]]) -> list[int]:
    """The seeds of a comparison's rows, in their order."""
    return list(dict.fromkeys(row["seed"] for row in rows))


def best_of(rows: Sequence[Mapping[str, Any]], metric: str = ACCURACY) -> str | None:
    """The strategy that is better than every other, with all paired intervals above 0; None if there is none.

    One that has failed on a seed is never it; one that has failed on more than half of the seeds is not compared. The
    intervals are those of single differences: the mark needs all of them, so that chance does not add up.
    """
    seeds = seeds_of(rows)
    scores = {name: by_seed(rows, name, metric) for name in strategies_of(rows)}
    compared = shared_scores(scores, seeds)
    for name in compared:
        if len(scores[name]) < len(seeds):
            continue
        others = [difference(scores[name], scores[other]) for other in compared if other != name]
        if others and all(other.low > 0 for other in others):
            return name
    return None


def summarise(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The content of a comparison's `result.json`.

    Args:
        rows: The rows of `comparison.csv`.

    Returns:
        `seeds`, the seeds that the means are over: those on which all strategies have a score, see `shared_scores`; for each
        strategy every test score as {mean, sd, values}, its costs and shares as means, the number of seeds on which it failed,
        and its paired difference to full fine-tuning in macro accuracy with the interval of `differences`; and which strategy
        is the best, if one is.
    """
    shared = shared_by_seed(rows)
    seeds = list(next(iter(shared.values()), {}))
    over = differences({name: own for name, own in shared.items() if name != "full"}, shared.get("full", {}))
    return {
        "seeds": seeds,
        "strategies": {
            name: _entry(rows, name, seeds if name in shared else [], over.get(name)) for name in strategies_of(rows)
        },
        "best": best_of(rows),
    }


def _entry(rows: Sequence[Mapping[str, Any]], name: str, seeds: Sequence[int], over: Difference | None) -> dict[str, Any]:
    """A strategy's entry of `result.json`; its costs are over all of its seeds where it shares none."""
    metrics = list(dict.fromkeys(column for row in rows for column in row if column.startswith("test_")))
    own = [row for row in rows if row["strategy"] == name]
    beside = [row for row in own if row["seed"] in seeds]
    scores = {metric.removeprefix("test_"): list(by_seed(beside, name, metric).values()) for metric in metrics}
    return {
        "test": {metric: spread(values) if values else None for metric, values in scores.items()},
        "failed": len(own) - len(by_seed(own, name, ACCURACY)),
        "over_full": None if over is None or math.isnan(over.mean) else _finite(over),
        **{
            column: statistics.fmean(row[column] for row in beside or own)
            for column in ("base_lr", "trainable_share", "trainings", "epochs", "seconds")
        },
    }


def _finite(over: Difference) -> dict[str, float | None]:
    """A difference for a JSON file, which has no NaN: the missing interval of a single seed becomes None."""
    has_interval = math.isfinite(over.low)
    return {"mean": over.mean, "low": over.low if has_interval else None, "high": over.high if has_interval else None}


def table_rows(result: Mapping[str, Any], in_percent: bool = False) -> Iterator[list[str]]:
    """The rows of the table for readers, with the strategies in their given order.

    Args:
        result: The output of `summarise`.
        in_percent: Whether scores and differences are in percent with one decimal, instead of fractions with four.
    """
    form, times = (".1f", 100.0) if in_percent else (".4f", 1.0)
    for name, entry in result["strategies"].items():
        over = entry["over_full"]
        yield [
            f"{name} *" if name == result["best"] else name,
            *(
                _mean_sd(entry, metric, form, times)
                for metric in ("macro_accuracy", "accuracy", "average_precision", "kappa", "f1")
            ),
            "" if over is None else interval_text(over, form, times),
            str(entry["failed"] or ""),
            f"{100 * entry['trainable_share']:.1f} %",
            f"{entry['trainings']:.0f}",
            f"{entry['epochs']:.0f}",
            f"{entry['seconds']:.0f}",
        ]


COLUMNS = (
    "strategy",
    "macro accuracy",
    "top-1",
    "macro AP",
    "kappa",
    "macro F1",
    "over full (simultaneous 95 % interval)",
    "failed",
    "trained",
    "trainings",
    "epochs",
    "seconds",
)


def interval_text(over: Mapping[str, float | None], form: str = ".4f", times: float = 1.0) -> str:
    """A difference with its interval, as text."""
    mean, low, high = (None if value is None else f"{times * value:+{form}}" for value in over.values())
    return f"{mean}" if low is None else f"{mean} ({low} to {high})"


def seeds_text(result: Mapping[str, Any], seeds: int) -> str:
    """What the means of a table are over, such as `10 seeds`.

    Args:
        result: The output of `summarise`.
        seeds: Number of all seeds.
    """
    shared = len(result["seeds"])
    return f"{seeds} seeds" if shared == seeds else f"the {shared} of {seeds} seeds on which all have a score"


def notes(result: Mapping[str, Any]) -> list[str]:
    """The sentences below the table: what the mark and the intervals mean, and what failed.

    Args:
        result: The output of `summarise`.
    """
    entries, best = result["strategies"], result["best"]
    failed = any(entry["failed"] for entry in entries.values())
    said = ["None is marked as the best: at least one paired 95 % interval of every strategy reaches 0."]
    if best:
        said = [f"* {best} is better than every other: all paired 95 % intervals lie above 0."]
    elif failed:
        said = ["None is marked as the best: every strategy failed on a seed or has a paired 95 % interval that reaches 0."]
    if sum(entry["over_full"] is not None for entry in entries.values()) > 1:
        said.append("The intervals over full are simultaneous: all of them hold together in 95 % of comparisons.")
    if failed:
        said.append(
            "Failed: seeds without a final training run that ended. Such a strategy is not marked, and one that failed on more "
            "than half of the seeds has no mean."
        )
    return said


def _mean_sd(entry: Mapping[str, Any], metric: str, form: str, times: float) -> str:
    score = entry["test"].get(metric)
    if score is None:
        return "failed" if entry["failed"] else "–"
    return f"{times * score['mean']:{form}} ± {times * score['sd']:{form}}"
