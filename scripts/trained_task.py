"""A task of the panel as something to search on: a score is a fine-tune, a true quality the mean of some on test images."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from biotune.config.schema import TrialsConfig
from biotune.config.sections import BackboneConfig, DatasetConfig, ExecutorConfig, TrainingConfig
from biotune.executors.base import Runner
from biotune.executors.registry import EXECUTORS
from biotune.executors.setup import Setup
from biotune.recipes.inputs import Inputs, Prepared
from biotune.recipes.progress import SILENCE
from biotune.schedule.block import Block
from biotune.schedule.schedule import Schedule
from biotune.trial import Trial, TrialResult

SECTIONS = {"dataset": DatasetConfig, "backbone": BackboneConfig, "training": TrainingConfig}


class TrainedTask:
    """One split of a panel's task; trains in this process.

    Attributes:
        blocks: The network's blocks.
    """

    def __init__(self, experiment: str, seed: int, scratch: Path, overrides: Sequence[str] = ()) -> None:
        """Prepare network and images.

        Args:
            experiment: Name in configs/experiment.
            seed: Seed of the split.
            scratch: A folder for the activations that training runs share.
            overrides: Further overrides of `biotune run`.
        """
        stored = composed([f"experiment={experiment}", f"seed={seed}", f"dataset.split_seed={seed}", *overrides])
        config, inputs = prepared(stored, "in_process")
        self.blocks: tuple[Block, ...] = tuple(inputs.network.blocks)
        self._training: TrainingConfig = config.training
        self._test_seeds: list[int] = stored["test"]["seeds"]
        self._runner = runner_of(config, inputs, scratch)
        self._known: dict[str, float] = {}

    def score(self, schedule: Schedule) -> float:
        """Validation macro accuracy of the best epoch of one fine-tune, with the seed that a search trains with.

        Raises:
            SystemExit: The training run fails.
        """
        settings = self._training
        trial = Trial(schedule, None, settings.seeds[0], settings.epochs, settings.base_lr)
        return trained(self._runner, [trial])[0].score

    def quality(self, schedule: Schedule) -> float:
        """Test macro accuracy, the mean over fine-tunes with the test seeds.

        Raises:
            SystemExit: A training run fails.
        """
        if schedule.key not in self._known:
            self._known |= test_scores(self._runner, [schedule], self._test_seeds, self._training)
        return self._known[schedule.key]


def composed(overrides: Sequence[str]) -> dict[str, Any]:
    """The settings of `biotune run` with some overrides, as the command shows them.

    Raises:
        SystemExit: They are refused; the command has said why.
    """
    command = [sys.executable, "-m", "biotune", "run", "--cfg", "job", "--resolve", *overrides]
    shown = subprocess.run(command, stdout=subprocess.PIPE, text=True)
    if shown.returncode:
        raise SystemExit(f"{' '.join(command)}: failed with exit status {shown.returncode}.")
    stored: dict[str, Any] = yaml.safe_load(shown.stdout)
    return stored


def prepared(stored: Mapping[str, Any], executor: str) -> tuple[TrialsConfig, Inputs]:
    """What trains with the settings of a run, and its network and images.

    Args:
        stored: The settings, composed and resolved.
        executor: What is to run the training runs, whatever the settings say.
    """
    sections = {name: section(**stored[name]) for name, section in SECTIONS.items()}
    config = TrialsConfig(device=stored["device"], executor=ExecutorConfig(executor), **sections)
    return config, Prepared().take(config, SILENCE.decoding)


def runner_of(config: TrialsConfig, inputs: Inputs, scratch: Path) -> Runner:
    """The executor of the settings; to be closed in the end."""
    setup = Setup.of(config, inputs.data, scratch, scratch)
    return EXECUTORS[config.executor.name](setup, config, inputs.device, inputs.network)


def trained(runner: Runner, trials: Sequence[Trial]) -> list[TrialResult]:
    """The results of training runs of which none may fail.

    Raises:
        SystemExit: One fails.
    """
    results = runner.run(trials, lambda trial, result: None)
    if failed := [result.error for result in results if result.status != "ok"]:
        raise SystemExit(f"a training run failed: {failed[0]}")
    return results


def test_scores(
    runner: Runner, schedules: Sequence[Schedule], seeds: Sequence[int], training: TrainingConfig
) -> dict[str, float]:
    """Mean test macro accuracy of fine-tunes with the seeds, by a schedule's key.

    Raises:
        SystemExit: A training run fails.
    """
    trials = [Trial(one, None, seed, training.epochs, training.base_lr, test=True) for one in schedules for seed in seeds]
    scores: dict[str, list[float]] = {}
    for trial, result in zip(trials, trained(runner, trials), strict=True):
        scores.setdefault(trial.schedule.key, []).append(result.scores["macro_accuracy"])
    return {key: sum(values) / len(values) for key, values in scores.items()}
