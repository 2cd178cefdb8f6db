"""Choice of the base learning rate and of the plan to train with, by validation scores."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from biotune.config.schema import CompareConfig
from biotune.config.sections import AUTO
from biotune.recipes.progress import Progress
from biotune.recipes.session import Session
from biotune.schedule.plan import Plan
from biotune.trial import Trial, TrialResult


def choose(
    session: Session, plans: Sequence[Plan], rates: Sequence[float], seeds: Sequence[int], progress: Progress
) -> tuple[Plan, float]:
    """Choose the plan and base learning rate with the best mean validation score on all training data; ties go to the first.

    Trains nothing if there is only one pair.

    Args:
        session: The session that runs the trials.
        plans: The plans, at least one.
        rates: Base learning rates to try with each plan, at least one.
        seeds: Training seeds.
        progress: Receives the progress.

    Returns:
        The plan and its base learning rate λ_0.
    """
    choices = [(plan, rate) for plan in plans for rate in rates]
    if len(choices) == 1:
        return choices[0]
    epochs = session.config.training.epochs
    trials = [
        Trial(plan.schedule, None, seed, epochs, plan.lr(rate), method=plan.method) for plan, rate in choices for seed in seeds
    ]
    progress.begin("choosing by validation data", len(trials))
    results = session.executor.run(trials)
    progress.end()
    scores = [mean_score(results[at : at + len(seeds)]) for at in range(0, len(results), len(seeds))]
    return choices[scores.index(max(scores))]


def find_base_rate(session: Session, plans: Sequence[Plan], progress: Progress) -> tuple[Plan, float]:
    """Choose the plan and the base learning rate to train with; `training.lr=auto` tries every learning rate of its grid.

    Args:
        session: The session that runs the trials.
        plans: The plans to choose from, at least one.
        progress: Receives the progress and the choice.

    Returns:
        The plan and its base learning rate λ_0.
    """
    training = session.config.training
    if training.lr != AUTO:
        return choose(session, plans, [training.base_lr], training.seeds, progress)
    plan, rate = choose(session, plans, training.lr_grid, training.seeds, progress)
    progress.line(f"training.lr={AUTO}: {rate:g} validates best of {', '.join(f'{one:g}' for one in training.lr_grid)}.")
    return plan, rate


def mean_score(results: Sequence[TrialResult]) -> float:
    """Mean validation score; one failed trial makes it lower than any score."""
    return statistics.fmean(result.score for result in results) if all(result.status == "ok" for result in results) else -1.0


def rates_to_try(config: CompareConfig) -> list[float]:
    """The base learning rates that a comparison tries with each strategy."""
    base = config.training.base_lr
    return [base * factor for factor in config.compare.lr_factors] if config.compare.tune_lr else [base]
