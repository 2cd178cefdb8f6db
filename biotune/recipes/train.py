"""train: one way of fine-tuning over several seeds, with test scores."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from biotune.cli.terminal.view import View
from biotune.config.schema import TrainConfig
from biotune.recipes import tables
from biotune.recipes.base_rate import find_base_rate
from biotune.recipes.final import final_trainings, keep_best_model, origin, size
from biotune.recipes.header import facts, shown_path
from biotune.recipes.inputs import plans_to_train, resampling_of
from biotune.recipes.session import open_session
from biotune.report.read import read_run
from biotune.report.run import write_report
from biotune.schedule.schedule_file import save_text
from biotune.store.files import RESULT, write_json, write_text


def train(config: TrainConfig, folder: Path, view: View) -> dict[str, Any]:
    """Fine-tune by one strategy or schedule over `test.seeds`, with test scores."""
    with open_session("train", config, folder, resampling_of(config), view.decoding) as session:
        choices = plans_to_train(config, session.network)
        session.pin("schedule", "\n".join(plan.schedule.key for plan in choices).encode(), "the schedule to train with has")
        session.executor.on_result = view.trained
        view.header("biotune train", [*facts(session), ("strategy", config.strategy.name)])
        plan, base_lr = find_base_rate(session, choices, view)
        schedule = plan.schedule
        finals = final_trainings(session, config, {config.strategy.name: plan}, view)
        result = {
            "strategy": config.strategy.name,
            "test": tables.spreads([outcome for _, outcome in finals[config.strategy.name]]),
            **size(session, plan),
            "base_lr": base_lr,
            "schedule": tables.schedule_entry(schedule, base_lr, session.network.parameters),
        }
        keep_best_model(session, finals[config.strategy.name])
        write_text(folder / "best_schedule.yaml", save_text(schedule, base_lr, origin(config)))
        write_json(folder / RESULT, result)
        view.schedule(schedule, session.network.parameters, base_lr)
        view.scores({config.strategy.name: result["test"]})
        view.final(f"Files: {shown_path(folder)}")
    write_report(read_run(folder))  # all that was computed is safe by now, and the run finished
    return result
