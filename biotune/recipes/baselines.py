"""The usual methods as baselines of a search: each with its learning rate tuned on the search's own splits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from statistics import fmean

from biotune.config.schema import CompareConfig, RunConfig
from biotune.config.sections import StrategyConfig
from biotune.recipes.base_rate import mean_score
from biotune.recipes.inputs import started
from biotune.recipes.progress import Progress
from biotune.recipes.session import Session
from biotune.schedule.genotype import importance, lr_weight
from biotune.schedule.plan import Plan
from biotune.strategies.registry import plans
from biotune.trial import Trial

_SECOND_ROUND = 2  # plans of a strategy that are tried on a second split


def baseline_plans(session: Session, config: RunConfig | CompareConfig) -> dict[str, list[Plan]]:
    """For each of `confirm.baselines` its plans at every learning rate, to choose from; empty without a confirmation."""
    if config.confirm.top_k == 0:
        return {}
    network = session.network
    return {
        name: [
            at_rate(plan, factor)
            for plan in started(config, plans(StrategyConfig(name), network.blocks, network.fresh_head), network, name)
            for factor in config.confirm.lr_factors
        ]
        for name in config.confirm.baselines
    }


def at_rate(plan: Plan, factor: float) -> Plan:
    """The plan at a multiple of its learning rates.

    The weights of a plain schedule become those that a genotype decodes to, where there are any: a candidate of the search that
    trains alike then has the same key and is not trained twice.

    Args:
        plan: A strategy's plan at the base learning rate.
        factor: The multiple, greater than 0.
    """
    if plan.method is not None:
        return replace(plan, lr_factor=plan.lr_factor * factor)
    schedule = plan.schedule
    scaled = tuple(_as_decoded(weight * factor) for weight in schedule.lr_weights)
    return Plan(replace(schedule, lr_weights=scaled, importances=None, threshold=None))


def _as_decoded(weight: float) -> float:
    """The weight as `decode` would give it, to the last digit."""
    own = importance(weight) if weight > 0 else 0.0
    return lr_weight(own) if 0 < own <= 1 else weight


@dataclass(frozen=True)
class Tuned:
    """The tuned baselines.

    Attributes:
        plans: The best plan of each baseline of which any could be trained.
        costs: trainings, epochs and seconds of the tuning, for `result.json`.
        factors: The multiple of λ_0 that each of them is trained at, one of `confirm.lr_factors`.
    """

    plans: dict[str, Plan]
    costs: dict[str, float]
    factors: dict[str, float] = field(default_factory=dict)


def tune(session: Session, config: RunConfig | CompareConfig, base_lr: float, progress: Progress) -> Tuned:
    """Tune the learning rate of each baseline of the confirmation: all rates on the first fold, the best two on the second.

    Successive halving (Jamieson and Talwalkar, "Non-stochastic best arm identification and hyperparameter optimization",
    AISTATS 2016) with the training seed of the search. A search whose first generation holds the same schedules finds them
    trained.

    Args:
        session: The session that runs the trials.
        config: The settings, with numbers of folds.
        base_lr: λ_0.
        progress: Receives the progress.
    """
    contenders = baseline_plans(session, config)
    costs: dict[str, float] = {"trainings": 0, "epochs": 0, "seconds": 0.0}
    scores: dict[tuple[str, int], list[float]] = {}
    for fold in range(min(config.evolution.num_folds, 2)):
        ranked = {name: _best_first(name, len(own), scores) for name, own in contenders.items()}
        chosen = [(name, at) for name, order in ranked.items() for at in (order[:_SECOND_ROUND] if fold else order)]
        trials = [plan_trial(contenders[name][at], fold, config.training.seeds[0], config, base_lr) for name, at in chosen]
        progress.begin("tuning the baselines" + (", the best again on another split" if fold else ""), len(trials))
        results = session.executor.run(trials)
        progress.end()
        for pair, result in zip(chosen, results, strict=True):
            scores.setdefault(pair, []).append(mean_score([result]))
            costs["trainings"] += 1
            costs["epochs"] += len(result.curve)
            costs["seconds"] += result.seconds
    tuned, factors = {}, {}
    for name, own in contenders.items():
        complete = max(len(values) for (other, _), values in scores.items() if other == name)
        means = {at: fmean(scores[name, at]) for at in range(len(own)) if len(scores[name, at]) == complete}
        best = max(means, key=lambda at: means[at])
        if min(scores[name, best]) >= 0:
            tuned[name] = own[best]
            factors[name] = config.confirm.lr_factors[best % len(config.confirm.lr_factors)]
        else:
            progress.line(f"confirm.baselines: {name} could not be trained at any learning rate, and is left out.")
    return Tuned(tuned, costs, factors)


def trials_to_tune(contenders: Mapping[str, Sequence[Plan]], config: RunConfig | CompareConfig) -> int:
    """The number of trials that `tune` makes."""
    rounds = min(config.evolution.num_folds, 2)
    return sum(len(own) + (min(_SECOND_ROUND, len(own)) if rounds > 1 else 0) for own in contenders.values())


def _best_first(name: str, count: int, scores: dict[tuple[str, int], list[float]]) -> list[int]:
    return sorted(range(count), key=lambda at: -fmean(scores.get((name, at), [0.0])))


def plan_trial(
    plan: Plan, fold: int, seed: int, config: RunConfig | CompareConfig, base_lr: float, unbiased: bool = False
) -> Trial:
    """A trial of a plan, without test scores; see `Trial` for the arguments."""
    return Trial(plan.schedule, fold, seed, config.training.epochs, plan.lr(base_lr), method=plan.method, unbiased=unbiased)
