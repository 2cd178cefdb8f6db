"""run as straight-line wiring: the file to read first.

The way of the data: evolution -> fitness -> executor -> finetune -> param_groups, and back as plain results.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from biotune.cli.terminal.view import View
from biotune.config.schema import RunConfig
from biotune.recipes import tables
from biotune.recipes.base_rate import find_base_rate
from biotune.recipes.final import BASELINES, baselines, final_trainings, keep_best_model, origin, size
from biotune.recipes.header import facts, search_facts, shown_path
from biotune.recipes.inputs import resampling_of
from biotune.recipes.search import confirm, search
from biotune.recipes.session import open_session
from biotune.report.read import read_run
from biotune.report.run import write_report
from biotune.schedule.plan import Plan
from biotune.schedule.schedule_file import save_text
from biotune.store.files import RESULT, write_json, write_text
from biotune.strategies.registry import fixed_schedule


def run(config: RunConfig, folder: Path, view: View) -> dict[str, Any]:
    """Search, confirm, retrain, test; leaves a run's whole folder and returns what `result.json` holds."""
    with open_session("run", config, folder, resampling_of(config), view.decoding) as session:
        session.executor.on_result = view.trained
        view.header("biotune run", facts(session) + search_facts(config))
        _, base_lr = find_base_rate(session, [Plan(fixed_schedule("full", session.network.blocks))], view)
        costs, last = search(session, config, view)
        winner, confirmed = confirm(session, config, last, view)
        # written before the final trainings: whatever becomes of them, the schedule is there
        write_text(folder / "best_schedule.yaml", save_text(winner.schedule, base_lr, origin(config)))
        finals = final_trainings(session, config, {"biotune": Plan(winner.schedule)} | baselines(session), view)
        result = {
            "search": costs,
            "confirmed": confirmed,
            "test": tables.spreads([outcome for _, outcome in finals["biotune"]]),
            "baselines": {
                name: tables.spreads([outcome for _, outcome in finals[name]]) for name in BASELINES if name in finals
            },
            **size(session, Plan(winner.schedule)),
            "base_lr": base_lr,
            "schedule": tables.schedule_entry(winner.schedule, base_lr, session.network.parameters),
        }
        keep_best_model(session, finals["biotune"])
        write_json(folder / RESULT, result)
        view.summary(pd.read_csv(folder / "summary.csv"), config.fitness.metric)
        view.schedule(winner.schedule, session.network.parameters, base_lr)
        view.scores({"biotune": result["test"], **result["baselines"]})
        view.final(f"Files: {shown_path(folder)}")
    write_report(read_run(folder))  # all that was computed is safe by now, and the run finished
    return result
