"""What `biotune run` is measured against: a search over the plain loop as a careful user writes it, by Optuna or at random.

Uses nothing of biotune's but the network, which the prepared file holds, with its blocks. The search space is the same: each
block but the head is frozen or trained at 0.1 to 10 times the base learning rate, all at once or one more every epoch.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import optuna
import torch
from plain_loop import LOADER_WORKERS, Batches, Plan, fine_tune, image_loaders

SEED = 684  # of every training run
SAMPLERS = ("tpe", "random")


def main() -> None:
    """Search until the time is over, and note every new best trial as a line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("task", type=Path, help="file with the network, the images and the settings")
    parser.add_argument("--sampler", required=True, choices=SAMPLERS, help="tpe goes with the median pruner, random with none")
    parser.add_argument("--seed", type=int, default=0, help="seed of the sampler")
    parser.add_argument("--until", type=float, required=True, help="Unix time after which no trial begins")
    parser.add_argument("--device", default="cpu", help="device to train on")
    parser.add_argument("--out", type=Path, required=True, help="file for the best trials")
    given = parser.parse_args()
    task: dict[str, Any] = torch.load(given.task, weights_only=False)
    device = torch.device(given.device)
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    informed = given.sampler == "tpe"
    study = optuna.create_study(
        direction="maximize",
        sampler=optuna.samplers.TPESampler(seed=given.seed) if informed else optuna.samplers.RandomSampler(seed=given.seed),
        pruner=optuna.pruners.MedianPruner() if informed else optuna.pruners.NopPruner(),
    )

    def objective(trial: optuna.Trial) -> float:
        plan = plan_of(trial, task)

        def after_epoch(epoch: int, score: float) -> None:
            trial.report(score, epoch)
            if trial.should_prune():
                raise optuna.TrialPruned

        return max(fine_tune(task["module"], loaders_of(task, plan), plan, device, after_epoch))

    with given.out.open("w", encoding="utf-8") as out:

        def note(study: optuna.Study, trial: optuna.trial.FrozenTrial) -> None:
            if trial.state == optuna.trial.TrialState.COMPLETE and study.best_trial.number == trial.number:
                weights = weights_of(trial.params, task)
                line = {"at": time.time(), "trial": trial.number, "weights": weights, "gradual": trial.params["gradual"]}
                out.write(json.dumps(line) + "\n")
                out.flush()

        study.optimize(objective, timeout=max(given.until - time.time(), 0.0), callbacks=[note])
        out.write(json.dumps({"at": time.time(), "trials": len(study.trials)}) + "\n")


def plan_of(trial: optuna.Trial, task: dict[str, Any]) -> Plan:
    """Ask for each block's learning rate and the order of unfreezing."""
    *body, head = (name for name, _ in task["blocks"])
    for name in body:
        if trial.suggest_categorical(f"train_{name}", [True, False]):
            trial.suggest_float(f"weight_{name}", 0.1, 10.0, log=True)
    trial.suggest_float(f"weight_{head}", 0.1, 10.0, log=True)
    gradual = trial.suggest_categorical("gradual", [True, False])
    weights = weights_of(trial.params, task)
    rates = {modules: weight * task["base_lr"] for (_, modules), weight in zip(task["blocks"], weights, strict=True)}
    sizes = task["batch_size"], task["eval_batch_size"]
    return Plan(rates, task["epochs"], task["patience"], *sizes, SEED, task["head"], task["cosine_epochs"], gradual)


def weights_of(params: dict[str, Any], task: dict[str, Any]) -> list[float]:
    """The multiple of the base learning rate of each block, 0 for a frozen one."""
    # a block that was frozen has no weight
    return [float(params.get(f"weight_{name}", 0.0)) for name, _ in task["blocks"]]


def loaders_of(task: dict[str, Any], plan: Plan) -> list[Any]:
    """Training and validation batches: of image files where there are any, else of tensors in memory."""
    if "files" in task:
        train, val = task["files"]
        return image_loaders(train, val, SimpleNamespace(**task["geometry"]), plan, min(LOADER_WORKERS, os.cpu_count() or 1))
    (images, labels), (val_images, val_labels) = task["tensors"]
    return [Batches(images, labels, plan.batch_size, True), Batches(val_images, val_labels, plan.eval_batch_size, False)]


if __name__ == "__main__":
    main()
