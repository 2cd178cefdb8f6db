"""Tabulate tasks: fine-tune some hundred genotypes on every fold and on all data, and write what came of each training.

A table is what searchers are compared on (scripts/compare_searchers.py): once it is there, a search costs milliseconds. The
genotypes are random ones as in generation 0, the usual heuristics, and perturbations of the best so far, since searches end
up among these. Every genotype meets the same training seeds. Finished trainings are answered from the journal.

With --manners a genotype also has an order of unfreezing and a start of the head, and is trained on three splits of all
training and validation images in place of folds and all data, each time with a test score: the table TASK_manners is of what
the default search chooses among.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from biotune.config.checks import check
from biotune.config.schema import EvaluateConfig
from biotune.config.search import EvolutionConfig
from biotune.config.sections import BackboneConfig, DatasetConfig, ExecutorConfig, TrainingConfig
from biotune.evolution.ablations import ORDERS
from biotune.evolution.individual import PLAIN, Manner
from biotune.evolution.operators import random_genes
from biotune.recipes.progress import SILENCE
from biotune.recipes.session import Session, open_session
from biotune.schedule.block import Block
from biotune.schedule.genotype import decode
from biotune.schedule.schedule import HEAD_STARTS
from biotune.store.files import write_table
from biotune.trial import Trial, TrialResult

ROOT = Path(__file__).resolve().parent.parent
FOLDS = 2
SPLITS = 3  # with manners of training
TURNED = 1 / 6  # probability that a perturbation turns a block, or draws an order or a start anew
DECIMALS = 4  # of a gene, so that a table reads back to exactly the schedules that were trained
RANDOM_SHARE = 0.4
ROUNDS = 3  # of perturbations, each around the best of what was known before
PARENTS = 12
STEP_SD = 0.12  # of a perturbation along each gene
FIRST_SEED = 1000
LITE0 = BackboneConfig("lite0", "efficientnet_lite0")
STAMPS = DatasetConfig("folder", "folder", root="data/stamps", image_size=64, val_fraction=0.25, test_fraction=0.4)
Genotype = tuple[float, ...]


@dataclass(frozen=True)
class Setting:
    """What a task's genotypes are trained on, and how.

    Attributes:
        dataset: The images.
        genotypes: Number of genotypes, the most where searchers differ most.
        backbone: The network.
        training: Settings of the training runs.
    """

    dataset: DatasetConfig
    genotypes: int
    backbone: BackboneConfig = field(default_factory=lambda: BackboneConfig("biotune", "glyphnet"))
    training: TrainingConfig = field(default_factory=TrainingConfig)


TASKS = {
    "noise": Setting(DatasetConfig("digits", "digits", shift="noise"), 200),
    "invert": Setting(DatasetConfig("digits", "digits", shift="invert", max_per_class=10), 140),
    "clean": Setting(DatasetConfig("digits", "digits"), 60),
    "stamps": Setting(STAMPS, 140, LITE0, TrainingConfig(epochs=6, batch_size=32)),  # experiment=panel_stamps
}


@dataclass(frozen=True)
class Named:
    """A genotype and where it comes from: the name of a heuristic, `random` or `perturbed`; and how it is trained."""

    kind: str
    genes: Genotype
    manner: Manner = PLAIN


def main() -> None:
    """Tabulate the tasks one after another."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", nargs="+", default=list(TASKS), choices=list(TASKS))
    parser.add_argument("--genotypes", type=int, help="genotypes a task; as many as in scripts/tables if not given")
    parser.add_argument("--seeds", type=int, default=2, help="training seeds of each genotype on each fold and on all data")
    parser.add_argument("--workers", type=int, default=1, help="worker processes")
    parser.add_argument("--out", type=Path, default=ROOT / "outputs" / "tables", help="where tables and journals go")
    parser.add_argument(
        "--manners", action="store_true", help="with orders of unfreezing and starts of the head, on three splits"
    )
    parser.add_argument("--small", action="store_true", help="a few short trainings, to try it out")
    given = parser.parse_args()
    if given.small:
        given.genotypes, given.seeds = given.genotypes or 8, 1
    for task in given.tasks:
        config = configured(task, given.workers, given.small, given.manners)
        seeds = range(FIRST_SEED, FIRST_SEED + given.seeds)
        genotypes = given.genotypes or TASKS[task].genotypes
        tabulate(f"{task}_manners" if given.manners else task, config, genotypes, seeds, given.out)


