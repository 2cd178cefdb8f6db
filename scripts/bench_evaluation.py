"""Six fine-tunes of a ResNet-50 by biotune and by a plain loop: 128 + 128 JPEG images at 96 pixels, three epochs each.

The plain loop is scripts/plain_loop.py. The bare loop is the plain one over decoded images in memory, in biotune's own
precision and memory layout: it tells what is gained by not computing rather than by not decoding.
"""

from __future__ import annotations

import argparse
import copy
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from bench_common import image_tree, labelled_files, machine, parser, report, timed
from plain_loop import Plan, fine_tune, image_loaders
from torch import nn

from biotune.backbones.network import Network
from biotune.config.schema import TrialsConfig
from biotune.config.sections import BackboneConfig, DatasetConfig, ExecutorConfig, TrainingConfig
from biotune.datasets.data import Data
from biotune.executors.in_process import InProcess
from biotune.executors.process_pool import ProcessPool
from biotune.executors.setup import Setup
from biotune.recipes.inputs import Prepared
from biotune.recipes.progress import SILENCE
from biotune.schedule.block import Block
from biotune.schedule.schedule import Schedule
from biotune.training.device import autocast_type
from biotune.training.finetune import batch_rows, finetune
from biotune.training.workspace import Workspace
from biotune.trial import Trial

SCHEDULES = {
    "every block": "stem layer1 layer2 layer3 layer4 head",
    "all but the first two": "layer2 layer3 layer4 head",
    "the last two": "layer4 head",
    "head only": "head",
    "stem and head": "stem head",
    "layer2 and head": "layer2 head",
}
SIDE, CLASSES, IMAGES = 96, 8, 128
EPOCHS, BATCH, RATE, SEED = 3, 32, 1e-3, 684


def main() -> None:
    """Measure and print the table."""
    arguments = parser(__doc__)
    arguments.add_argument("--precision", default="auto", help="auto, fp32 or bf16 for biotune and the bare loop")
    arguments.add_argument("--threads", type=int, default=2, help="CPU threads of the plain loop and of biotune in one process")
    arguments.add_argument("--images", type=int, default=IMAGES, help="training images, and as many for validation")
    given = arguments.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        lines = measure(Path(folder), given)
    report("bench_evaluation", lines, given.docs)


def measure(folder: Path, given: argparse.Namespace) -> list[str]:
    """The table's lines."""
    image_tree(folder / "images", {"train": given.images, "val": given.images, "test": CLASSES}, CLASSES, (500, 375))
    os.environ["BIOTUNE_CACHE_DIR"] = str(folder / "cache")
    training = TrainingConfig(
        lr=RATE, epochs=EPOCHS, patience=EPOCHS, batch_size=BATCH, precision=given.precision, seeds=[SEED]
    )
    config = TrialsConfig(
        device=given.device,
        dataset=DatasetConfig("folder", "folder", str(folder / "images"), image_size=SIDE),
        backbone=BackboneConfig("torchvision", "resnet50", "none"),
        training=training,
        executor=ExecutorConfig("in_process", threads=given.threads),
    )
    torch.set_num_threads(given.threads)
    begun = time.perf_counter()
    inputs = Prepared().take(config, SILENCE.decoding)
    device, network, data = inputs.device, inputs.network, inputs.data
    decoding = time.perf_counter() - begun
    pretrained = copy.deepcopy(network.module)
    trials = {name: Trial(chosen(network.blocks, name), 0, SEED, EPOCHS, RATE) for name in SCHEDULES}

    begun = time.perf_counter()
    setup = Setup.of(config, data, folder, folder)
    (folder / "one").mkdir()
    alone = InProcess.of(replace(setup, scratch=folder / "one"), config, device, network)
    finetune(Trial(trials["every block"].schedule, 0, SEED, 1, RATE), alone.workspace)
    starting = time.perf_counter() - begun

    rows = []
    for name, trial in trials.items():
        plan = as_plan(trial)
        ours = timed(partial(finetune, trial, alone.workspace))
        bare = timed(partial(bare_loop, pretrained, data, plan, alone.workspace))
        train, val = (labelled_files(folder / "images", data, rows) for rows in (data.whole.train, data.whole.val))
        loaders = image_loaders(train, val, network.preprocessing.scaled_to(SIDE), plan)
        plain = timed(partial(fine_tune, pretrained, loaders, plan, device))
        rows.append((name, plain, bare, ours))
        print(f"{name}: plain {plain:.1f} s, bare {bare:.1f} s, biotune {ours:.2f} s", file=sys.stderr, flush=True)

    pooled, pool_start = in_pool(setup, replace(config, executor=ExecutorConfig("process_pool")), device, network, trials)
    precision = "bf16" if autocast_type(given.precision, device, network.module) else "fp32"
    apart = (
        f"biotune in {precision}; apart from this: {decoding:.1f} s of decoding {2 * given.images + CLASSES} images once, "
        f"{starting:.1f} s of starting up in one process, {pool_start:.1f} s in workers. {machine(device)}."
    )
    speedup = sum(row[1] for row in rows) / pooled
    in_workers = f"With the workers of the process pool the six took {pooled:.1f} s: {speedup:.1f}× the plain loop's speed."
    lines = [*table(rows), f"{in_workers} {apart}"]
    if device.type == "cuda":
        speed = [f"{name} {2 * given.images * EPOCHS / ours:.0f}" for name, _, _, ours in rows]
        peak = torch.cuda.max_memory_allocated(device) / 2**20
        lines.append(f"Images a second: {', '.join(speed)}; peak GPU memory {peak:.0f} MiB.")
    return lines


