"""A whole `biotune run` against a random sample of its own trials by a plain loop, scaled up.

Two searches: the default one on the bundled digits, and one on image files with a ResNet-18 at 112 pixels. The plain loop is
scripts/plain_loop.py; for the digits it runs over tensors in memory. Each search is run once as it is and once with pruning and
racing; the sample is drawn from the first.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import random
import statistics
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from bench_common import image_tree, labelled_files, machine, parser, report, timed
from plain_loop import Batches, Plan, fine_tune, image_loaders

from biotune.backbones.network import Preprocessing
from biotune.config.schema import RunConfig, TrialsConfig
from biotune.config.search import ConfirmConfig, EvolutionConfig
from biotune.config.sections import BackboneConfig, DatasetConfig, TrainingConfig
from biotune.datasets.data import Data
from biotune.recipes.inputs import Prepared
from biotune.recipes.progress import SILENCE
from biotune.schedule.schedule import LAST_TO_FIRST

PLAIN = ["fitness.prune=none", "fitness.racing=false"]
SPARING = ["fitness.prune=predicted", "fitness.racing=true"]


@dataclass(frozen=True)
class Case:
    """One search to measure.

    Attributes:
        name: Its name in the table.
        overrides: What `biotune run` gets.
        dataset: The same as a config.
        backbone: The same.
        training: The same.
        files: Whether the plain loop decodes image files.
    """

    name: str
    overrides: list[str]
    dataset: DatasetConfig
    backbone: BackboneConfig
    training: TrainingConfig
    files: bool


def main() -> None:
    """Measure and print the table."""
    arguments = parser(__doc__)
    arguments.add_argument("--cases", nargs="+", default=["digits", "images"], choices=["digits", "images"])
    arguments.add_argument("--sample", type=int, default=20, help="trials that the plain loop repeats")
    arguments.add_argument("--seed", type=int, default=0, help="seed of the search and of the sample")
    given = arguments.parse_args()
    if given.sample < 2:
        arguments.error("argument --sample: a spread needs at least two trials")
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        os.environ["BIOTUNE_CACHE_DIR"] = str(Path(folder) / "cache")
        for name in given.cases:
            case = digits() if name == "digits" else images(Path(folder))
            rows += measure(case, Path(folder) / name, given)
        config = TrialsConfig(device=given.device, dataset=case.dataset, backbone=case.backbone, training=case.training)
        device = Prepared().take(config, SILENCE.decoding).device
    lines = [
        "| search | trainings | epochs | biotune | plain loop, scaled up | ratio |",
        "|---|---|---|---|---|---|",
        *rows,
        "",
        f"The plain loop's time is the mean of {given.sample} trials times all trainings of the run without pruning and "
        f"racing, ± its standard error. {machine(device)}.",
    ]
    report("bench_search", lines, given.docs)


def digits() -> Case:
    """The default search."""
    return Case(
        "digits, glyphnet",
        [],
        DatasetConfig("digits", "digits"),
        BackboneConfig("biotune", "glyphnet"),
        TrainingConfig(),
        False,
    )


def images(folder: Path) -> Case:
    """A small search on 360 image files."""
    root = image_tree(folder / "images", {"train": 160, "val": 120, "test": 80}, 8, (500, 375))
    overrides = [
        "dataset=folder",
        f"dataset.root={root}",
        "dataset.image_size=112",
        "backbone=resnet18",
        "backbone.weights=none",
        "evolution.population_size=6",
        "evolution.generations=2",
        "evolution.elites=2",
        "training.seeds=[684,559]",
        "training.epochs=8",
        "training.batch_size=32",
        "confirm.top_k=2",
        "confirm.seeds=[71]",
        "test.seeds=[1]",
    ]
    return Case(
        "360 JPEG images, ResNet-18 at 112 px",
        overrides,
        DatasetConfig("folder", "folder", str(root), image_size=112),
        BackboneConfig("torchvision", "resnet18", "none"),
        TrainingConfig(epochs=8, batch_size=32),
        True,
    )


def measure(case: Case, folder: Path, given: argparse.Namespace) -> list[str]:
    """The table's rows of one search."""
    rows = []
    plain = error = 0.0
    for words, more in (("", PLAIN), (", pruned and raced", SPARING)):
        out = folder / ("plain" if more is PLAIN else "sparing")
        own = [f"seed={given.seed}", f"device={given.device}", f"hydra.run.dir={out}"]
        command = [sys.executable, "-m", "biotune", "run", "-q", *case.overrides, *more, *own]
        ours = timed(partial(subprocess.run, command, check=True))
        trials = [record for record in records(out) if record["kind"] == "trial"]
        epochs = sum(len(record["curve"]) for record in trials)
        if more is PLAIN:
            seconds = sample(case, trials, given, out)
            plain = statistics.fmean(seconds) * len(trials)
            error = statistics.stdev(seconds) / math.sqrt(len(seconds)) * len(trials)
        rows.append(
            f"| {case.name}{words} | {len(trials)} | {epochs} | {ours:.0f} s | {plain:.0f} ± {error:.0f} s "
            f"| {plain / ours:.1f}× |"
        )
        print(rows[-1], file=sys.stderr, flush=True)
    return rows


