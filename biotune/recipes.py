"""run, train, compare and evaluate as straight-line wiring: the file to read first.

The way of the data: evolution -> fitness -> executor -> finetune -> param_groups, and back as plain results.
"""

from __future__ import annotations

import hashlib
import statistics
from collections.abc import Sequence
from dataclasses import asdict, replace
from itertools import product
from pathlib import Path
from typing import Any

import pandas as pd

from biotune import report, tables
from biotune.backbones import Network
from biotune.choosing import Costs, find_base_rate, measure, rates_to_try, settings_of
from biotune.comparison import COMPARISON, summarise
from biotune.config import AUTO, CompareConfig, EvaluateConfig, RunConfig, StrategyConfig, TrainConfig, TrialsConfig
from biotune.device import describe
from biotune.errors import ConfigError, ScheduleError, SearchError
from biotune.evolution import most_evaluations
from biotune.fitness import Economy, Trial, TrialResult, stop_if_too_many_failed
from biotune.genotypes import read_genotypes
from biotune.report.strategies import read_compared, write_strategies
from biotune.schedule import Block, Schedule, decode, load_schedule, save_text
from biotune.searching import confirm, confirming, fitness_of, search
from biotune.session import Session, folder_in_use, prepare, session
from biotune.store import (
    MODEL_FACTS,
    MODEL_FORMAT,
    RESULT,
    choose_model,
    is_kept,
    model_origin,
    write_json,
    write_table,
    write_text,
)
from biotune.strategies import Plan, fixed_schedule, plans
from biotune.strategies.size import trainable_parameters
from biotune.view import View

BASELINES = ("full", "linear_probe")


def check_inputs(config: TrialsConfig, view: View) -> None:
    """Find everything that is wrong before anything is written: device, data, network, weights, schedule, genotypes.

    Raises:
        BiotuneError: Something is.
    """
    num_folds, resplit = _folds(config)
    _, network, _ = prepare(config, num_folds, view.decoding, resplit)
    if isinstance(config, TrainConfig):
        _plans_to_train(config, network)
    if isinstance(config, CompareConfig):
        _plans_to_compare(config, network)
    if isinstance(config, EvaluateConfig):
        read_genotypes(config.genotypes, network.blocks)


def run(config: RunConfig, folder: Path, view: View) -> dict[str, Any]:
    """Search, confirm, retrain, test; leaves a run's whole folder and returns what `result.json` holds."""
    with session("run", config, folder, config.evolution.folds, view.decoding, config.evolution.resplit) as bench:
        bench.executor.on_result = view.trained
        view.header("biotune run", _facts(bench) + _search_facts(config))
        _, base_lr = find_base_rate(bench, [Plan(fixed_schedule("full", bench.network.blocks))], view)
        costs, last = search(bench, config, view)
        winner, confirmed = confirm(bench, config, last, view)
        # written before the final trainings: whatever becomes of them, the schedule is there
        write_text(folder / "best_schedule.yaml", save_text(winner.schedule, base_lr, _origin(config)))
        finals = _final_trainings(bench, config, {"biotune": Plan(winner.schedule)} | _baselines(bench), view)
        result = {
            "search": costs,
            "confirmed": confirmed,
            "test": tables.spreads([outcome for _, outcome in finals["biotune"]]),
            "baselines": {
                name: tables.spreads([outcome for _, outcome in finals[name]]) for name in BASELINES if name in finals
            },
            **_size(bench, Plan(winner.schedule)),
            "base_lr": base_lr,
            "schedule": tables.schedule_entry(winner.schedule, base_lr, bench.network.parameters),
        }
        _keep_best_model(bench, finals["biotune"])
        write_json(folder / RESULT, result)
        view.summary(pd.read_csv(folder / "summary.csv"), config.fitness.metric)
        view.schedule(winner.schedule, bench.network.parameters, base_lr)
        view.scores({"biotune": result["test"], **result["baselines"]})
        view.final(f"Files: {_shown_path(folder)}")
    report.write_report(report.read_run(folder))  # all that was computed is safe by now, and the run finished
    return result


