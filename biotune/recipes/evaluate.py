"""evaluate: the fitness of given genotypes, without a search."""

from __future__ import annotations

import statistics
from pathlib import Path
from typing import Any

from biotune.cli.terminal.view import View
from biotune.config.schema import EvaluateConfig
from biotune.fitness.fitness import Economy, stop_if_too_many_failed
from biotune.recipes import tables
from biotune.recipes.header import facts, shown_path
from biotune.recipes.inputs import resampling_of
from biotune.recipes.search import fitness_of
from biotune.recipes.session import open_session
from biotune.schedule.genotype_file import read_genotypes
from biotune.schedule.schedule import decode
from biotune.store.files import RESULT, write_json, write_table


def evaluate(config: EvaluateConfig, folder: Path, view: View) -> dict[str, Any]:
    """The fitness of given genotypes on every fold, without a search."""
    num_folds = config.evolution.folds
    with open_session("evaluate", config, folder, resampling_of(config), view.decoding) as session:
        genotypes = read_genotypes(config.genotypes, session.network.blocks)
        session.pin("genotypes", repr(genotypes).encode(), "the genotypes have")
        session.executor.on_result = view.trained
        view.header("biotune evaluate", [*facts(session), ("genotypes", f"{len(genotypes)} on {num_folds} folds")])
        fitness = fitness_of(session, config, Economy())
        schedules = [decode(genes, session.network.blocks) for genes in genotypes]
        view.begin("evaluating", len(genotypes) * num_folds * len(config.training.seeds))
        evaluations = [fitness(schedules, fold) for fold in range(num_folds)]
        view.end()
        rows = [
            {
                "genotype": index,
                "fold": fold,
                "status": evaluations[fold][index].status,
                **tables.evaluation_columns(evaluations[fold][index], schedule, session.network.parameters),
                **tables.genotype_columns(genotypes[index], schedule),
            }
            for index, schedule in enumerate(schedules)
            for fold in range(num_folds)
        ]
        write_table(folder / "evaluations.csv", rows)
        stop_if_too_many_failed([one for fold in evaluations for one in fold], config.fitness.max_failed_share)
        means = [
            statistics.fmean(row["fitness"] for row in rows if row["genotype"] == index) for index in range(len(genotypes))
        ]
        write_json(folder / RESULT, {"fitness": means})
        view.table(
            "Fitness (1 − macro accuracy, mean over the folds)",
            ["genotype", "fitness", "validation accuracy"],
            ([str(index), f"{mean:.4f}", f"{1 - mean:.4f}"] for index, mean in enumerate(means)),
        )
        view.final(f"Files: {shown_path(folder)}")
    return {"fitness": means}
