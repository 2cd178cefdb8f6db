"""The facts shown above a command's progress: the inputs, the settings and the largest number of training runs."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from biotune.config.key import show
from biotune.config.schema import CompareConfig, RunConfig, TrainConfig, TrialsConfig, final_training
from biotune.config.sections import AUTO
from biotune.datasets.data import Data
from biotune.evolution.front import most_outstanding
from biotune.evolution.generation import most_evaluations
from biotune.evolution.sources import sources_in
from biotune.recipes.base_rate import rates_to_try
from biotune.recipes.baselines import baseline_plans, trials_to_tune
from biotune.recipes.confirm import confirming_trials
from biotune.recipes.final import BASELINES
from biotune.recipes.session import Session
from biotune.training.device import describe

_SHOWN = 3  # names of copies of an image


def facts(session: Session) -> list[tuple[str, str]]:
    """Dataset, backbone, device and folder."""
    config, data = session.config, session.data
    images = f"{len(data.whole.train)} training, {len(data.whole.val)} validation, {len(data.test)} test images"
    broken = "1 broken image" if len(data.skipped) == 1 else f"{len(data.skipped)} broken images"
    skipped = f", {broken} left out" if data.skipped else ""
    return [
        ("dataset", f"{data.name}: {len(data.classes)} classes, {images}{skipped}"),
        *remarks_on_data(data),
        (
            "backbone",
            f"{config.backbone.name}, weights {config.backbone.weights}, {len(session.network.blocks)} blocks, "
            f"{session.total_parameters:,} parameters",
        ),
        ("device", f"{describe(session.device)}, {config.executor.name}, {config.executor.threads} threads per trial"),
        ("folder", shown_path(session.folder)),
        *_views(config),
        *_final_settings(config),
        *([("resumed", f"{known} trials are known already")] if (known := session.executor.known) else []),
    ]


def remarks_on_data(data: Data) -> list[tuple[str, str]]:
    """What a reader of the scores should know of the images: their range, classes without test images, and copies."""
    remarks = [("read as", remark) for remark in data.remarks]
    if data.value_range is not None:
        low, high = data.value_range
        what = "are black and white in images of more than 8 bits (dataset.value_range)"
        remarks.append(("values", f"{low:g} and {high:g} {what}"))
    if lacking := np.setdiff1d(np.unique(data.labels[data.whole.train]), data.labels[data.test]).tolist():
        more = f" and {len(lacking) - 1} more" if len(lacking) > 1 else ""
        remarks.append(("test", f"no test images of class {data.classes[lacking[0]]}{more}"))
    for found, what in (
        ([one for one in data.copies if one.across], "in more than one of training, validation and test set"),
        ([one for one in data.copies if one.disagree], "in more than one class"),
    ):
        if found:
            shown = " = ".join(data.names[row] for row in found[0].images[:_SHOWN])
            count = "1 image lies" if len(found) == 1 else f"{len(found)} images lie"
            first = "" if len(found) == 1 else ", the first"
            remarks.append(("copies", f"{count} {what}{first}: {shown}. 'biotune data check' names all; keep one of each"))
    return remarks


def comparison_facts(config: CompareConfig, folder: Path, known: int) -> list[tuple[str, str]]:
    """Dataset, backbone, strategies, seeds and learning rates of a comparison."""
    rates = rates_to_try(config)
    return [
        ("dataset", config.dataset.name),
        ("backbone", f"{config.backbone.name}, weights {config.backbone.weights}"),
        ("strategies", ", ".join(config.strategies)),
        ("seeds", f"{len(config.test.seeds)}: each splits the data, drives the search and trains"),
        (
            "learning rates",
            ", ".join(f"{rate:g}" for rate in rates) + (", chosen on validation data" if len(rates) > 1 else ""),
        ),
        *([("warm start", ", ".join(config.evolution.warm_start))] if config.evolution.warm_start else []),
        *_views(config),
        *_final_settings(config),
        ("folder", shown_path(folder)),
        *([("resumed", f"{known} rows are known already")] if known else []),
    ]


def search_facts(session: Session, config: RunConfig) -> list[tuple[str, str]]:
    """The warm start, the size of the search, and the largest number of training runs of the whole command."""
    settings = config.evolution
    evaluations = most_evaluations(settings)
    searching = evaluations * len(config.training.seeds)
    usual = baseline_plans(session, config)
    evolved = config.confirm.top_k + (most_outstanding(len(settings.costs)) if settings.costs else 0)
    to_confirm = (evolved + len(usual)) * len(confirming_trials(settings, config.confirm)) if config.confirm.top_k else 0
    returnable = evolved + len(set(usual) - set(BASELINES)) if config.confirm.retrain == "finalists" else 1
    final = (max(returnable, 1) + len(BASELINES)) * len(config.test.seeds)
    tuning = len(config.training.lr_grid) * len(config.training.seeds) if config.training.lr == AUTO else 0
    by_phase = {
        "for the base rate": tuning,
        "tuning baselines": trials_to_tune(usual, config),
        "searching": searching,
        "confirming": to_confirm,
        "final": final,
    }
    sources = sources_in(session.folder, settings.warm_start, session.network.blocks)
    return [
        *([("objectives", " and ".join(settings.objectives))] if settings.costs else []),
        *(("warm start", source.in_words) for source in sources),
        (
            "search",
            f"at most {evaluations} evaluations: population {settings.population_size}, generations {settings.generations}, "
            f"elites {settings.elites}, {'splits' if settings.resplit else 'folds'} {settings.num_folds}, "
            f"seeds {len(config.training.seeds)}, epochs up to {config.training.epochs}",
        ),
        (
            "training runs",
            f"at most {sum(by_phase.values())} ({', '.join(f'{count} {phase}' for phase, count in by_phase.items() if count)})",
        ),
    ]


def _views(config: TrialsConfig) -> list[tuple[str, str]]:
    """That training sees a finite sample of the augmentation, where it does."""
    if config.features.views is None:
        return []
    final = final_training(config)
    anew = final.mixes_images or final.augment not in (config.training.augment, "none")
    more = "; the final training runs draw anew in each epoch" if anew else ""
    return [("views", f"{config.features.views} of each training image by augment={config.training.augment}, drawn once{more}")]


def _final_settings(config: TrialsConfig) -> list[tuple[str, str]]:
    """The settings that only the final training runs have; none for commands without such runs."""
    changed = config.test.training.changed if isinstance(config, RunConfig | TrainConfig | CompareConfig) else {}
    return [("final runs", ", ".join(f"{name}={show(value)}" for name, value in changed.items()))] if changed else []


def shown_path(folder: Path) -> str:
    """The folder's path, relative to the working directory if it lies below."""
    return str(folder.relative_to(Path.cwd())) if folder.is_relative_to(Path.cwd()) else str(folder)
