"""Shifts whose right answer is known: does the search give the highest rate to the block that has to move?

In the manner of surgical fine-tuning: a network that has learned clean digits is adapted, with its head, to few images of a
shifted kind. Corrupted inputs ask for early blocks, permuted labels for the head, no shift for nothing. For each run seed,
which also draws the few images, every single block is tuned alone at several rates, and so is the whole network; what does
best by validation is held against the schedule that `biotune run` evolves. No image of the shifted kinds is one that the
network has learned from.
Finished searches and trainings are not repeated.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from docs_tables import ROOT, paired_interval, write_between_marks
from PIL import Image
from sklearn.datasets import load_digits

from biotune import load_schedule
from biotune.config.checks import check
from biotune.config.schema import TrainConfig
from biotune.config.sections import BackboneConfig, DatasetConfig, ExecutorConfig, TrainingConfig
from biotune.datasets.loaders.digits import shift as shifted
from biotune.recipes.progress import SILENCE
from biotune.recipes.session import open_session
from biotune.schedule.schedule import Schedule
from biotune.trial import Trial

BEGIN, END = "<!-- measured by scripts/known_answers.py -->", "<!-- end of known answers -->"
SHIFTS = ("noise", "blur", "invert", "low_contrast", "permuted_labels", "none")
RATES = (0.3, 1.0, 3.0, 10.0)  # multiples of the base rate
# small batches and more patience than usual: a kept head must first unlearn, and few images make few steps
TRAINING = {"epochs": 20, "patience": 6, "batch_size": 25}
SEARCH = ("test.seeds=[1,2,3]",)  # else the default


@dataclass(frozen=True)
class Part:
    """Some images of each class.

    Attributes:
        begin: How many to pass over.
        end: Where they end; None is the last one.
        splits: How many of them a split; None is all that are left.
    """

    begin: int
    end: int | None
    splits: dict[str, int | None]


SOURCE = Part(0, 100, {"train": 80, "val": 10, "test": 10})  # what the network learns from
TARGET = Part(100, None, {"train": 10, "val": 10, "test": None})  # what it is adapted to


@dataclass(frozen=True)
class Extent:
    """How much is done.

    Attributes:
        training: Settings of every training, where they are not the default.
        search: Overrides of every search.
        rates: Multiples of the base rate for single blocks.
        seeds: Training seeds of single blocks.
    """

    training: dict[str, int]
    search: tuple[str, ...]
    rates: tuple[float, ...]
    seeds: tuple[int, ...]

    @property
    def overrides(self) -> list[str]:
        """The same for the command line."""
        return [f"training.{name}={value}" for name, value in self.training.items()]


WHOLE = Extent(TRAINING, SEARCH, RATES, (11, 12, 13))
SMALL = Extent(
    {"epochs": 2},
    (
        "evolution.population_size=4",
        "evolution.generations=1",
        "evolution.elites=1",
        "training.seeds=[684]",
        "confirm.top_k=0",
        "test.seeds=[1]",
    ),
    (1.0,),
    (11, 12),
)


@dataclass(frozen=True)
class Answer:
    """One shift with one run seed.

    Attributes:
        single: Mean validation score of each block tuned alone, at its best rate.
        noise: Standard error of the difference of two such means.
        rates: The evolved multiple of the base rate of each block, 0 where frozen.
        share: Share of the parameters that the evolved schedule trains.
        evolved: Mean test score of the evolved schedule.
        alone: Mean test score of the best single block.
        baseline: Mean test score of what validation data would choose: a single block or the whole network, at its best rate.
    """

    single: dict[str, float]
    noise: float
    rates: dict[str, float]
    share: float
    evolved: float
    alone: float
    baseline: float

    @property
    def best(self) -> str:
        """The block that does best alone."""
        return max(self.single, key=lambda name: self.single[name])

    @property
    def as_good(self) -> set[str]:
        """The best block, and those that lie behind it within the noise."""
        return {name for name, score in self.single.items() if score >= self.single[self.best] - self.noise}

    @property
    def fastest(self) -> str:
        """The block that the evolved schedule gives the highest rate."""
        return max(self.rates, key=lambda name: self.rates[name])


def main() -> None:
    """Run what is missing, then print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shifts", nargs="+", default=list(SHIFTS), choices=SHIFTS)
    parser.add_argument("--seeds", type=int, nargs="+", default=list(range(10)), help="run seeds")
    parser.add_argument("--out", type=Path, default=ROOT / "outputs" / "known_answers", help="folder of images and runs")
    parser.add_argument("--docs", type=Path, help="page to write the table into, between the script's marks")
    parser.add_argument("--small", action="store_true", help="a few short trainings, to try it out")
    parser.add_argument("overrides", nargs="*", help="further overrides of 'biotune run'")
    given = parser.parse_args()
    extent = SMALL if given.small else WHOLE
    weights = pre_train(given.out, extent)
    answers: dict[str, list[Answer]] = {shift: [] for shift in given.shifts}
    for seed in given.seeds:
        for shift in given.shifts:
            answers[shift].append(answer(shift, seed, weights, given.out, extent, given.overrides))
            print(f"seed {seed}: {told(shift, answers[shift][-1])}", file=sys.stderr, flush=True)
    text = "\n".join(table(answers))
    print(text)
    if given.docs is not None:
        write_between_marks(given.docs, text, BEGIN, END)


