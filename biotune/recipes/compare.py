"""compare: many strategies on the same data, seeds and epochs, and what each costs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any

from biotune.cli.terminal.view import View
from biotune.config.schema import CompareConfig
from biotune.recipes.base_rate import choose, mean_score, rates_to_try, trial_of
from biotune.recipes.header import comparison_facts, shown_path
from biotune.recipes.inputs import plans_to_compare, resampling_of
from biotune.recipes.search import confirm, search
from biotune.recipes.session import Session, folder_in_use, open_session
from biotune.report.comparison_page import read_compared, write_strategies
from biotune.report.run import REPORT
from biotune.report.statistics import COMPARISON, summarise
from biotune.schedule.plan import Plan
from biotune.store.files import RESULT, write_json, write_table
from biotune.training.size import trainable_parameters
from biotune.trial import Trial, TrialResult


def compare(config: CompareConfig, folder: Path, view: View) -> dict[str, Any]:
    """Every strategy with every seed, each seed with splits and a folder of its own; the table grows row by row."""
    with folder_in_use("compare", config, folder) as (journal, _):
        known = journal.understood("row", lambda record: ((record["strategy"], record["seed"]), record["row"]))
        view.header("biotune compare", comparison_facts(config, folder, len(known)))
        for number, seed in enumerate(config.test.seeds, 1):
            missing = [name for name in config.strategies if (name, seed) not in known]
            if not missing:
                continue
            view.line(f"seed {seed}, {number} of {len(config.test.seeds)}", "bold")
            place = folder / f"seed-{seed}"
            place.mkdir(exist_ok=True)
            own = settings_of(config, seed)
            with open_session("compare", own, place, resampling_of(own), view.decoding) as session:
                for name in missing:
                    row = _compare_one(session, config, name, seed, view)
                    journal.append({"kind": "row", "strategy": name, "seed": seed, "row": row})
                    known[name, seed] = row
                    rows = [known[pair] for pair in product(config.strategies, config.test.seeds) if pair in known]
                    write_table(folder / COMPARISON, rows)
        result = summarise([known[pair] for pair in product(config.strategies, config.test.seeds)])
        write_json(folder / RESULT, result)
        view.comparison(result, len(config.test.seeds))
        view.final(f"Files: {shown_path(folder)}")
    compared = read_compared(folder)  # all that was computed is safe by now, and the comparison finished
    write_strategies([compared], folder / REPORT, folder / "plots")
    return result


def _compare_one(session: Session, config: CompareConfig, name: str, seed: int, view: View) -> dict[str, Any]:
    """One strategy with one seed; whatever it trains counts as its cost, even what another has trained before."""
    costs = Costs()

    def count(trial: Trial, result: TrialResult) -> None:
        costs.count(trial, result)
        view.trained(trial, result)

    session.executor.on_result = count
    view.line(f"  {name}")
    if name == "biotune":
        own = settings_of(config, seed)
        _, last = search(session, own, view)
        winner, _ = confirm(session, own, last, view)
        found = [Plan(winner.schedule)]
    else:
        found = plans_to_compare(config, session.network)[name]
    return measure(session, config, name, seed, found, costs, view)


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
    session: Session, config: CompareConfig, name: str, seed: int, found: Sequence[Plan], costs: Costs, view: View
) -> dict[str, Any]:
    """One strategy with one seed: its base rate chosen on validation data, then one final training; a row of the table.

    Args:
        session: Where trainings run; the data are split by the seed.
        config: The comparison's settings.
        name: The strategy's name.
        seed: Also the final training's.
        found: The plans to choose from.
        costs: What finding them has cost; the strategy's own trainings are added by `session.executor.on_result`.
        view: Told how far it is.
    """
    # a search has chosen rates already; one more noisy choice among their multiples would not better them
    rates = [None] if name == "biotune" else rates_to_try(config)
    plan, rate = choose(session, found, rates, config.compare.tune_seeds, view)
    final = trial_of(plan, rate, seed, config.training.epochs, test=True)
    (result,) = session.executor.run([final])
    if result.status != "ok":
        view.line(f"{name}, seed {seed}: the final training failed: {result.error}")
    share = trainable_parameters(plan, session.network, session.data.pixels.shape[1]) / session.total_parameters
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


def settings_of(config: CompareConfig, seed: int) -> CompareConfig:
    """The comparison's settings for one of its seeds: it splits the data and drives the search."""
    return replace(config, seed=seed, dataset=replace(config.dataset, split_seed=seed))
