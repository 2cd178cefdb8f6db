"""The process pool with two workers against one: a batch of the default search's trainings, one thread each."""

from __future__ import annotations

import statistics
import tempfile
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
from bench_common import machine, median_ratio, paired, parser, report

from biotune.config.schema import RunConfig
from biotune.config.search import EvolutionConfig
from biotune.config.sections import BackboneConfig, DatasetConfig, ExecutorConfig
from biotune.evolution.operators import random_genes
from biotune.executors.process_pool import ProcessPool
from biotune.executors.setup import Setup
from biotune.recipes.inputs import Prepared
from biotune.recipes.progress import SILENCE
from biotune.schedule.genotype import decode
from biotune.trial import Trial

SEEDS = (684, 559, 629)


def main() -> None:
    """Measure and print the table."""
    arguments = parser(__doc__)
    arguments.add_argument("--repeats", type=int, default=3, help="pairs of batches")
    arguments.add_argument("--schedules", type=int, default=10, help="random schedules a batch, three trainings each")
    given = arguments.parse_args()
    config = RunConfig(
        device=given.device,
        dataset=DatasetConfig("digits", "digits"),
        backbone=BackboneConfig("biotune", "glyphnet"),
        evolution=EvolutionConfig("biotune", folds=2),
    )
    inputs = Prepared().take(config, SILENCE.decoding)
    device, network, data = inputs.device, inputs.network, inputs.data
    rng = np.random.default_rng(0)
    schedules = [decode(random_genes(rng, len(network.blocks) + 1).tolist(), network.blocks) for _ in range(given.schedules)]
    trials = [
        Trial(schedule, 0, seed, config.training.epochs, config.training.base_lr) for schedule in schedules for seed in SEEDS
    ]
    pools = {}
    with tempfile.TemporaryDirectory() as name:
        try:
            for workers in (1, 2):
                folder = Path(name) / str(workers)
                folder.mkdir()
                settings = replace(config, executor=ExecutorConfig("process_pool", workers=workers))
                pools[workers] = ProcessPool.of(Setup.of(settings, data, folder, folder), settings, device, network)
            batches = {workers: partial(pool.run, trials, lambda trial, result: None) for workers, pool in pools.items()}
            paired(batches[2], batches[1], 1)  # starts the workers, and computes what they share
            pairs = paired(batches[2], batches[1], given.repeats)
        finally:
            for pool in pools.values():
                pool.close()
    two, one = (statistics.median(column) for column in zip(*pairs, strict=True))
    lines = [
        "| trainings | one worker | two workers | ratio |",
        "|---|---|---|---|",
        f"| {len(trials)} of glyphnet | {one:.1f} s | {two:.1f} s | {median_ratio(pairs):.2f}× |",
        "",
        f"Medians of {given.repeats} pairs in turn, one thread a worker, workers started before. {machine(device)}.",
    ]
    report("bench_workers", lines, given.docs)


if __name__ == "__main__":
    main()
