"""Executors on real training runs of the digits: what they are started from, and all that comes of it."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from biotune.backbones.network import Network
from biotune.config.schema import TrialsConfig
from biotune.executors.base import Runner
from biotune.executors.registry import EXECUTORS
from biotune.executors.setup import Setup
from biotune.trial import Trial, TrialResult

LR = 3e-3  # the base learning rate of trials


def children() -> int:
    return len(multiprocessing.active_children())


def mixed_trials(site: Site) -> list[Trial]:
    from biotune.schedule.schedule import Schedule

    def schedule(*weights: float) -> Schedule:
        return Schedule(site.network.blocks, weights)

    full = schedule(1, 1, 1, 1, 1, 1)
    head_only = schedule(0, 0, 0, 0, 0, 1)
    frozen_prefix = schedule(0, 0, 0, 0.5, 2, 1)
    frozen_middle = schedule(0.1, 0, 1, 0, 0, 1)
    return [
        Trial(head_only, 0, 1, 2, LR),
        Trial(full, 0, 1, 2, LR),
        Trial(frozen_prefix, 1, 2, 2, LR),
        Trial(schedule(0, 0, 0, 0, 0, 1e40), 0, 1, 2, LR),
        Trial(frozen_prefix, None, 5, 2, LR, test=True, keep="prefix"),
        Trial(frozen_middle, 1, 3, 1, LR),
        Trial(head_only, None, 5, 1, LR, test=True, keep="head"),
        Trial(full, 1, 4, 2, LR, floor=(1.0, 1.0)),
        *(Trial(replace(head_only, head_start="probe"), fold, 6, 1, LR) for fold in (0, 1)),
    ]


@dataclass(frozen=True)
class Site:
    """A config, a network and a dataset in folders of their own, for one executor."""

    config: TrialsConfig
    network: Network
    setup: Setup

    def start(self) -> Runner:
        import torch

        return EXECUTORS[self.config.executor.name](self.setup, self.config, torch.device("cpu"), self.network)


def site_maker(load_digits: Callable[..., Any], tmp_path: Path) -> Callable[..., Site]:
    """What trainings of the digits work on, in folders of their own; keyword arguments go to `ExecutorConfig`."""

    from biotune.backbones.registry import build_network
    from biotune.config.schema import TrialsConfig
    from biotune.config.sections import BackboneConfig, DatasetConfig, ExecutorConfig, TrainingConfig

    def make(name: str, plugins: Sequence[str] = (), **executor: Any) -> Site:
        data = load_digits(max_per_class=4, max_eval_per_class=4)
        backbone = BackboneConfig("biotune", "glyphnet")
        config = TrialsConfig(
            device="cpu",
            plugins=list(plugins),
            dataset=DatasetConfig("digits", "digits", max_per_class=4, max_eval_per_class=4),
            backbone=backbone,
            training=TrainingConfig(lr=3e-3, batch_size=8),
            executor=ExecutorConfig(name, **executor),
        )
        folders = [tmp_path / f"{name}-{executor.get('workers')}-{kind}" for kind in ("run", "scratch")]
        for folder in folders:
            folder.mkdir()
        network = build_network(backbone, len(data.classes))
        return Site(config, network, Setup.of(config, data, *folders))

    return make


def outcome_of(site: Site, expected_children: int) -> dict[str, Any]:
    """All that a site's trials come to, but for times; checks on the way that each is told once and comes in its place."""
    trials = mixed_trials(site)
    told: list[tuple[Trial, TrialResult]] = []
    before = children()
    executor = site.start()
    try:
        results = executor.run(trials, lambda trial, result: told.append((trial, result)))
        assert children() - before == expected_children
    finally:
        executor.close()
    assert sorted(trial.key for trial, _ in told) == sorted(trial.key for trial in trials)
    answers = {trial.key: result for trial, result in told}
    assert [answers[trial.key] for trial in trials] == results
    kept = {path.name: path.read_bytes() for path in site.setup.folder.glob(".kept-*")}
    shared = sorted(path.name for path in site.setup.scratch.glob("boundary-*.bin"))
    rows = [(result.status, result.curve, result.scores, result.error) for result in results]
    return {"rows": rows, "kept": kept, "shared": shared}
