"""Reads and checks a whole run folder before anything is drawn. Defines `Run`; knows nothing about plots and pages."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from biotune.config.search import EvolutionConfig, FitnessConfig
from biotune.errors import BiotuneError, RunFolderError, one_line
from biotune.report.checked import checked_json, checked_table, checked_yaml
from biotune.report.verdict import EVOLVED, method_name
from biotune.schedule.schedule import Schedule
from biotune.schedule.schedule_file import load_schedule
from biotune.store.files import (
    COMPARISON,
    CONFIG,
    CONFIRM,
    CURVES,
    GENERATIONS,
    HYDRA,
    MODEL_FACTS,
    OVERRIDES,
    PREDICTIONS,
    RESULT,
    SCHEDULE,
    STATUS,
    SUMMARY,
    TEST,
)

if TYPE_CHECKING:
    import pandas as pd

REPORTED = ("run", "train")
SCORE = "score"  # the metric of a search that a program asks and tells: whatever it was told
METHODS = (EVOLVED, "full", "linear_probe")
_TEXTS = ("picture", "true_class", "predicted_class")


@dataclass(frozen=True)
class Score:
    """One score over several training runs: mean, sample standard deviation, and the single values."""

    mean: float
    sd: float
    values: tuple[float, ...]


@dataclass(frozen=True)
class Search:
    """The results that only a search has.

    Attributes:
        summary: One row per generation.
        generations: One row per candidate considered.
        confirm: One row per confirmation trial; empty if nothing was confirmed.
        confirmed: The chosen schedule's score over the folds with fresh seeds.
        costs: evaluations, trainings, epochs and seconds of the search itself.
        metric: The metric of the fitness, see `fitness_by`; or `SCORE`.
        spread: Whether the candidates of each generation were spread over all folds.
    """

    summary: pd.DataFrame
    generations: pd.DataFrame
    confirm: pd.DataFrame
    confirmed: Score | None
    costs: dict[str, float]
    metric: str = "acc"
    spread: bool = False


@dataclass(frozen=True)
class Run:
    """A finished run, read from its folder.

    Attributes:
        folder: The folder.
        status: The content of `status.json`.
        config: The composed config.
        overrides: The overrides of the command line.
        config_dirs: The user's own config folders.
        schedule: The schedule that was trained last.
        base_lr: λ_0.
        parameters: Number of parameters of each block; None in folders of earlier versions.
        trainable_params: Number of parameters that the schedule trains.
        trainable_share: Their share of all.
        scores: Every test score by method and metric, the run's own method first.
        returned: The strategy whose schedule is returned: biotune, or in a run a baseline that did better.
        confirmed: What a run's `result.json` says about its confirmation; empty for other commands.
        among_models: What it says about the choice among the final models of several finalists; None where one was trained.
        test: One row per final training run that did not fail.
        failed: By method, the number of final training runs that failed.
        predictions: One row per test image.
        classes: Names of the classes in the model's order.
        model_seed: The training seed of the final model; None in folders of the first versions.
        search: The results of the search; None for a run without one.
        final: What `result.json` says about the final model; empty in folders of earlier versions.
        curves: One row per epoch of each final training run; None in folders of earlier versions.
        front: What `result.json` says about the front of a search for trade-offs; None where there was none.
    """

    folder: Path
    status: Mapping[str, Any]
    config: Mapping[str, Any]
    overrides: tuple[str, ...]
    config_dirs: tuple[str, ...]
    schedule: Schedule
    base_lr: float
    parameters: dict[str, int] | None
    trainable_params: int
    trainable_share: float
    scores: dict[str, dict[str, Score]]
    returned: str
    confirmed: Mapping[str, Any]
    among_models: Mapping[str, Any] | None
    test: pd.DataFrame
    failed: Mapping[str, int]
    predictions: pd.DataFrame
    classes: tuple[str, ...]
    model_seed: int | None
    search: Search | None
    final: Mapping[str, Any]
    curves: pd.DataFrame | None = None
    front: Mapping[str, Any] | None = None

    @property
    def method(self) -> str:
        """The run's own method, as in `test.csv`."""
        return next(iter(self.scores))

    def name_of(self, method: str) -> str:
        """A method's name for readers; the run's own is named for what it returned."""
        return method_name(self.returned if method == self.method else method)

    def score(self, method: str) -> Score | None:
        """The macro accuracy on the test set; None if the method was not tested."""
        return self.scores[method]["macro_accuracy"] if method in self.scores else None


def read_finished_run(folder: Path) -> Run:
    """Read a run that the user names, and check that it is finished.

    Raises:
        RunFolderError: The folder is no run, is not finished, or a file of it is missing or damaged.
    """
    _check_is_run(folder)
    state = checked_json(folder / STATUS).get("state")
    if state != "finished":
        raise RunFolderError(f"{folder}: this run is not finished (its state is {state}); 'biotune resume {folder}' goes on.")
    return read_run(folder)


