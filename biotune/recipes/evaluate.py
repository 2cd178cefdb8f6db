"""evaluate: the fitness of given genotypes, without a search."""

from __future__ import annotations

import statistics
from dataclasses import dataclass, replace
from pathlib import Path

from biotune.config.schema import EvaluateConfig
from biotune.evolution.rows import evaluation_columns, genotype_columns
from biotune.fitness.fitness import Economy, stop_if_too_many_failed
from biotune.recipes.header import facts
from biotune.recipes.inputs import Prepared, say_remarks, settled
from biotune.recipes.progress import SILENCE, Progress
from biotune.recipes.search import fitness_of
from biotune.recipes.session import open_session
from biotune.schedule.genotype import decode
from biotune.schedule.genotype_file import read_genotypes
from biotune.store.files import EVALUATIONS, RESULT, write_json, write_table


@dataclass(frozen=True)
class EvaluateResult:
    """The result of an evaluation.

    Attributes:
        fitness: The mean fitness over the folds, one value per genotype.
    """

    fitness: list[float]


def evaluate(
    config: EvaluateConfig, folder: Path, progress: Progress = SILENCE, prepared: Prepared | None = None
) -> EvaluateResult:
    """Evaluate the fitness of given genotypes on every fold, without a search.

    Args:
        config: The settings.
        folder: The run's folder, which exists.
        progress: Receives the progress.
        prepared: The inputs that the check before the run has prepared; None prepares them now.

    Raises:
        BiotuneError: Bad input, a folder that cannot be written, or too many failures.
    """
    with open_session("evaluate", config, folder, progress, prepared) as session:
        num_folds = settled(config, session.data.resampling).evolution.num_folds
        genotypes = read_genotypes(config.genotypes, session.network.blocks)
        session.pin("genotypes", repr(genotypes).encode(), "the genotypes have")
        progress.header("biotune evaluate", [*facts(session), ("genotypes", f"{len(genotypes)} on {num_folds} folds")])
        say_remarks(progress, session.network)
        fitness = fitness_of(session, config, config.training.base_lr, Economy())
        start = config.training.head_start
        schedules = [replace(decode(genes, session.network.blocks), head_start=start) for genes in genotypes]
        progress.begin("evaluating", len(genotypes) * num_folds * len(config.training.seeds))
        evaluations = [fitness(schedules, fold) for fold in range(num_folds)]
        progress.end()
        rows = [
            {
                "genotype": index,
                "fold": fold,
                "status": evaluations[fold][index].status,
                **evaluation_columns(evaluations[fold][index], schedule, session.network.parameters),
                **genotype_columns(genotypes[index], schedule, start),
            }
            for index, schedule in enumerate(schedules)
            for fold in range(num_folds)
        ]
        write_table(folder / EVALUATIONS, rows)
        stop_if_too_many_failed([one for fold in evaluations for one in fold], config.fitness.max_failed_share)
        means = [
            statistics.fmean(row["fitness"] for row in rows if row["genotype"] == index) for index in range(len(genotypes))
        ]
        write_json(folder / RESULT, {"fitness": means})
    return EvaluateResult(means)
