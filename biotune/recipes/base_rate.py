"""The base rate and the plan to train with, chosen by validation data."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import replace

from biotune.cli.terminal.view import View
from biotune.config.schema import AUTO, CompareConfig
from biotune.recipes.session import Session
from biotune.schedule.plan import Plan
from biotune.trial import Trial, TrialResult

Chosen = tuple[Plan, float | None]


def choose(session: Session, plans: Sequence[Plan], rates: Sequence[float | None], seeds: Sequence[int], view: View) -> Chosen:
    """The plan and the base rate with the best mean validation score on all training data; ties to the first.

    With nothing to choose nothing is trained.

    Args:
        session: Where trainings run.
        plans: At least one.
        rates: Base rates to try with each, None for `training.lr`.
        seeds: Training seeds.
        view: Told how far it is.
    """
    choices = [(plan, rate) for plan in plans for rate in rates]
    if len(choices) == 1:
        return choices[0]
    trials = [trial_of(plan, rate, seed, session.config.training.epochs) for plan, rate in choices for seed in seeds]
    view.begin("choosing by validation data", len(trials))
    results = session.executor.run(trials)
    view.end()
    scores = [mean_score(results[at : at + len(seeds)]) for at in range(0, len(results), len(seeds))]
    return choices[scores.index(max(scores))]


def find_base_rate(session: Session, plans: Sequence[Plan], view: View) -> tuple[Plan, float]:
    """The plan and the base rate to train with: where `training.lr` is auto the best of its grid by validation data.

    From now on every trial of the session that states no base rate has this one.

    Args:
        session: Where trainings run.
        plans: What to choose from, at least one; with a base rate that is given, too.
        view: Told how far it is, and what was found.
    """
    training = session.config.training
    if training.lr != AUTO:
        return choose(session, plans, [None], training.seeds, view)[0], training.base_lr
    plan, found = choose(session, plans, training.lr_grid, training.seeds, view)
    rate = float(training.lr_grid[0] if found is None else found)
    session.executor.base_lr = rate
    view.line(f"training.lr={AUTO}: {rate:g} validates best of {', '.join(f'{one:g}' for one in training.lr_grid)}.")
    return plan, rate


def trial_of(plan: Plan, rate: float | None, seed: int, epochs: int, test: bool = False) -> Trial:
    """A training of a plan on all training data."""
    trial = Trial(plan.schedule, None, seed, epochs, test, method=plan.method)
    return trial if rate is None else replace(trial, lr=rate)


def mean_score(results: Sequence[TrialResult]) -> float:
    """Mean validation score; one failure makes it worse than any."""
    return statistics.fmean(result.score for result in results) if all(result.status == "ok" for result in results) else -1.0


def rates_to_try(config: CompareConfig) -> list[float | None]:
    """The base rates of the grid; None stands for `training.lr` itself."""
    if not config.compare.tune_lr:
        return [None]
    return [None if factor == 1 else config.training.base_lr * factor for factor in config.compare.lr_factors]
