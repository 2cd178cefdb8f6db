"""Statistics of several strategies' scores: paired differences with confidence intervals, and the table. Imports no torch."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from biotune.trial import sample_sd

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Difference:
    """A paired difference over seeds: its mean and its interval by Student's t; the interval is NaN for a single seed."""

    mean: float
    low: float
    high: float


def spread(values: Sequence[float]) -> dict[str, Any]:
    """A score as {mean, sd, values}; sd is the sample standard deviation, 0 for one value."""
    return {"mean": sum(values) / len(values), "sd": sample_sd(values), "values": list(values)}


def difference(own: Mapping[int, float], other: Mapping[int, float]) -> Difference:
    """Own minus other score, over the seeds that both have.

    Args:
        own: Score by seed.
        other: Score by seed.
    """
    pairs = [own[seed] - other[seed] for seed in own if seed in other]
    if not pairs:
        return Difference(math.nan, math.nan, math.nan)
    mean = statistics.fmean(pairs)
    if len(pairs) < 2:
        return Difference(mean, math.nan, math.nan)
    from scipy.stats import t as student  # seconds to import, and only comparisons need it

    half = float(student.ppf((1 + CONFIDENCE) / 2, len(pairs) - 1)) * statistics.stdev(pairs) / math.sqrt(len(pairs))
    return Difference(mean, mean - half, mean + half)


def by_seed(rows: Sequence[Mapping[str, Any]], name: str, metric: str) -> dict[int, float]:
    """A strategy's score by seed; failed training runs have none."""
    return {
        row["seed"]: row[metric]
        for row in rows
        if row["strategy"] == name and row.get(metric) is not None and math.isfinite(row[metric])
    }


def best_of(rows: Sequence[Mapping[str, Any]], metric: str = "test_macro_accuracy") -> str | None:
    """The strategy that is better than every other, with all paired intervals above 0; None if there is none."""
    names = list(dict.fromkeys(row["strategy"] for row in rows))
    scores = {name: by_seed(rows, name, metric) for name in names}
    for name in names:
        others = [difference(scores[name], scores[other]) for other in names if other != name]
        if others and all(other.low > 0 for other in others):
            return name
    return None


def summarise(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The content of a comparison's `result.json`.

    Args:
        rows: The rows of `comparison.csv`.

    Returns:
        For each strategy every test score as {mean, sd, values}, its costs and shares as means, and its paired difference to
        full fine-tuning in macro accuracy with the 95 % interval; and which strategy is the best, if one is.
    """
    metrics = list(dict.fromkeys(name for row in rows for name in row if name.startswith("test_")))
    full = by_seed(rows, "full", "test_macro_accuracy")
    return {
        "strategies": {name: _entry(rows, name, metrics, full) for name in dict.fromkeys(row["strategy"] for row in rows)},
        "best": best_of(rows),
    }


def _entry(rows: Sequence[Mapping[str, Any]], name: str, metrics: Sequence[str], full: Mapping[int, float]) -> dict[str, Any]:
    own = [row for row in rows if row["strategy"] == name]
    scores = {metric.removeprefix("test_"): list(by_seed(rows, name, metric).values()) for metric in metrics}
    over = difference(by_seed(rows, name, "test_macro_accuracy"), full)
    return {
        "test": {metric: spread(values) if values else None for metric, values in scores.items()},
        "over_full": None if name == "full" or math.isnan(over.mean) else _finite(over),
        **{
            column: statistics.fmean(row[column] for row in own)
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
                _mean_sd(entry["test"].get(metric), form, times)
                for metric in ("macro_accuracy", "accuracy", "average_precision", "kappa", "f1")
            ),
            "" if over is None else interval_text(over, form, times),
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
    "over full (95 % interval)",
    "trained",
    "trainings",
    "epochs",
    "seconds",
)


def interval_text(over: Mapping[str, float | None], form: str = ".4f", times: float = 1.0) -> str:
    """A difference with its interval, as text."""
    mean, low, high = (None if value is None else f"{times * value:+{form}}" for value in over.values())
    return f"{mean}" if low is None else f"{mean} ({low} to {high})"


def _mean_sd(score: Mapping[str, Any] | None, form: str, times: float) -> str:
    return "failed" if score is None else f"{times * score['mean']:{form}} ± {times * score['sd']:{form}}"