def train(config: TrainConfig, folder: Path, view: View) -> dict[str, Any]:
    """Fine-tune by one strategy or schedule over `test.seeds`, with test scores."""
    with session("train", config, folder, 1, view.decoding) as bench:
        choices = _plans_to_train(config, bench.network)
        bench.settle("schedule", "\n".join(plan.schedule.key for plan in choices).encode(), "the schedule to train with has")
        bench.executor.on_result = view.trained
        view.header("biotune train", [*_facts(bench), ("strategy", config.strategy.name)])
        plan, base_lr = find_base_rate(bench, choices, view)
        schedule = plan.schedule
        finals = _final_trainings(bench, config, {config.strategy.name: plan}, view)
        result = {
            "strategy": config.strategy.name,
            "test": tables.spreads([outcome for _, outcome in finals[config.strategy.name]]),
            **_size(bench, plan),
            "base_lr": base_lr,
            "schedule": tables.schedule_entry(schedule, base_lr, bench.network.parameters),
        }
        _keep_best_model(bench, finals[config.strategy.name])
        write_text(folder / "best_schedule.yaml", save_text(schedule, base_lr, _origin(config)))
        write_json(folder / RESULT, result)
        view.schedule(schedule, bench.network.parameters, base_lr)
        view.scores({config.strategy.name: result["test"]})
        view.final(f"Files: {_shown_path(folder)}")
    report.write_report(report.read_run(folder))  # all that was computed is safe by now, and the run finished
    return result


def compare(config: CompareConfig, folder: Path, view: View) -> dict[str, Any]:
    """Every strategy with every seed, each seed with splits and a folder of its own; the table grows row by row."""
    with folder_in_use("compare", config, folder) as (journal, _):
        known = journal.understood("row", lambda record: ((record["strategy"], record["seed"]), record["row"]))
        view.header("biotune compare", _comparison_facts(config, folder, len(known)))
        for number, seed in enumerate(config.test.seeds, 1):
            missing = [name for name in config.strategies if (name, seed) not in known]
            if not missing:
                continue
            view.line(f"seed {seed}, {number} of {len(config.test.seeds)}", "bold")
            place = folder / f"seed-{seed}"
            place.mkdir(exist_ok=True)
            own = settings_of(config, seed)
            with session("compare", own, place, own.evolution.folds, view.decoding, own.evolution.resplit) as bench:
                for name in missing:
                    row = _compare_one(bench, config, name, seed, view)
                    journal.append({"kind": "row", "strategy": name, "seed": seed, "row": row})
                    known[name, seed] = row
                    rows = [known[pair] for pair in product(config.strategies, config.test.seeds) if pair in known]
                    write_table(folder / COMPARISON, rows)
        result = summarise([known[pair] for pair in product(config.strategies, config.test.seeds)])
        write_json(folder / RESULT, result)
        view.comparison(result, len(config.test.seeds))
        view.final(f"Files: {_shown_path(folder)}")
    compared = read_compared(folder)  # all that was computed is safe by now, and the comparison finished
    write_strategies([compared], folder / report.REPORT, folder / "plots")
    return result


def _compare_one(bench: Session, config: CompareConfig, name: str, seed: int, view: View) -> dict[str, Any]:
    """One strategy with one seed; whatever it trains counts as its cost, even what another has trained before."""
    costs = Costs()

    def count(trial: Trial, result: TrialResult) -> None:
        costs.count(trial, result)
        view.trained(trial, result)

    bench.executor.on_result = count
    view.line(f"  {name}")
    if name == "biotune":
        own = settings_of(config, seed)
        _, last = search(bench, own, view)
        winner, _ = confirm(bench, own, last, view)
        found = [Plan(winner.schedule)]
    else:
        found = _plans_to_compare(config, bench.network)[name]
    return measure(bench, config, name, seed, found, costs, view)


def _plans_to_compare(config: CompareConfig, network: Network) -> dict[str, list[Plan]]:
    """What each strategy but a search chooses from.

    Raises:
        BiotuneError: A strategy is unknown or lacks a library, or the schedule does not fit.
    """
    found = {}
    for name in config.strategies:
        if name == "schedule":
            found[name] = [Plan(_schedule_of_file(config, network.blocks))]
        elif name != "biotune":
            found[name] = plans(StrategyConfig(name), network.blocks, network.fresh_head)
    return found


