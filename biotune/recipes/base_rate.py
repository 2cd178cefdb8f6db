"""The base learning rate and the plan to train with, chosen by validation data."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from biotune.config.schema import AUTO, CompareConfig
from biotune.recipes.progress import Progress
from biotune.recipes.session import Session
from biotune.schedule.plan import Plan
from biotune.trial import Trial, TrialResult


def choose(
    session: Session, plans: Sequence[Plan], rates: Sequence[float], seeds: Sequence[int], progress: Progress
) -> tuple[Plan, float]:
    """The plan and the base learning rate with the best mean validation score on all training data; ties to the first.

    With nothing to choose nothing is trained.

    Args:
        session: Where trials run.
        plans: At least one.
        rates: Base learning rates to try with each, at least one.
        seeds: Training seeds.
        progress: Receives how far it is.
    """
    choices = [(plan, rate) for plan in plans for rate in rates]
    if len(choices) == 1:
        return choices[0]
    epochs = session.config.training.epochs
    trials = [Trial(plan.schedule, None, seed, epochs, rate, method=plan.method) for plan, rate in choices for seed in seeds]
    progress.begin("choosing by validation data", len(trials))
    results = session.executor.run(trials)
    progress.end()
    scores = [mean_score(results[at : at + len(seeds)]) for at in range(0, len(results), len(seeds))]
    return choices[scores.index(max(scores))]


def find_base_rate(session: Session, plans: Sequence[Plan], progress: Progress) -> tuple[Plan, float]:
    """The plan and the base learning rate to train with: where `training.lr` is auto, the best of its grid by validation data.

    Args:
        session: Where trials run.
        plans: What to choose from, at least one; with a base learning rate that is given, too.
        progress: Receives how far it is, and what was found.
    """
    training = session.config.training
    if training.lr != AUTO:
        return choose(session, plans, [training.base_lr], training.seeds, progress)
    plan, rate = choose(session, plans, training.lr_grid, training.seeds, progress)
    progress.line(f"training.lr={AUTO}: {rate:g} validates best of {', '.join(f'{one:g}' for one in training.lr_grid)}.")
    return plan, rate


def mean_score(results: Sequence[TrialResult]) -> float:
    """Mean validation score; one failure makes it worse than any."""
    return statistics.fmean(result.score for result in results) if all(result.status == "ok" for result in results) else -1.0


def rates_to_try(config: CompareConfig) -> list[float]:
    """The base learning rates that a comparison tries with each strategy."""
    base = config.training.base_lr
    return [base * factor for factor in config.compare.lr_factors] if config.compare.tune_lr else [base]
