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
from biotune.recipes.confirm import confirm
from biotune.recipes.final import BASELINES, final_baselines, final_trainings, keep_best_model, origin, size
from biotune.recipes.header import facts, search_facts
from biotune.recipes.inputs import Prepared, say_remarks, settled
from biotune.recipes.progress import SILENCE, Progress
from biotune.recipes.search import search
from biotune.recipes.session import open_session
from biotune.report.read import read_run
from biotune.report.run import write_report
from biotune.report.verdict import EVOLVED
from biotune.schedule.schedule import Schedule
from biotune.schedule.schedule_file import save_text
from biotune.store.files import RESULT, SCHEDULE, write_json, write_text


@dataclass(frozen=True)
class RunResult:
    """The result of a run.

    Attributes:
        document: The content of `result.json`.
        summary: The rows of `summary.csv`, one per generation.
        schedule: The schedule that won, of the search or of a baseline.
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
        winner = confirmed.plan
        # written before the final training runs, so that the schedule exists even if they fail
        write_text(folder / SCHEDULE, save_text(winner.schedule, winner.lr(base_lr), origin(config, winner)))
        plans = {EVOLVED: winner, **final_baselines(session, tuned.plans)}
        finals = final_trainings(session, config, plans, base_lr, progress)
        beside = tables.side_by_side(finals)
        document = {
            "search": found.costs,
            "confirmed": confirmed.document,
            "test": tables.spreads(beside[EVOLVED]),
            "baselines": {name: tables.spreads(beside[name]) for name in BASELINES if name in beside},
            "failed": tables.failures(finals, plans, len(config.test.seeds)),
            **size(session, winner),
            "base_lr": winner.lr(base_lr),
            "schedule": tables.schedule_entry(winner.schedule, winner.lr(base_lr), session.network.parameters),
        }
        keep_best_model(session, finals[EVOLVED])
        write_json(folder / RESULT, document)
    write_report(read_run(folder))  # all results are on disk by now, and the run is finished
    return RunResult(
        document, found.summary, winner.schedule, winner.lr(base_lr), session.network.parameters, config.fitness.metric
    )
