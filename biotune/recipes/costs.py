"""The costs that a search minimises beside the score: where they come from, and the table of the front."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean
from typing import Any

import torch

from biotune.config.schema import CompareConfig, RunConfig
from biotune.config.search import MACS, MEMORY, SECONDS, TRAINABLE_PARAMS
from biotune.errors import SearchError
from biotune.evolution.front import Front
from biotune.evolution.loop import Evaluate
from biotune.evolution.objectives import BlockCosts, Exact, Objectives, parameters_of
from biotune.evolution.rows import LR_WEIGHT, front_rows
from biotune.fitness.fitness import ScheduleFitness
from biotune.recipes.session import Session
from biotune.schedule.schedule import Schedule
from biotune.store.files import FRONT, write_table
from biotune.training.step_costs import StepCost, macs_by_block, measure_step
from biotune.trial import Evaluation, Status, TrialResult, sample_sd

_COST = "cost"  # kind of journal records


def objectives_of(session: Session, config: RunConfig | CompareConfig) -> Objectives | None:
    """Return the costs that a search minimises; None where it looks for the score alone.

    Args:
        session: The session of the search.
        config: Its settings.
    """
    names = config.evolution.costs
    exact: dict[str, Exact] = {}
    if TRAINABLE_PARAMS in names:
        exact[TRAINABLE_PARAMS] = parameters_of(session.network.parameters)
    if MACS in names:
        exact[MACS] = BlockCosts(*macs_by_block(session.network, session.data.sides))
    return Objectives(names, exact) if names else None


def evaluating(session: Session, config: RunConfig | CompareConfig, fitness: ScheduleFitness, costs: Objectives) -> Evaluate:
    """Return the evaluation of a batch that notes the measured costs of its schedules, while no trial runs.

    Args:
        session: The session that measures.
        config: The settings.
        fitness: Evaluates the scores.
        costs: Receives the costs.
    """
    if not costs.measured:
        return fitness
    meter = StepMeter(session, config)

    def evaluate(schedules: Sequence[Schedule], folds: Sequence[int]) -> list[Evaluation]:
        evaluations = fitness(schedules, folds)
        for schedule, evaluation in zip(schedules, evaluations, strict=True):
            if evaluation.status not in (Status.EMPTY, Status.FAILED):
                costs.note(schedule, meter.costs(schedule))
        return evaluations

    return evaluate


@dataclass
class StepMeter:
    """Measures a training step once for each set of trained blocks, and journals it.

    A resumed search takes the journalled costs: measured anew they would differ, and with them the search.

    Attributes:
        session: The session.
        config: The settings.
    """

    session: Session
    config: RunConfig | CompareConfig
    _known: dict[tuple[str, ...], dict[str, float]] = field(init=False)

    def __post_init__(self) -> None:
        """Read what was measured before an interruption."""
        self._known = self.session.journal.understood(
            _COST, lambda record: (tuple(record["blocks"]), {name: float(record[name]) for name in (SECONDS, MEMORY)})
        )

    def costs(self, schedule: Schedule) -> Mapping[str, float]:
        """Return the costs of a step once all blocks of a schedule have joined.

        Raises:
            SearchError: The step does not fit into the memory that the workers leave.
        """
        blocks = tuple(name for name, selected in zip(schedule.names, schedule.selected, strict=True) if selected)
        if blocks not in self._known:
            session = self.session
            try:
                found: StepCost = measure_step(
                    session.network, schedule.selected, self.config.training, session.device, session.data.sides
                )
            except torch.cuda.OutOfMemoryError:
                raise SearchError(
                    f"evolution.objectives: a training step of {', '.join(blocks)} does not fit beside the workers into the "
                    "memory of the GPU; lower training.batch_size, or leave out seconds and memory."
                ) from None
            self._known[blocks] = found._asdict()
            session.journal.append({"kind": _COST, "blocks": list(blocks), **self._known[blocks]})
        return self._known[blocks]


def write_front(
    folder: Path, front: Front | None, labels: Mapping[str, str], results: Mapping[str, Sequence[TrialResult]]
) -> dict[str, Any]:
    """Write `front.csv`; a search with one objective has none.

    Args:
        folder: The run's folder.
        front: The front, the best score first.
        labels: By canonical key the label in the confirmation, of the schedules that were confirmed.
        results: The confirming trials by label.

    Returns:
        The entries of `result.json` about the front.
    """
    if front is None:
        return {}
    rows = list(front_rows(front, labels, lambda label: _confirmed(results.get(label, ()))))
    write_table(folder / FRONT, rows)
    members = [{name: row[name] for name in row if not name.startswith(LR_WEIGHT)} for row in rows]
    for member in members:  # JSON has no NaN
        member |= {name: None for name in ("confirmed_accuracy", "confirmed_se") if math.isnan(member[name])}
    return {"front": {"costs": [*front.reference], "reference": front.reference, "volume": front.volume, "members": members}}


def _confirmed(results: Sequence[TrialResult]) -> dict[str, Any]:
    """The columns of a member's confirmation; NaN where nothing is known."""
    scores = [result.score for result in results if result.status == Status.OK]
    return {
        "confirmed_accuracy": fmean(scores) if scores else math.nan,
        "confirmed_se": sample_sd(scores) / math.sqrt(len(scores)) if len(scores) > 1 else math.nan,
        "confirmed_trials": len(scores),
    }
