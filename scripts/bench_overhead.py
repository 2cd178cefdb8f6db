"""biotune's training loop against a bare hand-written one over the same tensors, doing the same work.

Full fine-tuning, so that nothing is shared: what is left is what the loop itself costs. One thread, in turn.
"""

from __future__ import annotations

import statistics
import tempfile
from functools import partial
from pathlib import Path

import numpy as np
import torch
from bench_common import image_tree, machine, median_ratio, paired, parser, report
from torch import nn

from biotune.config.schema import TrialsConfig
from biotune.config.sections import BackboneConfig, DatasetConfig, ExecutorConfig, TrainingConfig
from biotune.executors.in_process import InProcess
from biotune.executors.setup import Setup
from biotune.recipes.inputs import Prepared
from biotune.recipes.progress import SILENCE
from biotune.strategies.registry import fixed_schedule
from biotune.training.finetune import batch_rows, finetune
from biotune.training.workspace import Workspace
from biotune.trial import Trial

RATE, SEED = 1e-3, 684


def main() -> None:
    """Measure and print the table."""
    arguments = parser(__doc__)
    arguments.add_argument("--repeats", type=int, default=7, help="pairs of trainings")
    given = arguments.parse_args()
    torch.set_num_threads(1)
    lines = ["| network | epochs | bare loop | biotune | biotune / bare |", "|---|---|---|---|---|"]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        root = image_tree(folder / "images", {"train": 192, "val": 96, "test": 8}, 8, (96, 96))
        cases = {
            "ResNet-18 at 64 px": (
                DatasetConfig("folder", "folder", str(root), image_size=64),
                BackboneConfig("torchvision", "resnet18", "none"),
                3,
            ),
            "glyphnet": (DatasetConfig("digits", "digits"), BackboneConfig("biotune", "glyphnet"), 10),
        }
        for words, (dataset, backbone, epochs) in cases.items():
            training = TrainingConfig(lr=RATE, epochs=epochs, patience=epochs)
            config = TrialsConfig(
                device=given.device,
                dataset=dataset,
                backbone=backbone,
                training=training,
                executor=ExecutorConfig("in_process"),
            )
            inputs = Prepared().take(config, SILENCE.decoding)
            device, network, data = inputs.device, inputs.network, inputs.data
            workspace = InProcess.of(Setup.of(config, data, folder, folder), config, device, network).workspace
            trial = Trial(fixed_schedule("full", network.blocks), 0, SEED, epochs, RATE)
            ours, bare = partial(finetune, trial, workspace), partial(bare_loop, workspace, epochs)
            paired(ours, bare, 1)
            pairs = paired(ours, bare, given.repeats)
            mine, theirs = (statistics.median(column) for column in zip(*pairs, strict=True))
            lines.append(f"| {words} | {epochs} | {theirs:.2f} s | {mine:.2f} s | {1 / median_ratio(pairs):.3f} |")
            if device.type == "cuda":
                images = epochs * (len(data.folds[0].train) + len(data.folds[0].val))
                peak = torch.cuda.max_memory_allocated(device) / 2**20
                lines.append(f"| | | {images / theirs:.0f} images/s | {images / mine:.0f} images/s | peak {peak:.0f} MiB |")
    lines += ["", f"Medians of {given.repeats} pairs in turn, one thread. {machine(device)}."]
    report("bench_overhead", lines, given.docs)


def bare_loop(workspace: Workspace, epochs: int) -> list[float]:
    """Full fine-tuning without anything that can be left out: no schedule, no seeds, no early stopping, no checks."""
    model, data, training = workspace.network.module, workspace.data, workspace.training
    model.load_state_dict(workspace.initial)
    model.requires_grad_(True)
    optimizer = torch.optim.Adam(model.parameters(), lr=RATE, fused=True)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, int(training.cosine_epochs))
    labels = torch.from_numpy(data.labels).to(workspace.device)
    part = data.folds[0]
    truth, curve = data.labels[part.val], []
    for _ in range(epochs):
        model.train()
        for rows in batch_rows(np.random.permutation(part.train), training.batch_size):
            optimizer.zero_grad()
            with workspace.autocast():
                loss = nn.functional.cross_entropy(model(workspace.images(rows)), labels[torch.from_numpy(rows)])
            loss.backward()
            optimizer.step()
        scheduler.step()
        model.eval()
        guesses = []
        with torch.inference_mode(), workspace.autocast():
            for start in range(0, len(part.val), training.eval_batch_size):
                guesses.append(model(workspace.images(part.val[start : start + training.eval_batch_size])).argmax(1).cpu())
        curve.append(float((torch.cat(guesses).numpy() == truth).mean()))
    return curve


if __name__ == "__main__":
    main()