def read_run(folder: Path) -> Run:
    """Read a run's folder.

    Raises:
        RunFolderError: The folder is no run, or a file of it is missing or damaged.
    """
    _check_is_run(folder)
    status = checked_json(folder / STATUS)
    command = status.get("command")
    if command not in REPORTED:
        raise RunFolderError(f"{folder}: comes from 'biotune {command}'; give the folder of a {' or '.join(REPORTED)}.")
    try:
        return _read(folder, status)
    except BiotuneError:
        raise
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise RunFolderError(f"{folder / RESULT}: is damaged ({type(error).__name__}: {one_line(error)}).") from error


def read_predictions(folder: Path) -> pd.DataFrame:
    """The final model's predictions, one row per test image.

    Raises:
        RunFolderError: The table is missing or damaged.
    """
    return checked_table(folder / PREDICTIONS, {*_TEXTS, "probability"}, texts=_TEXTS)


def read_state(folder: Path) -> tuple[str, Mapping[str, Any]]:
    """The command and the config of a finished run or comparison.

    Raises:
        RunFolderError: It is none, or is not finished.
    """
    _check_is_run(folder)
    status = checked_json(folder / STATUS)
    command = str(status.get("command"))
    if command not in ("run", "compare"):
        raise RunFolderError(f"{folder}: comes from 'biotune {command}'; only comparisons and runs are set side by side here.")
    if status.get("state") != "finished":
        raise RunFolderError(f"{folder}: is not finished (its state is {status.get('state')}).")
    return command, checked_yaml(folder / CONFIG, dict)


def read_rows(folder: Path, command: str) -> list[dict[str, Any]]:
    """The rows of a comparison, or a run's final training runs as rows of the same form.

    Raises:
        RunFolderError: The table is missing or damaged.
    """
    costs = {"trainable_share", "trainings", "epochs", "seconds"}
    if command == "compare":
        table = checked_table(folder / COMPARISON, {"seed", "base_lr", *costs}, {"test_macro_accuracy"}, texts=("strategy",))
        return [{str(name): value for name, value in row.items()} for row in table.to_dict("records")]
    run, finals = read_run(folder), _finals(folder)
    scores = [name for name in finals.columns if name not in ("strategy", "seed", "epochs", "seconds", "val_macro_accuracy")]
    search = run.search
    extra = {"trainings": 0.0, "epochs": 0.0, "seconds": 0.0} if search is None else search.costs
    head = 0.0 if run.parameters is None else run.parameters[run.schedule.names[-1]] / sum(run.parameters.values())
    shares = {run.method: run.trainable_share, "full": 1.0, "linear_probe": head}
    return [
        {
            "strategy": row["strategy"],
            "seed": row["seed"],
            "base_lr": run.base_lr,
            **{f"test_{name}": row[name] for name in scores},
            "trainable_share": shares.get(row["strategy"], 1.0),
            "trainings": 1 + (extra["trainings"] if row["strategy"] == run.method else 0.0),
            "epochs": row["epochs"] + (extra["epochs"] if row["strategy"] == run.method else 0.0),
            "seconds": row["seconds"] + (extra["seconds"] if row["strategy"] == run.method else 0.0),
        }
        for row in finals.to_dict("records")
        if row["strategy"] in run.scores  # other finalists are trained for their models
    ]


def is_comparison(folder: Path) -> bool:
    """Whether a folder comes from `biotune compare`.

    Raises:
        RunFolderError: It comes from no command of biotune.
    """
    _check_is_run(folder)
    return bool(checked_json(folder / STATUS).get("command") == "compare")


def is_asked_search(folder: Path) -> bool:
    """Whether a folder comes from a `biotune.Search`.

    Raises:
        RunFolderError: It comes from no search and no command.
    """
    _check_is_run(folder)
    return bool(checked_json(folder / STATUS).get("command") == "search")


def _check_is_run(folder: Path) -> None:
    if not os.path.isdir(folder):  # unlike Path.is_dir, it takes a name that is too long
        raise RunFolderError(f"{folder}: {'is a file' if os.path.exists(folder) else 'no such folder'}; give a run's folder.")
    if (folder / STATUS).is_file():
        return
    jobs = sorted(path.parent.name for path in folder.glob(f"*/{STATUS}"))
    if jobs:
        raise RunFolderError(f"{folder}: holds {len(jobs)} runs and is none itself; name them, as in {folder / jobs[0]}.")
    raise RunFolderError(f"{folder}: is no run's folder (it has no {STATUS}).")