def evaluate(config: EvaluateConfig, folder: Path, view: View) -> dict[str, Any]:
    """The fitness of given genotypes on every fold, without a search."""
    num_folds = config.evolution.folds
    with session("evaluate", config, folder, num_folds, view.decoding, config.evolution.resplit) as bench:
        genotypes = read_genotypes(config.genotypes, bench.network.blocks)
        bench.settle("genotypes", repr(genotypes).encode(), "the genotypes have")
        bench.executor.on_result = view.trained
        view.header("biotune evaluate", [*_facts(bench), ("genotypes", f"{len(genotypes)} on {num_folds} folds")])
        fitness = fitness_of(bench, config, Economy())
        schedules = [decode(genes, bench.network.blocks) for genes in genotypes]
        view.begin("evaluating", len(genotypes) * num_folds * len(config.training.seeds))
        evaluations = [fitness(schedules, fold) for fold in range(num_folds)]
        view.end()
        rows = [
            {
                "genotype": index,
                "fold": fold,
                "status": evaluations[fold][index].status,
                **tables.evaluation_columns(evaluations[fold][index], schedule, bench.network.parameters),
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
        view.final(f"Files: {_shown_path(folder)}")
    return {"fitness": means}


def _final_trainings(
    bench: Session, config: RunConfig | TrainConfig, plans_by_name: dict[str, Plan], view: View
) -> dict[str, list[tuple[Trial, TrialResult]]]:
    """Train on all training data, once for each of `test.seeds`; only now does a model see the test split."""
    first = next(iter(plans_by_name))
    trials = [
        (name, _final_trial(plan, seed, config.training.epochs, keep=name == first))
        for name, plan in plans_by_name.items()
        for seed in config.test.seeds
    ]
    view.begin("final trainings", len(trials))
    results = bench.executor.run([trial for _, trial in trials])
    view.end()
    finals: dict[str, list[tuple[Trial, TrialResult]]] = {name: [] for name in plans_by_name}
    for (name, trial), result in zip(trials, results, strict=True):
        finals[name].append((trial, result))
    rows = [tables.test_row(name, trial, result) for name, pairs in finals.items() for trial, result in pairs]
    write_table(bench.folder / "test.csv", rows)
    # a baseline that fails, for want of memory perhaps, must not take the search's own result with it
    sound = {name: [pair for pair in pairs if pair[1].status == "ok"] for name, pairs in finals.items()}
    for name, pairs in finals.items():
        if not sound[name]:
            reason = f"every final training of {name} failed, the first one: {pairs[0][1].error}"
            if name == first:
                raise SearchError(reason)
            view.line(reason)
    return {name: pairs for name, pairs in sound.items() if pairs}


def _final_trial(plan: Plan, seed: int, epochs: int, keep: bool) -> Trial:
    """A training on all data with test scores; what it is kept under tells it from those of another schedule."""
    trial = Trial(plan.schedule, None, seed, epochs, True, method=plan.method)
    return replace(trial, keep=hashlib.sha256(trial.key.encode()).hexdigest()[:16]) if keep else trial


def _keep_best_model(bench: Session, finals: list[tuple[Trial, TrialResult]]) -> None:
    """The final model is the one that validation data prefer; ties go to the first seed."""
    best, _ = max(finals, key=lambda pair: pair[1].score)
    name = str(best.keep)
    if not is_kept(bench.folder, name):
        if model_origin(bench.folder) == best.key:
            return  # the run had come to its end before, and is only made longer
        bench.executor.repeat(best)
    choose_model(bench.folder, name)
    config = bench.config
    preprocessing = bench.network.preprocessing.scaled_to(config.dataset.image_size)
    facts = {
        "format": MODEL_FORMAT,
        "backbone": {"library": config.backbone.library, "name": config.backbone.name},
        "classes": list(bench.data.classes),
        "preprocessing": asdict(preprocessing),
        "seed": best.seed,
        "training": best.key,
    }
    write_json(bench.folder / MODEL_FACTS, facts)


def _baselines(bench: Session) -> dict[str, Plan]:
    return {name: Plan(fixed_schedule(name, bench.network.blocks)) for name in BASELINES}


def _plans_to_train(config: TrainConfig, network: Network) -> list[Plan]:
    """What a strategy chooses from, or the schedule of a file."""
    if config.strategy.name != "schedule":
        return plans(config.strategy, network.blocks, network.fresh_head)
    return [Plan(_schedule_of_file(config, network.blocks))]


def _schedule_of_file(config: TrainConfig | CompareConfig, blocks: Sequence[Block]) -> Schedule:
    """The schedule of a file whose blocks are proved to be this network's."""
    if config.schedule is None:
        raise ConfigError("strategy=schedule: needs schedule=FILE.")
    schedule = load_schedule(config.schedule)
    if schedule.blocks != tuple(blocks):
        own = {block.name: block.modules for block in blocks}
        theirs = {block.name: block.modules for block in schedule.blocks}
        odd = [name for name in [*theirs, *own] if theirs.get(name) != own.get(name)] or list(theirs)
        raise ScheduleError(
            f"schedule={config.schedule}: does not fit {config.backbone.name} with "
            f"backbone.granularity={config.backbone.granularity}: the blocks {', '.join(dict.fromkeys(odd))} differ."
        )
    if schedule.is_empty:
        raise ScheduleError(f"schedule={config.schedule}: freezes every block; nothing would be trained.")
    return schedule


def _folds(config: TrialsConfig) -> tuple[int, bool]:
    """How many folds the command works on, and whether each is a new split of all pictures."""
    if isinstance(config, RunConfig | CompareConfig | EvaluateConfig):
        return config.evolution.folds, config.evolution.resplit
    return 1, False


def _origin(config: TrialsConfig) -> dict[str, Any]:
    return {
        "backbone": config.backbone.name,
        "granularity": config.backbone.granularity,
        "weights": config.backbone.weights,
        "dataset": config.dataset.name,
    }


def _size(bench: Session, plan: Plan) -> dict[str, Any]:
    trained = trainable_parameters(plan, bench.network, bench.data.pixels.shape[1])
    return {"trainable_params": trained, "trainable_share": trained / bench.total_parameters}


def _facts(bench: Session) -> list[tuple[str, str]]:
    config, data = bench.config, bench.data
    pictures = f"{len(data.whole.train)} training, {len(data.whole.val)} validation, {len(data.test)} test pictures"
    skipped = f", {len(data.skipped)} broken ones left out" if data.skipped else ""
    return [
        ("dataset", f"{data.name}: {len(data.classes)} classes, {pictures}{skipped}"),
        (
            "backbone",
            f"{config.backbone.name}, weights {config.backbone.weights}, {len(bench.network.blocks)} blocks, "
            f"{bench.total_parameters:,} parameters",
        ),
        ("device", f"{describe(bench.device)}, {config.executor.name}, {config.executor.threads} threads a training"),
        ("folder", _shown_path(bench.folder)),
        *([("resumed", f"{known} trainings are known already")] if (known := bench.executor.known) else []),
    ]


def _comparison_facts(config: CompareConfig, folder: Path, known: int) -> list[tuple[str, str]]:
    rates = [config.training.base_lr if rate is None else rate for rate in rates_to_try(config)]
    return [
        ("dataset", config.dataset.name),
        ("backbone", f"{config.backbone.name}, weights {config.backbone.weights}"),
        ("strategies", ", ".join(config.strategies)),
        ("seeds", f"{len(config.test.seeds)}: each splits the data, drives the search and trains"),
        ("base rates", ", ".join(f"{rate:g}" for rate in rates) + (", chosen on validation data" if len(rates) > 1 else "")),
        ("folder", _shown_path(folder)),
        *([("resumed", f"{known} rows are known already")] if known else []),
    ]


def _search_facts(config: RunConfig) -> list[tuple[str, str]]:
    settings = config.evolution
    searching = most_evaluations(settings) * len(config.training.seeds)
    to_confirm = config.confirm.top_k * len(confirming(config))
    final = (1 + len(BASELINES)) * len(config.test.seeds)
    tuning = len(config.training.lr_grid) * len(config.training.seeds) if config.training.lr == AUTO else 0
    by_phase = {"for the base rate": tuning, "searching": searching, "confirming": to_confirm, "final": final}
    return [
        (
            "search",
            f"population {settings.population_size}, generations {settings.generations}, elites {settings.elites}, "
            f"{'splits' if settings.resplit else 'folds'} {settings.folds}, "
            f"seeds {len(config.training.seeds)}, epochs up to {config.training.epochs}",
        ),
        (
            "trainings",
            f"at most {sum(by_phase.values())} ({', '.join(f'{count} {phase}' for phase, count in by_phase.items() if count)})",
        ),
    ]


def _shown_path(folder: Path) -> str:
    """Relative to where the user stands, when it lies below."""
    return str(folder.relative_to(Path.cwd())) if folder.is_relative_to(Path.cwd()) else str(folder)