def configured(task: str, workers: int, small: bool, manners: bool = False) -> EvaluateConfig:
    """The settings of a task's training runs: two epochs if small; with manners new splits in place of folds."""
    executor = ExecutorConfig("in_process") if workers == 1 else ExecutorConfig("process_pool", workers=workers)
    setting = TASKS[task]
    config = EvaluateConfig(
        dataset=setting.dataset,
        backbone=setting.backbone,
        training=replace(setting.training, epochs=2) if small else setting.training,
        executor=executor,
        evolution=EvolutionConfig("biotune", folds=SPLITS if manners else FOLDS, resplit=manners),
        genotypes=f"{task}.csv",
    )
    check(config)
    return config


def tabulate(task: str, config: EvaluateConfig, count: int, seeds: Sequence[int], out: Path) -> None:
    """Train what is not trained yet; the table `TASK.csv` grows with every round.

    Args:
        task: Name of the task.
        config: How to train.
        count: Number of genotypes.
        seeds: Training seeds, the same for all genotypes.
        out: Where the table goes, and the journal in a folder of the task's name.
    """
    folder = out / task
    folder.mkdir(parents=True, exist_ok=True)
    with open_session("evaluate", config, folder, SILENCE) as session:
        blocks = session.network.blocks
        rng = np.random.default_rng(0)
        manners = config.evolution.resplit
        known = first_genotypes(blocks, rng, count, manners)
        rows = train(session, known, 0, seeds, manners)
        left = count - len(known)
        for round_number in range(ROUNDS):
            write_table(out / f"{task}.csv", rows)
            share = left // (ROUNDS - round_number)
            best = best_genotypes(rows, known)
            fresh = [child_of(best[index % len(best)], rng, manners) for index in range(share)]
            rows += train(session, fresh, len(known), seeds, manners)
            known, left = known + fresh, left - share
        write_table(out / f"{task}.csv", rows)


def first_genotypes(blocks: Sequence[Block], rng: np.random.Generator, count: int, manners: bool = False) -> list[Named]:
    """Heuristics, as far as they fit, and random genotypes as in generation 0; with manners, each with a random one."""
    randoms = round(RANDOM_SHARE * count)
    drawn = [Named("random", rounded(random_genes(rng, len(blocks) + 1))) for _ in range(randoms)]
    first = [*list(heuristics(len(blocks)))[: count - randoms], *drawn]
    return [replace(one, manner=random_manner(rng)) for one in first] if manners else first


def random_manner(rng: np.random.Generator) -> Manner:
    """An order of unfreezing and a start of the head, among those that a search tries."""
    return Manner(ORDERS[int(rng.integers(len(ORDERS)))], HEAD_STARTS[int(rng.integers(len(HEAD_STARTS)))])


def child_of(parent: Named, rng: np.random.Generator, manners: bool) -> Named:
    """A perturbation of a genotype, and with manners now and then of its order or of its start."""
    child = Named("perturbed", perturbed(parent.genes, rng), parent.manner)
    if not manners:
        return child
    drawn, turned = random_manner(rng), rng.random(len(parent.manner)) < TURNED
    return replace(child, manner=Manner(*np.where(turned, drawn, parent.manner).tolist()))


def heuristics(num_blocks: int) -> Iterator[Named]:
    """The schedules that people usually try, at several rates (multiples of the base rate; 0 is frozen)."""
    last = num_blocks - 1
    for rate in (1.0, 5.0, 0.2, 2.0, 10.0, 0.5):
        yield Named("full", genes_of([rate] * num_blocks))
    for rate in (1.0, 3.0, 10.0):
        yield Named("linear_probe", genes_of([0.0] * last + [rate]))
    for rate in (1.0, 5.0):
        for trained in range(2, num_blocks):
            yield Named("last_blocks", genes_of([0.0] * (num_blocks - trained) + [rate] * trained))
        for trained in range(1, last):
            yield Named("first_blocks", genes_of([rate] * trained + [0.0] * (last - trained) + [rate]))
    for rate in (1.0, 5.0):
        for block in range(1, last - 1):  # the first and the last body block stand above
            yield Named("surgical", genes_of([rate if place in (block, last) else 0.0 for place in range(num_blocks)]))
    for top, bottom in ((1.0, 0.1), (10.0, 0.1), (10.0, 1.0), (1.0, 10.0), (5.0, 0.5)):
        yield Named("discriminative", genes_of(list(np.geomspace(bottom, top, num_blocks))))
    for rate in (1.0, 5.0, 10.0):
        for decay in (0.75, 0.5):
            yield Named("layer_decay", genes_of([rate * decay ** (last - place) for place in range(num_blocks)]))