def _read(folder: Path, status: Mapping[str, Any]) -> Run:
    result = checked_json(folder / RESULT)
    config, hydra = checked_yaml(folder / CONFIG, dict), checked_yaml(folder / HYDRA, dict)
    try:
        schedule = load_schedule(folder / SCHEDULE)
    except BiotuneError as error:
        raise RunFolderError(str(error).removeprefix("schedule=")) from error
    is_search = status["command"] == "run"
    own = EVOLVED if is_search else str(result["strategy"])
    confirmed = result["confirmed"] if is_search else {}
    methods = {own: result["test"], **(result["baselines"] if is_search else {})}
    scores = {name: {metric: _score(value) for metric, value in metrics.items()} for name, metrics in methods.items()}
    finals = _finals(folder)
    failed = finals["macro_accuracy"].isna()
    test = finals[~failed]
    for name, metrics in scores.items():
        # those with seeds that another method lacks are in the table alone
        if Counter(metrics["macro_accuracy"].values) - Counter(test["macro_accuracy"][test["strategy"] == name]):
            raise RunFolderError(f"{folder / 'test.csv'}: is damaged (its trainings of {name} are not those of {RESULT}).")
    blocks = result["schedule"]["blocks"]
    sizes = {name: blocks[name].get("parameters") for name in schedule.names}
    known = all(isinstance(size, int) for size in sizes.values())
    model = checked_json(folder / MODEL_FACTS)
    sources = (hydra.get("hydra") or {}).get("runtime", {}).get("config_sources", [])
    return Run(
        folder=folder,
        status=status,
        config=config,
        overrides=tuple(str(line) for line in checked_yaml(folder / OVERRIDES, list)),
        config_dirs=tuple(source["path"] for source in sources if source.get("provider") == "command-line"),
        schedule=schedule,
        base_lr=float(result.get("base_lr", config["training"]["lr"])),  # results of earlier versions do not state it
        parameters={name: int(size) for name, size in sizes.items()} if known else None,
        trainable_params=int(result["trainable_params"]),
        trainable_share=float(result["trainable_share"]),
        scores=scores,
        # runs of the first versions returned what the search had found
        returned=str(result.get("returned", confirmed).get("strategy", own)),
        confirmed=confirmed,
        among_models=result.get("returned"),
        test=test,
        failed={str(name): int(count) for name, count in failed.groupby(finals["strategy"], sort=False).sum().items()},
        predictions=read_predictions(folder),
        classes=tuple(str(name) for name in model["classes"]),
        model_seed=model.get("seed"),
        search=_search(folder, result, schedule, config) if is_search else None,
        final=result.get("final", {}),
        curves=_curves(folder),
        front=result.get("front"),
    )


def _finals(folder: Path) -> pd.DataFrame:
    """The table of the final training runs; those that failed have no scores."""
    return checked_table(folder / TEST, {"strategy", "seed", "epochs", "seconds"}, {"macro_accuracy"}, texts=("strategy",))


def _curves(folder: Path) -> pd.DataFrame | None:
    """The learning curves of the final training runs; losses may be missing."""
    if not (folder / CURVES).is_file():
        return None
    losses = {"train_loss", "val_loss"}
    return checked_table(
        folder / CURVES, {"seed", "epoch", "val_macro_accuracy"}, losses, texts=("strategy",), may_be_empty=True
    )


def search_tables(folder: Path, schedule: Schedule, sized: bool = True) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The tables `summary.csv` and `generations.csv` of a search.

    Args:
        folder: The folder.
        schedule: A schedule of the search.
        sized: Whether the sizes of the blocks are known.

    Raises:
        RunFolderError: A table is missing or damaged.
    """
    summary = checked_table(
        folder / SUMMARY,
        {"generation", "fold", "best_fitness", "mean_fitness", "worst_fitness", "trainings", "cache_hits", "seconds"},
    )
    genes = {f"{kind}_{name}" for kind in ("importance", "lr_weight") for name in schedule.names}
    facts = {"generation", "fold", "individual", "threshold", *(["trainable_share"] if sized else [])}
    generations = checked_table(
        folder / GENERATIONS, {*facts, *genes}, {"fitness", "val_accuracy", "kept"}, texts=("origin", "status")
    )
    if set(summary["generation"]) != set(generations["generation"]):
        raise RunFolderError(f"{folder / 'generations.csv'}: is damaged (its generations are not those of summary.csv).")
    return summary, generations


def _search(folder: Path, result: Mapping[str, Any], schedule: Schedule, config: Mapping[str, Any]) -> Search:
    # runs of the first versions had no such keys
    metric = config.get("fitness", {}).get("metric", FitnessConfig.metric)
    spread = config.get("evolution", {}).get("spread", EvolutionConfig.spread)
    summary, generations = search_tables(folder, schedule)
    confirm = checked_table(
        folder / CONFIRM, {"fold", "seed", "seconds"}, {"macro_accuracy"}, texts=("schedule",), may_be_empty=True
    )
    confirmed = result["confirmed"]["macro_accuracy"]
    costs = {name: float(result["search"][name]) for name in ("evaluations", "trainings", "epochs", "seconds")}
    return Search(summary, generations, confirm, None if confirmed is None else _score(confirmed), costs, metric, spread)


def _score(value: Mapping[str, Any]) -> Score:
    return Score(float(value["mean"]), float(value["sd"]), tuple(float(entry) for entry in value["values"]))
