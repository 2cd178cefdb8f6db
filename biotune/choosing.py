"""One strategy on one split of the data: its plan and base rate chosen by validation data, then the final training."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from biotune.config import AUTO, CompareConfig
from biotune.fitness import Trial, TrialResult
from biotune.session import Session
from biotune.strategies import Plan
from biotune.strategies.size import trainable_parameters
from biotune.view import View

Chosen = tuple[Plan, float | None]


def choose(bench: Session, plans: Sequence[Plan], rates: Sequence[float | None], seeds: Sequence[int], view: View) -> Chosen:
    """The plan and the base rate with the best mean validation score on all training data; ties to the first.

    With nothing to choose nothing is trained.

    Args:
        bench: Where trainings run.
        plans: At least one.
        rates: Base rates to try with each, None for `training.lr`.
        seeds: Training seeds.
        view: Told how far it is.
    """
    choices = [(plan, rate) for plan in plans for rate in rates]
    if len(choices) == 1:
        return choices[0]
    trials = [trial_of(plan, rate, seed, bench.config.training.epochs) for plan, rate in choices for seed in seeds]
    view.begin("choosing by validation data", len(trials))
    results = bench.executor.run(trials)
    view.end()
    scores = [mean_score(results[at : at + len(seeds)]) for at in range(0, len(results), len(seeds))]
    return choices[scores.index(max(scores))]


def find_base_rate(bench: Session, plans: Sequence[Plan], view: View) -> tuple[Plan, float]:
    """The plan and the base rate to train with: where `training.lr` is auto the best of its grid by validation data.

    From now on every trial of the session that states no base rate has this one.

    Args:
        bench: Where trainings run.
        plans: What to choose from, at least one; with a base rate that is given, too.
        view: Told how far it is, and what was found.
    """
    training = bench.config.training
    if training.lr != AUTO:
        return choose(bench, plans, [None], training.seeds, view)[0], training.base_lr
    plan, found = choose(bench, plans, training.lr_grid, training.seeds, view)
    rate = float(training.lr_grid[0] if found is None else found)
    bench.executor.base_lr = rate
    view.line(f"training.lr={AUTO}: {rate:g} validates best of {', '.join(f'{one:g}' for one in training.lr_grid)}.")
    return plan, rate


def trial_of(plan: Plan, rate: float | None, seed: int, epochs: int, test: bool = False) -> Trial:
    """A training of a plan on all training data."""
    trial = Trial(plan.schedule, None, seed, epochs, test, method=plan.method)
    return trial if rate is None else replace(trial, lr=rate)


def mean_score(results: Sequence[TrialResult]) -> float:
    """Mean validation score; one failure makes it worse than any."""
    return statistics.fmean(result.score for result in results) if all(result.status == "ok" for result in results) else -1.0


@dataclass
class Costs:
    """Counts what an executor has run: trainings, their epochs and seconds, each training once.

    Attributes:
        trainings: How many.
        epochs: Their epochs in all.
        seconds: Their wall time in all.
    """

    trainings: int = 0
    epochs: int = 0
    seconds: float = 0.0

    def __post_init__(self) -> None:
        self._seen: set[str] = set()

    def count(self, trial: Trial, result: TrialResult) -> None:
        """One more training."""
        if trial.key not in self._seen:
            self._seen.add(trial.key)
            self.trainings += 1
            self.epochs += len(result.curve)
            self.seconds += result.seconds


def measure(
    bench: Session, config: CompareConfig, name: str, seed: int, found: Sequence[Plan], costs: Costs, view: View
) -> dict[str, Any]:
    """One strategy with one seed: its base rate chosen on validation data, then one final training; a row of the table.

    Args:
        bench: Where trainings run; the data are split by the seed.
        config: The comparison's settings.
        name: The strategy's name.
        seed: Also the final training's.
        found: The plans to choose from.
        costs: What finding them has cost; the strategy's own trainings are added by `bench.executor.on_result`.
        view: Told how far it is.
    """
    # a search has chosen rates already; one more noisy choice among their multiples would not better them
    rates = [None] if name == "biotune" else rates_to_try(config)
    plan, rate = choose(bench, found, rates, config.compare.tune_seeds, view)
    final = trial_of(plan, rate, seed, config.training.epochs, test=True)
    (result,) = bench.executor.run([final])
    if result.status != "ok":
        view.line(f"{name}, seed {seed}: the final training failed: {result.error}")
    share = trainable_parameters(plan, bench.network, bench.data.pixels.shape[1]) / bench.total_parameters
    return {
        "strategy": name,
        "seed": seed,
        "base_lr": config.training.base_lr if rate is None else rate,
        **{f"test_{metric}": value for metric, value in result.scores.items()},
        "val_macro_accuracy": mean_score([result]) if result.status == "ok" else math.nan,
        "trainable_share": share,
        "trainings": costs.trainings,
        "epochs": costs.epochs,
        "seconds": costs.seconds,
    }


def rates_to_try(config: CompareConfig) -> list[float | None]:
    """The base rates of the grid; None stands for `training.lr` itself."""
    if not config.compare.tune_lr:
        return [None]
    return [None if factor == 1 else config.training.base_lr * factor for factor in config.compare.lr_factors]


def settings_of(config: CompareConfig, seed: int) -> CompareConfig:
    """The comparison's settings for one of its seeds: it splits the data and drives the search."""
    return replace(config, seed=seed, dataset=replace(config.dataset, split_seed=seed))
