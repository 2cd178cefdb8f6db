"""compare: many strategies on the same data, seeds and epochs, with the cost of each."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

from biotune.config.schema import CompareConfig, final_training
from biotune.recipes import tables
from biotune.recipes.base_rate import choose, mean_score, rates_to_try
from biotune.recipes.baselines import tune
from biotune.recipes.confirm import confirm
from biotune.recipes.final import other_settings
from biotune.recipes.header import comparison_facts, remarks_on_data
from biotune.recipes.inputs import Prepared, plans_to_compare, remarks_on, say_remarks, settings_of, settled
from biotune.recipes.progress import SILENCE, Progress
from biotune.recipes.search import search
from biotune.recipes.session import Session, folder_in_use, open_session, pin_schedule
from biotune.report.statistics import summarise
from biotune.report.verdict import verdict
from biotune.schedule.plan import Plan
from biotune.store.files import COMPARISON, PLOTS, REPORT, RESULT, write_json, write_table
from biotune.store.folders import make_folder
from biotune.training.size import trainable_parameters
from biotune.trial import Trial, TrialResult

_APART = 1_000_003  # between the seeds of restarts: further than the seeds of a comparison lie from each other


@dataclass(frozen=True)
class CompareResult:
    """The result of a comparison.

    Attributes:
        document: The content of `result.json`, see `summarise`.
        seeds: Number of seeds.
    """

    document: dict[str, Any]
    seeds: int


def compare(
    config: CompareConfig, folder: Path, progress: Progress = SILENCE, prepared: Prepared | None = None
) -> CompareResult:
    """Train every strategy with every seed; each seed has its own splits and folder, and the table grows row by row.

    Args:
        config: The settings.
        folder: The comparison's folder, which exists.
        progress: Receives the progress.
        prepared: The inputs that the check before the run has prepared; None prepares them now.

    Raises:
        BiotuneError: Bad input, a folder that cannot be written, or a search in which too much fails.
    """
    pairs = list(product(config.strategies, config.test.seeds))
    with folder_in_use("compare", config, folder) as (journal, _):
        known = journal.understood("row", lambda record: ((record["strategy"], record["seed"]), record["row"]))
        progress.header("biotune compare", comparison_facts(config, folder, len(known)))
        for number, seed in enumerate(config.test.seeds, 1):
            missing = [name for name in config.strategies if (name, seed) not in known]
            if not missing:
                continue
            progress.begin_seed(seed, number, len(config.test.seeds))
            place = folder / f"seed-{seed}"
            make_folder(place)
            with open_session("compare", settings_of(config, seed), place, progress, prepared) as session:
                for _, remark in remarks_on_data(session.data):
                    progress.line(f"remark: {remark}.")
                say_remarks(progress, session.network)
                for name in missing:
                    row = _compare_one(session, config, name, seed, progress)
                    journal.append({"kind": "row", "strategy": name, "seed": seed, "row": row})
                    known[name, seed] = row
                    write_table(folder / COMPARISON, [known[pair] for pair in pairs if pair in known])
        document = {**summarise([known[pair] for pair in pairs]), **other_settings(config)}
        write_json(folder / RESULT, document)
    from biotune.report.comparison_page import read_compared, write_strategies  # seconds to import, and only needed here

    compared = read_compared(folder)  # all results are on disk by now, and the comparison is finished
    write_strategies([compared], folder / REPORT, folder / PLOTS)
    return CompareResult(document, len(config.test.seeds))


def _compare_one(session: Session, config: CompareConfig, name: str, seed: int, progress: Progress) -> dict[str, Any]:
    """Measure one strategy with one seed; all its trials count as its cost, even those trained before."""
    costs = Costs()

    def count(trial: Trial, result: TrialResult) -> None:
        costs.count(trial, result)
        progress.trained(trial, result)

    session.executor.on_result = count
    progress.begin_strategy(name)
    if name == "biotune":
        own, base_lr = settled(settings_of(config, seed), session.data.resampling), config.training.base_lr
        tuned = tune(session, own, base_lr, progress)
        last = search(session, own, base_lr, progress).last
        confirmed = confirm(session, own, base_lr, last, tuned, progress)
        progress.line(f"  {verdict(confirmed.document)}")
        finalists = confirmed.retrained(config.confirm.retrain)
        # the search has chosen learning rates already; another noisy choice among their multiples would not improve them
        best, row = measure(session, config, name, seed, [(one.plan, base_lr) for one in finalists], costs, progress)
        return {**row, **tables.prediction_columns(confirmed.document, finalists[best].strategy)}
    found = plans_to_compare(config, session.network)[name]
    if name == "schedule":
        pin_schedule(session, found)
        for remark in remarks_on(config, found):
            progress.line(remark)
    chosen = choose(session, found, rates_to_try(config), config.compare.tune_seeds, progress)
    return measure(session, config, name, seed, [chosen], costs, progress)[1]


def restart_seeds(seed: int, count: int) -> list[int]:
    """The training seeds of the final training runs of one seed of a comparison: the seed itself, then distant ones."""
    return [(seed + number * _APART) % 2**63 for number in range(count)]


@dataclass
class Costs:
    """Counts the trials of an executor, each one once.

    Attributes:
        trainings: Number of trials.
        epochs: Their epochs in all.
        seconds: Their wall-clock time in all.
    """

    trainings: int = 0
    epochs: int = 0
    seconds: float = 0.0

    def __post_init__(self) -> None:
        self._seen: set[str] = set()

    def count(self, trial: Trial, result: TrialResult) -> None:
        """Count a trial, unless it was counted before."""
        if trial.key not in self._seen:
            self._seen.add(trial.key)
            self.trainings += 1
            self.epochs += len(result.curve)
            self.seconds += result.seconds


def measure(
    session: Session,
    config: CompareConfig,
    name: str,
    seed: int,
    plans: Sequence[tuple[Plan, float]],
    costs: Costs,
    progress: Progress,
) -> tuple[int, dict[str, Any]]:
    """Make the final training runs of one strategy with one seed.

    The model with the best validation score counts, of equals the first, as `biotune run` chooses its final model.

    Args:
        session: The session that runs the trials; its data are split by the seed.
        config: The comparison's settings.
        name: The strategy's name.
        seed: The seed of the comparison and of the first final training run.
        plans: What to train, each with its base learning rate.
        costs: The cost of finding them; `session.executor.on_result` adds the strategy's own trials.
        progress: Receives the progress.

    Returns:
        The position of the plan that counts, and a row of `comparison.csv`.
    """
    epochs = final_training(config).epochs
    finals = [
        (at, Trial(plan.schedule, None, one, epochs, plan.lr(rate), test=True, method=plan.method))
        for at, (plan, rate) in enumerate(plans)
        for one in restart_seeds(seed, config.compare.restarts)
    ]
    results = session.executor.run([trial for _, trial in finals])
    for (_, trial), result in zip(finals, results, strict=True):
        if result.status != "ok":
            progress.line(f"{name}, seed {trial.seed}: the final training run failed: {result.error}")
    best = max(range(len(results)), key=lambda number: mean_score([results[number]]))
    at, result = finals[best][0], results[best]
    plan, rate = plans[at]
    share = trainable_parameters(plan, session.network, session.data.sides) / session.total_parameters
    return at, {
        "strategy": name,
        "seed": seed,
        "base_lr": plan.lr(rate),
        **{f"test_{metric}": value for metric, value in result.scores.items()},
        "val_macro_accuracy": mean_score([result]) if result.status == "ok" else math.nan,
        "trainable_share": share,
        "trainings": costs.trainings,
        "epochs": costs.epochs,
        "seconds": costs.seconds,
    }
