"""A run's whole folder, made up: every table at any length, no search behind it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml

from biotune.evolution.rows import SUMMARY_COLUMNS
from biotune.schedule.block import Block
from biotune.schedule.genotype import decode
from biotune.schedule.schedule import Schedule
from biotune.schedule.schedule_file import save_text
from biotune.store.files import write_json, write_table

METRICS = ("macro_accuracy", "accuracy", "average_precision", "kappa", "f1")


def _spread(values: Sequence[float]) -> dict[str, Any]:
    sd = float(np.std(values, ddof=1)) if len(values) > 1 else 0.0
    return {"mean": float(np.mean(values)), "sd": sd, "values": [float(value) for value in values]}


def make_run(
    folder: Path,
    generations: int = 3,
    candidates: int = 6,
    blocks: int | Sequence[str] = 6,
    classes: Sequence[str] = ("ant", "bee", "cat"),
    tests: int = 60,
    seeds: int = 3,
    folds: int = 2,
    confirmed: int = 3,
    seed: int = 0,
    overrides: Sequence[str] = ("seed=0",),
    root: Path | None = None,
    command: str = "run",
    complete: bool = False,
) -> Path:
    """Write all that a finished run leaves and a report reads.

    Args:
        folder: Made if it is not there.
        generations: After the first population.
        candidates: In a generation.
        blocks: Their number or their names.
        classes: Their names.
        tests: Number of test images.
        seeds: Number of final trainings of each method.
        folds: Number of folds.
        confirmed: Number of schedules confirmed.
        seed: Of all random numbers.
        overrides: As typed.
        root: The config's `dataset.root`.
        command: run or train.
        complete: With what earlier versions did not leave: learning curves, and in a run the schedules of the finalists.
    """
    (folder / ".hydra").mkdir(parents=True)
    rng = np.random.default_rng(seed)
    names = [f"layer{at}" for at in range(blocks)] if isinstance(blocks, int) else list(blocks)
    parts = [Block(name, (f"module{at}",)) for at, name in enumerate(names)]
    sizes = {name: int(100 * 2**at) for at, name in enumerate(names)}
    total = sum(sizes.values())
    rows, summary, schedules = [], [], []
    for generation in range(generations + 1):
        for individual in range(candidates):
            genes = rng.uniform(size=len(names) + 1)
            genes[-1] *= 0.5
            genes[rng.integers(len(names))] = 0.9
            schedule = decode(genes, parts)
            schedules.append(schedule)
            trained = sum(sizes[name] for name, on in zip(names, schedule.selected, strict=True) if on)
            accuracy = float(rng.uniform(0.5, 0.6) + 0.3 * generation / max(generations, 1))
            rows.append(
                {"generation": generation, "fold": generation % folds, "individual": len(schedules) - 1, "origin": "child"}
                | {"status": "ok", "kept": individual % 2 == 0, "fitness": 1 - accuracy, "val_accuracy": accuracy}
                | {"val_accuracy_sd": 0.01, "trainable_params": trained, "trainable_share": trained / total, "seconds": 1.0}
                | {"threshold": genes[-1]}
                | {f"importance_{name}": gene for name, gene in zip(names, genes, strict=False)}
                | {f"lr_weight_{name}": weight for name, weight in zip(names, schedule.lr_weights, strict=True)}
                | {"unfreezing": schedule.unfreezing}
            )
        fitness = [row["fitness"] for row in rows[-candidates:]]
        facts = [generation, generation % folds, min(fitness), float(np.mean(fitness)), max(fitness), 0.02, 0.2]
        summary.append(dict(zip(SUMMARY_COLUMNS, [*facts, candidates, 3 * candidates, 1, 0, 0, 12.5], strict=True)))
    chosen = len(schedules) - 1
    schedule = schedules[chosen]
    confirm = [
        {"schedule": chosen - at, "fold": fold, "seed": 71, "macro_accuracy": 0.8 - at / 50 + fold / 100}
        | {"epochs": 9, "status": "ok", "seconds": 2.0}
        for at in range(confirmed)
        for fold in range(folds)
    ]
    methods = {"biotune": 0.9, "full": 0.85, "linear_probe": 0.7} if command == "run" else {"full": 0.85}
    test = [
        {"strategy": name, "seed": number, **dict.fromkeys(METRICS, float(level + rng.uniform(0, 0.05)))}
        | {"val_macro_accuracy": level, "epochs": 10, "seconds": 3.0}
        for name, level in methods.items()
        for number in range(seeds)
    ]
    spreads = {
        name: {key: _spread([row[key] for row in test if row["strategy"] == name]) for key in METRICS} for name in methods
    }
    truths = [classes[at % len(classes)] for at in range(tests)]
    predictions = [
        {"picture": f"{at:04}.png", "true_class": truth, "predicted_class": classes[guess], "probability": float(sure)}
        for at, (truth, guess, sure) in enumerate(
            zip(truths, [(at + (at % 5 == 0)) % len(classes) for at in range(tests)], rng.uniform(0.4, 1, tests), strict=True)
        )
    ]
    size = sum(sizes[name] for name, on in zip(names, schedule.selected, strict=True) if on)
    result: dict[str, Any] = {"trainable_params": size, "trainable_share": size / total}
    result["schedule"] = {"blocks": {name: {"parameters": sizes[name]} for name in names}}
    result["test"] = spreads[next(iter(methods))]
    if command == "run":
        result["search"] = {
            "best_fitness": 0.1,
            "evaluations": len(rows),
            "trainings": 3 * len(rows),
            "epochs": 999,
            "seconds": 99.0,
        }
        scores = [row["macro_accuracy"] for row in confirm if row["schedule"] == chosen]
        result["confirmed"] = {"macro_accuracy": _spread(scores) if scores else None}
        result["baselines"] = {name: spreads[name] for name in ("full", "linear_probe")}
        write_table(folder / "generations.csv", rows)
        write_table(folder / "summary.csv", summary)
        write_table(
            folder / "confirm.csv", confirm, ["schedule", "fold", "seed", "macro_accuracy", "epochs", "status", "seconds"]
        )
    else:
        result["strategy"] = "full"
    if complete:
        write_table(folder / "curves.csv", _curves(list(methods), seeds, rng))
    if complete and command == "run" and confirmed:
        _add_baselines(folder, result["confirmed"], schedules[chosen - confirmed + 1 :], chosen, sizes)
    write_json(folder / "result.json", result)
    write_table(folder / "test.csv", test)
    write_table(folder / "predictions.csv", predictions)
    write_json(folder / "model.json", {"classes": list(classes)})
    status = {"command": command, "state": "finished", "error": None, "device": "cpu", "versions": {"biotune": "0.1.0"}}
    write_json(folder / "status.json", status | {"git_commit": None})
    (folder / "best_schedule.yaml").write_text(save_text(schedule, 0.001, {"backbone": "glyphnet"}), encoding="utf-8")
    config = {"dataset": {"name": "digits", "root": None if root is None else str(root)}, "backbone": {"name": "glyphnet"}}
    dump(folder / ".hydra/config.yaml", config | {"training": {"lr": 0.001}})
    dump(folder / ".hydra/overrides.yaml", list(overrides))
    dump(folder / ".hydra/hydra.yaml", {"hydra": {"runtime": {"config_sources": []}}})
    return folder


def _curves(methods: Sequence[str], seeds: int, rng: np.random.Generator) -> list[dict[str, Any]]:
    return [
        {"strategy": name, "seed": seed, "epoch": epoch, "train_loss": 2 / epoch, "val_loss": 2 / epoch + 0.1 * at}
        | {"val_macro_accuracy": float(1 - 0.9 / epoch - rng.uniform(0, 0.05))}
        for at, name in enumerate(methods)
        for seed in range(seeds)
        for epoch in range(1, 11)
    ]


def _add_baselines(
    folder: Path, confirmed: dict[str, Any], evolved: Sequence[Schedule], chosen: int, sizes: dict[str, int]
) -> None:
    """Put linear probing and full fine-tuning beside the schedules of a confirmation; linear probing ended after one trial."""
    table = pd.read_csv(folder / "confirm.csv", dtype={"schedule": str})
    own = table[table["schedule"] == str(chosen)]
    rows = [
        own.assign(schedule="full", macro_accuracy=own["macro_accuracy"] - 0.05),
        own.head(1).assign(schedule="linear_probe"),
    ]
    table = pd.concat([table, *rows])
    table.to_csv(folder / "confirm.csv", index=False)
    *others, head = sizes
    lrs = {"full": dict.fromkeys(sizes, 3e-3), "linear_probe": dict.fromkeys(others, 0.0) | {head: 0.01}}
    numbers = range(chosen, chosen - len(evolved), -1)
    for number, schedule in zip(numbers, reversed(evolved), strict=True):
        lrs[str(number)] = {name: 1e-3 * weight for name, weight in zip(sizes, schedule.lr_weights, strict=True)}
    trained = {label: sum(sizes[name] for name, lr in rates.items() if lr) for label, rates in lrs.items()}
    confirmed |= {"chosen": str(chosen), "strategy": "biotune", "best": str(chosen), "behind": 0.0, "standard_error": 0.01}
    confirmed["finalists"] = [
        {"schedule": label, "strategy": "biotune" if label.isdigit() else label, "trainable_params": trained[label]}
        | {"macro_accuracy": _spread(table[table["schedule"] == label]["macro_accuracy"].tolist())}
        for label in lrs
        if label != "linear_probe"
    ]
    factors = {"full": {"lr_factor": 3.0}, "linear_probe": {"lr_factor": 10.0}}
    confirmed["schedules"] = {
        label: {"trainable_params": trained[label], "lr": rates, "unfreezing": "together", **factors.get(label, {})}
        for label, rates in lrs.items()
    }


def dump(path: Path, value: Any) -> None:
    """Write a YAML file."""
    path.write_text(yaml.safe_dump(value, allow_unicode=True), encoding="utf-8")


def change_json(path: Path, **changes: Any) -> None:
    """Replace keys of a JSON file."""
    write_json(path, json.loads(path.read_text(encoding="utf-8")) | changes)


def change_table(path: Path, **changes: Any) -> None:
    """Replace columns of a CSV file."""
    pd.read_csv(path, keep_default_na=False).assign(**changes).to_csv(path, index=False)