def table(rows: Sequence[tuple[str, float, float, float]]) -> list[str]:
    """One row per schedule, and one for all of them.

    Args:
        rows: Name of the schedule, then the seconds of the plain loop, of the bare loop and of biotune.
    """
    plain_total, bare_total, ours_total = (sum(times) for times in zip(*(row[1:] for row in rows), strict=True))
    return [
        "| trained | plain loop | bare loop in memory | biotune, one process | over plain | over bare |",
        "|---|---|---|---|---|---|",
        *(
            f"| {name} | {plain:.1f} s | {bare:.1f} s | {ours:.2f} s | {plain / ours:.1f}× | {bare / ours:.2f}× |"
            for name, plain, bare, ours in rows
        ),
        f"| all six | {plain_total:.1f} s | {bare_total:.1f} s | {ours_total:.1f} s | {plain_total / ours_total:.1f}× "
        f"| {bare_total / ours_total:.2f}× |",
        "",
    ]


def chosen(blocks: Sequence[Block], name: str) -> Schedule:
    """A schedule that trains the named blocks at the base rate."""
    trained = SCHEDULES[name].split()
    return Schedule(tuple(blocks), tuple(float(block.name in trained) for block in blocks))


def as_plan(trial: Trial) -> Plan:
    """The same fine-tune for the plain loop."""
    schedule = trial.schedule
    rates = {block.modules: weight * RATE for block, weight in zip(schedule.blocks, schedule.lr_weights, strict=True)}
    return Plan(rates, EPOCHS, EPOCHS, BATCH, 64, SEED, "fc")


def bare_loop(pretrained: nn.Module, data: Data, plan: Plan, workspace: Workspace) -> None:
    """The plain loop over decoded images in memory, in biotune's precision and memory layout, without saving weights."""
    model = copy.deepcopy(pretrained).to(workspace.device).to(memory_format=torch.channels_last)
    frozen = [model.get_submodule(name) for names, rate in plan.rates.items() if rate == 0 for name in names]
    groups = []
    for names, rate in plan.rates.items():
        parameters = [parameter for name in names for parameter in model.get_submodule(name).parameters()]
        for parameter in parameters:
            parameter.requires_grad_(rate > 0)
        if rate > 0:
            groups.append({"params": parameters, "lr": rate})
    optimizer = torch.optim.Adam(groups, fused=True)
    labels = torch.from_numpy(data.labels).to(workspace.device)
    for _ in range(plan.epochs):
        model.train()
        for module in frozen:
            module.eval()
        for rows in batch_rows(np.random.permutation(data.folds[0].train), plan.batch_size):
            optimizer.zero_grad()
            with workspace.autocast():
                loss = nn.functional.cross_entropy(model(workspace.images(rows)), labels[torch.from_numpy(rows)])
            loss.backward()
            optimizer.step()
        model.eval()
        with torch.inference_mode(), workspace.autocast():
            for rows in batch_rows(data.folds[0].val, 64):
                model(workspace.images(rows)).argmax(1).cpu()


def in_pool(
    setup: Setup, config: TrialsConfig, device: torch.device, network: Network, trials: dict[str, Trial]
) -> tuple[float, float]:
    """Seconds of all six in the pool's workers, and of their start."""
    scratch = setup.folder / "two"
    scratch.mkdir()
    pool = ProcessPool.of(replace(setup, scratch=scratch), config, device, network)
    try:
        # one epoch of everything: the workers are up, and nothing is shared yet
        first = Trial(trials["every block"].schedule, 0, SEED + 1, 1, RATE)
        starting = timed(lambda: pool.run([first, replace(first, seed=SEED + 2)], lambda trial, result: None))
        return timed(lambda: pool.run(list(trials.values()), lambda trial, result: None)), starting
    finally:
        pool.close()


if __name__ == "__main__":
    main()