def genes_of(lr_weights: Sequence[float]) -> Genotype:
    """The genotype with threshold 0 that decodes to these multiples, as far as they lie in 0.1 to 10; 0 is frozen."""
    floor = 10.0**-DECIMALS  # the smallest importance above the threshold
    importances = [0.5 + np.log10(weight) / 2 if weight > 0 else 0.0 for weight in lr_weights]
    kept = [max(gene, floor) if weight > 0 else 0.0 for gene, weight in zip(importances, lr_weights, strict=True)]
    return rounded([*kept, 0.0])


def perturbed(genes: Genotype, rng: np.random.Generator) -> Genotype:
    """A neighbour: a normal step along every gene, and one block in six the other way round."""
    *importances, threshold = np.clip(np.array(genes) + rng.normal(0.0, STEP_SD, len(genes)), 0.0, 1.0)
    frozen = [gene <= genes[-1] for gene in genes[:-1]]
    turned = rng.random(len(frozen)) < 1 / len(frozen)
    threshold = min(threshold, 0.5)
    moved = [
        rng.uniform(0.0, threshold) if is_frozen != is_turned else max(gene, threshold + 10.0**-DECIMALS)
        for gene, is_frozen, is_turned in zip(importances, frozen, turned, strict=True)
    ]
    if all(gene <= threshold for gene in moved):
        moved[-1] = threshold + 0.3
    return rounded([*moved, threshold])


def rounded(genes: Iterable[float]) -> Genotype:
    """Genes as the table holds them."""
    return tuple(round(float(gene), DECIMALS) for gene in genes)


def best_genotypes(rows: Sequence[dict[str, Any]], known: Sequence[Named]) -> list[Named]:
    """The genotypes with the best mean validation score on all data, whichever the split."""
    scores: dict[int, list[float]] = {}
    for row in rows:
        if not row["data"].startswith("fold"):
            scores.setdefault(row["genotype"], []).append(row["val_accuracy"])
    ranked = sorted(scores, key=lambda index: (-statistics.fmean(scores[index]), index))
    return [known[index] for index in ranked[:PARENTS]]


def train(
    session: Session, named: Sequence[Named], first: int, seeds: Sequence[int], resplit: bool = False
) -> list[dict[str, Any]]:
    """A row a training that came to its end, for the table: on folds and all data, or on new splits."""
    blocks, training = session.network.blocks, session.config.training
    plan = []
    for index, one in enumerate(named, first):
        schedule = replace(decode(one.genes, blocks), **one.manner._asdict())
        for fold in range(SPLITS) if resplit else (*range(FOLDS), None):
            whole = resplit or fold is None
            plan += [(index, one, Trial(schedule, fold, seed, training.epochs, training.base_lr, test=whole)) for seed in seeds]
    results = session.executor.run([trial for _, _, trial in plan])
    return [
        row(index, one, blocks, trial, result, resplit)
        for (index, one, trial), result in zip(plan, results, strict=True)
        if result.status == "ok"
    ]


def row(
    index: int, named: Named, blocks: Sequence[Block], trial: Trial, result: TrialResult, resplit: bool = False
) -> dict[str, Any]:
    """One training: genotype, data, seed, scores; with new splits also order and start."""
    return {
        "genotype": index,
        "kind": named.kind,
        **dict(zip([*(block.name for block in blocks), "threshold"], named.genes, strict=True)),
        **(named.manner._asdict() if resplit else {}),
        "data": "all" if trial.fold is None else f"{'split' if resplit else 'fold'}{trial.fold}",
        "seed": trial.seed,
        "val_accuracy": round(result.score, 6),
        "test_accuracy": round(result.scores["macro_accuracy"], 6) if trial.test else None,
        "epochs": len(result.curve),
    }


if __name__ == "__main__":
    main()
