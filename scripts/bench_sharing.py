"""What shared activations save in networks that are no chain of blocks: timm's ViT-S and ConvNeXt-Atto, no trained weights.

A trial of biotune against a bare loop over the same decoded images in memory, in the same precision and memory layout, which
computes the frozen blocks in every epoch. The first trial of a schedule also computes the activations that later ones share.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
from bench_common import machine, parser, report, timed
from torch import nn

from biotune.backbones.registry import build_network
from biotune.backbones.state import restore
from biotune.config.sections import BackboneConfig, TrainingConfig
from biotune.datasets.data import Data, Part
from biotune.schedule.param_groups import param_groups
from biotune.schedule.schedule import Schedule
from biotune.training.device import resolve_device
from biotune.training.finetune import batch_rows, finetune
from biotune.training.workspace import Workspace
from biotune.trial import Trial

NETWORKS = {"vit_small_patch16_224": 224, "convnext_atto": 224}  # name, side of the images
EPOCHS, BATCH, RATE, SEED, CLASSES = 3, 32, 1e-3, 684, 8
FROM_END = {"head only": lambda count: 1, "last two blocks": lambda count: 2, "second half": lambda count: count - count // 2}


def main() -> None:
    """Measure and print the table."""
    arguments = parser(__doc__)
    arguments.add_argument("--threads", type=int, default=1, help="CPU threads")
    arguments.add_argument("--images", type=int, default=64, help="training images, and as many for validation")
    arguments.add_argument("--repeats", type=int, default=3, help="pairs of a bare loop and a later trial")
    given = arguments.parse_args()
    torch.set_num_threads(given.threads)
    device = resolve_device(given.device)
    rows = [row for name, side in NETWORKS.items() for row in measure(name, side, device, given)]
    lines = [
        "| network | trained | bare loop | first trial | later trials | first over bare | later over bare |",
        "|---|---|---|---|---|---|---|",
        *rows,
        "",
        f"{given.images} images for training and {given.images} for validation, {EPOCHS} epochs; medians of "
        f"{given.repeats} pairs in turn, {given.threads} thread(s), fp32. {machine(device)}.",
    ]
    report("bench_sharing", lines, given.docs)


def measure(name: str, side: int, device: torch.device, given: argparse.Namespace) -> list[str]:
    """The rows of one network."""
    data = noise(side, given.images)
    training = TrainingConfig(lr=RATE, epochs=EPOCHS, patience=EPOCHS, batch_size=BATCH, precision="fp32", seeds=[SEED])
    rows = []
    for trained, last in FROM_END.items():
        torch.manual_seed(0)
        network = build_network(BackboneConfig("timm", name, "none"), CLASSES)
        count = len(network.blocks)
        schedule = Schedule(network.blocks, tuple(float(index >= count - last(count)) for index in range(count)))
        with tempfile.TemporaryDirectory() as folder:
            workspace = Workspace.of(network, data, training, device, Path(folder), 10.0)
            trial = Trial(schedule, 0, SEED, EPOCHS, RATE)
            opening = timed(partial(finetune, trial, workspace))
            pairs = [
                (timed(partial(bare_loop, workspace, schedule)), timed(partial(finetune, trial, workspace)))
                for _ in range(given.repeats)
            ]
        bare, later = (statistics.median(times) for times in zip(*pairs, strict=True))
        ratio = statistics.median(one / other for one, other in pairs)
        cells = [
            name,
            trained,
            f"{bare:.2f} s",
            f"{opening:.2f} s",
            f"{later:.2f} s",
            f"{bare / opening:.1f}×",
            f"{ratio:.1f}×",
        ]
        rows.append(f"| {' | '.join(cells)} |")
        print(rows[-1], file=sys.stderr, flush=True)
    return rows


def noise(side: int, images: int) -> Data:
    """Images of noise for training and validation, and one for testing."""
    count = 2 * images + 1
    pixels = np.random.default_rng(0).integers(0, 256, (count, side, side, 3), dtype=np.uint8)
    part = Part(np.arange(images), np.arange(images, 2 * images))
    names: Sequence[str] = [str(row) for row in range(count)]
    classes = tuple(f"class {number}" for number in range(CLASSES))
    return Data(
        "noise", classes, pixels, np.arange(count) % CLASSES, tuple(names), part, (part,), np.array([count - 1]), "noise"
    )


def bare_loop(workspace: Workspace, schedule: Schedule) -> None:
    """The usual loop over decoded images, the frozen blocks without gradients and in eval mode."""
    module, data = workspace.network.module, workspace.data
    restore(module, workspace.initial)
    optimizer = torch.optim.Adam(param_groups(module, schedule.blocks, schedule.lr_weights, RATE), fused=True)
    order = np.random.default_rng(SEED)
    for _ in range(EPOCHS):
        module.train()
        for rows in batch_rows(order.permutation(data.folds[0].train), BATCH):
            optimizer.zero_grad()
            nn.functional.cross_entropy(module(workspace.images(rows)), workspace.labels(rows)).backward()
            optimizer.step()
        module.eval()
        with torch.inference_mode():
            for rows in batch_rows(data.folds[0].val, workspace.training.eval_batch_size):
                module(workspace.images(rows)).argmax(1).cpu()


if __name__ == "__main__":
    main()
