"""What is said of a panel of tasks: differences, ranks, costs and calibration, from the rows of its comparisons."""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from comparisons import METRIC, Rows, best_on_average, chosen_baseline, chosen_rows, mean, mean_of, spread
from docs_tables import shown
from scipy.stats import rankdata

from biotune.report.statistics import Difference, by_seed, difference, seeds_of, shared_by_seed, strategies_of

OURS, PROBE = "biotune", "linear_probe"
PREDICTED, LOW, HIGH, UNCORRECTED = "predicted_macro_accuracy", "predicted_low", "predicted_high", "val_macro_accuracy"
Panel = Mapping[str, Rows]  # the rows of a task's comparisons, by the task's name


def differences_by_seed(rows: Rows) -> dict[int, float]:
    """Test score of biotune minus that of the baseline that validation chooses, over the seeds that have both."""
    own, chosen = by_seed(rows, OURS, METRIC), chosen_baseline(rows)
    return {seed: own[seed] - chosen[seed] for seed in own if seed in chosen}


def estimate(values: Iterable[float]) -> Difference:
    """Mean of differences and its pointwise 95 % interval by Student's t."""
    numbered = dict(enumerate(values))
    return difference(numbered, dict.fromkeys(numbered, 0.0))


def over_pairs(panel: Panel) -> Difference:
    """Mean over all pairs of task and seed, each of them one observation."""
    return estimate(value for rows in panel.values() for value in differences_by_seed(rows).values())


def over_tasks(panel: Panel) -> Difference:
    """Mean over the tasks, each task's own mean one observation of equal weight.

    This is the unweighted mean of a random-effects model: the interval holds for further tasks of the kind, as the spread
    between tasks is in it. Weights by precision are not used, for five seeds tell a task's variance badly.
    """
    return estimate(mean(own) for rows in panel.values() if (own := differences_by_seed(rows)))


def mean_ranks(panel: Panel) -> dict[str, float]:
    """Mean rank over the tasks by mean test score, 1 the best, ties averaged; of the strategies that every task has."""
    found = [shared_by_seed(rows, METRIC) for rows in panel.values()]
    shared = [name for name in found[0] if all(name in scores for scores in found)] if found else []
    ranks = [rankdata([-mean(scores[name]) for name in shared]).tolist() for scores in found]
    return {name: statistics.fmean(own) for name, own in zip(shared, zip(*ranks, strict=True), strict=True)}


def panel_text(panel: Panel, words: Mapping[str, str]) -> str:
    """All tables of a panel.

    Args:
        panel: The rows by task; only tasks with comparisons of biotune and a baseline.
        words: What each task is called.
    """
    parts = [task_lines(panel, words), pooled_lines(panel), probing_lines(panel, words), strategy_lines(panel)]
    if calibration := calibration_lines(panel, words):
        parts.append(calibration)
    return "\n\n".join("\n".join(lines) for lines in parts)


def task_lines(panel: Panel, words: Mapping[str, str]) -> list[str]:
    """A row per task: biotune against the baseline that validation chooses, over the seeds that both have."""
    lines = [
        "| task | seeds | biotune | chosen by validation | which, in seeds | biotune over it (pointwise 95 % interval) "
        "| best on test |",
        "|---|---|---|---|---|---|---|",
    ]
    for task, rows in panel.items():
        own, chosen = by_seed(rows, OURS, METRIC), chosen_baseline(rows)
        own, chosen = ({seed: one[seed] for seed in own if seed in chosen} for one in (own, chosen))
        counted = Counter(str(row["strategy"]) for seed, row in chosen_rows(rows).items() if seed in own)
        which = ", ".join(f"{name} {count}" for name, count in counted.most_common())
        scores = shared_by_seed(rows, METRIC)
        best = max(scores, key=lambda name: mean(scores[name]), default="")
        count = str(len(own)) if len(own) == len(seeds_of(rows)) else f"{len(own)} of {len(seeds_of(rows))}"
        lines.append(
            f"| {words[task]} | {count} | {spread(own)} | {spread(chosen)} | {which} "
            f"| {shown(estimate(differences_by_seed(rows).values()))} | {best} |"
        )
    return lines + failure_lines(panel, words)


def failure_lines(panel: Panel, words: Mapping[str, str]) -> list[str]:
    """A sentence that counts the seeds on which strategies failed; nothing where none did."""
    counts = [
        f"{name} on {failed} of {len(seeds_of(rows))} seeds of {words[task]}"
        for task, rows in panel.items()
        for name in strategies_of(rows)
        if (failed := len(seeds_of(rows)) - len(by_seed(rows, name, METRIC)))
    ]
    if not counts:
        return []
    return ["", f"Failed: {', '.join(counts)}. Strategies are compared over the seeds that they share."]


def pooled_lines(panel: Panel) -> list[str]:
    """The difference over the whole panel, by two definitions."""
    count = sum(len(differences_by_seed(rows)) for rows in panel.values())
    lines = [f"Over all {count} pairs of task and seed, biotune over the baseline that validation chooses: "]
    lines[0] += f"{shown(over_pairs(panel))}."
    if len(panel) > 1:
        lines.append(f"With each of the {len(panel)} tasks as one observation: {shown(over_tasks(panel))}.")
    return lines


