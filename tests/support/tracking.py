"""What a tracker is told of a made-up run: one training run a generation, and an end with files."""

from __future__ import annotations

import math
from pathlib import Path

from biotune.recipes.trackers.events import FINISHED, ChildRun, End, Event, GenerationRow, ParentRun
from biotune.recipes.trackers.registry import Tracker
from biotune.recipes.trackers.sender import send

RUN = ParentRun("0123456789abcdef", "run made-up", "run", {"training.lr": 0.5, "dataset.name": "digits"})


def child(number: int, status: str = "ok") -> ChildRun:
    """The training run with a number: its curve has two epochs, but for a failed one, which has none."""
    ok = status != "failed"
    return ChildRun(
        f"{number:016x}",
        f"searching {number:08x} fold 0 seed 1",
        {"phase": "searching", "lr.stem": 0.0, "lr.head": 0.25, "frozen": "stem", "seed": 1},
        {"val_macro_accuracy": (0.5, 0.75), "val_loss": (1.5, 1.25)} if ok else {},
        {"best_val_macro_accuracy": 0.75, "seconds": 2.5} if ok else {"seconds": 2.5},
        status,
        None if ok else "loss is not finite",
        2.5,
    )


def row(number: int) -> GenerationRow:
    return GenerationRow(number, {"best_fitness": 0.5 - number / 8, "mean_fitness": math.nan if number == 0 else 0.75})


def events(first: int, last: int) -> list[Event]:
    """The events of some generations."""
    return [event for number in range(first, last) for event in (child(number), row(number))]


def end(folder: Path, state: str = FINISHED) -> End:
    """The end of the run; its files lie in a folder of their own, as in a run's folder."""
    if state != FINISHED:
        return End(state)
    schedule = folder / "best_schedule.yaml"
    schedule.write_text("base_lr: 0.5\n", encoding="utf-8")
    report = folder / "report.html"
    report.write_text("<p>report</p>", encoding="utf-8")
    return End(state, {"test/macro_accuracy": 0.875}, (report, schedule))


def tell(tracker: Tracker, *told: Event) -> None:
    for event in told:
        send(tracker, event)
