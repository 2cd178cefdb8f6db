"""train: one way of fine-tuning over several seeds, with test scores."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from biotune.config.schema import TrainConfig
from biotune.recipes import tables
from biotune.recipes.base_rate import find_base_rate
from biotune.recipes.final import final_trainings, other_settings, size, sound, write_finals, write_result, write_schedule
from biotune.recipes.final_model import keep_final_model
from biotune.recipes.header import facts
from biotune.recipes.inputs import Prepared, plans_to_train, remarks_on, say_remarks
from biotune.recipes.progress import SILENCE, Progress
from biotune.recipes.session import open_session, pin_schedule
from biotune.report.read import read_run
from biotune.report.run import write_report
from biotune.schedule.schedule import Schedule


@dataclass(frozen=True)
class TrainResult:
    """The result of the training runs.

    Attributes:
        document: The content of `result.json`.
        strategy: The strategy's name.
        schedule: The schedule that was trained.
        base_lr: λ_0.
        parameters: Number of parameters of each block.
    """

    document: dict[str, Any]
    strategy: str
    schedule: Schedule
    base_lr: float
    parameters: Mapping[str, int]


def train(config: TrainConfig, folder: Path, progress: Progress = SILENCE, prepared: Prepared | None = None) -> TrainResult:
    """Fine-tune by one strategy or schedule over `test.seeds`, with test scores; writes the whole run folder.

    Args:
        config: The settings.
        folder: The run's folder, which exists.
        progress: Receives the progress.
        prepared: The inputs that the check before the run has prepared; None prepares them now.

    Raises:
        BiotuneError: Bad input, a folder that cannot be written, or a training run that failed with every seed.
    """
    name = config.strategy.name
    with open_session("train", config, folder, progress, prepared) as session:
        choices = plans_to_train(config, session.network)
        pin_schedule(session, choices)
        progress.header("biotune train", [*facts(session), ("strategy", name)])
        say_remarks(progress, session.network)
        for remark in remarks_on(config, choices):
            progress.line(remark)
        plan, base_lr = find_base_rate(session, choices, progress)
        # written before the final training runs, so that the schedule exists even if they fail
        write_schedule(session, plan, base_lr)
        _, finals = final_trainings(session, config, {name: plan}, {}, base_lr, progress)
        write_finals(folder, finals)
        ended = sound(finals[name])
        document = {
            "strategy": name,
            "test": tables.spreads([outcome for _, outcome in ended]),
            "failed": {name: len(finals[name]) - len(ended)},
            **size(session, plan),
            "base_lr": base_lr,
            **other_settings(config),
            "schedule": tables.schedule_entry(plan.schedule, base_lr, session.network.parameters),
        }
        document["final"] = keep_final_model(session, config.final, finals[name])
        document = write_result(folder, document)
    write_report(read_run(folder))  # all results are on disk by now, and the run is finished
    return TrainResult(document, name, plan.schedule, base_lr, session.network.parameters)
