"""Two workers against one, of the process pool and of Ray: a batch of the default search's trainings, one thread each."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
from bench_common import machine, median_ratio, paired, parser, report

from biotune.config.schema import RunConfig
from biotune.config.search import EvolutionConfig
from biotune.config.sections import BackboneConfig, DatasetConfig, ExecutorConfig
from biotune.evolution.operators import random_genes
from biotune.executors.base import Runner
from biotune.executors.registry import EXECUTORS
from biotune.executors.setup import Setup
from biotune.recipes.inputs import Inputs, Prepared
from biotune.recipes.progress import SILENCE
from biotune.schedule.genotype import decode
from biotune.trial import Trial

SEEDS = (684, 559, 629)


def main() -> None:
    """Measure and print the table."""
    arguments = parser(__doc__)
    arguments.add_argument("--repeats", type=int, default=3, help="pairs of batches")
    arguments.add_argument("--schedules", type=int, default=10, help="random schedules a batch, three trainings each")
    arguments.add_argument("--executors", nargs="+", default=["process_pool", "ray"], choices=["process_pool", "ray"])
    given = arguments.parse_args()
    config = RunConfig(
        device=given.device,
        dataset=DatasetConfig("digits", "digits"),
        backbone=BackboneConfig("biotune", "glyphnet"),
        evolution=EvolutionConfig("biotune", folds=2),
    )
    inputs = Prepared().take(config, SILENCE.decoding)
    network = inputs.network
    rng = np.random.default_rng(0)
    schedules = [decode(random_genes(rng, len(network.blocks) + 1).tolist(), network.blocks) for _ in range(given.schedules)]
    trials = [
        Trial(schedule, 0, seed, config.training.epochs, config.training.base_lr) for schedule in schedules for seed in SEEDS
    ]
    lines = [
        "| executor | trainings | start of two workers | one worker | two workers | ratio |",
        "|---|---|---|---|---|---|",
    ]
    for name in given.executors:
        started, pairs = measure(name, config, inputs, trials, given.repeats)
        two, one = (statistics.median(column) for column in zip(*pairs, strict=True))
        ratio = f"{median_ratio(pairs):.2f}×"
        lines.append(f"| {name} | {len(trials)} of glyphnet | {started:.1f} s | {one:.1f} s | {two:.1f} s | {ratio} |")
    lines += [
        "",
        f"Medians of {given.repeats} pairs in turn, one thread a worker, workers started before. {machine(inputs.device)}.",
    ]
    report("bench_workers", lines, given.docs)


def measure(
    name: str, config: RunConfig, inputs: Inputs, trials: Sequence[Trial], repeats: int
) -> tuple[float, list[tuple[float, float]]]:
    """The seconds until two workers have answered a first trial each, and pairs of seconds of a batch on two and on one."""
    pools: dict[int, Runner] = {}
    batch = list(trials)
    with tempfile.TemporaryDirectory() as place:
        try:
            begun = time.perf_counter()
            for workers in (2, 1):
                folder = Path(place) / str(workers)
                folder.mkdir()
                settings = replace(config, executor=ExecutorConfig(name, workers=workers, cpus=0.5 if name == "ray" else None))
                setup = Setup.of(settings, inputs.data, folder, folder)
                pools[workers] = EXECUTORS[name](setup, settings, inputs.device, inputs.network)
                if workers == 2:
                    pools[2].run(batch[:2], lambda trial, result: None)
                    started = time.perf_counter() - begun
            runs = {workers: partial(pool.run, batch, lambda trial, result: None) for workers, pool in pools.items()}
            paired(runs[2], runs[1], 1)  # starts the other worker, and computes what they share
            return started, paired(runs[2], runs[1], repeats)
        finally:
            for pool in pools.values():
                pool.close()


if __name__ == "__main__":
    main()
