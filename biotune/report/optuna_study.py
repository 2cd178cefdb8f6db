"""Writes the search of a folder as a study of Optuna, a trial for each evaluation; the folder is the only input."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from biotune.config.search import EvolutionConfig
from biotune.config.sections import TrainingConfig
from biotune.errors import ConfigError, RunFolderError, one_line
from biotune.evolution.optuna_space import importance_of, schedule_space, values_in
from biotune.evolution.rows import LR_WEIGHT, schedule_of_row
from biotune.report.checked import checked_text
from biotune.report.read import Run, is_asked_search, read_finished_run
from biotune.report.search_page import read_asked_search
from biotune.schedule.block import Block
from biotune.schedule.schedule import TOGETHER, Schedule
from biotune.store.files import JOURNAL
from biotune.trial import Status, Trial, key_with_lr

if TYPE_CHECKING:
    import pandas as pd
    from optuna.distributions import BaseDistribution
    from optuna.storages import BaseStorage
    from optuna.trial import FrozenTrial

_FOLDER = "folder"  # the user attribute of a study that says whose it is
_ATTRIBUTES = ("generation", "fold", "individual", "origin", "status", "seconds", "trainable_params", "trainable_share")
Results = Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Evaluated:
    """A search as a study needs it.

    Attributes:
        folder: Its folder.
        blocks: The network's blocks.
        rows: `generations.csv`.
        space: The parameters of the study.
        results: The journal's records of the training runs of a schedule on a fold.
    """

    folder: Path
    blocks: tuple[Block, ...]
    rows: pd.DataFrame
    space: Mapping[str, BaseDistribution]
    results: Callable[[Schedule, int], Results]


def open_storage(url: str) -> BaseStorage:
    """Open a storage of studies, or make it.

    Args:
        url: Its URL, such as sqlite:///FILE.

    Raises:
        ConfigError: Optuna is not installed, or cannot open the storage.
    """
    if find_spec("optuna") is None:
        raise ConfigError("--optuna: needs the extra 'optuna': pip install 'biotune[optuna]'.")
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    if "://" not in url:
        raise ConfigError(f"--optuna {url}: must be the URL of a storage, such as sqlite:///{url}.")
    try:
        return optuna.storages.get_storage(url)
    except Exception as error:  # of whatever database driver; without the URL, which may hold a password
        raise ConfigError(f"--optuna: the storage cannot be opened ({type(error).__name__}: {_first_line(error)}).") from None


def read_evaluated(folder: Path) -> Evaluated:
    """Read the search of a finished run, or of `biotune.Search`, finished or not.

    Raises:
        RunFolderError: The folder holds none, or a file of it is missing or damaged.
    """
    try:
        return _of_asked_search(folder) if is_asked_search(folder) else _of_run(read_finished_run(folder))
    except (KeyError, TypeError, ValueError) as error:
        raise RunFolderError(f"{folder}: is damaged ({type(error).__name__}: {one_line(error)}).") from error


def write_study(evaluated: Evaluated, storage: BaseStorage) -> str:
    """Write a search as a study; one that was written from the same folder before is replaced.

    Args:
        evaluated: The search.
        storage: Where to.

    Returns:
        What was done, in a sentence.

    Raises:
        RunFolderError: The storage has another study of this name, or cannot be written.
    """
    import optuna

    folder = evaluated.folder.resolve()
    trials = _trials(evaluated)
    try:
        before = {study.study_name: study for study in optuna.get_all_study_summaries(storage)}.get(folder.name)
        if before is not None and before.user_attrs.get(_FOLDER) != str(folder):
            raise RunFolderError(
                f"{evaluated.folder}: the storage has another study named {folder.name}; give another storage, or another "
                "name to the folder."
            )
        if before is not None:
            optuna.delete_study(study_name=folder.name, storage=storage)
        study = optuna.create_study(study_name=folder.name, storage=storage, direction="maximize")
        study.set_user_attr(_FOLDER, str(folder))
        study.add_trials(trials)
    except RunFolderError:
        raise
    except Exception as error:  # of whatever database driver
        raise RunFolderError(
            f"{evaluated.folder}: the storage cannot be written ({type(error).__name__}: {_first_line(error)})."
        ) from None
    replaced = "" if before is None else ", in the place of an earlier one"
    return f"study {folder.name}: {len(trials)} trials{replaced}"


def _of_run(run: Run) -> Evaluated:
    folder = run.folder
    if run.search is None:
        raise RunFolderError(f"{folder}: holds no search; --optuna takes runs of 'biotune run' and folders of biotune.Search.")
    evolution, training = run.config.get("evolution", {}), run.config.get("training", {})
    epochs, seeds = int(training["epochs"]), [int(seed) for seed in training["seeds"]]
    # the tables of earlier versions know no order and no start of the head; their journals do not state the learning rate
    lr = training["lr"] if isinstance(training["lr"], float | int) else run.base_lr
    known = {key_with_lr(str(one["key"]), float(lr)): one for one in _journal(folder, "trial")}

    def results(schedule: Schedule, fold: int) -> Results:
        keys = (Trial(schedule, fold, seed, epochs, float(lr)).key for seed in seeds)
        return [known[key] for key in keys if key in known]

    blocks = run.schedule.blocks
    start = str(training.get("head_start", TrainingConfig.head_start))
    return Evaluated(folder, blocks, run.search.generations, _space(blocks, evolution, start), results)


def _of_asked_search(folder: Path) -> Evaluated:
    found = read_asked_search(folder)
    asked = {one["trial"]: f"{one['schedule']}@{one['fold']}" for one in _journal(folder, "asked")}
    known = {asked[one["trial"]]: one for one in _journal(folder, "told") if one["trial"] in asked}
    blocks = found.schedule.blocks
    return Evaluated(
        folder,
        blocks,
        found.search.generations,
        _space(blocks, found.settings, str(found.settings["head_start"])),
        lambda schedule, fold: [known[key] for key in [f"{schedule.key}@{fold}"] if key in known],
    )


def _space(blocks: Sequence[Block], settings: Mapping[str, Any], head_start: str) -> Mapping[str, BaseDistribution]:
    threshold = settings.get("fixed_threshold", EvolutionConfig.fixed_threshold)
    order = str(settings.get("unfreezing", TOGETHER))
    return schedule_space([block.name for block in blocks], threshold, order, head_start)


def _trials(evaluated: Evaluated) -> list[FrozenTrial]:
    """One for each evaluation: an elite that carries its score over was not evaluated again."""
    rows = evaluated.rows.drop_duplicates(["individual", "fold"])
    return [_trial(evaluated, row) for row in rows.to_dict("records")]


def _trial(evaluated: Evaluated, row: Mapping[Any, Any]) -> FrozenTrial:
    import optuna
    from optuna.trial import TrialState

    names = [block.name for block in evaluated.blocks]
    schedule = schedule_of_row(row, evaluated.blocks)
    results = evaluated.results(schedule, int(row["fold"]))
    importances = {name: float(row[importance_of(name)]) for name in names}
    attributes = {name: row[name] for name in _ATTRIBUTES if row.get(name) == row.get(name) and name in row}
    attributes |= {f"{LR_WEIGHT}{name}": weight for name, weight in zip(names, schedule.lr_weights, strict=True)}
    errors = [str(one["error"]) for one in results if one.get("error")]
    status, value = row["status"], 1.0 - float(row["fitness"])
    if status == Status.EMPTY:
        errors, value = ["trains no block"], 0.0
    states = {Status.PRUNED: TrialState.PRUNED, Status.FAILED: TrialState.FAIL, Status.EMPTY: TrialState.FAIL}
    state = states.get(status, TrialState.COMPLETE)
    return optuna.trial.create_trial(
        state=state,
        value=None if state == TrialState.FAIL else value,
        params=values_in(evaluated.space, importances, float(row["threshold"]), schedule.unfreezing, schedule.head_start),
        distributions=dict(evaluated.space),
        user_attrs=attributes | ({"error": errors[0]} if errors else {}),
        intermediate_values=dict(enumerate(_mean_curve([one["curve"] for one in results if not one.get("error")]))),
    )


def _mean_curve(curves: Sequence[Sequence[float]]) -> list[float]:
    """The mean over the training seeds in each epoch that all of them have reached."""
    return [sum(scores) / len(scores) for scores in zip(*curves, strict=False)]


def _journal(folder: Path, kind: str) -> list[dict[str, Any]]:
    """The records of a kind in a run's journal; its last line may be incomplete while a search goes on.

    Raises:
        RunFolderError: It is missing, or a line is no record.
    """
    lines = checked_text(folder / JOURNAL).split("\n")[:-1]
    try:
        records = [json.loads(line) for line in lines]
        return [record for record in records if record.get("kind") == kind]
    except (ValueError, AttributeError) as error:
        raise RunFolderError(f"{folder / JOURNAL}: is damaged ({one_line(error)}).") from None


def _first_line(error: Exception) -> str:
    """What a database driver says first; the rest is its statement and a link."""
    return one_line(str(error).partition("\n")[0])