def probing_lines(panel: Panel, words: Mapping[str, str]) -> list[str]:
    """Where linear probing is the best baseline: whether biotune is within one standard error of it, or better."""
    lines = []
    for task, rows in panel.items():
        if best_on_average(rows, METRIC) != PROBE:
            continue
        own, probe = by_seed(rows, OURS, METRIC), by_seed(rows, PROBE, METRIC)
        values = [own[seed] - probe[seed] for seed in own if seed in probe]
        error = statistics.stdev(values) / math.sqrt(len(values)) if len(values) > 1 else math.nan
        gap = statistics.fmean(values)
        if gap >= 0:
            verdict = "as good or better"
        elif gap >= -error:
            verdict = "within one standard error"
        else:
            verdict = "worse by more than one standard error"
        lines.append(f"- {words[task]}: {gap:+.4f}, standard error {error:.4f}: {verdict}.")
    if not lines:
        return ["Linear probing is the baseline with the best mean test score on no task."]
    return ["Where linear probing is the baseline with the best mean test score, biotune over linear probing:", "", *lines]


def strategy_lines(panel: Panel) -> list[str]:
    """A row per strategy: mean rank and mean costs over the tasks."""
    lines = ["| strategy | mean rank | training runs | epochs | seconds of training |", "|---|---|---|---|---|"]
    ranks = mean_ranks(panel)
    together: dict[str, float] = dict.fromkeys(("trainings", "epochs", "seconds"), 0.0)
    for name in sorted(ranks, key=lambda name: ranks[name]):
        costs = {
            column: statistics.fmean(
                mean_of([row for row in rows if row["strategy"] == name], column) for rows in panel.values()
            )
            for column in together
        }
        if name != OURS:
            together = {column: together[column] + costs[column] for column in together}
        lines.append(f"| {name} | {ranks[name]:.2f} | {_three(costs)} |")
    lines += [f"| these baselines together | | {_three(together)} |", ""]
    lines.append(
        "Ranks by mean test score on each task, 1 the best, of the strategies that every task has; costs for one seed."
    )
    return lines


def _three(costs: Mapping[str, float]) -> str:
    return " | ".join(f"{value:.0f}" for value in costs.values())


def calibration_lines(panel: Panel, words: Mapping[str, str]) -> list[str]:
    """A row per task and one for all: how far predicted scores are from those on test data; empty where none is predicted."""
    predicted = {task: [row for row in rows if is_predicted(row)] for task, rows in panel.items()}
    predicted = {task: rows for task, rows in predicted.items() if rows}
    if not predicted:
        return []
    lines = [
        "| task | runs | test − predicted | tests inside the 95 % interval | test − validation score of the final model |",
        "|---|---|---|---|---|",
    ]
    for task, rows in predicted.items():
        lines.append(f"| {words[task]} | {_calibration_cells(rows)} |")
    lines.append(f"| all | {_calibration_cells([row for rows in predicted.values() for row in rows])} |")
    return [*lines, "", "Test macro accuracy minus the score that the run states, mean ± standard deviation over the runs."]


def _calibration_cells(rows: Rows) -> str:
    found = calibration(rows)
    inside = "" if found["inside"] is None else f"{100 * found['inside']:.0f} %"
    corrected, plain = (
        f"{found[name]:+.4f} ± {found[f'{name}_sd']:.4f}" if found[name] is not None else ""
        for name in ("predicted", "validation")
    )
    return f"{len(rows)} | {corrected} | {inside} | {plain}"


def is_predicted(row: Mapping[str, Any]) -> bool:
    """Whether a row is biotune's, with a predicted and a test score."""
    return row["strategy"] == OURS and all(is_number(row.get(column)) for column in (PREDICTED, METRIC))


def is_number(value: Any) -> bool:
    """Whether a cell of a table holds a finite number."""
    return isinstance(value, int | float) and math.isfinite(value)


def calibration(rows: Rows) -> dict[str, float | None]:
    """How predicted scores compare with test scores.

    Args:
        rows: Rows that are predicted, at least one.

    Returns:
        `predicted`, `predicted_sd`: mean and sample standard deviation of test − predicted; `inside`: share of test scores in
        their interval, its ends included; `validation`, `validation_sd`: the same for the final model's validation score.
        None where there is nothing to compare; a standard deviation of one run is NaN.
    """
    with_interval = [row for row in rows if is_number(row.get(LOW)) and is_number(row.get(HIGH))]
    inside = [row[LOW] <= row[METRIC] <= row[HIGH] for row in with_interval]
    corrected = [row[METRIC] - row[PREDICTED] for row in rows]
    plain = [row[METRIC] - row[UNCORRECTED] for row in rows if is_number(row.get(UNCORRECTED))]
    return {
        "predicted": statistics.fmean(corrected),
        "predicted_sd": _sd(corrected),
        "inside": statistics.fmean(inside) if inside else None,
        "validation": statistics.fmean(plain) if plain else None,
        "validation_sd": _sd(plain),
    }


def _sd(values: Sequence[float]) -> float:
    return statistics.stdev(values) if len(values) > 1 else math.nan