def pre_train(out: Path, extent: Extent) -> Path:
    """The network that has learned clean digits; returns its weights' file."""
    root = write_images(out / "source", "none", 0, SOURCE)
    folder = out / "pre-trained"
    more = ["strategy=full", "training.lr=0.003", "test.seeds=[1]"]
    finished("train", folder, [*data_overrides(root), *extent.overrides, *more])
    return folder / "model.safetensors"


def answer(shift: str, seed: int, weights: Path, out: Path, extent: Extent, overrides: Sequence[str]) -> Answer:
    """Single blocks, the whole network and an evolved schedule, on the same images."""
    place = out / f"{shift}-{seed}"
    root = write_images(place / "images", shift, seed, TARGET)
    single, noise, alone, baseline = fixed_answers(root, weights, place / "single", extent)
    kept = [f"backbone.weights={weights}", "backbone.head=keep", "executor=in_process", f"seed={seed}"]
    finished("run", place / "run", [*data_overrides(root), *kept, *extent.overrides, *extent.search, *overrides])
    result = json.loads((place / "run" / "result.json").read_text(encoding="utf-8"))
    schedule = load_schedule(place / "run" / "best_schedule.yaml")
    rates = dict(zip(schedule.names, schedule.lr_weights, strict=True))
    evolved = result["test"]["macro_accuracy"]["mean"]
    return Answer(single, noise, rates, result["trainable_share"], evolved, alone, baseline)


def data_overrides(root: Path) -> list[str]:
    """What makes biotune read a tree of digits."""
    return ["dataset=folder", f"dataset.root={root}", "dataset.name=digits", "device=cpu", "-q"]


def finished(command: str, folder: Path, arguments: Sequence[str]) -> None:
    """Run a biotune command in its own folder, unless it has come to its end there."""
    if not (folder / "result.json").is_file():
        subprocess.run(
            [sys.executable, "-m", "biotune", command, *arguments, f"hydra.run.dir={folder}"],
            check=True,
            stdout=subprocess.DEVNULL,
        )


def write_images(root: Path, shift: str, seed: int, part: Part) -> Path:
    """A tree of digits as biotune reads it: split, class, image.

    Args:
        root: Where; left alone if it is there.
        shift: What happens to all images, or to all labels.
        seed: Seed of the choice of the few images, of the noise and of the permutation.
        part: Which of a class's images, and how many of them a split.
    """
    if root.is_dir():
        return root
    bundled, rng = load_digits(), np.random.default_rng(seed)
    renamed = permutation(rng) if shift == "permuted_labels" else np.arange(10)
    unfinished = root.with_name(root.name + ".unfinished")
    for label in range(10):
        members = np.random.default_rng(label).permutation(np.flatnonzero(bundled.target == label))
        members = rng.permutation(members[part.begin : part.end])
        begin = 0
        for split, count in part.splits.items():
            folder = unfinished / split / str(renamed[label])
            folder.mkdir(parents=True, exist_ok=True)
            end = len(members) if count is None else begin + count
            for index in members[begin:end]:
                image(bundled.images[index], shift, rng).save(folder / f"{index:04d}.png")
            begin = end
    unfinished.rename(root)
    return root


def image(values: np.ndarray, shift: str, rng: np.random.Generator) -> Image.Image:
    """One digit at the network's size, shifted."""
    grey = Image.fromarray(np.clip(values * (255 / 16), 0, 255).astype(np.uint8)).resize((16, 16), Image.Resampling.BICUBIC)
    return Image.fromarray(shifted(np.asarray(grey), shift, rng))