def records(folder: Path) -> list[dict[str, Any]]:
    """The journal's records."""
    return [json.loads(line) for line in (folder / "journal.jsonl").read_bytes().split(b"\n") if line]


def sample(case: Case, trials: list[dict[str, Any]], given: argparse.Namespace, folder: Path) -> list[float]:
    """Seconds of the plain loop for a random sample of a run's trials, on the same images."""
    composed = yaml.safe_load((folder / ".hydra" / "config.yaml").read_text(encoding="utf-8"))
    evolution = composed["evolution"]
    config = RunConfig(
        device=given.device,
        dataset=case.dataset,
        backbone=case.backbone,
        training=case.training,
        evolution=EvolutionConfig("biotune", folds=evolution["folds"], resplit=evolution["resplit"]),
        confirm=ConfirmConfig(splits=composed["confirm"]["splits"]),
    )
    inputs = Prepared().take(config, SILENCE.decoding)
    device, network, data = inputs.device, inputs.network, inputs.data
    training = case.training
    preprocessing = network.preprocessing.scaled_to(case.dataset.sides)
    chosen = random.Random(given.seed).sample(sorted(record["key"] for record in trials), min(given.sample, len(trials)))
    seconds = []
    for key in chosen:
        schedule, _, rest = key.partition("@")
        weights, _, order = schedule.partition(" ")
        fold_name, seed_name = rest.split("/")[:2]
        rates = {
            block.modules: 0.0 if weight == "-" else float(weight) * training.base_lr
            for block, weight in zip(network.blocks, weights.split("|"), strict=True)
        }
        seed = int(seed_name.removeprefix("seed"))
        plan = Plan(
            rates,
            training.epochs,
            training.patience,
            training.batch_size,
            64,
            seed,
            network.head,
            gradual=LAST_TO_FIRST in order.split(),
        )
        fold = None if fold_name == "all" else int(fold_name.removeprefix("fold"))
        part = data.part(fold)
        if case.files:
            root = Path(str(case.dataset.root))
            train, val = (labelled_files(root, data, rows) for rows in (part.train, part.val))
            loaders = image_loaders(train, val, preprocessing, plan)
        else:
            loaders = [in_memory(data, preprocessing, rows, plan, rows is part.train) for rows in (part.train, part.val)]
        seconds.append(timed(partial(fine_tune, network.module, loaders, plan, device)))
        print(f"plain {key}: {seconds[-1]:.2f} s", file=sys.stderr, flush=True)
    return seconds


def in_memory(data: Data, preprocessing: Preprocessing, rows: np.ndarray, plan: Plan, shuffled: bool) -> Batches:
    """Normalised images in memory, as the plain loop takes them."""
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (preprocessing.mean, preprocessing.std))
    pixels = torch.from_numpy(np.array(data.pixels[rows])).permute(0, 3, 1, 2).float() / 255
    size = plan.batch_size if shuffled else plan.eval_batch_size
    return Batches(((pixels - mean) / std).contiguous(), torch.from_numpy(data.labels[rows]), size, shuffled)


if __name__ == "__main__":
    main()
