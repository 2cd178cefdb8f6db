"""run: search, confirm, train, test, in one function. Read this file first.

Trials pass from evolution to fitness, executor, finetune and param_groups; plain results are returned.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from biotune.config.schema import RunConfig
from biotune.recipes import tables
from biotune.recipes.base_rate import find_base_rate
from biotune.recipes.baselines import tune
from biotune.recipes.confirm import Finalist, confirm
from biotune.recipes.final import (
    BASELINES,
    Finals,
    final_baselines,
    final_trainings,
    in_order,
    other_settings,
    size,
    sound,
    write_finals,
    write_result,
    write_schedule,
)
from biotune.recipes.final_model import keep_final_model
from biotune.recipes.header import facts, search_facts
from biotune.recipes.inputs import Prepared, say_remarks, settled
from biotune.recipes.progress import SILENCE, Progress
from biotune.recipes.search import search
from biotune.recipes.session import open_session
from biotune.report.read import read_run
from biotune.report.run import write_report
from biotune.report.verdict import EVOLVED
from biotune.schedule.schedule import Schedule


@dataclass(frozen=True)
class RunResult:
    """The result of a run.

    Attributes:
        document: The content of `result.json`.
        summary: The rows of `summary.csv`, one per generation.
        schedule: The schedule that is returned, of the search or of a baseline.
        base_lr: The λ_0 it is trained with.
        parameters: Number of parameters of each block.
        metric: The metric of the fitness, see `fitness.metric`.
    """

    document: dict[str, Any]
    summary: list[dict[str, Any]]
    schedule: Schedule
    base_lr: float
    parameters: Mapping[str, int]
    metric: str


def run(config: RunConfig, folder: Path, progress: Progress = SILENCE, prepared: Prepared | None = None) -> RunResult:
    """Search, confirm, retrain and test; writes the whole run folder.

    Args:
        config: The settings.
        folder: The run's folder, which exists.
        progress: Receives the progress.
        prepared: The inputs that the check before the run has prepared; None prepares them now.

    Raises:
        BiotuneError: Bad input, a folder that cannot be written, or a search in which too much fails.
    """
    with open_session("run", config, folder, progress, prepared) as session:
        config = settled(config, session.data.resampling)
        progress.header("biotune run", facts(session) + search_facts(session, config))
        say_remarks(progress, session.network)
        _, base_lr = find_base_rate(session, [final_baselines(session, {})["full"]], progress)
        tuned = tune(session, config, base_lr, progress)
        found = search(session, config, base_lr, progress)
        confirmed = confirm(session, config, base_lr, found.last, tuned, progress)
        # written before the final training runs, so that a schedule exists even if they fail
        write_schedule(session, confirmed.winner.plan, base_lr)
        retrained = {one.name: one for one in confirmed.retrained(config.confirm.retrain)}
        plans = {name: one.plan for name, one in retrained.items()}
        best, finals = final_trainings(session, config, plans, final_baselines(session, tuned.plans), base_lr, progress)
        returned, lr = retrained[best].plan, retrained[best].plan.lr(base_lr)
        write_schedule(session, returned, base_lr)
        tested = in_order(best, finals)
        write_finals(folder, tested)
        beside = tables.side_by_side({name: sound(tested[name]) for name in (EVOLVED, *BASELINES)})
        document = {
            "search": found.costs,
            "confirmed": confirmed.document,
            **confirmed.front,
            **_returned(config, retrained, best, finals),
            "test": tables.spreads(beside[EVOLVED]),
            "baselines": {name: tables.spreads(beside[name]) for name in BASELINES if name in beside},
            "failed": {name: len(pairs) - len(sound(pairs)) for name, pairs in tested.items()},
            **size(session, returned),
            "base_lr": lr,
            **other_settings(config),
            "schedule": tables.schedule_entry(returned.schedule, lr, session.network.parameters),
        }
        document["final"] = keep_final_model(session, config.final, finals[best])
        document = write_result(folder, document)
    write_report(read_run(folder))  # all results are on disk by now, and the run is finished
    return RunResult(document, found.summary, returned.schedule, lr, session.network.parameters, config.fitness.metric)


def _returned(config: RunConfig, retrained: Mapping[str, Finalist], best: str, finals: Mapping[str, Finals]) -> dict[str, Any]:
    """The entry of `result.json` about the choice among the final models; none where it is one among a winner's own."""
    if config.confirm.retrain == "winner":
        return {}
    one, own = retrained[best], {name: sound(finals[name]) for name in retrained}
    return {"returned": tables.returned_entry(one.label, one.strategy, own, best)}