def permutation(rng: np.random.Generator) -> np.ndarray:
    """New labels for 0 to 9, every one another."""
    while True:
        renamed = rng.permutation(10)
        if (renamed != np.arange(10)).all():
            return renamed


def fixed_answers(root: Path, weights: Path, folder: Path, extent: Extent) -> tuple[dict[str, float], float, float, float]:
    """Every block tuned alone, and all together, at several rates, on all data.

    Returns:
        Mean validation score of each block at its best rate, the standard error of a difference of two such means, and the mean
        test scores of the best block, and of the best of all.
    """
    folder.mkdir(parents=True, exist_ok=True)
    training = TrainingConfig(**extent.training)  # type: ignore[arg-type]
    config = TrainConfig(
        dataset=DatasetConfig("folder", "digits", str(root)),
        backbone=BackboneConfig("biotune", "glyphnet", str(weights), "keep"),
        training=training,
        executor=ExecutorConfig("in_process"),
        device="cpu",
    )
    config.strategy.name = "surgical"
    check(config)
    with open_session("train", config, folder, SILENCE) as session:
        blocks = session.network.blocks
        tried = [
            Schedule(blocks, tuple(rate if place == index else 0.0 for place in range(len(blocks))))
            for index in range(len(blocks))
            for rate in extent.rates
        ]
        whole = [Schedule(blocks, (rate,) * len(blocks)) for rate in extent.rates]
        plans = {
            one.key: [Trial(one, None, seed, training.epochs, training.base_lr, test=True) for seed in extent.seeds]
            for one in tried + whole
        }
        own = {key: session.executor.run(trials) for key, trials in plans.items()}
    means = {key: statistics.fmean(result.score for result in rows) for key, rows in own.items()}
    tests = {key: statistics.fmean(result.scores["macro_accuracy"] for result in rows) for key, rows in own.items()}
    best = {blocks[one.first_trained].name: one for one in sorted(tried, key=lambda one: means[one.key])}
    spread = statistics.fmean(statistics.variance([result.score for result in own[one.key]]) for one in best.values())
    top = max(best.values(), key=lambda one: means[one.key])
    chosen = max([*best.values(), *whole], key=lambda one: means[one.key])
    single = {block.name: means[best[block.name].key] for block in blocks}
    return single, math.sqrt(2 * spread / len(extent.seeds)), tests[top.key], tests[chosen.key]


def told(shift: str, one: Answer) -> str:
    """One answer in a line."""
    rates = " ".join(f"{name} {rate:.2g}" for name, rate in one.rates.items())
    return (
        f"{shift}: alone best {one.best} (as good: {', '.join(sorted(one.as_good))}; test {one.alone:.3f}), evolved {rates} "
        f"(share {one.share:.2f}, test {one.evolved:.3f}; baseline {one.baseline:.3f})"
    )


def table(answers: dict[str, list[Answer]]) -> list[str]:
    """A row a shift."""
    lines = [
        "| shift | best block alone (times) | evolved fastest is it | or as good | it is trained | trainable share | "
        "test, evolved | best block alone | evolved over the chosen baseline (pointwise 95 % interval) |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for shift, rows in answers.items():
        count = len(rows)
        winners = [one.best for one in rows]
        names = ", ".join(f"{name} ({winners.count(name)})" for name in sorted(set(winners), key=winners.count, reverse=True))
        exact = sum(one.fastest == one.best for one in rows)
        within = sum(one.fastest in one.as_good for one in rows)
        trained = sum(one.rates[one.best] > 0 for one in rows)
        over = paired_interval([one.evolved for one in rows], [one.baseline for one in rows]) if count > 1 else ""
        means = [statistics.fmean(getattr(one, what) for one in rows) for what in ("share", "evolved", "alone")]
        lines.append(
            f"| {shift.replace('_', ' ')} | {names} | {exact} of {count} | {within} of {count} | {trained} of {count} "
            f"| {means[0]:.2f} | {means[1]:.3f} | {means[2]:.3f} "
            f"| {over} |"
        )
    size = len(next(iter(answers.values()))[0].rates)
    as_good = statistics.fmean(len(one.as_good) for rows in answers.values() for one in rows)
    lines += [
        "",
        f"Means over {len(next(iter(answers.values())))} run seeds. A guess would find the best block in one of {size} cases; "
        f"as good, within a standard error of the difference, are {as_good:.1f} of {size} blocks on average. The baseline is "
        "what validation data would choose among single blocks and the whole network, each at its best rate.",
    ]
    return lines


if __name__ == "__main__":
    main()
