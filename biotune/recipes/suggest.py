"""suggest: a schedule without a search, with its reasons, set against the linear probe by one training run."""

from __future__ import annotations

import math
import shlex
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
import yaml

from biotune.config.schema import SuggestConfig
from biotune.errors import TrialError
from biotune.evolution.prior import Source
from biotune.evolution.sources import read_sources
from biotune.recipes.final import origin
from biotune.recipes.header import remarks_on_data, shown_path
from biotune.recipes.inputs import Prepared, say_remarks
from biotune.recipes.progress import SILENCE, Progress
from biotune.recipes.session import TRAINING_IMAGES, folder_in_use
from biotune.schedule.plan import Plan
from biotune.schedule.schedule import Schedule
from biotune.schedule.schedule_file import save_text
from biotune.store.files import OVERRIDES, RESULT, STATUS, SUGGESTION, read_json, write_json, write_text
from biotune.strategies.suggestion import Earlier, Suggestion, Tried, or_probe, probe_schedule, suggested
from biotune.training.device import describe
from biotune.training.finetune import finetune
from biotune.training.signals import relative_gradients
from biotune.training.step_costs import measure_step
from biotune.training.workspace import Workspace
from biotune.trial import Trial


@dataclass(frozen=True)
class SuggestResult:
    """The result of a suggestion.

    Attributes:
        suggestion: The schedule with its reasons.
        base_lr: λ_0.
        command: The command that trains with it.
    """

    suggestion: Suggestion
    base_lr: float
    command: str


def suggest(
    config: SuggestConfig, folder: Path, progress: Progress = SILENCE, prepared: Prepared | None = None
) -> SuggestResult:
    """Suggest a schedule from earlier searches, gradients and the number of images, or the linear probe where that is as good.

    Both are trained once to be compared, if that is a matter of seconds (`suggest.max_seconds`).

    Args:
        config: The settings.
        folder: The run's folder, which exists.
        progress: Receives the progress.
        prepared: The inputs that the check before the run has prepared; None prepares them now.

    Raises:
        BiotuneError: Bad input, or a folder that cannot be written.
    """
    with folder_in_use("suggest", config, folder) as (_, status):
        torch.set_num_threads(config.executor.threads)
        inputs = (prepared or Prepared()).take(config, progress.decoding)
        network, data = inputs.network, inputs.data
        images, classes = len(data.whole.train), len(data.classes)
        status |= {"device": describe(inputs.device), TRAINING_IMAGES: images}
        write_json(folder / STATUS, status)
        sources = read_sources(config.suggest.runs, network.blocks, "suggest.runs")
        earlier = [_earlier(source, config) for source in sources]
        facts = [
            ("dataset", f"{data.name}: {classes} classes, {images} training images, {images / classes:.0f} a class"),
            *remarks_on_data(data),
            ("backbone", f"{config.backbone.name}, weights {config.backbone.weights}, {len(network.blocks)} blocks"),
            *(
                ("earlier", f"{source.in_words}; weight {one.weight(images):.2f}")
                for source, one in zip(sources, earlier, strict=True)
            ),
            ("folder", shown_path(folder)),
        ]
        progress.header("biotune suggest", facts)
        say_remarks(progress, network)
        workspace = Workspace.of(network, data, config.training, inputs.device)
        gradients = relative_gradients(workspace, config.suggest.batches, config.seed)
        found = _tried(suggested(network.blocks, gradients, images, classes, earlier, network.fresh_head), workspace, config)
        base_lr = config.training.base_lr
        file = folder / SUGGESTION
        write_text(file, save_text(found.schedule, base_lr, origin(config, Plan(found.schedule))))
        write_json(folder / RESULT, _document(found, base_lr, gradients.mean(axis=0).tolist()))
    return SuggestResult(found, base_lr, _command(folder, file))


def _earlier(source: Source, config: SuggestConfig) -> Earlier:
    """The best schedule of a source, and how alike its search was."""
    images = read_json(Path(source.name) / STATUS).get(TRAINING_IMAGES)
    return Earlier(source.schedules[0], source.backbone == config.backbone.name, images if isinstance(images, int) else None)


def _tried(found: Suggestion, workspace: Workspace, config: SuggestConfig) -> Suggestion:
    """The suggestion, or the linear probe where one training run of each says so; where none is made it says why."""
    network, data, training = workspace.network, workspace.data, config.training
    schedule, probe = found.schedule, probe_schedule(network.blocks)
    if schedule.key == probe.key:
        return found
    if not network.fresh_head:
        return _untried(found, "a head that is kept has no linear probe beside it")
    if not config.suggest.max_seconds:
        return _untried(found, "suggest.max_seconds=0")
    step = measure_step(network, schedule.selected, training, workspace.device, data.sides).seconds
    seconds = step * math.ceil(len(data.whole.train) / training.batch_size) * training.epochs
    if seconds > config.suggest.max_seconds:
        limit = f"suggest.max_seconds={config.suggest.max_seconds:g}"
        return _untried(found, f"training once may take {seconds:.0f} s, more than {limit}")
    return or_probe(found, Tried(_score(schedule, workspace), _score(probe, workspace)))


def _untried(found: Suggestion, reason: str) -> Suggestion:
    return replace(found, certainty=f"{found.certainty} Not tried: {reason}.")


def _score(schedule: Schedule, workspace: Workspace) -> float:
    """The validation macro accuracy of one training run; 0 where its loss became infinite."""
    training = workspace.settings(False)
    try:
        return finetune(Trial(schedule, None, training.seeds[0], training.epochs, training.base_lr), workspace).result.score
    except TrialError:
        return 0.0


def _document(found: Suggestion, base_lr: float, gradients: list[float]) -> dict[str, Any]:
    return {
        "base_lr": base_lr,
        "certainty": found.certainty,
        **({} if found.tried is None else {"tried": asdict(found.tried)}),
        "blocks": {
            name: {
                "lr_weight": one.weight,
                "lr": one.weight * base_lr,
                "share": one.share,
                "factor": one.factor,
                "relative_gradient": float(f"{gradient:.3g}"),
                "reason": one.reason,
            }
            for name, one, gradient in zip(found.schedule.names, found.advice, gradients, strict=True)
        },
    }


def _command(folder: Path, file: Path) -> str:
    """The command that trains with the suggestion, with the keys that were given here."""
    given = yaml.safe_load((folder / OVERRIDES).read_text(encoding="utf-8")) if (folder / OVERRIDES).is_file() else []
    own = [one for one in given if not str(one).lstrip("+~").startswith(("suggest.", "hydra.", "seed="))]
    return shlex.join(["biotune", "train", "strategy=schedule", f"schedule={shown_path(file)}", *own])
