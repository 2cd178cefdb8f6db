"""Augmented views that are drawn once against augmentation that draws anew: time of a training run, and test accuracy.

Each training run freezes the first blocks. With `features.views` what these compute of the views is kept; anew it is computed
in every epoch. The task of emoji needs scripts/fetch_emoji.py.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch
from bench_common import machine, parser, report, timed

from biotune.backbones.registry import build_network
from biotune.config.sections import BackboneConfig, DatasetConfig, TrainingConfig
from biotune.datasets.data import find_dataset, load_dataset
from biotune.schedule.block import Block
from biotune.schedule.schedule import Schedule
from biotune.training.device import resolve_device
from biotune.training.finetune import finetune
from biotune.training.workspace import Workspace
from biotune.trial import Trial

HEAD, HALF = "head only", "second half"
RATES = {HEAD: 1e-2, HALF: 1e-3}
NONE, ANEW = "none", "anew in every epoch"
VIEWS = {"1 view": 1, "4 views": 4, "16 views": 16}
MAX_GB = 20.0


@dataclass(frozen=True)
class Task:
    """A dataset, a network, and the number of epochs."""

    words: str
    dataset: DatasetConfig
    backbone: BackboneConfig
    epochs: int


TASKS = {
    "digits": Task(
        "noisy digits, glyphnet",
        DatasetConfig("digits", "digits", shift="noise", max_per_class=10),
        BackboneConfig("biotune", "glyphnet"),
        30,
    ),
    "emoji": Task(
        "emoji at 96 px, EfficientNet-Lite0",
        DatasetConfig("folder", "folder", root="data/emoji", image_size=96, val_fraction=0.25, test_fraction=0.4),
        BackboneConfig("lite0", "efficientnet_lite0"),
        12,
    ),
}


def main() -> None:
    """Measure and print the table."""
    arguments = parser(__doc__)
    arguments.add_argument("--tasks", nargs="+", choices=list(TASKS), default=list(TASKS))
    arguments.add_argument("--augment", default="standard", help="training.augment")
    arguments.add_argument("--threads", type=int, default=1, help="CPU threads")
    arguments.add_argument("--repeats", type=int, default=3, help="rounds in which each kind is timed once")
    arguments.add_argument("--seeds", type=int, default=5, help="seeds of splits, views and training runs")
    given = arguments.parse_args()
    torch.set_num_threads(given.threads)
    device = resolve_device(given.device)
    rows = [row for name in given.tasks for trained in (HEAD, HALF) for row in measure(TASKS[name], trained, device, given)]
    epochs = ", ".join(f"{TASKS[name].epochs} epochs of {TASKS[name].words.split(',')[0]}" for name in given.tasks)
    lines = [
        "| task | trained | training images | first training run | later ones | anew over later | test macro accuracy |",
        "|---|---|---|---|---|---|---|",
        *rows,
        "",
        f"`training.augment={given.augment}`, learning rate {RATES[HEAD]:g} for the head only and {RATES[HALF]:g} for the "
        f"second half; {epochs}. Times are medians of {given.repeats} rounds in turn, {given.threads} thread(s), fp32; "
        f"accuracies mean ± sd over {given.seeds} seeds. {machine(device)}.",
    ]
    report("bench_views", lines, given.docs)


def measure(task: Task, trained: str, device: torch.device, given: argparse.Namespace) -> list[str]:
    """The rows of one task and kind of schedule."""
    kinds = [NONE, *VIEWS, ANEW]
    scores: dict[str, list[float]] = {kind: [] for kind in kinds}
    with ExitStack() as stack:
        for seed in range(1, given.seeds + 1):
            spaces = {kind: workspace(task, kind, trained, seed, device, given.augment, stack) for kind in kinds}
            if seed == 1:
                opening = {kind: timed(partial(finetune, trial(spaces[kind], trained, seed), spaces[kind])) for kind in kinds}
                rounds = [
                    {kind: timed(partial(finetune, trial(spaces[kind], trained, seed), spaces[kind])) for kind in kinds}
                    for _ in range(given.repeats)
                ]
            for kind, space in spaces.items():
                tested = replace(trial(space, trained, seed), test=True)
                scores[kind].append(finetune(tested, space).result.scores["macro_accuracy"])
    rows = []
    for kind in kinds:
        ratio = statistics.median(one[ANEW] / one[kind] for one in rounds)
        cells = [
            task.words,
            trained,
            {NONE: "as they are"}.get(kind, kind),
            f"{opening[kind]:.2f} s",
            f"{statistics.median(one[kind] for one in rounds):.2f} s",
            "" if kind == ANEW else f"{ratio:.1f}×",
            f"{statistics.mean(scores[kind]):.4f} ± {statistics.stdev(scores[kind]):.4f}",
        ]
        rows.append(f"| {' | '.join(cells)} |")
        print(rows[-1], file=sys.stderr, flush=True)
    return rows


def workspace(
    task: Task, kind: str, trained: str, seed: int, device: torch.device, augment: str, stack: ExitStack
) -> Workspace:
    """A workspace of a split, whose activations lie in a folder of its own."""
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
    found = find_dataset(replace(task.dataset, split_seed=seed))
    network = build_network(task.backbone, len(found.classes))
    training = TrainingConfig(
        lr=RATES[trained],
        epochs=task.epochs,
        patience=task.epochs,
        batch_size=32,
        precision="fp32",
        augment="none" if kind == NONE else augment,
    )
    data = load_dataset(found, network.preprocessing)
    return Workspace.of(network, data, training, device, folder, MAX_GB, views=VIEWS.get(kind), seed=seed)


def trial(space: Workspace, trained: str, seed: int) -> Trial:
    """The training run of one kind of schedule on the whole split."""
    blocks: Sequence[Block] = space.network.blocks
    first = len(blocks) - 1 if trained == HEAD else len(blocks) // 2
    weights = tuple(float(index >= first) for index in range(len(blocks)))
    return Trial(Schedule(tuple(blocks), weights), None, seed, space.training.epochs, space.training.base_lr)


if __name__ == "__main__":
    main()
